"""Rows as points: squared distances in a space where each column counts as much as its factor says.

It knows nothing about what is learned from distances. Queries go through in blocks padded to 64 rows, so a row's
distances do not depend on its neighbours, to the last bit; sparse products are row by row in scipy and need no padding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from lepton_ray.features.graph import Type, Wire, Wires, where
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.blocks import ROWS

Cells = NDArray[np.floating[Any]]
_WIDE = 512  # counting columns of the sparse part up to which it is quicker as a dense one
_AT_ONCE = 4096  # rows brought into the space at a time, which bounds the memory of a prediction
_BLUR = 4.0  # times the usual rounding of a product: points within it of the edge are looked at again
_NOTHING = 1e-13  # of the squared lengths: a smaller squared distance is none
_FAINT = 1e-3  # a column whose factor is a smaller part of the largest does not count at all


@dataclass(frozen=True, slots=True)
class Seen:
    """Rows in the space: dense coordinates (n, d), and sparse ones (n, w) where there are very many."""

    dense: Cells
    sparse: sparse.csr_matrix | None

    def __len__(self) -> int:
        return int(self.dense.shape[0])

    @property
    def width(self) -> int:
        """How many coordinates there are."""
        return int(self.dense.shape[1]) + (0 if self.sparse is None else int(self.sparse.shape[1]))

    def rows(self, index: slice) -> Seen:
        return Seen(self.dense[index], None if self.sparse is None else self.sparse[index])

    def norms(self) -> Cells:
        """Return each row's squared length, (n,)."""
        squares = np.einsum("ij,ij->i", self.dense, self.dense)
        if self.sparse is not None:
            squares = squares + np.asarray(self.sparse.multiply(self.sparse).sum(axis=1)).ravel()
        return np.asarray(squares, dtype=self.dense.dtype)


@dataclass(frozen=True, slots=True)
class Lens:
    """The way into the space.

    Attributes:
        factors: (width,), one for each column of a matrix, the dense ones first; 0: the column does not count.
        single: whether coordinates are float32, as is enough for comparing distances.
    """

    factors: Floats
    single: bool = False

    @property
    def counting(self) -> NDArray[np.bool_]:
        """Which columns have a coordinate, (width,); the coordinates are in the order of the columns."""
        return np.asarray(self.factors > _FAINT * np.max(self.factors, initial=0.0))

    def see(self, X: Matrix) -> Seen:
        """Bring rows into the space."""
        kind = np.float32 if self.single else np.float64
        ours, theirs = np.split(np.where(self.counting, self.factors, 0.0), [X.dense.shape[1]])
        line = np.flatnonzero(ours)
        dense = (X.dense[:, line] * ours[line]).astype(kind)
        kept = np.flatnonzero(theirs)
        if X.sparse is None or not len(kept):
            return Seen(dense, None)
        picked = X.sparse[:, kept].astype(kind)
        picked.data *= theirs[kept].astype(kind)[picked.indices]
        if len(kept) > _WIDE:
            return Seen(dense, sparse.csr_matrix(picked))
        return Seen(np.hstack([dense, picked.toarray()]), None)

    def draw(self, X: Wires) -> Wire:
        """Draw the coordinates, (n, width of ``Points.coordinates``)."""
        places = np.flatnonzero(self.counting)
        seen = X.joined.columns(places.tolist()) * self.factors[places]
        return seen.cast(Type.FLOAT) if self.single else seen

    def blocks(self, X: Matrix) -> Iterator[tuple[slice, Seen]]:
        """Give the rows 64 at a time with their places; the dense part of the last block is filled up with zeros."""
        for first in range(0, len(X), _AT_ONCE):
            seen = self.see(X.rows(slice(first, first + _AT_ONCE)))
            for start in range(0, len(seen), ROWS):
                block = seen.rows(slice(start, start + ROWS))
                padded = np.zeros((ROWS, block.dense.shape[1]), block.dense.dtype)
                padded[: len(block)] = block.dense
                place = slice(first + start, first + start + len(block))
                yield place, Seen(padded, block.sparse)


@dataclass(frozen=True, slots=True)
class Points:
    """What queries are compared with: the points, the sparse part turned round, and squared lengths."""

    seen: Seen
    columns: sparse.csr_matrix | None
    norms: Cells

    @classmethod
    def of(cls, seen: Seen) -> Points:
        turned = None if seen.sparse is None else sparse.csr_matrix(seen.sparse.T.tocsr())
        return cls(seen, turned, seen.norms())

    def __len__(self) -> int:
        return len(self.seen)

    def squared_distances(self, block: Seen) -> Cells:
        """Return (rows, points) for a block of queries; rounding never makes one negative."""
        products = block.dense @ self.seen.dense.T
        lengths = np.einsum("ij,ij->i", block.dense, block.dense)
        if block.sparse is not None and self.columns is not None:
            real = block.sparse.shape[0]
            products[:real] += (block.sparse @ self.columns).toarray()
            lengths[:real] += np.asarray(block.sparse.multiply(block.sparse).sum(axis=1)).ravel()
        products *= -2.0
        products += self.norms
        products += lengths[:, None]
        return np.asarray(np.maximum(products, 0.0, out=products))

    def nearest(self, block: Seen, rows: int, most: int) -> tuple[Floats, NDArray[np.int64]]:
        """Return squared distances, nearest first, and places among the points: (rows, most), of a padded block's rows.

        Quick distances say which points may be among the nearest, doubles which are; of equally near ones (as float32)
        the first ones are, so that it hangs on no order of adding up.
        """
        rough, block = self.squared_distances(block)[:rows], block.rows(slice(rows))
        edge = np.partition(rough, most - 1, axis=1)[:, most - 1]
        lengths = block.norms()
        bound = edge + _BLUR * np.finfo(rough.dtype).eps * np.sqrt(block.width) * (lengths + edge)
        near, places = np.empty((len(rough), most)), np.empty((len(rough), most), np.int64)
        for row, least in enumerate(rough):
            able = np.flatnonzero(least <= bound[row])
            squares = self._exact(block.rows(slice(row, row + 1)), able)
            first = np.argsort(squares, kind="stable")[:most]
            near[row], places[row] = squares[first], able[first]
        return near, places

    def _exact(self, query: Seen, places: NDArray[np.int64]) -> Floats:
        """Return squared distances of one query from some points, as float32 would store them."""
        own, others = _doubled(query), _doubled(Seen(self.seen.dense[places], _picked(self.seen.sparse, places)))
        products = others.dense @ own.dense[0]
        if own.sparse is not None and others.sparse is not None:
            products = products + (others.sparse @ own.sparse.T).toarray()[:, 0]
        lengths = own.norms() + others.norms()
        squares = lengths - 2.0 * products
        told: Floats = np.where(squares > _NOTHING * lengths, squares, 0.0).astype(np.float32).astype(np.float64)
        return told

    def coordinates(self) -> Cells:
        """Return the coordinates of all points, (points, width)."""
        cells = self.seen.sparse
        return self.seen.dense if cells is None else np.hstack([self.seen.dense, cells.toarray()])

    def drawn_squares(self, seen: Wire) -> Wire:
        """Draw ``squared_distances`` of coordinates."""
        zero, two = (np.array(number, self.norms.dtype) for number in (0.0, 2.0))
        squares = (seen * seen).sum() + self.norms - (seen @ self.coordinates().T) * two
        return squares.apply("Max", zero)

    def drawn_nearest(self, seen: Wire, most: int) -> tuple[Wire, Wire]:
        """Draw ``nearest`` of coordinates, all distances from doubles: squared distances and places, (n, most)."""
        own, others = seen.cast(Type.DOUBLE), self.coordinates()
        exact = others.astype(np.float64)
        lengths = (own * own).sum() + np.einsum("ij,ij->i", exact, exact)
        squares = (
            lengths - (own @ seen.graph.add("Cast", others.T, to=int(Type.DOUBLE))) * 2.0
        )  # a file of half the size
        told = where(squares > lengths * _NOTHING, squares, 0.0).cast(Type.FLOAT)
        near, places = told.graph.add_many("TopK", told, np.array([most]), outputs=2, axis=1, largest=0)
        return near.cast(Type.DOUBLE), places

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return arrays that ``from_arrays`` takes back."""
        cells = self.seen.sparse
        if cells is None:
            return {"points": self.seen.dense}
        shape = np.array(cells.shape, np.int64)
        sparse_part = {"cells": cells.data, "indices": cells.indices, "starts": cells.indptr, "shape": shape}
        return {"points": self.seen.dense, **sparse_part}

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[Any]]) -> Points:
        cells = None
        if "cells" in arrays:
            parts = (arrays["cells"], arrays["indices"], arrays["starts"])
            cells = sparse.csr_matrix(parts, shape=tuple(arrays["shape"].tolist()))
        return cls.of(Seen(arrays["points"], cells))


def _doubled(seen: Seen) -> Seen:
    return Seen(seen.dense.astype(np.float64), None if seen.sparse is None else seen.sparse.astype(np.float64))


def _picked(cells: sparse.csr_matrix | None, places: NDArray[np.int64]) -> sparse.csr_matrix | None:
    return None if cells is None else sparse.csr_matrix(cells[places])


def even_factors(X: Matrix) -> Floats:
    """Return factors with which two different levels of a category, or two unlike texts, are about 1 apart.

    Numbers come scaled, so theirs is 1. The steps of a number that stands in the dense part as well count half.
    """
    if X.sparse is None:
        return np.ones(X.width)
    squares = np.asarray(X.sparse.multiply(X.sparse).sum(axis=0)).ravel()
    factors = [np.ones(X.dense.shape[1])]
    start = 0
    for name, width in X.groups:
        length = np.sqrt(squares[start : start + width].sum() / max(len(X), 1)) or 1.0
        factors.append(np.full(width, np.sqrt(0.25 if name in X.names else 0.5) / length))
        start += width
    return np.concatenate(factors)


def shares_of(X: Matrix, factors: Floats) -> dict[str, float] | None:
    """Return each feature's share of the mean squared distance between two rows; None where all rows are one point."""
    spread = X.dense.var(axis=0)
    if X.sparse is not None:
        mean = np.asarray(X.sparse.mean(axis=0)).ravel()
        square = np.asarray(X.sparse.multiply(X.sparse).mean(axis=0)).ravel()
        spread = np.concatenate([spread, np.maximum(square - mean * mean, 0.0)])
    effects = spread * factors * factors
    total = float(effects.sum())
    if total <= 0.0:
        return None
    owners = [*X.names, *(name for name, width in X.groups for _ in range(width))]
    shares: dict[str, float] = {}
    for owner, effect in zip(owners, effects.tolist(), strict=True):
        shares[owner] = shares.get(owner, 0.0) + effect / total
    return shares
