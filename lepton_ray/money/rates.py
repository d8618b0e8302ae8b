"""What the machines under a run cost over time: a step function of seconds since its start. It knows no clock.

A laptop is one step; a cluster takes a new one whenever a node comes or goes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from lepton_ray.money.dollars import Dollars


@dataclass(frozen=True, slots=True)
class Rates:
    """``steps`` are (from when on, dollars per hour), in order of time, the first one from 0 on."""

    steps: tuple[tuple[float, Dollars], ...]

    def __post_init__(self) -> None:
        times = [at for at, _ in self.steps]
        if not times or times[0] != 0.0 or times != sorted(times) or not math.isfinite(times[-1]):
            raise ValueError(f"rates need finite steps in order of time, the first one at 0, got {self.steps!r}")

    @property
    def now(self) -> Dollars:
        """The latest dollars per hour."""
        return self.steps[-1][1]

    def then(self, at: float, per_hour: Dollars) -> Self:
        """The same until ``at``, this much an hour from there on; a time before the last step counts as the step's."""
        if per_hour == self.now:
            return self
        return type(self)((*self.steps, (max(at, self.steps[-1][0]), per_hour)))

    def cost(self, until: float) -> Dollars:
        """What the time from 0 until ``until`` costs; each step is rounded once, so it never falls as time goes on."""
        return Dollars.total(Dollars.of_rate(per_hour, end - at) for at, end, per_hour in self.spans(until))

    def spans(self, until: float) -> Iterator[tuple[float, float, Dollars]]:
        """From when until when each step has lasted, none of them empty, and its dollars per hour."""
        ends = [*(at for at, _ in self.steps[1:]), math.inf]
        for (at, per_hour), end in zip(self.steps, ends, strict=True):
            if min(end, until) > at:
                yield at, min(end, until), per_hour

    def lasts(self, dollars: Dollars) -> float:
        """The second at which so much has been spent, if the latest step goes on."""
        left = dollars
        for (at, per_hour), (end, _) in pairwise(self.steps):
            cost = Dollars.of_rate(per_hour, end - at)
            if cost > left:
                return at + left.buys(per_hour)
            left -= cost
        at, per_hour = self.steps[-1]
        return at + left.buys(per_hour)
