"""scripts/bench_simulation.py recorded.jsonl: what our search spends for what Tune's ASHA comes to, in virtual time.

For each recorded table, number of workers and seed: ASHA (η = 4) runs through the whole recorded space; ours, with a
portfolio and costs mined without that table's source, runs on the same trials and workers at the same price. Both end
with the greedy ensemble of a run, judged on the rows held out. One JSON line each: the error that ASHA ends with, the
dollars that each had been billed when it first was there, and in the end. The last lines hold the medians of our
dollars until then over ASHA's in the end (what its user pays), and over ASHA's until then (which nobody can know).
Needs the predictions that ``record_trials.py`` left beside the file.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from record_blends import Predicted, predictions_of  # noqa: E402

from lepton_ray.money.budget import Budget  # noqa: E402
from lepton_ray.money.dollars import Dollars  # noqa: E402
from lepton_ray.search.asha import Asha  # noqa: E402
from lepton_ray.search.bias import Judged  # noqa: E402
from lepton_ray.search.cost import CostModel  # noqa: E402
from lepton_ray.search.cost_mining import mine_prior, timed_trials  # noqa: E402
from lepton_ray.search.ensemble import Candidate, Room, greedy  # noqa: E402
from lepton_ray.search.portfolio import ordered  # noqa: E402
from lepton_ray.search.portfolio_mining import mine_portfolio  # noqa: E402
from lepton_ray.search.records import (  # noqa: E402
    Key,
    RecordedTable,
    key_of,
    read_blends,
    read_records,
    recorded_tables,
    without,
)
from lepton_ray.search.simulation import Node, Story, World, desk_over, simulate  # noqa: E402
from lepton_ray.training.metrics import METRICS  # noqa: E402

POINTS, HOURS = 24, 10.0
NODE = Node(Dollars(48_000))  # a vCPU of an m5.xlarge


def ensemble_error(keys: list[Key], metric: str, truth: list[np.ndarray], said: Predicted) -> float:
    """The held-out error of the blend that a run would choose, judged on the folds."""
    folds = np.repeat(np.arange(len(truth) - 1), [len(y) for y in truth[:-1]])
    judged = Judged(np.concatenate(truth[:-1]), folds=folds)
    candidates = [Candidate(str(number), np.concatenate(said[key][:-1])) for number, key in enumerate(keys)]
    found = greedy(METRICS[metric], judged, candidates, rows=np.arange(len(folds)), room=Room())
    held = sum(share * said[keys[int(number)]][-1] for number, share in found.shares)
    return METRICS[metric].error(truth[-1], np.asarray(held))


def curve(story: Story, judge: Callable[[list[Key]], float], last: int) -> list[tuple[float, float]]:
    """(dollars billed, held-out error of the ensemble) at some two dozen moments of a search."""
    keys = [
        key_of(one.trial.family, one.trial.config) if one.usable and one.trial.rung == last else None
        for one in story.outcomes
    ]
    moments = sorted({int(n) for n in np.geomspace(1, len(keys), POINTS)})
    sets = [(story.billed[n - 1], sorted({key for key in keys[:n] if key is not None})) for n in moments]
    return [(dollars, judge(found)) for dollars, found in sets if found]


def compared(table: RecordedTable, world: World, seed: int, files: tuple, **mined: Any) -> dict[str, Any]:
    """Both searches over one table."""
    truth, said = files
    last = len(world.levels) - 1
    budget = Budget.resolve(None, HOURS * 3600, world.per_hour)

    def judge(keys: list[Key]) -> float:
        return ensemble_error(keys, table.facts.metric, truth, said)

    space = [(run.family, run.config) for key, run in sorted(table.everywhere().items()) if key[0] != "constant"]
    asha = curve(
        simulate(Asha(space, rungs=last + 1, wall_seconds=HOURS * 3600, seed=seed), table, world, seed=seed),
        judge,
        last,
    )
    story = simulate(desk_over(table, world, budget, seed=seed, **mined), table, world, seed=seed)
    ours = curve(story, judge, last)
    target = asha[-1][1]

    def until(points: list[tuple[float, float]]) -> float | None:
        return next((dollars for dollars, error in points if error <= target), None)

    return {"asha_error": target, "asha_until": until(asha), "asha_billed": asha[-1][0]} | {
        "our_error": ours[-1][1],
        "our_until": until(ours),
        "our_billed": ours[-1][0],
        "why": story.why,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recorded", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    (stamps, records), blends = read_records(asked.recorded), read_blends(asked.recorded)
    found: dict[int, list[dict[str, Any]]] = {workers: [] for workers in asked.workers}
    for table in recorded_tables(records):
        facts = table.facts
        files = predictions_of(table, asked.recorded.with_suffix(".predictions") / facts.name)
        others, names = without(records, facts.source), sorted({key[0] for key in table.everywhere()})
        listed = mine_portfolio(recorded_tables(others), blends)
        mined = {
            "portfolio": ordered(listed, facts.problem, facts.rows, facts.columns, families=names),
            "costs": CostModel.begin(mine_prior(timed_trials(others, stamps), 1.0)),
        }
        for workers in asked.workers:
            for seed in range(asked.seeds):
                one = compared(table, World((NODE,) * workers), seed, files, **mined)
                found[workers].append(one)
                print(json.dumps({"table": facts.name, "workers": workers, "seed": seed, **one}), flush=True)
    for workers, all_of in found.items():
        ours = [np.inf if one["our_until"] is None else one["our_until"] for one in all_of]
        medians = {
            f"of_{end}": float(np.median([spent / one[end] for spent, one in zip(ours, all_of, strict=True)]))
            for end in ("asha_billed", "asha_until")
        }
        print(json.dumps({"workers": workers, "searches": len(ours), **medians}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
