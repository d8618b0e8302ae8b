"""Which trial is next: a pure function of what has been tried. It knows nothing about workers, clocks or money.

The order is the floor first (constant, linear), then each family's own list of configurations turn by turn, then
draws from the families' spaces, the better family more often. On two rungs the best third of the first rung is
promoted as soon as it is known (asynchronous successive halving, Li et al. 2020, arXiv:1810.05934, η = 3).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from lepton_ray.search.trial import Outcome, Trial

PROMOTE_ONE_IN = 3
PATIENCE = 30
"""Trials in a row at the last rung without a gain that end the search."""

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All a policy may see: what is known of ended trials, and what runs."""

    outcomes: tuple[Outcome, ...]
    running: tuple[Trial, ...]


@dataclass(frozen=True, slots=True)
class Start:
    """Start this trial now."""

    trial: Trial


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to start until a running trial ends."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Start nothing more, for this reason."""

    reason: str


Decision = Start | Wait | Stop


def interleave(lists: Mapping[str, Sequence[Config]]) -> list[tuple[str, Config]]:
    """The families' lists turn by turn: the first of each, then the second of each, …"""
    turns = zip_longest(*[[(name, config) for config in configs] for name, configs in lists.items()])
    return [entry for turn in turns for entry in turn if entry is not None]


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """Lists first, the best third promoted, then draws from the spaces.

    Attributes:
        portfolio: (family, config) in the order of trial.
        draw: family name and generator to a config of its space, or None where the family has none.
        last_rung: index of the rung whose errors choose the winner.
    """

    portfolio: tuple[tuple[str, Config], ...]
    draw: Callable[[str, np.random.Generator], Config | None]
    last_rung: int
    seed: int

    def decide(self, seen: Snapshot) -> Decision:
        """The next step, the same for the same snapshot."""
        started = [*(outcome.trial for outcome in seen.outcomes), *seen.running]
        number = len(started)
        if self.last_rung > 0 and (promotion := self._promotion(seen, number)):
            return Start(promotion)
        listed = sum(trial.parent is None for trial in started)
        if listed < len(self.portfolio):
            family, config = self.portfolio[listed]
            return Start(Trial(_name(number), family, config, rung=0))
        if stalled(seen.outcomes, self.last_rung):
            return Stop(f"none of the last {PATIENCE} trials was better than the best before them")
        drawn = self._drawn(seen, started, number)
        if drawn is not None:
            return Start(drawn)
        return Wait() if seen.running else Stop("every configuration there is has been tried")

    def _promotion(self, seen: Snapshot, number: int) -> Trial | None:
        first = sorted(
            (o for o in seen.outcomes if o.usable and o.trial.rung == 0), key=lambda o: (o.error, o.trial.id)
        )
        promoted = {t.parent for t in [*(o.trial for o in seen.outcomes), *seen.running] if t.parent is not None}
        if len(promoted) >= len(first) // PROMOTE_ONE_IN:
            return None
        for outcome in first[: max(1, len(first) // PROMOTE_ONE_IN)]:
            if outcome.trial.id not in promoted and outcome.trial.family != "constant":
                trial = outcome.trial
                return Trial(_name(number), trial.family, trial.config, rung=self.last_rung, parent=trial.id)
        return None

    def _drawn(self, seen: Snapshot, started: Iterable[Trial], number: int) -> Trial | None:
        rng = np.random.default_rng([self.seed, number])
        tried = {(trial.family, json.dumps(trial.config, sort_keys=True)) for trial in started}
        for family in _families_by_merit(seen.outcomes, rng):
            for _ in range(20):
                config = self.draw(family, rng)
                if config is None:
                    break
                if (family, json.dumps(config, sort_keys=True)) not in tried:
                    return Trial(_name(number), family, config, rung=0)
        return None


def stalled(outcomes: Sequence[Outcome], last_rung: int) -> bool:
    """Whether the last PATIENCE trials judged at the last rung brought no gain over at least as many before them."""
    errors = [outcome.error for outcome in outcomes if outcome.trial.rung == last_rung and outcome.error is not None]
    return len(errors) >= 2 * PATIENCE and min(errors[-PATIENCE:]) >= min(errors[:-PATIENCE])


def best(outcomes: Iterable[Outcome], last_rung: int) -> Outcome | None:
    """The outcome with the lowest error at the highest rung that any usable one has reached."""
    usable = [outcome for outcome in outcomes if outcome.usable and outcome.trial.rung <= last_rung]
    if not usable:
        return None
    top = max((o.trial.rung for o in usable if o.trial.family != "constant"), default=0)
    return min(
        (o for o in usable if o.trial.rung == top or o.trial.family == "constant"),
        key=lambda o: (o.error, o.trial.id),
    )


def _families_by_merit(outcomes: Sequence[Outcome], rng: np.random.Generator) -> list[str]:
    """Families from a draw that prefers the better ones, two to one from rank to rank."""
    lowest: dict[str, float] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            name = outcome.trial.family
            lowest[name] = min(outcome.error, lowest.get(name, float("inf")))
    ranked = sorted(lowest, key=lambda name: (lowest[name], name))
    weights = np.array([0.5**rank for rank in range(len(ranked))])
    if not ranked:
        return []
    return [str(name) for name in rng.choice(ranked, size=len(ranked), replace=False, p=weights / weights.sum())]


def _name(number: int) -> str:
    return f"t{number:03d}"
