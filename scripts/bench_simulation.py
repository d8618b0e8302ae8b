"""scripts/bench_simulation.py recorded.jsonl: what our search spends for what Tune's ASHA comes to, in virtual time.

For each recorded table, number of workers and seed: ASHA (η = 4) runs through the whole recorded space; ours, in the
order of a run with a portfolio and costs mined without that table's source, goes through it too, on the same workers at
the same price. Both end
with the greedy ensemble of a run over the trials that were completed at the last rung, judged on the rows held out.
One JSON line each: the error that ASHA ends with, the dollars that each had been billed when it first was there, when
it last came there and stayed, and in the end; and what ours ends with when its whole budget is a share of ASHA's bill.
The last lines hold, for each number of workers, the medians over the tables of our dollars until then over ASHA's in
the end (what its user pays); a table counts with the median of its seeds.
Needs the predictions that ``record_trials.py`` left beside the file.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from record_blends import Predicted, predictions_of  # noqa: E402

from lepton_ray.models.registry import family as family_named  # noqa: E402
from lepton_ray.money.budget import Budget  # noqa: E402
from lepton_ray.money.dollars import Dollars  # noqa: E402
from lepton_ray.on_host.opening import portfolio_of  # noqa: E402
from lepton_ray.search.asha import Asha  # noqa: E402
from lepton_ray.search.bias import Judged  # noqa: E402
from lepton_ray.search.cost import CostModel  # noqa: E402
from lepton_ray.search.ensemble import MOST_CANDIDATES, Candidate, Room, error_of, greedy  # noqa: E402
from lepton_ray.search.priors import Priors  # noqa: E402
from lepton_ray.search.records import Config, Key, RecordedTable, key_of, read_records, recorded_tables  # noqa: E402
from lepton_ray.search.simulation import Node, Story, World, desk_over, simulate  # noqa: E402
from lepton_ray.search.trial import DONE  # noqa: E402
from lepton_ray.training.metrics import METRICS  # noqa: E402

HOURS = 10.0
NODE = Node(Dollars(48_000))  # a vCPU of an m5.xlarge
Curve = list[tuple[float, float]]
"""(dollars billed, held-out error of the ensemble), after each trial that was completed at the last rung."""


class Judge:
    """The held-out error of the blend that a run would choose from these configurations, judged on the folds."""

    def __init__(self, table: RecordedTable, truth: list[np.ndarray], said: Predicted) -> None:
        self._metric, self._truth, self._said = METRICS[table.facts.metric], truth, said
        self._folds = np.repeat(np.arange(len(truth) - 1), [len(y) for y in truth[:-1]])
        self._judged, self._rows = Judged(np.concatenate(truth[:-1]), folds=self._folds), np.arange(len(self._folds))
        alone = {key: error_of(self._metric, self._judged, self._folded(key), self._rows) for key in said}
        self._rank = {key: rank for rank, key in enumerate(sorted(said, key=lambda key: (alone[key], key)))}
        self._known: dict[tuple[Key, ...], float] = {}

    def __call__(self, keys: Iterable[Key]) -> float:
        asked = tuple(sorted(keys, key=self._rank.__getitem__)[:MOST_CANDIDATES])  # it would look at no others
        if asked not in self._known:
            self._known[asked] = self._error(asked)
        return self._known[asked]

    def _folded(self, key: Key) -> np.ndarray:
        return np.concatenate(self._said[key][:-1])

    def _error(self, keys: Sequence[Key]) -> float:
        truth, said = self._truth, self._said
        candidates = [Candidate(str(number), self._folded(key)) for number, key in enumerate(keys)]
        found = greedy(self._metric, self._judged, candidates, rows=self._rows, room=Room())
        held = sum(share * said[keys[int(number)]][-1] for number, share in found.shares)
        return self._metric.error(truth[-1], np.asarray(held))


@dataclass(frozen=True, slots=True)
class Ground:
    """What both searches are given: a table, what judges them, and what was mined without it."""

    table: RecordedTable
    judge: Judge
    portfolio: list[tuple[str, Config]]
    costs: CostModel


def curve(story: Story, judge: Judge, last: int) -> Curve:
    """A search as its user would see it, if she stopped it there."""
    found, keys = [], set[Key]()
    for billed, one in zip(story.billed, story.outcomes, strict=True):
        trial = one.trial
        if one.state == DONE and trial.rung == last and trial.family != "constant":
            keys.add(key_of(trial.family, trial.config))
            found.append((billed, judge(keys)))
    return found


def first(points: Curve, target: float) -> float | None:
    """The dollars when the error was there; None: never."""
    return next((dollars for dollars, error in points if error <= target), None)


def kept(points: Curve, target: float) -> float | None:
    """The dollars from which on it was there to the end; None: not in the end."""
    found = None
    for dollars, error in reversed(points):
        if error > target:
            break
        found = dollars
    return found


def ours(ground: Ground, world: World, seconds: float, seed: int) -> Story:
    budget = Budget.resolve(None, seconds, world.per_hour)
    desk = desk_over(ground.table, world, budget, portfolio=ground.portfolio, costs=ground.costs, seed=seed)
    return simulate(desk, ground.table, world, seed=seed)


def compared(ground: Ground, world: World, seed: int, shares: list[float]) -> dict[str, Any]:
    """Both searches over one table."""
    table, judge, last = ground.table, ground.judge, len(world.levels) - 1
    space = [(run.family, run.config) for key, run in sorted(table.everywhere().items()) if key[0] != "constant"]
    halving = Asha(space, rungs=last + 1, wall_seconds=HOURS * 3600, seed=seed)
    asha = curve(simulate(halving, table, world, seed=seed), judge, last)
    story = ours(ground, world, HOURS * 3600, seed)
    mine = curve(story, judge, last)
    bill, target = asha[-1]
    found = {"asha_error": target, "asha_until": first(asha, target), "asha_kept": kept(asha, target)}
    found |= {"asha_billed": bill, "our_error": mine[-1][1], "our_until": first(mine, target)}
    found |= {"our_kept": kept(mine, target), "our_billed": mine[-1][0], "why": story.why}
    constant = table.rungs[last]["constant", "{}"].held_error
    for share in shares:
        seconds = bill * share / (world.per_hour.micros / 3.6e9)
        ended = curve(ours(ground, world, seconds, seed), judge, last)
        found[f"behind_at_{share:g}"] = ((ended[-1][1] if ended else constant) - target) / max(constant - target, 1e-12)
    return found


def medians(found: list[dict[str, Any]], workers: int) -> dict[str, Any]:
    """Over the tables, of each the median of its seeds."""
    tables = sorted({one["table"] for one in found})

    def of_bill(name: str) -> np.ndarray:
        ratios = [(one["table"], (one[name] or np.inf) / one["asha_billed"]) for one in found]
        return np.array([np.median([ratio for table, ratio in ratios if table == name]) for name in tables])

    until = of_bill("our_until")
    told = {"workers": workers, "tables": len(tables), "until": np.median(until), "at_most_half": np.mean(until <= 0.5)}
    told |= {"kept": np.median(of_bill("our_kept")), "never": np.mean([one["our_until"] is None for one in found])}
    told |= {"asha_until": np.median(of_bill("asha_until")), "asha_kept": np.median(of_bill("asha_kept"))}
    for name in [name for name in found[0] if name.startswith("behind_at_")]:
        means = [np.mean([one[name] for one in found if one["table"] == table]) for table in tables]
        told[name] = np.median(means)
    return {name: value if isinstance(value, int) else round(float(value), 4) for name, value in told.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recorded", type=Path)
    parser.add_argument("--priors", type=Path, required=True, help="folder that mine_leaving_out filled")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.5, 1.0], help="of ASHA's bill, as our budget")
    asked = parser.parse_args()
    found: dict[int, list[dict[str, Any]]] = {workers: [] for workers in asked.workers}
    for table in recorded_tables(read_records(asked.recorded)[1]):
        facts, names = table.facts, sorted({key[0] for key in table.everywhere()})
        files = predictions_of(table, asked.recorded.with_suffix(".predictions") / facts.name)
        priors = Priors.from_folder(asked.priors / facts.source)
        families = {name: family_named(name, fits=False) for name in names}
        listed = list(
            portfolio_of(priors.portfolio, families, facts.problem, n_rows=facts.rows, n_columns=facts.columns)
        )
        ground = Ground(table, Judge(table, *files), listed, CostModel.begin(priors.costs))
        for workers in asked.workers:
            for seed in range(asked.seeds):
                one = {"table": facts.name, "workers": workers, "seed": seed}
                one |= compared(ground, World((NODE,) * workers), seed, asked.shares)
                found[workers].append(one)
                print(json.dumps(one), flush=True)
    for workers, searches in found.items():
        print(json.dumps(medians(searches, workers)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
