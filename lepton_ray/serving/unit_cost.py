"""What an endpoint's answers cost. Pure: rates and counts in, dollars out; it knows no clock and no server."""

from dataclasses import dataclass

from lepton_ray.money.dollars import Dollars


@dataclass(frozen=True, slots=True)
class UnitCost:
    """An endpoint's price while it answers.

    Attributes:
        per_hour: of everything that must run for it, busy or idle.
        per_million: for a million rows at ``rows_per_second``; None while no row has been answered.
    """

    per_hour: Dollars
    rows_per_second: float
    per_million: Dollars | None


def unit_cost(per_hour: Dollars, *, rows: int, seconds: float) -> UnitCost:
    """Price the rows that were answered within ``seconds`` on machines that cost ``per_hour`` together."""
    if rows <= 0 or seconds <= 0:
        return UnitCost(per_hour, 0.0, None)
    return UnitCost(per_hour, rows / seconds, Dollars.of_rate(per_hour, seconds * 1e6 / rows))
