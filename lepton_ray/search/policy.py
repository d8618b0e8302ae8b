"""Which trial is next: a pure function of what has been tried. It knows nothing about workers, clocks or money.

The order is the floor first (constant, linear), then each family's own list of configurations turn by turn, then
draws from the families' spaces, the better family more often. The best third of a rung, and where that is cheap the
best of each family, is promoted to the next as soon as it is known (asynchronous successive halving, Li et al. 2020,
arXiv:1810.05934, with η = 3).
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from lepton_ray.search.economics import Economy
from lepton_ray.search.trial import Outcome, Trial, beats

PROMOTE_ONE_IN = 3
DRAWS = 8
"""Draws from a family's space before the next family is asked."""

FEW_DRAWS = 5
"""Trials of a family that make its next one half as likely."""

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
Fits = Callable[[Trial], bool]


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
        leaders: whether the best of each family is promoted beside the best third: where a rung is more folds of the
            same rows that is cheap, and a blend lives on models that differ.
        economy: when to stop although there is money left; None: never.
    """

    portfolio: tuple[tuple[str, Config], ...]
    draw: Callable[[str, np.random.Generator], Config | None]
    last_rung: int
    seed: int
    leaders: bool = True
    economy: Economy | None = None

    def decide(self, seen: Snapshot, fits: Fits) -> Decision:
        """The next step, the same for the same snapshot; only a trial that ``fits`` what is left is started."""
        if self.economy is not None and not self._unseen(seen):
            if (reason := self.economy.verdict(seen.outcomes)) is not None:
                return Stop(reason)
        started = [*(outcome.trial for outcome in seen.outcomes), *seen.running]
        name = f"t{len(started):03d}"
        for trial in self._candidates(seen, started, name):
            if fits(trial):
                return Start(trial)
        return Wait() if seen.running else Stop("nothing that is left to try fits what is left of time and money")

    def _unseen(self, seen: Snapshot) -> bool:
        """Whether a family of the list has not been tried at all: it may be better than all that were."""
        return not {name for name, _ in self.portfolio} <= {outcome.trial.family for outcome in seen.outcomes}

    def _candidates(self, seen: Snapshot, started: Sequence[Trial], name: str) -> Iterator[Trial]:
        """What might be tried next, the most wanted first."""
        yield from self._promotions(seen, name)
        tried = {_signature(trial.family, trial.config) for trial in started}
        for family, config in self.portfolio:
            if _signature(family, config) not in tried:
                yield Trial(name, family, config, rung=0)
        rng = np.random.default_rng([self.seed, len(started)])
        for family in _families_by_merit(seen.outcomes, rng):
            for _ in range(DRAWS):
                drawn = self.draw(family, rng)
                if drawn is not None and _signature(family, drawn) not in tried:
                    yield Trial(name, family, drawn, rung=0)

    def _promotions(self, seen: Snapshot, name: str) -> Iterator[Trial]:
        """From the highest rung down, so that what is nearest to its end is ended first; on each, with ``leaders``, the
        best of every family in the better half before the second best of any."""
        promoted = {t.parent for t in [*(o.trial for o in seen.outcomes), *seen.running] if t.parent is not None}
        for rung in reversed(range(self.last_rung)):
            there = sorted(
                (o for o in seen.outcomes if o.usable and o.trial.rung == rung), key=lambda o: (o.error, o.trial.id)
            )
            allowed = len(there) // PROMOTE_ONE_IN
            if allowed == 0:
                continue
            leaders = {o.trial.family: o for o in reversed(there[: (len(there) + 1) // 2])}
            wanted = sorted(leaders.values(), key=lambda o: (o.error, o.trial.id)) if self.leaders else []
            if sum(outcome.trial.id in promoted for outcome in there) < allowed:
                wanted += there[:allowed]
            for outcome in wanted:
                trial = outcome.trial
                if trial.id not in promoted and trial.family != "constant":
                    yield Trial(name, trial.family, trial.config, rung=rung + 1, parent=trial.id)


def best(outcomes: Iterable[Outcome], lineage: Iterable[Outcome] | None = None) -> Outcome | None:
    """The one that holds the title after all bouts, in the order in which they ended.

    Args:
        lineage: all outcomes, among them the ancestors of those that may hold it; None: these are all.
    """
    told = list(outcomes)
    known = by_name(told if lineage is None else lineage)
    champion: Outcome | None = None
    for outcome in told:
        if outcome.usable and (champion is None or succeeds(outcome, champion, known)):
            champion = outcome
    return champion


def succeeds(outcome: Outcome, champion: Outcome, known: Mapping[str, Outcome]) -> bool:
    """Whether it takes the title; the constant is to be beaten by anyone."""
    if outcome.trial.rung < champion.trial.rung and champion.trial.family != "constant":
        return False
    bar = to_beat(outcome.trial, champion, known)
    return bar is None or beats(outcome.fold_errors, bar)


def to_beat(trial: Trial, champion: Outcome, known: Mapping[str, Outcome]) -> tuple[float, ...] | None:
    """The fold errors that a trial must beat for the title: None where it has won already, () where it cannot win.

    At the champion's own rung, or against the constant, they are the champion's. A trial from a higher rung is compared
    where both were judged: by its ancestor at the champion's rung, which must be the champion or have beaten it. To be
    judged on more rows is no merit by itself.
    """
    if trial.rung <= champion.trial.rung or champion.trial.family == "constant":
        return champion.fold_errors
    ancestor = known.get(trial.parent or "")
    while ancestor is not None and ancestor.trial.rung > champion.trial.rung:
        ancestor = known.get(ancestor.trial.parent or "")
    if ancestor is None:
        return ()
    won = ancestor.trial.id == champion.trial.id or beats(ancestor.fold_errors, champion.fold_errors)
    return None if won else ()


def by_name(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    return {outcome.trial.id: outcome for outcome in outcomes}


def _families_by_merit(outcomes: Sequence[Outcome], rng: np.random.Generator) -> list[str]:
    """Families from a draw that prefers the better ones, two to one from rank to rank, and those tried less: what the
    next of many draws from one space can add falls with their number."""
    lowest: dict[str, float] = {}
    tried: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            name = outcome.trial.family
            lowest[name] = min(outcome.error, lowest.get(name, float("inf")))
            tried[name] = tried.get(name, 0) + 1
    ranked = sorted(lowest, key=lambda name: (lowest[name], name))
    weights = np.array([0.5**rank / (FEW_DRAWS + tried[name]) for rank, name in enumerate(ranked)])
    if not ranked:
        return []
    return [str(name) for name in rng.choice(ranked, size=len(ranked), replace=False, p=weights / weights.sum())]


def _signature(family: str, config: Config) -> tuple[str, str]:
    return family, json.dumps(config, sort_keys=True)
