"""Date columns as parts of the calendar. It knows nothing about time zones: dates are naive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.features import graph
from lepton_ray.features.graph import Type, Wire, Wires, where
from lepton_ray.features.matrix import Floats, Matrix, beside, indicator
from lepton_ray.features.numeric import drawn_scaled, scale_of, scaled
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

    def draw(state: State, cells: Mapping[str, Wire]) -> Wires:
        parts = [part for name in columns for part in _drawn_parts(cells[name], state["last"][name])]
        return Wires(graph.beside(parts), len(parts))

    return Step("date", init, merge, apply, lambda state: state, draw)


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

    def draw(state: State, cells: Mapping[str, Wire]) -> Wires:
        each = [dict(zip(_PARTS, _drawn_parts(cells[name], None), strict=True)) for name in columns]
        values = graph.beside([parts[part] for parts in each for part in straight])
        cycles = [
            Wires(None, 0, graph.one_hot(parts[part].where_gap(float(length)).cast(Type.INT64), length + 1), length + 1)
            for parts in each
            for part, length in _CYCLES
        ]
        return graph.side_by_side([drawn_scaled(values, seal(state)["scales"], flags=False), *cycles])

    return Step("date", init, merge, apply, seal, draw)


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


def _drawn_parts(seconds: Wire, last: int | None) -> list[Wire]:
    """Draw ``_parts`` of a date (n, 1) in seconds since 1970, each part (n, 1).

    Year, month and day by Hinnant's ``civil_from_days`` (howardhinnant.github.io/date_algorithms.html): a year begins
    in March there, an era has 400 years, and what is divided is never negative.
    """
    gap = seconds.apply("IsNaN")
    micros = (where(gap, 0.0, seconds) * 1e6).apply("Round").cast(Type.INT64)
    of_day = micros % _DAY
    days = (micros - of_day) / _DAY
    of_era = (days + 719_468) % 146_097
    era = (days + 719_468 - of_era) / 146_097
    year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365
    of_year = of_era - (year * 365 + year / 4 - year / 100)
    march = (of_year * 5 + 2) / 153
    early = march > 9  # January or February, which belong to the next year
    weekday = (days + 3) % 7
    parts = (
        year + era * 400 + early.cast(Type.INT64),
        where(early, march - 9, march + 3),
        of_year - (march * 153 + 2) / 5 + 1,
        weekday,
        of_day / 3_600_000_000,
        (weekday > 4).cast(Type.INT64),
    )
    age = (last or 0) / _DAY - micros.cast(Type.DOUBLE) / float(_DAY)
    return [where(gap, np.nan, part) for part in (*(part.cast(Type.DOUBLE) for part in parts), age)]
