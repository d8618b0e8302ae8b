"""What ran and what it cost: plain values. They know no price sheet, no ledger and no clock.

Times are seconds that the run has lived, from its start.
"""

import math
from dataclasses import dataclass
from typing import Literal

from lepton_ray.money.dollars import Dollars

Book = Literal["billed", "attributed", "endpoint"]


@dataclass(frozen=True, slots=True)
class Usage:
    """A share of the machine, held from ``started`` until ``ended``; a paused trial has several under one ``what``.

    Args:
        stage: the billed stage that pays for it.
        what: the trial's id.
        cpus: how many of the machine's vCPUs it held.
        driver: who ran it, ``host`` or ``ray``.
        outcome: one word or sentence on how it ended.
        node: which of the run's nodes it was on; empty: the machine that the run began on.
        lost: seconds of it that came to nothing, because its node went away.
    """

    stage: str
    what: str
    started: float
    ended: float
    cpus: float
    family: str = ""
    driver: str = ""
    outcome: str = ""
    node: str = ""
    lost: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ended) and 0 <= self.started <= self.ended):
            raise ValueError(f"a usage must have 0 <= started <= ended, got {self.started!r} and {self.ended!r}")
        if not (math.isfinite(self.cpus) and self.cpus >= 0):
            raise ValueError(f"cpus must be finite and not negative, got {self.cpus!r}")
        if not 0 <= self.lost <= self.seconds:
            raise ValueError(f"no more can be lost than was used, got {self.lost!r} of {self.seconds!r}")

    @property
    def seconds(self) -> float:
        return self.ended - self.started


@dataclass(frozen=True, slots=True)
class Charge:
    """Money for a span of time, in one of the books.

    ``billed`` charges partition the run's wall time; ``attributed`` ones say which trial a part of it went to, with the
    ``usage`` behind them; ``endpoint`` ones come after the run, while its endpoint serves.
    """

    stage: str
    what: str
    started: float
    ended: float
    dollars: Dollars
    book: Book
    usage: Usage | None = None

    @property
    def seconds(self) -> float:
        return self.ended - self.started


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of a run's life: from its start, or from where it was taken up again, until it ended or was broken off.

    Args:
        at: the second of the run at which it began.
        started_at: the same in seconds since 1970.
        down: seconds between the end of the leg before and this one, which nobody is billed for.
    """

    at: float
    started_at: float
    down: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.started_at) and math.isfinite(self.down) and self.down >= 0):
            raise ValueError(f"a leg begins at a finite time after a finite pause, got {self!r}")
