"""A frugal searcher for anybody's own ``tune.Tuner``: a local walk from a cheap point that knows what is left to spend.

The walk is ``search/walk.py``; here Tune's search spaces become its axes, and a trial that the rest of the budget would
cut short is not begun. It knows nothing about trainables, and money only by the seconds that are left.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ray.tune.search import Searcher
from ray.tune.search.sample import Categorical, Domain, Float, Integer, LogUniform, Quantized, Uniform
from ray.tune.search.variant_generator import parse_spec_vars

from lepton_ray.errors import UsageError
from lepton_ray.on_ray.tune_budget import BudgetStopper
from lepton_ray.search.walk import Axis, Try, Walk, seconds_at_most

DRAWS = 30
"""Points drawn from the walk, and then from anywhere, before the space counts as tried out or as too dear."""
FEWEST_COSTS = 2

Path_ = tuple[str, ...]


class CostAwareSearch(Searcher):
    """Walks from ``low_cost`` to where it is better, and begins no trial that the budget would cut short.

    Args:
        space: a Tune search space; without it Tune's ``param_space``. Numbers and choices; no grids, no functions.
        metric, mode: what to optimise; from TuneConfig where they are not given.
        low_cost: settings known to be cheap, like ``{"n_estimators": 4}``; the rest begins in its middle.
        cost_attr: what a trial reports to have taken, in seconds.
        budget: the experiment's stopper.

    Raises:
        UsageError: the space holds what cannot be walked, or ``low_cost`` lies outside it.
    """

    def __init__(
        self,
        space: dict[str, Any] | None = None,
        *,
        metric: str | None = None,
        mode: str | None = None,
        low_cost: dict[str, Any] | None = None,
        cost_attr: str = "time_total_s",
        budget: BudgetStopper | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        self._low_cost = low_cost or {}
        self._cost_attr, self._budget, self._seed = cost_attr, budget, seed
        self._axes: dict[Path_, Axis] = {}
        self._fixed: dict[Path_, Any] = {}
        self._walk: Walk | None = None
        self._live: dict[str, Try] = {}
        self._seen: list[tuple[tuple[float, ...], float]] = []
        self._tried: set[str] = set()
        self._asked = 0
        if space is not None:
            self._take(space)

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        self._metric, self._mode = metric or self._metric, mode or self._mode
        if self._axes:
            return False
        self._take(config)
        return True

    def suggest(self, trial_id: str) -> Any:
        """A configuration; None while what runs may teach more, FINISHED where nothing is left to try or to pay."""
        if self._metric is None or self._walk is None:
            raise UsageError(
                "CostAwareSearch does not know what to search, or by what.",
                'Give a param_space, and metric="loss", mode="min".',
            )
        for draw in range(2 * DRAWS):
            self._asked += 1
            rng = np.random.default_rng([self._seed, self._asked])
            tried = self._walk.ask(rng) if draw < DRAWS else self._walk.anywhere(rng)
            values = {path: axis.value(at) for (path, axis), at in zip(self._axes.items(), tried.point, strict=True)}
            name = json.dumps([str(value) for value in values.values()])
            if name in self._tried or not self._affordable(tried.point):
                self._walk.tell(tried, None, 0.0)
                continue
            self._tried.add(name)
            self._live[trial_id] = tried
            return _nested({**self._fixed, **values})
        return None if self._live else Searcher.FINISHED

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        tried = self._live.pop(trial_id, None)
        if tried is None or self._walk is None:
            return
        score = None if error or not result else self._score(result)
        cost = float((result or {}).get(self._cost_attr, math.inf))
        self._walk.tell(tried, score, cost)
        if score is not None and math.isfinite(cost):
            self._seen.append((tried.point, cost))

    def _affordable(self, point: tuple[float, ...]) -> bool:
        """Whether nine trials in ten like this one would end before the money does."""
        if self._budget is None or len(self._seen) < FEWEST_COSTS:
            return True
        account = self._budget.account
        points, seconds = zip(*self._seen, strict=True)
        return seconds_at_most(points, seconds, point) <= account.left_seconds - account.reserve_seconds

    def _score(self, result: dict[str, Any]) -> float | None:
        score = result.get(str(self._metric))
        if not isinstance(score, int | float) or not math.isfinite(score):
            return None
        return -float(score) if self._mode == "max" else float(score)

    def _take(self, space: dict[str, Any]) -> None:
        fixed, domains, grids = parse_spec_vars(space)
        if grids:
            raise UsageError(f"A grid cannot be walked: {'.'.join(grids[0][0])}.", "Write tune.choice([…]).")
        self._fixed = dict(fixed)
        self._axes = {path: _axis(path, domain) for path, domain in domains}
        if not self._axes:
            raise UsageError("There is nothing to search in the space.", "Give something like tune.uniform(0, 1).")
        cheap = {**{path: None for path in self._axes}, **_flat(self._low_cost)}
        if foreign := cheap.keys() - self._axes.keys():
            raise UsageError(f"low_cost names {'.'.join(min(foreign))}, which is not searched.", "Leave it out.")
        start = []
        for path, axis in self._axes.items():
            try:
                start.append(0.5 if cheap[path] is None else axis.at(cheap[path]))
            except (ValueError, TypeError) as error:
                raise UsageError(f"low_cost of {'.'.join(path)} is not in its range: {error}.", "Correct it.") from None
        self._walk = Walk(tuple(start), tuple(not axis.options for axis in self._axes.values()))

    def save(self, checkpoint_path: str) -> None:
        """Write what has been learned, as JSON; trials under way are tried again."""
        if self._walk is not None:
            state = {"walk": asdict(self._walk), "seen": self._seen, "tried": sorted(self._tried), "asked": self._asked}
            Path(checkpoint_path).write_text(json.dumps(state))

    def restore(self, checkpoint_path: str) -> None:
        """Go on from what ``save`` wrote, in the same space."""
        state = json.loads(Path(checkpoint_path).read_text())
        self._walk = Walk.from_dict(state["walk"])
        self._seen = [(tuple(point), cost) for point, cost in state["seen"]]
        self._tried, self._asked = set(state["tried"]), state["asked"]


def _axis(path: Path_, domain: Domain) -> Axis:
    sampler = domain.get_sampler()  # type: ignore[no-untyped-call]
    quantum = 0.0
    if isinstance(sampler, Quantized):
        quantum, sampler = sampler.q, sampler.sampler
    if isinstance(domain, Categorical):
        return Axis(options=tuple(domain.categories))
    if isinstance(domain, Float | Integer) and isinstance(sampler, Uniform | LogUniform):
        whole = isinstance(domain, Integer)
        upper = domain.upper - 1 if whole and not quantum else domain.upper  # Tune leaves the upper end out
        log = isinstance(sampler, LogUniform)
        return Axis(float(domain.lower), float(upper), log, float(quantum or whole), whole)
    raise UsageError(
        f"{'.'.join(path)} cannot be walked: it has no lower and upper end.", "Use uniform, randint or choice."
    )


def _flat(config: dict[str, Any], above: Path_ = ()) -> dict[Path_, Any]:
    flat: dict[Path_, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, (*above, key)) if isinstance(value, dict) else {(*above, key): value}
    return flat


def _nested(flat: dict[Path_, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for path, value in flat.items():
        inside = nested
        for key in path[:-1]:
            inside = inside.setdefault(key, {})
        inside[path[-1]] = value
    return nested
