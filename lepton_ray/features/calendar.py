"""Date columns as parts of the calendar. It knows nothing about time zones: dates are naive."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.features.matrix import Floats, Matrix, beside, indicator
from lepton_ray.features.numeric import scale_of, scaled
from lepton_ray.features.sketch import merge_sketches, sketch
from lepton_ray.features.step import State, Step, is_sealed, refuse_sealed

_PARTS = ("year", "month", "day", "weekday", "hour", "weekend", "age")
_DAY = 86_400_000_000  # microseconds
_CYCLES = (("month", 13), ("weekday", 7), ("hour", 24))  # one-hot for linear models; the last place means missing


def calendar_parts(columns: Sequence[str]) -> Step:
    """Seven numbers for each date, NaN where missing; ``age`` is the number of days before the last one of training."""

    def init(block: pa.Table) -> State:
        return {"last": {name: _last(block.column(name)) for name in columns}}

    def merge(a: State, b: State) -> State:
        return {"last": {name: _latest(a["last"][name], b["last"][name]) for name in columns}}

    def apply(state: State, block: pa.Table) -> Matrix:
        parts = [_parts(block.column(name), state["last"][name]) for name in columns]
        names = tuple(f"{name}.{part}" for name in columns for part in _PARTS)
        return Matrix(np.hstack(parts), names=names)

    return Step("date", init, merge, apply, lambda state: state)


def scaled_calendar(columns: Sequence[str]) -> Step:
    """Year, day, weekend and age scaled as numbers are; month, weekday, hour and missing one-hot."""
    straight = ("year", "day", "weekend", "age")

    def numbers(block: pa.Table, last: dict[str, int | None]) -> Floats:
        picked = [_PARTS.index(part) for part in straight]
        return np.hstack([_parts(block.column(name), last[name])[:, picked] for name in columns])

    names = [f"{name}.{part}" for name in columns for part in straight]

    def init(block: pa.Table) -> State:
        values = numbers(block, dict.fromkeys(columns))
        return {name: sketch(column) for name, column in zip(names, values.T, strict=True)}

    def merge(a: State, b: State) -> State:
        refuse_sealed(a, b)
        return {name: merge_sketches(a[name], b[name]) for name in names}

    def seal(state: State) -> State:
        if is_sealed(state):
            return state
        return {"sealed": True, "scales": [scale_of(state[name]) for name in names]}

    def apply(state: State, block: pa.Table) -> Matrix:
        straight_part = scaled(numbers(block, dict.fromkeys(columns)), names, seal(state)["scales"], flags=False)
        return beside([straight_part, *(_cycles(block, name) for name in columns)], block.num_rows)

    return Step("date", init, merge, apply, seal)


def _last(column: pa.ChunkedArray) -> int | None:
    last: int | None = pc.max(column.cast(pa.int64())).as_py()
    return last


def _latest(a: int | None, b: int | None) -> int | None:
    return max((last for last in (a, b) if last is not None), default=None)


def _parts(column: pa.ChunkedArray, last: int | None) -> Floats:
    """Return the seven parts of each date; without ``last`` the age counts from 1970."""
    functions = (pc.year, pc.month, pc.day, pc.day_of_week, pc.hour)
    parts = [pc.cast(function(column), pa.float64()).to_numpy() for function in functions]
    weekday = parts[3]
    weekend = np.where(np.isnan(weekday), np.nan, weekday >= 5)
    days = pc.cast(column.cast(pa.int64()), pa.float64(), safe=False).to_numpy() / _DAY
    return np.column_stack([*parts, weekend, (last or 0) / _DAY - days])


def _cycles(block: pa.Table, name: str) -> Matrix:
    parts = _parts(block.column(name), None)
    cells, offset, groups = [], 0, []
    for part, length in _CYCLES:
        values = parts[:, _PARTS.index(part)]
        cells.append(np.where(np.isnan(values), length, values).astype(np.int32) + offset)
        offset += length + 1
        groups.append((f"{name}.{part}", length + 1))
    return Matrix(np.empty((block.num_rows, 0)), indicator(np.column_stack(cells), offset), groups=tuple(groups))
