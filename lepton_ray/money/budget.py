"""A run's budget: dollars and a deadline over one rate, and the decisions that follow. It acts on nothing.

A machine is billed rate x wall time whatever it does, so both limits are times: ``wall_seconds`` is the earlier one.
Where nodes come and go, the dollars last for another time with each of them: ``under``.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal, Self

from lepton_ray.errors import MoneyError
from lepton_ray.money.dollars import Amount, Dollars
from lepton_ray.money.duration import LONGEST_SECONDS, duration_text, parse_duration
from lepton_ray.money.rates import Rates

LARGEST_BUDGET = Dollars(10**12)
DEFAULT_SECONDS = 60.0


class Decision(StrEnum):
    """What a run may still do."""

    CONTINUE = "continue"
    STOP_LAUNCHING = "stop launching"
    STOP_ALL = "stop all"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A run at one moment, in seconds: since its start, still needed by what runs, still needed to finish."""

    elapsed: float
    in_flight_seconds: float
    reserve_seconds: float


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may cost and how long it may take, at what its machines cost an hour.

    Attributes:
        rates: what they have cost before, where that was not always ``per_hour``.
    """

    dollars: Dollars
    deadline_seconds: float
    per_hour: Dollars
    rates: Rates | None = None

    def __post_init__(self) -> None:
        if not self.dollars > Dollars(0):
            raise MoneyError(
                f"The budget {self.dollars} is not above zero.", "Give --budget 0.02 or more, or leave it out."
            )
        if self.dollars > LARGEST_BUDGET:
            raise MoneyError(
                f"The budget {self.dollars} is absurdly large.", "Give dollars, not micro-dollars, and at most 1000000."
            )
        parse_duration(self.deadline_seconds, name="deadline")
        if not self.per_hour > Dollars(0):
            raise MoneyError(
                f"The price {self.per_hour} per hour is not above zero.", "Give --price in dollars per hour."
            )

    @classmethod
    def resolve(
        cls,
        dollars: Amount | Dollars | None,
        deadline: str | float | None,
        per_hour: Dollars,
        default_seconds: float = DEFAULT_SECONDS,
    ) -> Self:
        """Fill in what was not given: the other limit at this rate, or ``default_seconds`` where neither was.

        A derived limit never binds before the given one.
        """
        if dollars is None:
            seconds = default_seconds if deadline is None else parse_duration(deadline, name="deadline")
            return cls(_price_of(seconds, per_hour), seconds, per_hour)
        amount = Dollars.parse(dollars, name="budget")
        if deadline is not None:
            return cls(amount, parse_duration(deadline, name="deadline"), per_hour)
        cls(amount, default_seconds, per_hour)  # refuses a bad amount or rate before it is divided
        return cls(amount, min(LONGEST_SECONDS, math.nextafter(amount.buys(per_hour), math.inf)), per_hour)

    def under(self, rates: Rates) -> Self:
        """The same limits where the machines have cost this."""
        return replace(self, per_hour=rates.now, rates=rates if len(rates.steps) > 1 else None)

    @property
    def bought_seconds(self) -> float:
        """How long the dollars last."""
        return self.dollars.buys(self.per_hour) if self.rates is None else self.rates.lasts(self.dollars)

    @property
    def wall_seconds(self) -> float:
        """When the run must have ended, by both limits."""
        return min(self.deadline_seconds, self.bought_seconds)

    def latest(self, reserve_seconds: float, letting_go: float = 0.0) -> float:
        """The second by which a search must end that leaves the reserve: its nodes go then, so that the reserve is paid
        at the price of the machine that the run began on.

        Args:
            letting_go: seconds from that end until the nodes are no longer billed.
        """
        if self.rates is None:
            return self.wall_seconds - reserve_seconds
        kept = Dollars.of_rate(self.rates.steps[0][1], max(0.0, reserve_seconds))
        return min(self.deadline_seconds - reserve_seconds, self.rates.lasts(self.dollars - kept) - letting_go)

    @property
    def binding(self) -> Literal["budget", "deadline"]:
        """The limit that ends first."""
        return "budget" if self.bought_seconds < self.deadline_seconds else "deadline"

    def decide(self, snapshot: Snapshot) -> Decision:
        """Stop all when only the reserve is left; stop launching when what runs already reaches into it."""
        usable = self.wall_seconds - snapshot.reserve_seconds
        if not snapshot.elapsed < usable:
            return Decision.STOP_ALL
        if not snapshot.elapsed + snapshot.in_flight_seconds < usable:
            return Decision.STOP_LAUNCHING
        return Decision.CONTINUE

    def admits(self, elapsed: float, seconds_q90: float, reserve_seconds: float) -> bool:
        """Whether a trial that starts now, takes its 90 % quantile and leaves the reserve ends before the wall."""
        return elapsed + seconds_q90 + reserve_seconds <= self.wall_seconds

    def refuse(self, min_seconds: float, *, given: Collection[str] = ("budget", "deadline")) -> None:
        """Raise MoneyError, naming the smallest limits that would do, where the wall comes before ``min_seconds``.

        Args:
            given: the limits that the user gave; one that was derived is not held against them.
        """
        if self.wall_seconds >= min_seconds:
            return
        enough = float(math.ceil(min_seconds))
        short, flags = [], []
        if self.bought_seconds < min_seconds and "budget" in given:
            short.append(f"{self.dollars} buys {duration_text(self.bought_seconds)} at {self.per_hour} per hour")
            flags.append(f"--budget {str(_price_of(enough, self.per_hour))[1:]}")
        if not short or (self.deadline_seconds < min_seconds and "deadline" in given):
            short.append(f"the deadline is {duration_text(self.deadline_seconds)}")
            flags.append(f"--deadline {duration_text(enough)}")
        what = " and ".join(short)
        raise MoneyError(
            f"{what[0].upper()}{what[1:]}, but the smallest run here needs {duration_text(enough)}.",
            f"Give {' and '.join(flags)} or more.",
        )

    def to_dict(self) -> dict[str, Any]:
        """The two limits as JSON values; the rate is the machine's."""
        return {"dollars_micros": self.dollars.micros, "deadline_seconds": self.deadline_seconds}

    @classmethod
    def from_dict(cls, facts: dict[str, Any], per_hour: Dollars) -> Self:
        """Read back what ``to_dict`` gave."""
        return cls(Dollars(facts["dollars_micros"]), float(facts["deadline_seconds"]), per_hour)


def _price_of(seconds: float, per_hour: Dollars) -> Dollars:
    """The smallest amount that buys at least ``seconds``: the rounded cost, or one micro-dollar more."""
    cost = Dollars.of_rate(per_hour, seconds)
    return cost if cost and cost.buys(per_hour) >= seconds else cost + Dollars(1)
