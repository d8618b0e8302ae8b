"""Category columns: codes for trees, one-hot for linear models. It knows nothing about other kinds of column.

Levels are ordered by frequency, ties by their own text. Levels seen too seldom share one code, *other*; so does a level
that was never seen in training: what the model learned about levels that it hardly knows is the best it can say of one
that it does not know at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from lepton_ray.features import graph
from lepton_ray.features.graph import ML, Type, Wire, Wires, where
from lepton_ray.features.matrix import Matrix, indicator
from lepton_ray.features.step import State, Step, is_sealed, refuse_sealed
from lepton_ray.table.values import spellings


def category_codes(columns: Sequence[str], *, most: int = 1000, seldom: int = 2) -> Step:
    """One dense code for each column, NaN where missing; at most ``most`` levels, each seen ``seldom`` times."""

    def apply(state: State, block: pa.Table) -> Matrix:
        vocabularies = _sealed(state, columns, most, seldom)["levels"]
        codes = np.empty((block.num_rows, len(columns)))
        for index, (name, levels) in enumerate(zip(columns, vocabularies, strict=True)):
            found = _codes(block, name, levels)
            codes[:, index] = np.where(found == len(levels) + 1, np.nan, found)
        return Matrix(codes, names=tuple(columns), categorical=tuple(range(len(columns))))

    def draw(state: State, cells: Mapping[str, Wire]) -> Wires:
        codes = []
        for name, levels in zip(columns, _sealed(state, columns, most, seldom)["levels"], strict=True):
            found = _drawn_codes(cells[name], levels)
            codes.append(where(found.equals(len(levels) + 1), np.nan, found.cast(Type.DOUBLE)))
        return Wires(graph.beside(codes), len(columns))

    return _counting_step(columns, apply, draw, most, seldom)


def one_hot(columns: Sequence[str], *, most: int = 500, seldom: int = 3) -> Step:
    """One sparse column for each level, one for *other*, one for missing."""

    def apply(state: State, block: pa.Table) -> Matrix:
        vocabularies = _sealed(state, columns, most, seldom)["levels"]
        widths = [len(levels) + 2 for levels in vocabularies]
        cells = np.empty((block.num_rows, len(columns)), dtype=np.int32)
        offset = 0
        for index, (name, levels) in enumerate(zip(columns, vocabularies, strict=True)):
            cells[:, index] = _codes(block, name, levels) + offset
            offset += widths[index]
        groups = tuple(zip(columns, widths, strict=True))
        return Matrix(np.empty((block.num_rows, 0)), indicator(cells, offset), groups=groups)

    def draw(state: State, cells: Mapping[str, Wire]) -> Wires:
        parts = []
        for name, levels in zip(columns, _sealed(state, columns, most, seldom)["levels"], strict=True):
            width = len(levels) + 2
            parts.append(Wires(None, 0, graph.one_hot(_drawn_codes(cells[name], levels), width), width))
        return graph.side_by_side(parts)

    return _counting_step(columns, apply, draw, most, seldom)


def _counting_step(
    columns: Sequence[str],
    apply: Callable[[State, pa.Table], Matrix],
    draw: Callable[[State, Mapping[str, Wire]], Wires],
    most: int,
    seldom: int,
) -> Step:
    def init(block: pa.Table) -> State:
        return {name: _counted(block.column(name)) for name in columns}

    def merge(a: State, b: State) -> State:
        refuse_sealed(a, b)
        return {name: _merged(a[name], b[name]) for name in columns}

    def seal(state: State) -> State:
        return _sealed(state, columns, most, seldom)

    return Step("category", init, merge, apply, seal, draw)


def _counted(column: pa.ChunkedArray) -> State:
    counts = column.drop_null().value_counts()
    return _by_level(counts.field("values").to_pylist(), counts.field("counts").to_numpy())


def _merged(a: State, b: State) -> State:
    total = dict(zip(a["levels"], a["counts"].tolist(), strict=True))
    for level, count in zip(b["levels"], b["counts"].tolist(), strict=True):
        total[level] = total.get(level, 0) + count
    return _by_level(list(total), np.fromiter(total.values(), np.int64, len(total)))


def _by_level(levels: list[str], counts: NDArray[np.int64]) -> State:
    order = sorted(range(len(levels)), key=levels.__getitem__)
    return {"levels": [levels[index] for index in order], "counts": np.asarray(counts, dtype=np.int64)[order]}


def _sealed(state: State, columns: Sequence[str], most: int, seldom: int) -> State:
    if is_sealed(state):
        return state
    vocabularies = []
    for name in columns:
        seen = zip(state[name]["levels"], state[name]["counts"].tolist(), strict=True)
        frequent = sorted((-count, level) for level, count in seen if count >= seldom)
        vocabularies.append([level for _, level in frequent[:most]])
    return {"sealed": True, "levels": vocabularies}


def _codes(block: pa.Table, name: str, levels: list[str]) -> NDArray[np.int64]:
    """Return each row's place in the vocabulary; *other* is the number of levels, missing is one more."""
    column = block.column(name)
    found = pc.index_in(column, value_set=pa.array(levels, pa.string()))
    codes = pc.fill_null(found, len(levels)).to_numpy().astype(np.int64)
    return np.where(column.is_null().to_numpy(), len(levels) + 1, codes)


def _drawn_codes(texts: Wire, levels: list[str]) -> Wire:
    """Return the codes (n, 1) of ``_codes``; an empty text is missing, and a level may be spelt in every way."""
    known = {"": len(levels) + 1}
    for code, level in enumerate(levels):
        for text in (level, *spellings(level)):
            known.setdefault(text, code)
    return texts.apply(
        "LabelEncoder",
        domain=ML,
        keys_strings=list(known),
        values_int64s=list(known.values()),
        default_int64=len(levels),
    )
