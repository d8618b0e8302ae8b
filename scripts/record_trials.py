"""scripts/record_trials.py TABLES… [--data FOLDER] [--out recorded.jsonl]: what configurations come to on real tables.

TABLES are YAML lists; an entry names its rows by ``table`` (a path under FOLDER, or ``builtin:NAME``) or by ``make``
(``classification``, ``friedman1``, … of scikit-learn, with the arguments in ``with``), and gives ``target``, ``drop``,
``rows`` (at most so many, drawn by ``seed``), ``families`` (only these) and a ``name``. Each is prepared as a run
prepares it. Every family's own list and draws from its space are fitted on one core at two rungs (a quarter of the
rows, all) and two folds, and judged on the fold and on rows held out. One JSON line each, see
``lepton_ray.search.records``; the predictions on at most 2,000 rows go to OUT's sibling folder ``….predictions``. What
is in OUT is skipped, so that it can be interrupted.
"""

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from zlib import crc32

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
import yaml  # noqa: E402

from lepton_ray.features.chain import View, for_schema  # noqa: E402
from lepton_ray.features.matrix import Matrix  # noqa: E402
from lepton_ray.features.step import learn  # noqa: E402
from lepton_ray.models.family import Batch, Config, Family  # noqa: E402
from lepton_ray.models.registry import family as family_named  # noqa: E402
from lepton_ray.models.registry import installed  # noqa: E402
from lepton_ray.on_host.opening import wide_as  # noqa: E402
from lepton_ray.on_host.preparation import open_table, prepare  # noqa: E402
from lepton_ray.search.evaluation import Labelled, evaluate  # noqa: E402
from lepton_ray.search.probe import probe  # noqa: E402
from lepton_ray.search.records import Key, Record, Stamp, TableFacts, key_of, line_of, read_records  # noqa: E402
from lepton_ray.search.rungs import N_FOLDS, Rung, splits  # noqa: E402
from lepton_ray.search.trial import DONE, FAILED, PARTIAL  # noqa: E402
from lepton_ray.spec import RunSpec  # noqa: E402
from lepton_ray.table.schema import Kind, Problem, Task  # noqa: E402
from lepton_ray.table.source import open_source  # noqa: E402
from lepton_ray.training.metrics import METRICS  # noqa: E402

PACKAGES = ("numpy", "scipy", "scikit-learn", "lightgbm", "catboost", "torch")
FOLDS, QUARTER, MOST_JUDGED = 2, 4, 2_000
Place = tuple[str, Key, int, int]
TYPICAL_ROWS, TYPICAL_COLUMNS = (500, 5_000, 50_000), 20


@dataclass(frozen=True, slots=True)
class Ready:
    """A table made ready: what learns, and rows that no decision may see."""

    facts: TableFacts
    problem: Problem
    views: Callable[[View], tuple[Matrix, Matrix]]
    y: np.ndarray
    held_y: np.ndarray
    usable: np.ndarray
    folds: np.ndarray
    texts: bool


class Metered:
    """A family that notes the CPU seconds of its fits and predictions, of all threads, and the last model."""

    def __init__(self, family: Family) -> None:
        self._family, self.model = family, None
        self.fit_seconds = self.predict_seconds = 0.0

    def fit(self, train: Batch, valid: Batch | None, config: Config, **how: Any) -> "Metered":
        if (encoding := sys.modules.get("lepton_ray.models.encoding")) is not None:
            encoding.encoder.cache_clear()  # a search's worker meets its texts for the first time
        began = time.process_time()
        self.model = self._family.fit(train, valid, config, **how)
        self.fit_seconds += time.process_time() - began
        return self

    @property
    def effort(self) -> Config:
        return self.model.effort

    def predict(self, X: Matrix) -> np.ndarray:
        began = time.process_time()
        said = self.model.predict(X)
        self.predict_seconds += time.process_time() - began
        return said


def frame_of(entry: dict[str, Any], data: Path) -> tuple[pa.Table, str, str]:
    """The entry's rows, its target and its source's name."""
    if "make" in entry:
        from sklearn import datasets

        X, y = getattr(datasets, f"make_{entry['make']}")(**entry["with"])
        cells = {f"x{number}": X[:, number] for number in range(X.shape[1])}
        labels = pa.array(y) if y.dtype.kind == "f" else pa.array([f"c{code}" for code in y])
        return pa.table({**cells, "y": labels}), "y", entry["name"]
    table = entry["table"]
    source = open_table(table if ":" in table else str(data / table))
    frame = source.read()
    frame = frame if isinstance(frame, pa.Table) else pa.Table.from_pandas(frame, preserve_index=False)
    return frame, entry["target"], Path(table.removeprefix("builtin:")).stem


def ready(entry: dict[str, Any], data: Path) -> Ready:
    """Prepare an entry; a table too small to hold rows out keeps its last fold from learning."""
    frame, target, source = frame_of(entry, data)
    seed, most = entry.get("seed", 0), entry.get("rows", sys.maxsize)
    if len(frame) > most:
        frame = frame.take(np.sort(np.random.default_rng(seed).choice(len(frame), most, replace=False)))
    name = entry.get("name") or source + (f"@{most}" if "rows" in entry else "") + (f"#{seed}" if seed else "")
    spec = RunSpec(name, target, drop=tuple(entry.get("drop", ())), seed=seed, metric=entry.get("metric", "auto"))
    prepared = prepare(spec, open_source(frame))
    dev, held, schema = prepared.dev, prepared.held, prepared.plan.schema
    spare = np.zeros(len(dev.y), bool) if held is not None else dev.folds[:, 0] == N_FOLDS - 1

    def views(view: View) -> tuple[Matrix, Matrix]:
        step = for_schema(schema, view)
        state = learn(step, [dev.table])
        matrix = step.apply(state, dev.table)
        return matrix, matrix.rows(spare) if held is None else step.apply(state, held.table)

    held_y = dev.y[spare] if held is None else held.y
    usable, folds = dev.usable & ~spare, np.where(spare, -1, dev.folds[:, 0])
    problem, size = prepared.plan.problem, (len(dev.y), wide_as(dev.table, schema))
    facts = TableFacts(name, source, problem.task, problem.metric, len(problem.classes), *size)
    return Ready(facts, problem, views, dev.y, held_y, usable, folds, bool(schema.of(Kind.TEXT)))


def pairs_of(table: Ready, rung: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The folds of a rung: a quarter of the rows, or all."""
    most = int(table.usable.sum() * (N_FOLDS - 1) / N_FOLDS) // QUARTER if rung == 0 else None
    rng = np.random.default_rng(0)
    known = np.flatnonzero(table.folds >= 0)
    found = splits(table.folds[known, None], Rung(most, FOLDS), usable=table.usable[known], timed=False, rng=rng)
    return [(known[train], known[valid]) for train, valid in found]


def configurations(name: str, task: Task, draws: int, n_rows: int) -> list[Config]:
    """A family's lists at typical sizes, the nearest to this table's first, and draws that do not depend on the table.

    Those for two classes stand first for every task, so that tables of different tasks share them.
    """
    family, found = family_named(name), {}
    for kind in dict.fromkeys((Task.BINARY, task)):
        if task not in family.tasks or kind not in family.tasks:
            continue
        classes = {Task.BINARY: ("0", "1"), Task.MULTICLASS: tuple("01234567"), Task.REGRESSION: ()}[kind]
        metric = {Task.BINARY: "roc_auc", Task.MULTICLASS: "log_loss", Task.REGRESSION: "rmse"}[kind]
        problem = Problem("y", kind, classes, metric)
        rng = np.random.default_rng([crc32(name.encode()), len(kind.value)])
        sizes = sorted(TYPICAL_ROWS, key=lambda rows: abs(np.log(rows / n_rows)))
        listed = [config for rows in sizes for config in family.configs(problem, rows, TYPICAL_COLUMNS)]
        share = draws if kind is Task.BINARY else (draws + 2) // 3
        for config in [*listed, *(short(family.sample(problem, rng)) for _ in range(share))]:
            found.setdefault(key_of(name, config), config)
    return list(found.values())


def short(config: Config) -> Config:
    """Three digits are enough for a configuration that may be shipped."""
    return {name: float(f"{value:.3g}") if isinstance(value, float) else value for name, value in config.items()}


def sampled(y: np.ndarray) -> np.ndarray:
    """At most 2,000 of the rows, always the same."""
    if len(y) <= MOST_JUDGED:
        return np.arange(len(y))
    return np.sort(np.random.default_rng(0).choice(len(y), MOST_JUDGED, replace=False))


def tried(table: Ready, views: tuple[Matrix, Matrix], record: dict[str, Any], limit: float, folder: Path) -> Record:
    """Fit and judge one configuration on one fold, and keep its predictions."""
    problem, metric = table.problem, METRICS[table.problem.metric]
    train, valid = pairs_of(table, record["rung"])[record["fold"]]
    family = family_named(record["family"])
    metered, began, cpu = Metered(family), time.monotonic(), time.process_time()
    work = family.work(record["config"], problem, len(train), table.facts.columns)
    facts = {**record, "train_rows": len(train), "valid_rows": len(valid), "work": float(f"{work:.6g}")}
    data = Labelled(views[0], table.y, None)
    try:
        found = evaluate(
            metered,  # type: ignore[arg-type]
            record["config"],
            data,
            [(train, valid)],
            problem=problem,
            stop=lambda: time.process_time() - cpu > limit,
            seed=0,
            threads=1,
        )
        wall = time.monotonic() - began
        spent = {"fit_seconds": metered.fit_seconds, "predict_seconds": metered.predict_seconds, "wall_seconds": wall}
        held = metered.predict(views[1])
        keep(folder, record, found.folds[0].prediction[sampled(valid)], held[sampled(table.held_y)])
        errors = {"error": found.error, "held_error": metric.error(table.held_y, held)}
        state = DONE if found.complete else PARTIAL
    except Exception as fault:  # a family may raise anything; the recording goes on and says why
        wall = time.monotonic() - began
        spent = {"fit_seconds": time.process_time() - cpu, "predict_seconds": 0.0, "wall_seconds": wall}
        return Record(**facts, **rounded(spent), state=FAILED, reason=f"{type(fault).__name__}: {fault}"[:200])
    return Record(**facts, **rounded({**spent, **errors}), state=state, effort=found.effort)


def rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{number:.6g}") for name, number in numbers.items()}


def keep(folder: Path, record: dict[str, Any], valid: np.ndarray, held: np.ndarray) -> None:
    """Probabilities take two bytes each, values four."""
    kind = np.float16 if valid.ndim == 2 else np.float32
    name = hashlib.sha256("".join(key_of(record["family"], record["config"])).encode()).hexdigest()[:16]
    place = folder / record["table"].name
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{name}-r{record['rung']}-f{record['fold']}.npz"
    np.savez_compressed(file, valid=valid.astype(kind), held=held.astype(kind))


def keep_truth(folder: Path, table: Ready) -> None:
    """The labels that the kept predictions are to be held against."""
    place = folder / table.facts.name
    place.mkdir(parents=True, exist_ok=True)
    labels = {"held": table.held_y[sampled(table.held_y)]}
    for rung in (0, 1):
        for fold, (_, valid) in enumerate(pairs_of(table, rung)):
            labels[f"r{rung}f{fold}"] = table.y[valid[sampled(valid)]]
    np.savez_compressed(place / "truth.npz", **labels)


def plan_of(table: Ready, families: list[str], draws: int) -> Iterator[tuple[str, Config, list[tuple[int, int]]]]:
    """What is to be recorded on a table: family, configuration, and the rungs and folds, the cheap rung first."""
    places = [(rung, fold) for rung in (0, 1) for fold in range(FOLDS)]
    for name in families:
        for config in configurations(name, table.problem.task, draws, table.facts.rows):
            yield name, config, places


def stamped() -> Stamp:
    """The machine and the versions; the id is theirs."""
    versions = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    speed = float(f"{probe(time.process_time):.4g}")
    name = hashlib.sha256(json.dumps([versions, speed]).encode()).hexdigest()[:8]
    return Stamp(name, speed, versions)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tables", type=Path, nargs="+")
    parser.add_argument("--data", type=Path, default=Path("."), help="folder that the paths in TABLES start from")
    parser.add_argument("--out", type=Path, default=Path("recorded.jsonl"))
    parser.add_argument("--families", help="comma separated; else all that are installed")
    parser.add_argument("--draws", type=int, default=6, help="configurations from each family's space")
    parser.add_argument("--limit", type=float, default=12.0, help="CPU seconds of one fit")
    parser.add_argument("--allowance", type=float, default=20.0, help="CPU seconds of a family on a table")
    parser.add_argument("--rows", type=int, help="no more rows of any table than these")
    asked = parser.parse_args()
    done: set[Place] = set()
    spent: dict[tuple[str, str], float] = defaultdict(float)
    if asked.out.exists():
        text = asked.out.read_text()
        asked.out.write_text(text[: text.rfind("\n") + 1])  # a line that was cut off
        for one in read_records(asked.out)[1]:
            done.add((one.table.name, one.key, one.rung, one.fold))
            spent[one.table.name, one.family] += one.seconds
    with asked.out.open("a") as out:
        record_all(asked, done, spent, lambda fact: print(line_of(fact), file=out, flush=True))
    return 0


def record_all(
    asked: argparse.Namespace,
    done: set[Place],
    spent: dict[tuple[str, str], float],
    write: Callable[[Stamp | TableFacts | Record], None],
) -> None:
    """Record what is not done yet; a family that has spent its allowance on a table begins no other configuration."""
    families = asked.families.split(",") if asked.families else installed()
    folder, stamp = asked.out.with_suffix(".predictions"), stamped()
    write(stamp)
    for entry in [entry for file in asked.tables for entry in yaml.safe_load(file.read_text())]:
        if asked.rows is not None:
            entry["rows"] = min(asked.rows, entry.get("rows", asked.rows))
        table = ready(entry, asked.data)
        keep_truth(folder, table)
        write(table.facts)
        views: dict[View, tuple[Matrix, Matrix]] = {}
        asked_for = [name for name in families if name in entry.get("families", families)]
        asked_for = [name for name in asked_for if table.texts or family_named(name).view != "text"]
        for name, config, places in plan_of(table, asked_for, asked.draws):
            open_places = [at for at in places if (table.facts.name, key_of(name, config), *at) not in done]
            begun = len(open_places) < len(places)
            if not open_places or (spent[table.facts.name, name] > asked.allowance and not begun):
                continue
            view = family_named(name).view
            views[view] = views.get(view) or table.views(view)
            for rung, fold in open_places:
                where = {"table": table.facts, "stamp": stamp.id, "rung": rung, "fold": fold}
                one = tried(table, views[view], {**where, "family": name, "config": config}, asked.limit, folder)
                spent[table.facts.name, name] += one.seconds
                write(one)
        print(table.facts, f"{time.process_time():.0f} s so far", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
