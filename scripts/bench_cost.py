"""scripts/bench_cost.py --from recorded.jsonl…: how well the cost model does on tables that its prior has not seen.

Each table is left out in turn with all that is from the same source; its trials are then met one after the other, in
an order shuffled by ``--seed``, each predicted before it is learned from, those of the last
rung knowing the same configuration's on the first, as a promotion does. One JSON line each for the whole, each family
and each table: the share of trials under their 90 % quantile, and the median of quantile ÷ actual.
"""

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

from lepton_ray.search.cost import CostModel
from lepton_ray.search.cost_mining import kin_of, mine_prior, timed_trials
from lepton_ray.search.records import read_records


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--from", dest="recorded", type=Path, nargs="+", required=True)
    parser.add_argument("--most", type=int, default=60, help="trials of each table, as a search would make")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    stamps, records = read_records(*asked.recorded)
    rng = np.random.default_rng(asked.seed)
    found: dict[str, list[float]] = defaultdict(list)
    sources = {record.table.name: record.table.source for record in records}
    trials = timed_trials(records, stamps)
    for table in sorted(sources):
        prior = mine_prior([one for one in trials if sources[one.table] != sources[table]], 1.0)
        own = [one for one in trials if one.table == table]
        model = CostModel.begin(prior, 1.0)
        for number in rng.permutation(len(own))[: asked.most]:
            trial = own[number]
            ratio = model.quantile(trial.family, trial.size, kin=kin_of(trial, own)) / max(trial.seconds, 1e-4)
            for group in ("all", f"family {trial.family}", f"table {table}"):
                found[group].append(ratio)
            model = model.observe(trial.family, trial.size, trial.seconds)
    for group, ratios in found.items():
        under, median = float(np.mean(np.array(ratios) >= 1)), float(np.median(ratios))
        print(json.dumps({"of": group, "trials": len(ratios), "under": round(under, 3), "median": round(median, 2)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
