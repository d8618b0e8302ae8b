"""Which trial is next: a pure function of what has been tried. It knows nothing about workers, clocks or money.

The order is the floor first (constant, linear), then the portfolio, then draws: the better family more often, every
other one near the family's best configuration. A family that has shown itself to be behind leaves the portfolio to the
others. Each rung of a ladder gets as much time as the one below (asynchronous successive halving, Li et al. 2020,
arXiv:1810.05934, with η the ratio of their costs), so that the best of a rung goes on as soon as it is known; the best
of each of the better families does so before a second one of any. When most of what there is to spend is spent, the
best few of a rung and these go on before anything new is tried: that is what the final blend is chosen from. Where a
space is exhausted, the rest goes on as well. What was interrupted comes before all else: it has begun already.

An expected gain of the blend per second, with a cost that counts less as money runs out, was measured instead of equal
time and was no better: see LOG.md.
"""

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

import numpy as np

from lepton_ray.search.economics import Economy
from lepton_ray.search.trial import BROKEN_OFF, INTERRUPTED, Outcome, Trial

PROMOTE_ONE_IN = 3
"""Of a rung, at least: the others are not good enough to go on."""
TRIED_ENOUGH = 2
"""Trials after which a family in the worse half is behind; of trials that began on a higher rung one is."""
LATE, FINALISTS = 0.6, 3
"""From this share of what there is to spend, or as soon as they take all that is left, so many of the better half of a
rung go on beside the best of each of its better families."""
PACKING = 1.3
"""What a few long trials take of their workers' time, in units of their own: they do not end together."""
FROM_DRAW = 0.35
"""Of a draw near the best: the share of its settings that are new."""
DRAWS = 8
"""Draws from a family's space before the next family is asked."""

MOST_INTERRUPTIONS = 3
"""After so many of one trial it is not taken up again: it may be what takes its nodes away."""
FEW_DRAWS = 5
"""Trials of a family that make its next one half as likely."""

Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All a policy may see: what is known of ended trials, what runs, the share that is spent of time and money, and
    the seconds that are left to each worker."""

    outcomes: tuple[Outcome, ...]
    running: tuple[Trial, ...]
    spent: float = 0.0
    left: float = float("inf")


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
Takes = Callable[[Trial], float]
"""A trial to the seconds that it is expected to take."""
Draw = Callable[[str, np.random.Generator, Config | None], Config | None]


def interleave(lists: Mapping[str, Sequence[Config]]) -> list[tuple[str, Config]]:
    """The families' lists turn by turn: the first of each, then the second of each, …"""
    turns = zip_longest(*[[(name, config) for config in configs] for name, configs in lists.items()])
    return [entry for turn in turns for entry in turn if entry is not None]


@dataclass(frozen=True, slots=True)
class PromotionPolicy:
    """Lists first, then draws from the spaces; from each rung the best go on.

    Attributes:
        portfolio: (family, config) in the order of trial.
        draw: (family name, generator, near) to a config of its space, near another one or anywhere; None where the
            family has no space.
        one_in: for each rung but the last, how many of its trials take as long as one promotion.
        at_once: seconds; what is expected to take no longer on a higher rung begins there: a part of the rows says
            little of a configuration, and of a family. 0 where the rungs below have no other rows.
        economy: when to stop although there is money left; None: never.
        idle: families that are not expected to bring anything, which it does not wait for.
    """

    portfolio: tuple[tuple[str, Config], ...]
    draw: Draw
    one_in: tuple[int, ...]
    seed: int
    economy: Economy | None = None
    at_once: float = 0.0
    idle: frozenset[str] = frozenset()

    def decide(self, seen: Snapshot, fits: Fits, takes: Takes = lambda trial: 0.0) -> Decision:
        """The next step, the same for the same snapshot; only a trial that ``fits`` what is left is started."""
        if self.economy is not None and not self._unseen(seen):
            if (reason := self.economy.verdict(seen.outcomes)) is not None:
                return Stop(reason)
        started = [*(outcome.trial for outcome in _settled(seen.outcomes)), *seen.running]
        for trial in self._candidates(seen, started, takes):
            if fits(trial):
                return Start(trial)
        return Wait() if seen.running else Stop("nothing that is left to try fits what is left of time and money")

    def _unseen(self, seen: Snapshot) -> bool:
        """Whether a family of the list has not been tried at all that may be better than all that were."""
        return not {name for name, _ in self.portfolio} - self.idle <= {
            outcome.trial.family for outcome in seen.outcomes
        }

    def _candidates(self, seen: Snapshot, started: Sequence[Trial], takes: Takes) -> Iterator[Trial]:
        """What might be tried next, the most wanted first; once there is nothing new at all, the rest goes on."""
        name = next_name(seen)
        yield from interrupted(seen)
        promoted = {trial.parent for trial in started if trial.parent is not None}
        yield from self._promotions(seen, started, promoted, takes)
        exhausted = True
        for trial in self._new(seen, started, name):
            exhausted = False
            yield self._placed(trial, seen, takes)
        for rung in reversed(range(len(self.one_in) if exhausted else 0)):
            yield from _promotions_of(_ranked(seen.outcomes, rung), promoted, name)

    def _placed(self, trial: Trial, seen: Snapshot, takes: Takes) -> Trial:
        """The same on the highest rung that it may begin on, once there is a model at all, unless its family has shown
        itself behind others."""
        fitted = any(one.usable and one.trial.family != "constant" for one in seen.outcomes)
        if not (self.at_once and fitted) or trial.family in _behind(seen.outcomes):
            return trial
        higher = (replace(trial, rung=rung) for rung in reversed(range(1, len(self.one_in) + 1)))
        return next((one for one in higher if takes(one) <= self.at_once), trial)

    def _new(self, seen: Snapshot, started: Sequence[Trial], name: str) -> Iterator[Trial]:
        """What was not tried yet: the list without the families that are behind, draws, the rest of the list.

        What is of a family whose first trial is under way comes after what is not: it may turn out to be behind.
        """
        tried = {_signature(trial.family, trial.config) for trial in started}
        untold = {trial.family for trial in seen.running} - {outcome.trial.family for outcome in seen.outcomes}
        left = [entry for entry in self.portfolio if _signature(*entry) not in tried]
        left.sort(key=lambda entry: entry[0] in untold)
        behind = _behind(seen.outcomes)
        for family, config in left:
            if family not in behind:
                yield Trial(name, family, config, rung=0)
        rng = np.random.default_rng([self.seed, len(started)])
        leaders = _leaders(seen.outcomes)
        for family in _families_by_merit(seen.outcomes, rng, behind if seen.spent >= LATE else ()):
            for turn in range(DRAWS):
                drawn = self.draw(family, rng, leaders[family].trial.config if turn % 2 == 0 else None)
                if drawn is not None and _signature(family, drawn) not in tried:
                    yield Trial(name, family, drawn, rung=0)
        for family, config in left:
            if family not in behind or seen.spent < LATE:
                yield Trial(name, family, config, rung=0)

    def _promotions(
        self, seen: Snapshot, started: Sequence[Trial], promoted: Collection[str], takes: Takes
    ) -> Iterator[Trial]:
        """From the highest rung down, so that what is nearest to its end is ended first."""
        name = next_name(seen)
        for rung in reversed(range(len(self.one_in))):
            there, above = _ranked(seen.outcomes, rung), {trial.family for trial in started if trial.rung == rung + 1}
            leaders = _better_families(there)
            new = [one for one in leaders if one.trial.family not in above]
            finals = _promotions_of([*new, *_better_half(there)[:FINALISTS], *leaders], promoted, name)
            if seen.spent >= LATE or _fill(list(map(takes, finals)), seen):
                yield from finals
            elif (some := there[: len(there) // PROMOTE_ONE_IN]) and self._due(seen, rung):
                yield from _promotions_of([*new, *some], promoted, name)

    def _due(self, seen: Snapshot, rung: int) -> bool:
        """Whether the rung above would have had no more time than this one after another promotion."""
        here = [one.seconds for one in seen.outcomes if one.trial.rung == rung]
        above = [one.seconds for one in seen.outcomes if one.trial.rung == rung + 1 and one.trial.parent is not None]
        if not here:
            return False
        expected = self.one_in[rung] * sum(here) / len(here)
        return sum(above) + expected * (1 + sum(trial.rung == rung + 1 for trial in seen.running)) <= sum(here)


def _fill(seconds: Sequence[float], seen: Snapshot) -> bool:
    """Whether trials of so many seconds take all that is left, to the workers together or the longest to one."""
    longest = max((each for each in seconds if each <= seen.left), default=0.0)
    return PACKING * max(sum(seconds) / (1 + len(seen.running)), longest) >= seen.left


def _ranked(outcomes: Iterable[Outcome], rung: int) -> list[Outcome]:
    """What was judged on this rung, the best first."""
    there = (one for one in outcomes if one.usable and one.trial.rung == rung and one.trial.family != "constant")
    return sorted(there, key=_standing)


def _promotion(outcome: Outcome, name: str) -> Trial:
    trial = outcome.trial
    return Trial(name, trial.family, trial.config, rung=trial.rung + 1, parent=trial.id)


def _promotions_of(wanted: Sequence[Outcome], promoted: Collection[str], name: str) -> list[Trial]:
    """The promotion of each of them, once, that has had none."""
    once = {one.trial.id: one for one in wanted if one.trial.id not in promoted}
    return [_promotion(one, name) for one in once.values()]


def _better_half(there: Sequence[Outcome]) -> Sequence[Outcome]:
    return there[: (len(there) + 1) // 2]


def _better_families(there: Sequence[Outcome]) -> Sequence[Outcome]:
    """Of a rung's trials, the best first: the best of each family, and of these the better half."""
    first: dict[str, Outcome] = {}
    for one in there:
        first.setdefault(one.trial.family, one)
    return _better_half(list(first.values()))


def interrupted(seen: Snapshot) -> list[Trial]:
    """The trials whose nodes went away and that are to be taken up again, not too often each."""
    latest = {outcome.trial.id: outcome for outcome in seen.outcomes}
    times = Counter(outcome.trial.id for outcome in seen.outcomes if outcome.state == INTERRUPTED)
    running = {trial.id for trial in seen.running}
    broken = [one.trial for one in latest.values() if one.state == INTERRUPTED and one.trial.id not in running]
    return [trial for trial in broken if times[trial.id] < MOST_INTERRUPTIONS]


def near(config: Config, drawn: Config, rng: np.random.Generator) -> Config:
    """``config`` with some settings, at least one that differs if any does, from another draw of the same space."""
    names = sorted({*config, *drawn})
    differing = [name for name in names if config.get(name) != drawn.get(name)]
    if not differing:
        return config
    taken = {name for name in differing if rng.random() < FROM_DRAW} or {differing[int(rng.integers(len(differing)))]}
    mixed = [(name, drawn if name in taken else config) for name in names]
    return {name: source[name] for name, source in mixed if name in source}


def _leaders(outcomes: Iterable[Outcome]) -> dict[str, Outcome]:
    """The best usable trial of each family, of those at the highest rung that it came to."""
    usable = [one for one in outcomes if one.usable]
    ranked = sorted(usable, key=lambda one: (-one.trial.rung, *_standing(one)))
    return {one.trial.family: one for one in reversed(ranked)}


def _behind(outcomes: Iterable[Outcome]) -> set[str]:
    """The families in the worse half of those that began where most can be compared, by their best trial of a few: on
    the highest rung that two families began on."""
    begun = [one for one in outcomes if one.usable and one.trial.parent is None and one.trial.family != "constant"]
    families: dict[int, set[str]] = {}
    for one in begun:
        families.setdefault(one.trial.rung, set()).add(one.trial.family)
    rung = max((rung for rung, names in families.items() if len(names) > 1), default=0)
    tried = [one for one in begun if one.trial.rung == rung]
    ranked = sorted(_leaders(tried).values(), key=_standing)
    worse = {one.trial.family for one in ranked[(len(ranked) + 1) // 2 :]}
    enough = TRIED_ENOUGH if rung == 0 else 1
    return {name for name in worse if sum(one.trial.family == name for one in tried) >= enough}


def _standing(outcome: Outcome) -> tuple[float, str]:
    return float("inf") if outcome.error is None else outcome.error, outcome.trial.id


def next_name(seen: Snapshot) -> str:
    """The id after the highest that was given; of a run that was broken off not each may be known."""
    given = [trial.id for trial in (*(outcome.trial for outcome in seen.outcomes), *seen.running)]
    return f"t{1 + max((int(name[1:]) for name in given), default=-1):03d}"


def _settled(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """Those that need not be tried again: not what was broken off with its run, but for the second time at the same
    rung: it may be what breaks it."""
    before: set[tuple[Any, ...]] = set()
    found = []
    for outcome in outcomes:
        if outcome.state == BROKEN_OFF:
            key = (*_signature(outcome.trial.family, outcome.trial.config), outcome.trial.rung)
            if key not in before:
                before.add(key)
                continue
        found.append(outcome)
    return found


def _families_by_merit(
    outcomes: Sequence[Outcome], rng: np.random.Generator, without: Collection[str] = ()
) -> list[str]:
    """Families from a draw that prefers the better ones, two to one from rank to rank, and those tried less: what the
    next of many draws from one space can add falls with their number."""
    lowest: dict[str, float] = {}
    tried: dict[str, int] = {}
    for outcome in outcomes:
        if outcome.error is not None and outcome.trial.family not in without:
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
