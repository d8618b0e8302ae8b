"""Whether the next trial is worth its price: what it is expected to gain, in the metric and in dollars, and its cost.

The rule is that of cost-aware Bayesian optimisation: stop when no candidate's expected improvement, times what a unit
of it is worth, exceeds its expected cost (Xie et al. 2025, arXiv:2507.12453). The expectation is that of a normal
around the errors of the latest trials, since these say best what the next of their kind will be. It knows nothing
about families, clocks or the ledger.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, median, pstdev

from lepton_ray.money.dollars import Dollars
from lepton_ray.search.trial import Outcome

LATEST = 12
"""Trials that tell what the next one will be like."""
FEWEST = 12
"""Trials at least before a search that could still gain may be called done."""
IN_A_ROW = 3
"""Decisions that must agree: one lucky or unlucky trial ends nothing."""
CENT = 0.01
DEFAULT_DOLLARS = 100.0
LEAST_LOSS = 1e-3
"""Of the constant's error: 1 % of a smaller loss counts as 1 % of this."""


@dataclass(frozen=True, slots=True)
class Worth:
    """What an improvement is worth.

    Attributes:
        dollars: for each ``unit`` of error; 0.01 for an AUC.
        relative: the unit is a share of the error itself ("1 % of the loss").
    """

    dollars: float
    unit: float
    relative: bool

    def of(self, gain: float, error: float, constant: float) -> float:
        """Dollars of a gain where the best error is ``error`` and the constant model's ``constant``."""
        unit = self.unit * max(error, LEAST_LOSS * constant) if self.relative else self.unit
        return self.dollars * gain / unit if unit > 0 else 0.0

    def __str__(self) -> str:
        return (
            f"${self.dollars:,.0f} for {self.unit:.0%} of the loss"
            if self.relative
            else (f"${self.dollars:,.0f} for {self.unit:g} of the score")
        )


def default_worth(greater_is_better: bool) -> Worth:
    """What a run assumes where nobody said otherwise: $100 for 0.01 of AUC and its like, or for 1 % of a loss."""
    return Worth(DEFAULT_DOLLARS, 0.01, not greater_is_better)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the next trial is expected to bring and to cost.

    Attributes:
        gain: of error, expected; ``spread``: its standard deviation.
        dollars: of the machine's time until it has ended.
    """

    gain: float
    spread: float
    dollars: float

    def in_words(self, metric: str) -> str:
        """What a cent more is expected to buy."""
        trials = CENT / max(self.dollars, 1e-9)
        gain, spread = self.gain * trials, self.spread * math.sqrt(trials)
        return f"the next cent buys {gain:.2g} ± {spread:.2g} {metric}"


@dataclass(frozen=True, slots=True)
class Economy:
    """The rule by which a search ends when it has had what is worth having.

    Attributes:
        per_hour: what the machine costs; ``workers`` trials run on it side by side.
    """

    worth: Worth
    per_hour: Dollars
    workers: int
    metric: str

    def verdict(self, outcomes: Sequence[Outcome]) -> str | None:
        """Why to stop, or None. The trials are those of the first rung, where all were judged alike."""
        there = [one for one in outcomes if one.trial.rung == 0 and one.error is not None and math.isfinite(one.error)]
        if len(there) < IN_A_ROW:
            return None
        if any(self._goes_on(there[: len(there) - back]) for back in range(IN_A_ROW)):
            return None
        seen = self.outlook(there)
        return f"{seen.in_words(self.metric)}, less than it is worth ({self.worth})"

    def _goes_on(self, there: Sequence[Outcome]) -> bool:
        real = [one for one in there if one.trial.family != "constant"]
        if not real:
            return True
        best = min(_error(one) for one in real)
        constant = max((_error(one) for one in there if one.trial.family == "constant"), default=best)
        seen = self.outlook(there)
        all_of_it = self.worth.of(best, best, constant) <= seen.dollars
        if all_of_it:
            return False
        return len(real) < FEWEST or self.worth.of(min(seen.gain, best), best, constant) > seen.dollars

    def outlook(self, there: Sequence[Outcome]) -> Outlook:
        """What the next trial is expected to bring, from at least one that was no constant."""
        real = [one for one in there if one.trial.family != "constant"]
        errors = [_error(one) for one in real]
        best, latest = min(errors), errors[-LATEST:]
        mean, deviation = fmean(latest), pstdev(latest)
        seconds = median(one.seconds for one in real[-LATEST:]) / self.workers
        dollars = self.per_hour.micros / 1e6 * seconds / 3600.0
        if deviation == 0.0:
            return Outlook(max(0.0, best - mean), 0.0, dollars)
        normal, z = NormalDist(), (best - mean) / deviation
        gain = deviation * (z * normal.cdf(z) + normal.pdf(z))
        square = deviation**2 * ((z * z + 1.0) * normal.cdf(z) + z * normal.pdf(z))
        return Outlook(gain, math.sqrt(max(0.0, square - gain**2)), dollars)


def _error(outcome: Outcome) -> float:
    assert outcome.error is not None
    return outcome.error
