"""What a caller may hand to a bundle, turned into one raw block: frames of three libraries, or rows as dicts.

Knows nothing about models or HTTP. A cell of a dict row is None, a bool, a number or a string, nothing else.
"""

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import pyarrow as pa

from lepton_ray.errors import DataError
from lepton_ray.table.frames import table_of
from lepton_ray.table.schema import Column, Kind, Schema

Cell = None | bool | int | float | str


def as_block(rows: Any, schema: Schema) -> pa.Table:
    """Turn a pandas, Arrow or polars frame, one dict, or a sequence of dicts into a raw block of the schema's columns.

    Raises:
        DataError: a column is lacking or there twice, or a value is not one of a table.
    """
    if isinstance(rows, Mapping):
        rows = [rows]
    if isinstance(rows, Sequence) and not isinstance(rows, str) and all(isinstance(row, Mapping) for row in rows):
        return rows_block(rows, schema)
    table: pa.Table = table_of(rows)
    check_names(table.column_names, schema)
    return table.select(list(schema.names))


def check_names(names: Sequence[str], schema: Schema) -> None:
    """Refuse a table that lacks a column of the schema; others do not matter."""
    for column in schema.columns:
        if column.name not in names:
            near = get_close_matches(column.name, names, n=1)
            hint = f"There is a column `{near[0]}`: rename it." if near else "Add it; its values may be empty."
            raise DataError(f"The table lacks the column `{column.name}` ({column.kind.value}).", hint)


def rows_block(rows: Sequence[Mapping[str, Any]], schema: Schema) -> pa.Table:
    """Turn dict rows into a raw block; every row must have every column of the schema."""
    columns = {}
    for column in schema.columns:
        cells = []
        for number, row in enumerate(rows):
            if column.name not in row:
                raise DataError(
                    f"Row {number} lacks the column `{column.name}` ({column.kind.value}).",
                    "Send it, or null where it is not known.",
                )
            cells.append(row[column.name])
        columns[column.name] = cells_array(cells, column)
    return pa.table(columns)


def cells_array(cells: Sequence[Any], column: Column) -> pa.Array:
    """Turn the cells of one column into an array: numbers as float64 where all are numbers, else strings.

    Raises:
        DataError: a cell is a list, an object, NaN, infinite, or a truth value in a column of numbers or dates.
    """
    for number, cell in enumerate(cells):
        fault = _fault(cell, column.kind)
        if fault:
            raise DataError(f"Row {number}, column `{column.name}`: {fault}.", f"It is a {column.kind.value}.")
    if column.kind is Kind.NUMBER and not any(isinstance(cell, str) for cell in cells):
        return pa.array([None if cell is None else float(cell) for cell in cells], pa.float64())
    return pa.array([None if cell is None else _text(cell) for cell in cells], pa.string())


def _fault(cell: Any, kind: Kind) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return "" if cell.isprintable() or cell.isascii() or _encodable(cell) else "the text is not valid Unicode"
    if isinstance(cell, bool):
        return "true or false is not a value here" if kind in (Kind.NUMBER, Kind.DATE) else ""
    if isinstance(cell, (int, float)):
        if kind is Kind.DATE:
            return "a number is not a date"
        return "" if _finite(cell) else "NaN and infinity are not values; send null"
    return f"{'a list' if isinstance(cell, list) else 'an object'} is not a value"


def _finite(cell: float) -> bool:
    try:
        return math.isfinite(float(cell))
    except OverflowError:
        return False


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(cell: Cell) -> str:
    """A cell as a CSV file would hold it."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    return str(cell)
