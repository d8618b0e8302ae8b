"""The configurations to try first, in an order mined from recorded trials. It imports no family and fits nothing.

``portfolio.json`` holds an order for each recorded table, mined with the other tables weighed by how near they are; a
new table takes the order of the nearest one. Feurer et al. 2022 (arXiv:2007.04074) showed that such a list, without any
meta-features but size, is what ten minutes are best spent on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from lepton_ray.search.records import Config
from lepton_ray.table.schema import Problem

PORTFOLIO_FILE = "portfolio.json"
ROWS_SCALE, COLUMNS_SCALE, CLASSES_SCALE = 1.4, 1.4, 1.0
"""Natural logarithms that count as one step apart: a factor of four in rows and columns, 2.7 in classes."""
FARTHEST = 2.0
"""Steps beyond which an order says little: what is best on 1,500 rows is not on 300,000."""
FOREIGN = 2.0
"""How far, in such steps, a regression is from a classification."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a table lies among tables: its development rows, feature columns, and classes (0: a regression)."""

    rows: int
    columns: int
    classes: int

    def distance(self, other: Self) -> float:
        """0 for a table of the same size and kind, 1 for one a step away."""
        steps = (
            math.log(max(self.rows, 1) / max(other.rows, 1)) / ROWS_SCALE,
            math.log(max(self.columns, 1) / max(other.columns, 1)) / COLUMNS_SCALE,
            math.log(max(self.classes, 2) / max(other.classes, 2)) / CLASSES_SCALE,
            0.0 if (self.classes > 0) == (other.classes > 0) else FOREIGN,
        )
        return math.hypot(*steps)


@dataclass(frozen=True, slots=True)
class Portfolio:
    """``orders`` are indexes into ``configs``, one order for each recorded place."""

    configs: tuple[tuple[str, Config], ...]
    orders: tuple[tuple[Place, tuple[int, ...]], ...]

    def at(self, place: Place) -> list[tuple[str, Config]]:
        """The order of the nearest place of the same kind; empty where nothing of this kind was recorded."""
        kin = [(other, order) for other, order in self.orders if (other.classes > 0) == (place.classes > 0)]
        if not kin:
            return []
        _, order = min(kin, key=lambda entry: entry[0].distance(place))
        return [self.configs[number] for number in order]

    def reaches(self, place: Place) -> bool:
        """Whether something like this place was recorded."""
        kin = [other for other, _ in self.orders if (other.classes > 0) == (place.classes > 0)]
        return any(other.distance(place) <= FARTHEST for other in kin)

    def to_dict(self) -> dict[str, Any]:
        return {
            "configs": [{"family": family, "config": config} for family, config in self.configs],
            "orders": [
                {"rows": place.rows, "columns": place.columns, "classes": place.classes, "order": list(order)}
                for place, order in self.orders
            ],
        }

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        configs = tuple((entry["family"], entry["config"]) for entry in facts["configs"])
        orders = tuple(
            (Place(entry["rows"], entry["columns"], entry["classes"]), tuple(entry["order"]))
            for entry in facts["orders"]
        )
        return cls(configs, orders)


def ordered(
    portfolio: Portfolio, problem: Problem, n_rows: int, n_columns: int, *, families: Sequence[str]
) -> list[tuple[str, Config]]:
    """What to try on this table, best gain per second first: the constant, then what was mined for such tables.

    Args:
        n_rows, n_columns: of the development part.
        families: those that may be tried; one that was not recorded has no entry.
    """
    place = Place(n_rows, n_columns, len(problem.classes))
    found = portfolio.at(place)
    floor: list[tuple[str, Config]] = [("constant", {})] if "constant" in families else []
    return floor + [(family, dict(config)) for family, config in found if family in families]
