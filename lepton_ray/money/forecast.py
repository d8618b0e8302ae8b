"""A forecast of how long a trial takes, from those that have ended. It knows no families, budgets or clocks.

Under one ``key`` (a model family, say), seconds are log-normal around ``c * work ** b``. *Work* is any positive size
in the caller's own unit, such as rows x rounds; only its ratios matter, as long as keys keep to one unit. ``b`` is
fitted by ridge regression towards 1, ``c`` freely, and the width comes from the log-residuals.

The prior is wide on purpose, because admission trusts the 90 % quantile: below three observations the residuals'
standard deviation is taken as 0.7, so after one observation the quantile is 3.6 times the median (the median is as
unsure as the trial). From three on it is learned, the prior counting as one of them. A key without observations uses
its guess, else all keys pooled with at least twice the prior width, else 2 seconds with twice the prior width.
"""

import math
from collections.abc import Hashable
from dataclasses import dataclass, replace
from typing import Self

PRIOR_EXPONENT = 1.0
PRIOR_WEIGHT = 1.0  # of the prior exponent, in squared log-units of work; and of the prior width, in observations
PRIOR_WIDTH = 0.7  # standard deviation of log seconds
FEWEST_TO_LEARN_WIDTH = 3
UNKNOWN_SECONDS = 2.0
LONGEST_SECONDS = 30 * 24 * 3600.0
SHORTEST_SECONDS = 1e-4  # below this a clock's noise would pass for a law


@dataclass(frozen=True, slots=True)
class Observation:
    """A trial of ``key`` did ``work`` in ``seconds``."""

    key: Hashable
    work: float
    seconds: float

    def __post_init__(self) -> None:
        if not 0 < self.work < math.inf:
            raise ValueError(f"work must be positive and finite, got {self.work!r}")
        if not 0 <= self.seconds < math.inf:
            raise ValueError(f"seconds must be finite and not negative, got {self.seconds!r}")

    @property
    def point(self) -> tuple[float, float]:
        return math.log(self.work), math.log(max(self.seconds, SHORTEST_SECONDS))


@dataclass(frozen=True, slots=True)
class Forecast:
    """Everything observed so far; observing returns a new forecast."""

    observations: tuple[Observation, ...] = ()
    guesses: tuple[Observation, ...] = ()

    def observe(self, key: Hashable, work: float, seconds: float) -> Self:
        """Learn from a trial that has ended."""
        return replace(self, observations=(*self.observations, Observation(key, work, seconds)))

    def guess(self, key: Hashable, work: float, seconds: float) -> Self:
        """Say what to expect of a key until its first observation."""
        return replace(self, guesses=(*self.guesses, Observation(key, work, seconds)))

    def quantile(self, key: Hashable, work: float, q: float = 0.9) -> float:
        """The seconds that a trial of this work stays below with probability ``q``."""
        at = Observation(key, work, 0.0).point[0]
        from statistics import NormalDist  # late: the supervisor imports this floor, and starts before everything

        mean, deviation = self._predict(key, at)
        log_seconds = mean + NormalDist().inv_cdf(q) * deviation
        return math.exp(min(max(log_seconds, math.log(SHORTEST_SECONDS)), math.log(LONGEST_SECONDS)))

    def _predict(self, key: Hashable, at: float) -> tuple[float, float]:
        """Mean and standard deviation of log seconds at log work ``at``."""
        own = [one.point for one in self.observations if one.key == key]
        own = own or [one.point for one in self.guesses if one.key == key]
        if own:
            return _fit(own, at)
        pooled = [one.point for one in (*self.observations, *self.guesses)]
        if pooled:
            mean, deviation = _fit(pooled, at)
            return mean, 2 * max(deviation, PRIOR_WIDTH)
        return math.log(UNKNOWN_SECONDS), 2 * PRIOR_WIDTH


def _fit(points: list[tuple[float, float]], at: float) -> tuple[float, float]:
    """Ridge regression of log seconds on log work, and its predictive width at ``at``."""
    count = len(points)
    mean_x = math.fsum(x for x, _ in points) / count
    mean_y = math.fsum(y for _, y in points) / count
    spread = math.fsum((x - mean_x) ** 2 for x, _ in points) + PRIOR_WEIGHT
    slope = math.fsum((x - mean_x) * (y - mean_y) for x, y in points) + PRIOR_WEIGHT * PRIOR_EXPONENT
    exponent = max(0.0, slope / spread)  # more work never takes less time
    variance = PRIOR_WIDTH**2
    if count >= FEWEST_TO_LEARN_WIDTH:
        squares = math.fsum((y - mean_y - exponent * (x - mean_x)) ** 2 for x, y in points)
        variance = (squares + PRIOR_WEIGHT * PRIOR_WIDTH**2) / (count - 1 + PRIOR_WEIGHT)
    return mean_y + exponent * (at - mean_x), math.sqrt(variance * (1 + 1 / count + (at - mean_x) ** 2 / spread))
