"""Where the truth lies around a predicted value: residuals out of fold, by how large the prediction is.

Conformal regression by categories (Boström and Johansson 2020, "Mondrian conformal regressors", PMLR 128): rows are put
into bins of like predictions, and in each bin the bounds are quantiles of its residuals, corrected for their number, so
that a new row of the same kind lies between them with the stated probability. It knows nothing about models or files.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from lepton_ray.features.matrix import Floats

LEVEL = 0.9
FEWEST_ROWS = 40
"""Below this the outermost residuals say little about one row in twenty."""
ROWS_PER_BIN, MOST_BINS = 100, 10


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds around a prediction.

    Attributes:
        level: the probability that the truth lies within.
        edges: (k - 1,) predictions that part the bins, ascending.
        low, high: (k,) of each bin, to be added to the prediction.
    """

    level: float
    edges: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]

    @classmethod
    def measured(cls, y: Floats, predicted: Floats, level: float = LEVEL) -> Self | None:
        """From (n,) truths and what was predicted of them by models that had not seen them; None for too few."""
        n_bins = max(1, min(MOST_BINS, len(y) // ROWS_PER_BIN))
        if len(y) < FEWEST_ROWS:
            return None
        edges = np.unique(np.quantile(predicted, np.linspace(0.0, 1.0, n_bins + 1)[1:-1]))
        residuals, bins = np.asarray(y) - predicted, np.searchsorted(edges, predicted, side="right")
        bounds = []
        for number in range(len(edges) + 1):
            own = residuals[bins == number]
            bounds.append(_bounds(own if len(own) >= FEWEST_ROWS else residuals, level))
        low, high = zip(*bounds, strict=True)
        return cls(level, tuple(edges.tolist()), low, high)

    def around(self, predicted: Floats) -> tuple[Floats, Floats]:
        """(n,) lower and (n,) upper bounds."""
        bins = np.searchsorted(np.array(self.edges), predicted, side="right")
        return predicted + np.array(self.low)[bins], predicted + np.array(self.high)[bins]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        """Read what ``to_dict`` wrote.

        Raises:
            ValueError: the numbers are no such bounds.
        """
        edges, low, high = (tuple(map(float, facts[name])) for name in ("edges", "low", "high"))
        if not len(low) == len(high) == len(edges) + 1 or list(edges) != sorted(edges):
            raise ValueError("`interval` does not hold one pair of bounds for each bin")
        return cls(float(facts["level"]), edges, low, high)


def _bounds(residuals: Floats, level: float) -> tuple[float, float]:
    """The residuals of such rank that one more lies below the lower, or above the upper, with half of the rest."""
    ranked, beyond = np.sort(residuals), math.floor((len(residuals) + 1) * (1.0 - level) / 2.0)
    return float(ranked[max(beyond - 1, 0)]), float(ranked[min(len(ranked) - beyond, len(ranked) - 1)])
