"""scripts/record_blends.py recorded.jsonl: what the mean of two configurations comes to, for every pair and table.

Reads the predictions that ``record_trials.py`` left beside it and adds one line for each table to the file; a table
whose configurations all stand in such a line already is skipped.
"""

import argparse
import hashlib
import sys
from itertools import combinations
from pathlib import Path

import numpy as np

from lepton_ray.search.records import Blends, Key, RecordedTable, line_of, read_blends, read_records, recorded_tables
from lepton_ray.training.metrics import METRICS

Predicted = dict[Key, list[np.ndarray]]


def predictions_of(table: RecordedTable, folder: Path) -> tuple[list[np.ndarray], Predicted]:
    """The labels of each fold and of the rows held out, and every configuration's predictions of them."""
    rung = len(table.rungs) - 1
    with np.load(folder / "truth.npz") as labels:
        folds = sorted(name for name in labels.files if name.startswith(f"r{rung}f"))
        truth = [labels[name] for name in (*folds, "held")]
    found: Predicted = {}
    for key in sorted(table.rungs[-1]):
        name = hashlib.sha256("".join(key).encode()).hexdigest()[:16]
        files = [folder / f"{name}-r{rung}-f{fold}.npz" for fold in range(len(folds))]
        if not all(file.exists() for file in files):
            continue
        parts = []
        for file in files:
            with np.load(file) as arrays:
                parts.append({name: arrays[name].astype(np.float64) for name in arrays.files})
        held = np.mean([part["held"] for part in parts], axis=0)
        found[key] = [*(part["valid"] for part in parts), held]
    return truth, found


def blended(table: RecordedTable, truth: list[np.ndarray], found: Predicted) -> Blends:
    """The errors of all pairs: the mean of the folds', and of that and the held-out one."""
    metric = METRICS[table.facts.metric]
    errors = []
    for one, other in combinations(found, 2):
        means = [(a + b) / 2.0 for a, b in zip(found[one], found[other], strict=True)]
        *folds, held = [metric.error(y, said) for y, said in zip(truth, means, strict=True)]
        errors.append(float(f"{(np.mean(folds) + held) / 2.0:.5g}"))
    return Blends(table.facts.name, tuple(found), tuple(errors))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recorded", type=Path)
    asked = parser.parse_args()
    known = read_blends(asked.recorded)
    for table in recorded_tables(read_records(asked.recorded)[1]):
        truth, found = predictions_of(table, asked.recorded.with_suffix(".predictions") / table.facts.name)
        if table.facts.name in known and set(known[table.facts.name].keys) == set(found):
            continue
        with asked.recorded.open("a") as out:
            print(line_of(blended(table, truth, found)), file=out)
        print(table.facts.name, len(found), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
