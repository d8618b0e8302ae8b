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
        table = _from_arrow(frame)
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


def _from_arrow(frame: Any) -> Any:
    """A frame that gives its columns away as Arrow's."""
    try:
        return pa.table(frame)
    except pa.ArrowException as fault:
        reason = str(fault).splitlines()[0].rstrip(".")
        raise DataError(
            f"The table holds what Arrow does not know: {reason}.", "Make text or numbers of it, or drop it."
        ) from None


def _from_pandas(frame: Any) -> Any:
    """A pandas frame; columns of mixed objects, and of what only pandas knows (intervals, periods), become text."""
    frame = frame.set_axis([str(name) for name in frame.columns], axis=1)
    check_names("The table", tuple(frame.columns))
    columns = {}
    for name in frame.columns:
        series = frame[name]
        try:
            column = pa.Array.from_pandas(series)
        except (pa.ArrowException, OverflowError):
            column = None
        if column is None or _is_foreign(column.type):
            cells = zip(series, series.isna(), strict=True)
            column = pa.array([None if gone else str(cell) for cell, gone in cells], type=pa.string())
        columns[name] = column
    return pa.table(columns)


def _is_foreign(kind: Any) -> bool:
    """Whether a type is no type of Arrow's own."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return isinstance(kind, pa.BaseExtensionType)
