"""Known answers beside what was predicted for them. It knows nothing about who predicted, or on which rows."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Answers ``y`` (class codes, or values) and ``values``: (n, k) probabilities, or (n,) predicted values.

    ``weight``: (n,) how much each row counts in a score, or None; pictures and earnings count rows.
    """

    y: NDArray[Any]
    values: Floats
    weight: Floats | None = None

    def __post_init__(self) -> None:
        if len(self.y) != len(self.values):
            raise ValueError(f"answers and predictions differ in length: {len(self.y)} and {len(self.values)}")

    def __len__(self) -> int:
        return len(self.y)

    def usable(self) -> "Predictions":
        """Leave out rows that cannot be judged: no answer (a negative code, NaN) or no finite prediction."""
        known = np.asarray(self.y) >= 0 if self.values.ndim == 2 else np.isfinite(self.y)
        finite = np.isfinite(self.values)
        keep = known & (finite.all(axis=1) if self.values.ndim == 2 else finite)
        return self if keep.all() else Predictions(self.y[keep], self.values[keep])

    def sample(self, rows: int) -> "Predictions":
        """Take at most so many rows, evenly spaced, so that the same input gives the same sample."""
        if len(self) <= rows:
            return self
        index = np.linspace(0, len(self) - 1, rows).astype(np.intp)
        return Predictions(self.y[index], self.values[index])
