"""The sparse part of a matrix made dense, for models that cannot read it. It knows nothing about models or words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.matrix import Matrix


@dataclass(frozen=True, slots=True)
class Fullest:
    """The columns that are filled most often, so that the dense copy stays bounded.

    Attributes:
        columns: their places in the sparse part, ascending.
        owners: the name of the group of each.
    """

    columns: tuple[int, ...]
    owners: tuple[str, ...]

    def of(self, X: Matrix) -> NDArray[np.float32]:
        """Return these columns of other rows, (n, columns)."""
        if X.sparse is None or not self.columns:
            return np.zeros((len(X), 0), dtype=np.float32)
        cells: NDArray[np.float32] = X.sparse[:, list(self.columns)].toarray().astype(np.float32)
        return cells

    def facts(self) -> dict[str, Any]:
        return {"columns": list(self.columns), "owners": list(self.owners)}

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Fullest:
        return cls(tuple(facts["columns"]), tuple(facts["owners"]))


def fullest(X: Matrix, most: int) -> Fullest:
    """Return at most ``most`` columns of the sparse part, those with the most cells in these rows."""
    if X.sparse is None:
        return Fullest((), ())
    filled = np.bincount(X.sparse.indices, minlength=X.sparse.shape[1])
    kept = np.sort(np.argsort(-filled, kind="stable")[:most])
    kept = kept[filled[kept] > 0]
    owners = [name for name, width in X.groups for _ in range(width)]
    return Fullest(tuple(kept.tolist()), tuple(owners[place] for place in kept.tolist()))
