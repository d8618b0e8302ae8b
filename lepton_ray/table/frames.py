"""Frames of other libraries (pandas, polars, anything that exports Arrow) as Arrow tables. Knows no files."""

from typing import Any

import pyarrow as pa

from lepton_ray.errors import DataError
from lepton_ray.table.dialect import check_names
from lepton_ray.table.values import without_views


def table_of(frame: Any) -> Any:
    """A frame as an Arrow table, or a clear refusal."""
    if isinstance(frame, pa.Table):
        table = frame
    elif isinstance(frame, pa.RecordBatch):
        table = pa.Table.from_batches([frame])
    elif type(frame).__module__.split(".")[0] == "pandas" and hasattr(frame, "columns"):
        table = _from_pandas(frame)
    elif hasattr(frame, "collect_schema") and hasattr(frame, "collect"):  # polars' LazyFrame
        return table_of(frame.collect())
    elif hasattr(frame, "__arrow_c_stream__") and hasattr(frame, "columns"):
        table = pa.table(frame)
    else:
        kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
        raise DataError(f"A {kind} is not a table.", "Give a path, or a pandas, polars or Arrow table.")
    table = table.rename_columns([name.strip() for name in table.column_names])
    check_names("The table", tuple(table.column_names))
    return without_views(table.replace_schema_metadata(None))


def in_words(frame: Any, rows: int, columns: int) -> str:
    """What a frame is called, for it has no name: "a pandas frame of 1,234 x 7"."""
    library = type(frame).__module__.split(".")[0]
    kind = {"pandas": "a pandas frame", "polars": "a polars frame", "pyarrow": "an Arrow table"}.get(library, "a frame")
    return f"{kind} of {rows:,} x {columns:,}"


def _from_pandas(frame: Any) -> Any:
    """A pandas frame; columns of mixed objects become text."""
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    check_names("The table", tuple(frame.columns))
    columns = {}
    for name in frame.columns:
        series = frame[name]
        try:
            columns[name] = pa.Array.from_pandas(series)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            cells = zip(series, series.isna(), strict=True)
            columns[name] = pa.array([None if gone else str(cell) for cell, gone in cells], type=pa.string())
    return pa.table(columns)
