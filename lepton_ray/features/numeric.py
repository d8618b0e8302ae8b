"""Number columns: raw for trees, filled and scaled for linear models. It knows nothing about other kinds of column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from lepton_ray.features import graph
from lepton_ray.features.graph import Type, Wire, Wires, where
from lepton_ray.features.matrix import Floats, Matrix, beside, indicator
from lepton_ray.features.sketch import Sketch, merge_sketches, quantiles, sketch
from lepton_ray.features.step import State, Step, is_sealed, refuse_sealed

_SOFT_LIMIT = 8.0  # in robust standard deviations: near-linear within half of it, never beyond it
_TENTHS = tuple(tenth / 10 for tenth in range(1, 10))
_QUANTILES = (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0)


def raw_numbers(columns: Sequence[str]) -> Step:
    """Give the numbers as they are, NaN where missing: trees need nothing more."""

    def apply(state: State, block: pa.Table) -> Matrix:
        return Matrix(numbers_of(block, columns), names=tuple(columns))

    def draw(state: State, cells: Mapping[str, Wire]) -> Wires:
        return Wires(graph.beside([cells[name] for name in columns]), len(columns))

    return Step("number", lambda block: {}, lambda a, b: {}, apply, lambda state: state, draw)


def scaled_numbers(columns: Sequence[str]) -> Step:
    """Fill with the median, scale by robust spread, flag what was missing, and say in which tenth a value lies.

    The tenths, one-hot, let a linear model bend. All comes from mergeable value counts (``sketch.py``): the same for
    any partition of the rows.
    """

    def init(block: pa.Table) -> State:
        return {name: sketch(column) for name, column in zip(columns, numbers_of(block, columns).T, strict=True)}

    def merge(a: State, b: State) -> State:
        refuse_sealed(a, b)
        return {name: merge_sketches(a[name], b[name]) for name in columns}

    def seal(state: State) -> State:
        if is_sealed(state):
            return state
        edges = [_edges(state[name]) for name in columns]
        return {"sealed": True, "scales": [scale_of(state[name]) for name in columns], "edges": edges}

    def apply(state: State, block: pa.Table) -> Matrix:
        known, values = seal(state), numbers_of(block, columns)
        line, steps = scaled(values, columns, known["scales"]), _tenths(values, columns, known)
        return beside([line, steps], len(values))

    def draw(state: State, cells: Mapping[str, Wire]) -> Wires:
        known, values = seal(state), graph.beside([cells[name] for name in columns])
        return graph.side_by_side([drawn_scaled(values, known["scales"]), _drawn_tenths(values, known)])

    return Step("number", init, merge, apply, seal, draw)


def numbers_of(block: pa.Table, columns: Sequence[str]) -> Floats:
    """Return the columns as float64; null and infinite become NaN."""
    values = np.empty((block.num_rows, len(columns)))
    for index, name in enumerate(columns):
        values[:, index] = block.column(name).to_numpy()
    values[~np.isfinite(values)] = np.nan
    return values


def scale_of(s: Sketch) -> dict[str, float]:
    """Return centre, spread and the number of missing values: what ``scaled`` needs to know of a column.

    The spread is the interquartile range where there is one, else the central 98 %, else the whole range, each divided
    by what it measures on a normal distribution; 1 for a constant.
    """
    if not len(s["keys"]):
        return {"centre": 0.0, "spread": 1.0, "missing": s["missing"]}
    least, q01, q25, median, q75, q99, most = quantiles(s, _QUANTILES)
    for low, high, deviations in ((q25, q75, 1.349), (q01, q99, 4.653), (least, most, 6.0)):
        spread = (high / deviations) - (low / deviations)
        if spread > 0 and math.isfinite(1.0 / spread):
            return {"centre": median, "spread": spread, "missing": s["missing"]}
    return {"centre": median, "spread": 1.0, "missing": s["missing"]}


def scaled(values: Floats, names: Sequence[str], scales: Sequence[dict[str, float]], *, flags: bool = True) -> Matrix:
    """Fill, centre, scale and softly bound each column; append the missing flags unless told not to."""
    gaps = np.isnan(values)
    centres = np.array([scale["centre"] for scale in scales])
    spreads = np.array([scale["spread"] for scale in scales])
    z = (np.where(gaps, centres, values) - centres) / spreads
    z = np.clip(z, -1e6, 1e6)
    z = z / np.sqrt(1.0 + (z / _SOFT_LIMIT) ** 2)
    flagged = [index for index, scale in enumerate(scales) if flags and scale["missing"]]
    dense = np.hstack([z, gaps[:, flagged].astype(np.float64)])
    return Matrix(dense, names=(*names, *(f"{names[index]} is missing" for index in flagged)))


def drawn_scaled(values: Wire, scales: Sequence[dict[str, float]], *, flags: bool = True) -> Wires:
    """Draw what ``scaled`` does to these columns."""
    centres = np.array([scale["centre"] for scale in scales])
    spreads = np.array([scale["spread"] for scale in scales])
    gaps = values.apply("IsNaN")
    z = ((where(gaps, centres, values) - centres) / spreads).clip(-1e6, 1e6)
    bounded = z / ((z * z) / _SOFT_LIMIT**2 + 1.0).apply("Sqrt")
    flagged = [index for index, scale in enumerate(scales) if flags and scale["missing"]]
    parts = [bounded, gaps.columns(flagged).cast(Type.DOUBLE)] if flagged else [bounded]
    return Wires(graph.beside(parts), len(scales) + len(flagged))


def _drawn_tenths(values: Wire, known: State) -> Wires:
    steps = []
    for index, (scale, ends) in enumerate(zip(known["scales"], known["edges"], strict=True)):
        if ends:
            filled = values.columns([index]).where_gap(scale["centre"])
            place = (filled > np.array([ends])).cast(Type.INT64).sum()
            steps.append(Wires(None, 0, graph.one_hot(place, len(ends) + 1), len(ends) + 1))
    return graph.side_by_side(steps)


def _edges(s: Sketch) -> list[float]:
    """Return where each tenth of the values ends; fewer when values repeat, none for a column of two values or less."""
    if len(s["keys"]) <= 2:
        return []
    return sorted(set(quantiles(s, _TENTHS)))


def _tenths(values: Floats, columns: Sequence[str], known: State) -> Matrix:
    """Return one-hot tenths of the columns that have edges; a missing value is where the median is."""
    binned = [index for index, ends in enumerate(known["edges"]) if ends]
    widths = [len(known["edges"][index]) + 1 for index in binned]
    starts = np.concatenate([[0], np.cumsum(widths)])
    cells = np.empty((len(values), len(binned)), dtype=np.int32)
    for place, index in enumerate(binned):
        column, centre = values[:, index], known["scales"][index]["centre"]
        filled = np.where(np.isnan(column), centre, column)
        cells[:, place] = np.searchsorted(known["edges"][index], filled) + starts[place]
    groups = tuple((columns[index], width) for index, width in zip(binned, widths, strict=True))
    crossed = indicator(cells, int(starts[-1])) if binned else None
    return Matrix(np.empty((len(values), 0)), crossed, groups=groups)
