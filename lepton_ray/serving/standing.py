"""Where an endpoint stands, as far as whoever brings it up knows. It knows nothing about how that was found out."""

from dataclasses import dataclass

from lepton_ray.money.dollars import Dollars


@dataclass(frozen=True, slots=True)
class Standing:
    """What one replica is told about itself.

    Attributes:
        replica: its name among the replicas of the endpoint.
        per_hour: what the endpoint's machines cost; None where that is not known.
    """

    replica: str = "0"
    per_hour: Dollars | None = None


UNKNOWN = Standing()
"""Of an endpoint that was told nothing."""
