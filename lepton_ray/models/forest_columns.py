"""What a forest reads: float32 cells, categories in an order, the most frequent words. It knows nothing about trees.

A category's code has no order, so each level gets the mean of the target over its rows, drawn towards the mean of all
as if by ten more rows: for one output an order in which the best split into two sets is a split at a number (Fisher
1958); for more classes the levels' class shares along their first principal direction (Coppersmith et al. 1999; Wright
and König 2019, doi:10.7717/peerj.6339, "order once": as good as all partitions). A level that training lacked gets the
mean of all. Of sparse columns the most frequent are kept, at most ``_WORDS``, fewer where there are very many rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.graph import Type, Wire, Wires, beside, where
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.trees import Cells

_DRAWN = 10.0  # rows
_WORDS, _WORD_CELLS = 256, 100_000_000
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Columns:
    """How a matrix becomes cells.

    Attributes:
        categorical: dense columns whose codes are replaced.
        places: for each of them where its levels start in ``orders``, and the end.
        orders: the number of each level; the last of a column is for levels that it lacks.
        words: sparse columns that are kept.
        owners: the name of each column of the cells.
    """

    categorical: tuple[int, ...]
    places: NDArray[np.int64]
    orders: Floats
    words: NDArray[np.int64]
    owners: tuple[str, ...]

    def cells(self, X: Matrix) -> Cells:
        """Return (rows, columns) float32, NaN where missing; numbers beyond float32 become its largest."""
        dense = X.dense.copy() if self.categorical else X.dense
        for column, start, end in zip(self.categorical, self.places[:-1], self.places[1:], strict=True):
            order, codes = self.orders[start:end], dense[:, column]
            known = ~np.isnan(codes)
            dense[known, column] = order[np.minimum(codes[known], len(order) - 1).astype(np.int64)]
        cells = np.zeros((len(X), max(1, dense.shape[1] + len(self.words))), dtype=np.float32)
        cells[:, : dense.shape[1]] = np.clip(dense, -_LARGEST, _LARGEST)
        if len(self.words) and X.sparse is not None:
            cells[:, dense.shape[1] :] = X.sparse[:, self.words].toarray()
        return cells

    def draw(self, X: Wires) -> Wire:
        """Draw ``cells``, as doubles that are float32 numbers."""
        straight = [column for column in range(X.width) if column not in self.categorical]
        parts = [X.part(straight)]
        for column, start, end in zip(self.categorical, self.places[:-1], self.places[1:], strict=True):
            codes, order = X.part([column]), self.orders[start:end]
            assert codes is not None
            level = codes.where_gap(0.0).cast(Type.INT64).apply("Min", len(order) - 1)
            parts.append(where(codes.apply("IsNaN"), codes, codes.graph.add("Gather", order, level, axis=0)))
        there = [part for part in parts if part is not None]
        words = X.part((), self.words.tolist())
        if not there:
            return X.joined.columns([0]) * 0.0 if words is None else words
        dense = beside(there).columns(np.argsort([*straight, *self.categorical]).tolist()).clip(-_LARGEST, _LARGEST)
        cells = dense.cast(Type.FLOAT).cast(Type.DOUBLE)
        return cells if words is None else beside([cells, words])

    def arrays(self) -> dict[str, NDArray[Any]]:
        categorical = np.array(self.categorical, dtype=np.int64)
        return {"categorical": categorical, "places": self.places, "orders": self.orders, "words": self.words}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]], owners: tuple[str, ...]) -> Columns:
        categorical = tuple(arrays["categorical"].tolist())
        return cls(categorical, arrays["places"], arrays["orders"], arrays["words"], owners)


def learned_columns(X: Matrix, y: NDArray[Any], weight: Floats, n_classes: int) -> Columns:
    """Learn the order of categories and the frequent words from training rows.

    Args:
        y: (rows,) class codes below ``n_classes``, or values where that is 0.
    """
    orders = [_order(X.dense[:, column], y, weight, n_classes) for column in X.categorical]
    places = np.cumsum([0, *(len(order) for order in orders)])
    words = _frequent(X)
    names = [name for name, width in X.groups for _ in range(width)]
    owners = (*X.names, *(names[word] for word in words.tolist()))
    return Columns(X.categorical, places, np.concatenate([np.empty(0), *orders]), words, owners)


def _order(codes: Floats, y: NDArray[Any], weight: Floats, n_classes: int) -> Floats:
    known = ~np.isnan(codes)
    level, y_known, weight_known = codes[known].astype(np.int64), y[known], weight[known]
    n_levels = int(level.max()) + 2 if len(level) else 1
    there = np.bincount(level, weight_known, minlength=n_levels)
    if not n_classes:
        centre = np.average(y, weights=weight)
        return np.asarray(np.bincount(level, weight_known * (y_known - centre), minlength=n_levels) / (there + _DRAWN))
    shares = np.bincount(y, weight, minlength=n_classes) / np.sum(weight)
    counts = np.bincount(level * n_classes + y_known, weight_known, minlength=n_levels * n_classes)
    means = (counts.reshape(n_levels, n_classes) - there[:, None] * shares) / (there + _DRAWN)[:, None]
    direction = np.linalg.eigh((means * there[:, None]).T @ means)[1][:, -1]
    return np.asarray(means @ (direction * np.sign(direction[np.argmax(np.abs(direction))])))


def _frequent(X: Matrix) -> NDArray[np.int64]:
    if X.sparse is None:
        return np.empty(0, dtype=np.int64)
    rows_with = np.bincount(X.sparse.indices, minlength=X.sparse.shape[1])
    most = min(_WORDS, _WORD_CELLS // max(len(X), 1))
    frequent = np.lexsort((np.arange(len(rows_with)), -rows_with))[:most]
    return np.sort(frequent[rows_with[frequent] > 0]).astype(np.int64)
