"""scripts/bench_simulation.py recorded.jsonl: what our search spends for what Tune's ASHA comes to, in virtual time.

For each recorded table, number of workers and seed: ASHA (η = 4) runs through the whole recorded space; ours, with a
portfolio mined without that table's source, runs on the same trials and workers at the same price. Both end with a
greedy ensemble over the folds' predictions, judged on the rows held out. One JSON line each: dollars billed until that
error was reached, and in the end. Needs the predictions that ``record_trials.py`` left beside the file.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from record_blends import Predicted, predictions_of  # noqa: E402

from lepton_ray.money.budget import Budget  # noqa: E402
from lepton_ray.money.dollars import Dollars  # noqa: E402
from lepton_ray.search.asha import Asha  # noqa: E402
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

STEPS, POINTS, HOURS = 10, 24, 10.0
NODE = Node(Dollars(48_000))  # a vCPU of an m5.xlarge


def ensemble_error(keys: list[Key], metric: str, truth: list[np.ndarray], said: Predicted) -> float:
    """The held-out error of a greedy ensemble with replacement (Caruana et al. 2004), chosen on the folds."""
    error, total, best = METRICS[metric].error, None, np.inf
    held: np.ndarray | None = None
    for step in range(STEPS):
        tried = {}
        for key in keys:
            means = [part / (step + 1) for part in (said[key][:-1] if total is None else map(np.add, total, said[key]))]
            tried[key] = float(np.mean([error(y, mean) for y, mean in zip(truth, means, strict=False)]))
        key = min(tried, key=lambda one: tried[one])
        if tried[key] >= best:
            break
        best = tried[key]
        total = [np.array(part) for part in (said[key][:-1] if total is None else map(np.add, total, said[key]))]
        held = said[key][-1] if held is None else held + said[key][-1]
        members = step + 1
    assert held is not None
    return error(truth[-1], held / members)


def curve(story: Story, judge: Callable[[list[Key]], float], last: int) -> list[tuple[float, float]]:
    """(dollars billed, held-out error of the ensemble) at some two dozen moments of a search."""
    keys = [
        key_of(one.trial.family, one.trial.config) if one.usable and one.trial.rung == last else None
        for one in story.outcomes
    ]
    moments = sorted({int(n) for n in np.geomspace(1, len(keys), POINTS)})
    sets = [(story.billed[n - 1], sorted({key for key in keys[:n] if key is not None})) for n in moments]
    return [(dollars, judge(found)) for dollars, found in sets if found]


def compared(table: RecordedTable, world: World, portfolio: list[tuple[str, dict]], seed: int, files: tuple) -> dict:
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
    story = simulate(desk_over(table, world, budget, portfolio=portfolio, seed=seed), table, world, seed=seed)
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
    records, blends = read_records(asked.recorded)[1], read_blends(asked.recorded)
    ratios: dict[int, list[float]] = {workers: [] for workers in asked.workers}
    for table in recorded_tables(records):
        facts = table.facts
        files = predictions_of(table, asked.recorded.with_suffix(".predictions") / facts.name)
        mined = mine_portfolio(recorded_tables(without(records, facts.source)), blends)
        names = sorted({key[0] for key in table.everywhere()})
        portfolio = ordered(facts.problem, facts.rows, facts.columns, names, mined)
        for workers in asked.workers:
            world = World((NODE,) * workers)
            for seed in range(asked.seeds):
                found = compared(table, world, portfolio, seed, files)
                spent = found["our_until"]
                ratios[workers].append(
                    np.inf if spent is None else spent / (found["asha_until"] or found["asha_billed"])
                )
                print(json.dumps({"table": facts.name, "workers": workers, "seed": seed, **found}), flush=True)
    for workers, found_ratios in ratios.items():
        print(json.dumps({"workers": workers, "median_spend_ratio": float(np.median(found_ratios))}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
