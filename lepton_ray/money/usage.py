"""What ran and what it cost: plain values. They know no price sheet, no ledger and no clock.

Times are seconds since the start of the run.
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
    """

    stage: str
    what: str
    started: float
    ended: float
    cpus: float
    family: str = ""
    driver: str = ""
    outcome: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.ended) and 0 <= self.started <= self.ended):
            raise ValueError(f"a usage must have 0 <= started <= ended, got {self.started!r} and {self.ended!r}")
        if not (math.isfinite(self.cpus) and self.cpus >= 0):
            raise ValueError(f"cpus must be finite and not negative, got {self.cpus!r}")

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
