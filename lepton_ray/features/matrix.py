"""What a model reads: rows of numbers, dense and sparse side by side, and texts. Knows nothing about models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Matrix:
    """Rows of features: ``dense`` columns first, then the columns of ``sparse``.

    Attributes:
        dense: float64, shape (rows, d). NaN means missing; d may be 0, the row count still holds.
        sparse: csr of float32 with as many rows, or None. An absent cell is 0, never missing.
        names: one name for each dense column.
        categorical: the dense columns whose numbers are codes without an order.
        groups: for the sparse part, the name and width of each run of columns.
        texts: columns of strings as they are, null where missing, for a model that reads texts itself; or None.
    """

    dense: Floats
    sparse: sparse.csr_matrix | None = None
    names: tuple[str, ...] = ()
    categorical: tuple[int, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()
    texts: pa.Table | None = None

    def __post_init__(self) -> None:
        if self.dense.ndim != 2 or len(self.names) != self.dense.shape[1]:
            raise ValueError(f"names must match the dense columns, but got {len(self.names)} for {self.dense.shape}")
        if self.sparse is not None and self.sparse.shape[0] != len(self):
            raise ValueError(f"sparse must have {len(self)} rows, but got {self.sparse.shape[0]}")
        if self.texts is not None and self.texts.num_rows != len(self):
            raise ValueError(f"texts must have {len(self)} rows, but got {self.texts.num_rows}")

    def __len__(self) -> int:
        return int(self.dense.shape[0])

    @property
    def width(self) -> int:
        return int(self.dense.shape[1]) + (0 if self.sparse is None else int(self.sparse.shape[1]))

    def rows(self, index: NDArray[Any] | slice) -> Matrix:
        """Pick rows by position, boolean mask or slice."""
        picked = None if self.sparse is None else self.sparse[index]
        texts = None if self.texts is None else self.texts.take(np.arange(len(self))[index])
        return Matrix(self.dense[index], picked, self.names, self.categorical, self.groups, texts)


def beside(parts: Sequence[Matrix], n_rows: int) -> Matrix:
    """Put matrices of the same rows next to each other, the dense parts before the sparse ones."""
    names = tuple(name for part in parts for name in part.names)
    dense = np.hstack([np.empty((n_rows, 0)), *(part.dense for part in parts)])
    categorical: list[int] = []
    offset = 0
    for part in parts:
        categorical += [offset + index for index in part.categorical]
        offset += part.dense.shape[1]
    crossed = [part.sparse for part in parts if part.sparse is not None]
    joined = None
    if crossed:
        joined = crossed[0] if len(crossed) == 1 else sparse.csr_matrix(sparse.hstack(crossed, format="csr"))
    groups = tuple(group for part in parts for group in part.groups)
    columns = {name: part.texts[name] for part in parts if part.texts is not None for name in part.texts.column_names}
    texts = pa.table(columns) if columns else None
    return Matrix(np.ascontiguousarray(dense), joined, names, tuple(categorical), groups, texts)


def indicator(cells: NDArray[np.int32], width: int) -> sparse.csr_matrix:
    """Return a csr matrix with a 1 at each of the given columns of each row."""
    n_rows, n_columns = cells.shape
    ones = np.ones(cells.size, dtype=np.float32)
    starts = np.arange(n_rows + 1, dtype=np.int32) * n_columns
    return sparse.csr_matrix((ones, cells.ravel(), starts), shape=(n_rows, width))
