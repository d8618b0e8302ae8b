"""Which paused trial goes on, and which never will: two rungs, and the expected gain per dollar. It acts on nothing.

Of the trials judged at the first rung the best part may go on (asynchronous successive halving with promotions, Li et
al. 2020, arXiv:1810.05934); two rungs, because one look keeps nearly all of what many looks gain (Egele et al. 2023,
arXiv:2307.15422). Among those allowed the one with the largest expected gain per cost goes first. The cost counts
less as money runs out: exponent 1 at the start, 0 at the end (Lee et al. 2020, arXiv:2003.10870).

It knows neither Tune nor money: scores are lower-is-better, costs in any one unit.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, pstdev

_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True)
class Judged:
    """A trial at the first rung: its score there, and what it had cost until then."""

    name: str
    score: float
    cost: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.score) and 0 <= self.cost < math.inf):
            raise ValueError(f"a judged trial has a finite score and a cost, got {self.score!r} and {self.cost!r}")


def promotion(
    judged: Sequence[Judged],
    waiting: Collection[str],
    promoted: Mapping[str, float | None],
    *,
    one_in: int,
    share_left: float = 1.0,
) -> str | None:
    """The waiting trial that goes on next; None while none of them may.

    Args:
        judged: every trial that has reached the first rung, ended ones too.
        promoted: those that went on, with their last score; None while they run, or where they failed.
        one_in: how many must be judged for each that goes on.
        share_left: how much of the budget is left, from 1 to 0.
    """
    ranked = sorted(judged, key=lambda one: (one.score, one.name))
    allowed = len(ranked) // one_in
    if len(promoted) >= allowed:
        return None
    able = [one for one in ranked[:allowed] if one.name in waiting and one.name not in promoted]
    if not able:
        return None
    gains = _Gains.of(ranked, promoted)
    return max(able, key=lambda one: (gains.of_trial(one) / max(one.cost, 1e-9) ** share_left, -one.score)).name


def hopeless(judged: Sequence[Judged], waiting: Collection[str], *, one_in: int) -> list[str]:
    """The waiting trials that are so far from a place among the best that they need not wait, the worst last.

    Each place more needs ``one_in`` trials to come that are all worse: that far down a trial may wait.
    """
    ranked = sorted(judged, key=lambda one: (one.score, one.name))
    return [one.name for one in ranked[-(-len(ranked) // one_in) + one_in :] if one.name in waiting]


@dataclass(frozen=True, slots=True)
class _Gains:
    """What a trial's last score is expected to be below the best one: its first score less a normal drop."""

    best: float
    drop: float
    width: float

    @classmethod
    def of(cls, judged: Sequence[Judged], promoted: Mapping[str, float | None]) -> "_Gains":
        """Drops are learned from the trials that went on; what they do not say yet, the spread of scores does."""
        first = {one.name: one.score for one in judged}
        ended = {name: last for name, last in promoted.items() if last is not None and name in first}
        drops = [first[name] - last for name, last in ended.items()]
        drop = fmean(drops) if drops else 0.0
        spread = pstdev(first.values()) or 1e-9
        squares = math.fsum((one - drop) ** 2 for one in drops)
        width = math.sqrt((spread**2 + squares) / (1 + len(drops)))
        best = min(ended.values(), default=min(first.values()) - drop)
        return cls(best, drop, width)

    def of_trial(self, one: Judged) -> float:
        below = (self.best - (one.score - self.drop)) / self.width
        return self.width * (below * _NORMAL.cdf(below) + _NORMAL.pdf(below))
