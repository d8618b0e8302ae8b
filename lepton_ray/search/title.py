"""Who is best so far, where trials were judged on different rungs. It starts nothing and knows no families.

On one rung the lower error wins, on the folds that both had. Where a rung adds folds, an error is taken for what it
would be on the other one: times the median ratio by which promotions have changed the errors of their parents, since an
easy first fold flatters everyone. Where a rung adds rows, errors are compared as they are: they are those of the very
models that may be handed over, and what more rows would make of one is a hope. A trial that was promoted is known by
its promotion, and the constant by itself.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from statistics import median
from typing import Self

from lepton_ray.search.trial import Outcome, Trial, beats

FLOOR = "constant"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a search has found out about its trials, as far as it bears on who is best.

    Attributes:
        promoted: trial id -> the usable outcome of its promotion.
        ratios: rung -> the median of a promotion's error there to its parent's, where it was judged on more folds.
    """

    promoted: Mapping[str, Outcome] = field(default_factory=dict)
    ratios: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Self:
        """After these outcomes, of all trials that have ended."""
        usable = {outcome.trial.id: outcome for outcome in outcomes if outcome.usable}
        promoted, found = {}, dict[int, list[float]]()
        for outcome in usable.values():
            parent = usable.get(outcome.trial.parent or "")
            if parent is None:
                continue
            promoted[parent.trial.id] = outcome
            if parent.error and outcome.error is not None and len(outcome.fold_errors) > len(parent.fold_errors):
                found.setdefault(outcome.trial.rung, []).append(outcome.error / parent.error)
        return cls(promoted, {rung: median(ratios) for rung, ratios in found.items()})

    def known_by(self, outcome: Outcome) -> Outcome:
        """The last of its promotions, or itself."""
        while (further := self.promoted.get(outcome.trial.id)) is not None:
            outcome = further
        return outcome

    def error_at(self, rung: int, outcome: Outcome) -> float:
        """What its error would be at this rung."""
        assert outcome.error is not None
        own = outcome.trial.rung
        steps = prod(self.ratios.get(step, 1.0) for step in range(min(own, rung) + 1, max(own, rung) + 1))
        return outcome.error * steps if rung >= own else outcome.error / max(steps, 1e-12)

    def succeeds(self, outcome: Outcome, champion: Outcome) -> bool:
        """Whether it takes the title; of equals the first keeps it, but a promotion follows its parent."""
        mine, theirs = self.known_by(outcome), self.known_by(champion)
        if mine is theirs:
            return outcome.trial.rung > champion.trial.rung
        if mine.trial.rung == theirs.trial.rung or FLOOR in (mine.trial.family, theirs.trial.family):
            return beats(mine.fold_errors, theirs.fold_errors)
        top = max(mine.trial.rung, theirs.trial.rung)
        return self.error_at(top, mine) < self.error_at(top, theirs)

    def to_beat(self, trial: Trial, champion: Outcome, *, folds: int) -> tuple[float, ...] | None:
        """The fold errors that a trial must beat for the title, on ``folds`` of its rung; None where it will hold it
        whatever it comes to, because it is the champion's own promotion."""
        theirs = self.known_by(champion)
        if trial.parent == theirs.trial.id:
            return None
        if trial.rung == theirs.trial.rung or theirs.trial.family == FLOOR:
            return theirs.fold_errors
        return (self.error_at(trial.rung, theirs),) * folds


def best(outcomes: Iterable[Outcome], lineage: Iterable[Outcome] | None = None) -> Outcome | None:
    """The one that holds the title after all bouts, in the order in which they ended.

    Args:
        lineage: all outcomes, which say what promotions change; None: these are all.
    """
    told = list(outcomes)
    standing = Standing.of(told if lineage is None else lineage)
    champion: Outcome | None = None
    for outcome in told:
        if outcome.usable and (champion is None or standing.succeeds(outcome, champion)):
            champion = outcome
    return champion
