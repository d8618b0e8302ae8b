"""Short text columns as weighted n-grams (tf-idf). It knows nothing about languages and nothing about models.

The n-grams are hashed (``grams.py``), so only one thing is learned: in how many texts each bucket occurs. These are
whole numbers, added when blocks merge. The buckets that occur most often make the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from scipy import sparse

from lepton_ray.features.grams import BUCKETS, Letters, character_grams, letters, word_grams
from lepton_ray.features.matrix import Matrix
from lepton_ray.features.step import State, Step, is_sealed, refuse_sealed

_AT_ONCE = 8192  # texts
_LOG_COUNT = 1.0 + np.log(np.arange(1, 257))  # looked up, so that a count weighs the same bits in every block


@dataclass(frozen=True, slots=True)
class Weighing:
    """How n-grams become numbers: how many of each sort, in how many texts at least, how long a text's vector is."""

    widths: tuple[tuple[str, int], ...]
    seldom: int = 2
    length: float = 1.0


FOR_LINEAR = Weighing((("words", 1 << 14), ("characters", 1 << 14)), length=3.0)
FOR_TREES = Weighing((("words", 256),), seldom=5)


def weighted_grams(columns: Sequence[str], weighing: Weighing) -> Step:
    """One sparse column for each frequent n-gram: (1 + log count) x idf, each text scaled to the same length."""

    def init(block: pa.Table) -> State:
        return {name: _counted_in_pieces(block.column(name), weighing) for name in columns}

    def merge(a: State, b: State) -> State:
        refuse_sealed(a, b)
        return {name: _merged(a[name], b[name], weighing) for name in columns}

    def seal(state: State) -> State:
        if is_sealed(state):
            return state
        return {"sealed": True, **{name: _vocabularies(state[name], weighing) for name in columns}}

    def apply(state: State, block: pa.Table) -> Matrix:
        known = seal(state)
        parts: list[sparse.csr_matrix] = []
        groups: list[tuple[str, int]] = []
        for name in columns:
            pieces = [letters(piece) for piece in _pieces(block.column(name))]
            for sort, _ in weighing.widths:
                done = [
                    _weighted(_grams(text, sort), known[name][sort], text.n_texts, weighing.length) for text in pieces
                ]
                parts.append(sparse.vstack(done, format="csr"))
                groups.append((_group(name, sort), parts[-1].shape[1]))
        joined = sparse.csr_matrix(sparse.hstack(parts, format="csr"))
        return Matrix(np.empty((block.num_rows, 0)), joined, groups=tuple(groups))

    return Step("text", init, merge, apply, seal)


def raw_texts(columns: Sequence[str]) -> Step:
    """The texts themselves; nothing is learned, and a model that reads them learns to."""

    def nothing(*_: object) -> State:
        return {"sealed": True}

    def apply(state: State, block: pa.Table) -> Matrix:
        return Matrix(np.empty((block.num_rows, 0)), texts=block.select(list(columns)))

    return Step("raw text", nothing, nothing, apply, nothing)


def without_grams(X: Matrix) -> Matrix:
    """Return the rows without the n-grams of the texts that they hold themselves."""
    if X.sparse is None or X.texts is None:
        return X
    grams = {_group(name, sort) for name in X.texts.column_names for sort, _ in FOR_LINEAR.widths}
    kept = np.repeat([name not in grams for name, _ in X.groups], [width for _, width in X.groups])
    groups = tuple(group for group in X.groups if group[0] not in grams)
    return Matrix(X.dense, X.sparse[:, kept] if kept.any() else None, X.names, X.categorical, groups, X.texts)


def _group(name: str, sort: str) -> str:
    return f"{name} ({sort})"


def _pieces(column: pa.ChunkedArray) -> list[pa.ChunkedArray]:
    """Cut a column so that the n-grams of a piece fit in memory; at least one piece."""
    return [column.slice(start, _AT_ONCE) for start in range(0, max(len(column), 1), _AT_ONCE)]


def _grams(text: Letters, sort: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return (text, bucket, count), ordered by text, then bucket."""
    texts, buckets = word_grams(text) if sort == "words" else character_grams(text, 3, 5)
    pairs, counts = np.unique(texts * BUCKETS + buckets, return_counts=True)
    return pairs // BUCKETS, pairs % BUCKETS, counts


def _counted_in_pieces(column: pa.ChunkedArray, weighing: Weighing) -> State:
    first, *others = (_counted(letters(piece), weighing) for piece in _pieces(column))
    return reduce(lambda a, b: _merged(a, b, weighing), others, first)


def _counted(text: Letters, weighing: Weighing) -> State:
    state: State = {"texts": text.n_texts}
    for sort, _ in weighing.widths:
        buckets, counts = np.unique(_grams(text, sort)[1], return_counts=True)
        state[sort] = {"buckets": buckets.astype(np.int32), "counts": counts.astype(np.int64)}
    return state


def _merged(a: State, b: State, weighing: Weighing) -> State:
    state: State = {"texts": a["texts"] + b["texts"]}
    for sort, _ in weighing.widths:
        buckets, place = np.unique(np.concatenate([a[sort]["buckets"], b[sort]["buckets"]]), return_inverse=True)
        counts = np.zeros(len(buckets), dtype=np.int64)
        np.add.at(counts, place, np.concatenate([a[sort]["counts"], b[sort]["counts"]]))
        state[sort] = {"buckets": buckets, "counts": counts}
    return state


def _vocabularies(state: State, weighing: Weighing) -> State:
    sealed: State = {}
    for sort, width in weighing.widths:
        buckets, counts = state[sort]["buckets"], state[sort]["counts"]
        frequent = np.flatnonzero(counts >= weighing.seldom)
        frequent = np.sort(frequent[np.lexsort((buckets[frequent], -counts[frequent]))[:width]])
        idf = np.log((1.0 + state["texts"]) / (1.0 + counts[frequent])) + 1.0
        sealed[sort] = {"buckets": buckets[frequent], "idf": idf}
    return sealed


def _weighted(
    grams: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], known: State, n_texts: int, length: float
) -> sparse.csr_matrix:
    texts, buckets, counts = grams
    vocabulary = known["buckets"]
    place = np.minimum(np.searchsorted(vocabulary, buckets), max(len(vocabulary) - 1, 0))
    kept = vocabulary[place] == buckets if len(vocabulary) else np.zeros(len(buckets), bool)
    texts, place, counts = texts[kept], place[kept], counts[kept]
    weights = _LOG_COUNT[np.minimum(counts, len(_LOG_COUNT)) - 1] * known["idf"][place]
    norms = np.sqrt(np.bincount(texts, weights * weights, minlength=n_texts))
    weights = weights / norms[texts] * length
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(texts, minlength=n_texts))])
    cells = (weights.astype(np.float32), place.astype(np.int32), starts.astype(np.int32))
    return sparse.csr_matrix(cells, shape=(n_texts, len(vocabulary)))
