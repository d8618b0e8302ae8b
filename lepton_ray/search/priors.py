"""What recorded trials tell a search before its first one: the portfolio and the cost prior, shipped or your own.

It imports no family and knows no tables.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Self, TypeVar

from lepton_ray.errors import DataError
from lepton_ray.search.cost import PRIOR_FILE, CostPrior
from lepton_ray.search.portfolio import PORTFOLIO_FILE, Portfolio

Mined = TypeVar("Mined")


@dataclass(frozen=True, slots=True)
class Priors:
    """A portfolio and a cost prior, mined from the same trials or not."""

    portfolio: Portfolio
    costs: CostPrior

    @classmethod
    def from_folder(cls, folder: str | Path) -> Self:
        """Those that ``scripts/mine_portfolio.py`` and ``scripts/mine_costs.py`` wrote into a folder.

        Raises:
            DataError: a file is missing, or is not what these scripts write.
        """
        return cls(
            _read(Path(folder, PORTFOLIO_FILE), Portfolio.from_dict),
            _read(Path(folder, PRIOR_FILE), CostPrior.from_dict),
        )


def _read(path: Path, parse: Callable[[Any], Mined]) -> Mined:
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except OSError as fault:
        raise DataError(
            f"The mined file {path} cannot be read: {fault.strerror or fault}.", "Check the folder that --priors names."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DataError(
            f"The mined file {path} is not what the mining scripts write.", "Make it again with scripts/mine_*.py."
        ) from None


@cache
def shipped_priors() -> Priors:
    """Those that come with the package, mined from all recorded tables."""
    with_package = files(__package__)
    return Priors(
        Portfolio.from_dict(json.loads(with_package.joinpath(PORTFOLIO_FILE).read_text(encoding="utf-8"))),
        CostPrior.from_dict(json.loads(with_package.joinpath(PRIOR_FILE).read_text(encoding="utf-8"))),
    )
