"""Where an endpoint stands, as far as whoever brings it up knows. It knows nothing about how that was found out."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lepton_ray.money.dollars import Dollars


@dataclass(frozen=True, slots=True)
class Scale:
    """How large an endpoint is, and why.

    Attributes:
        running: replicas that answer. wanted: replicas that there are to be.
        bound: what keeps it from more: "cap", the dollars; "most", the number; "" where nothing does.
        reason: in words.
        per_hour: what the machines cost that these replicas take; None where that is not known.
        spent: what they have cost since the endpoint was first deployed.
    """

    running: int
    wanted: int
    bound: str = ""
    reason: str = ""
    per_hour: Dollars | None = None
    spent: Dollars = Dollars(0)

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        per_hour = None if self.per_hour is None else self.per_hour.micros
        return {**asdict(self), "per_hour": per_hour, "spent": self.spent.micros}

    @classmethod
    def from_plain(cls, given: Mapping[str, Any]) -> "Scale":
        """What ``plain`` gave."""
        per_hour = None if given["per_hour"] is None else Dollars(given["per_hour"])
        return cls(**{**given, "per_hour": per_hour, "spent": Dollars(given["spent"])})

    def __str__(self) -> str:
        """One line for who watches."""
        coming = "" if self.wanted == self.running else f", {self.wanted} wanted"
        cost = "" if self.per_hour is None else f", {self.per_hour} per hour"
        return f"{self.running} replica{'s' * (self.running != 1)}{coming}{cost}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Standing:
    """What one replica is told about itself.

    Attributes:
        replica: its name among the replicas of the endpoint.
        per_hour: what the endpoint's machines cost; None where that is not known.
        scale: says how large the endpoint is now; None while that is not known.
    """

    replica: str = "0"
    per_hour: Dollars | None = None
    scale: Callable[[], Scale | None] = lambda: None

    @property
    def rate(self) -> Dollars | None:
        """What the endpoint's machines cost an hour now."""
        scale = self.scale()
        return self.per_hour if scale is None or scale.per_hour is None else scale.per_hour


UNKNOWN = Standing()
"""Of an endpoint that was told nothing."""
