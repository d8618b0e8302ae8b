"""Rows as CSV, as Arrow streams and as one matrix: right ones, and wrong ones with the status and what is said."""

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv

from lepton_ray.serving.media import ARROW, CSV
from tests.sealed import ROW

HEAD = b"tenure,city,joined,note\n"
LINE = b"12,Ulm,2024-03-05,slow line\n"


def csv_of(table: pa.Table) -> bytes:
    """A table as `lepton predict` writes one."""
    sink = io.BytesIO()
    pa_csv.write_csv(table, sink, pa_csv.WriteOptions(quoting_style="needed"))
    return sink.getvalue()


def stream_of(table: pa.Table, **options: Any) -> bytes:
    """A table as an Arrow stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def two(**changes: Any) -> pa.Table:
    """Two rows; a change replaces the cells of a column, None removes it."""
    cells: dict[str, Any] = {name: pa.array([value, value]) for name, value in ROW.items()} | changes
    return pa.table({name: column for name, column in cells.items() if column is not None})


def arrow(**changes: Any) -> bytes:
    """These two rows as a stream."""
    return stream_of(two(**changes))


def damaged() -> bytes:
    """A stream whose second text is said to begin before the first one ends."""
    offsets = pa.py_buffer(b"\x00\x00\x00\x00\x09\x00\x00\x00\x03\x00\x00\x00")
    city = pa.Array.from_buffers(pa.string(), 2, [None, offsets, pa.py_buffer(b"UlmBonn")])
    return stream_of(two(city=city))


BOMB = pa.DictionaryArray.from_arrays(pa.array([0] * 5000, pa.int32()), pa.array(["x" * 100_000]))
"""Half a gigabyte of text in 120 kB."""

Case = tuple[bytes, int, str]
_CSV: Mapping[str, Case] = {
    "nothing": (b"", 400, "empty"),
    "white space": (b" \r\n\n", 400, "empty"),
    "no row": (HEAD, 422, "no row"),
    "JSON": (b'[{"tenure": 1}]', 400, "looks like JSON"),
    "binary": (bytes(range(32)) * 20, 400, "binary data"),
    "a workbook": (b"PK\x03\x04[Content_Types].xml", 400, "Excel workbook"),
    "a cell too few": (HEAD + LINE + b"12,Ulm,2024-03-05\n", 400, "Line 3 of the body has not 4 fields"),
    "a cell too many": (HEAD + b"12,Ulm,2024-03-05,slow,line\n" + LINE, 400, "Line 2 of the body"),
    "an open quote": (HEAD + LINE + b'12,Ulm,2024-03-05,"slow\n', 400, "quoted cell"),
    "a column missing": (b"tenure,joined,note\n12,2024-03-05,slow\n", 422, "lacks the column `city`"),
    "a column misspelt": (HEAD.replace(b"city", b"citty") + LINE, 422, "There is a column `citty`: rename it"),
    "a column unseen": (HEAD[:-1] + b",shoe\n" + LINE[:-1] + b",44\n", 422, "`shoe` is not known to this model"),
    "a column twice": (HEAD[:-1] + b",city\n" + LINE[:-1] + b",Ulm\n", 400, "'city' occurs twice"),
    "no header": (LINE * 3, 422, "lacks the column `tenure`"),
    "a word for a number": (HEAD + LINE + LINE.replace(b"12", b"many"), 422, "Row 1, column `tenure`"),
    "no such day": (HEAD + LINE.replace(b"03-05", b"02-31"), 422, "Row 0, column `joined`"),
    "too many rows": (HEAD + LINE * 10_001, 413, "10001 rows; one request may hold 10000"),
    "too large": (HEAD + LINE * 400_000, 413, "larger"),
}
_ARROW: Mapping[str, Case] = {
    "nothing": (b"", 400, "not an Arrow stream"),
    "JSON": (b'[{"tenure": 1}]', 400, "not an Arrow stream"),
    "a pickle": (b"\x80\x05\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94", 400, "Arrow stream"),
    "half of one": (arrow()[:-200], 400, "not an Arrow stream"),
    "zeros": (b"\x00" * 512, 400, "not an Arrow stream"),
    "a terabyte said": (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"\x00" * 64, 400, "not an Arrow stream"),
    "no rows": (stream_of(two().slice(0, 0)), 422, "no row"),
    "compressed": (stream_of(two(), compression="zstd"), 415, "compressed"),
    "a compressed dictionary": (
        stream_of(two(city=pa.array(["Ulm", "Ulm"]).dictionary_encode()), compression="lz4"),
        415,
        "compressed",
    ),
    "buffers that lie": (damaged(), 400, "`city` is damaged"),
    "one text ten thousand times": (
        stream_of(pa.table({name: BOMB if name == "note" else pa.nulls(5000) for name in ROW})),
        413,
        "`note` is too large",
    ),
    "a column missing": (arrow(city=None), 422, "lacks the column `city`"),
    "a column unseen": (arrow(shoe=[44, 45]), 422, "`shoe` is not known to this model"),
    "a column near": (arrow(cityy=["a", "b"]), 422, "it has `city`"),
    "truth for a number": (arrow(tenure=[True, None]), 422, "`tenure` holds bool: it is a number"),
    "a day for a number": (arrow(tenure=pa.array([1, 2], pa.timestamp("us"))), 422, "`tenure` holds timestamp"),
    "infinity": (arrow(tenure=[1.0, float("inf")]), 422, "Row 1, column `tenure`: infinity"),
    "a word for a number": (arrow(tenure=["1", "many"]), 422, "Row 1, column `tenure`"),
    "a word in a dictionary": (
        arrow(tenure=pa.array(["1", "many"]).dictionary_encode()),
        422,
        "Row 1, column `tenure`",
    ),
    "a number for a date": (arrow(joined=[20240305, 20240306]), 422, "`joined` holds int64: it is a date"),
    "a list": (arrow(city=[["Ulm"], []]), 422, "`city` holds list"),
    "bytes": (arrow(note=[b"a", b"b"]), 422, "`note` holds binary"),
    "months": (arrow(tenure=pa.array([None, None], pa.month_day_nano_interval())), 422, "`tenure` holds"),
    "too many rows": (stream_of(pa.table({name: pa.nulls(10_001) for name in ROW})), 413, "10001 rows"),
}
WRONG: Mapping[str, Mapping[str, Case]] = {CSV: _CSV, ARROW: _ARROW}


def matrix(**changes: Any) -> dict[str, Any]:
    """One tensor for all columns, two rows of texts."""
    cells = [[str(value) for value in ROW.values()]] * 2
    return {"inputs": [{"name": "rows", "shape": [2, 4], "datatype": "BYTES", "data": cells} | changes]}


def wrong_matrix(status: int, said: str, **changes: Any) -> tuple[str, dict[str, Any], int, str]:
    """A row of the table of refusals."""
    return "/v2/models/churn/infer", {"json": matrix(**changes)}, status, said


MATRIX = {
    "a matrix too narrow": wrong_matrix(
        422, "is not [n, 4]: a matrix holds all columns, in order: tenure", shape=[2, 3]
    ),
    "a matrix of a half": wrong_matrix(422, "is not [n, 4]", shape=[2.5, 4]),
    "a matrix of three dimensions": wrong_matrix(422, "`rows`) is no input of this model", shape=[2, 2, 2]),
    "a matrix of no rows": wrong_matrix(422, "holds no row", shape=[0, 4], data=[]),
    "a matrix of too many rows": wrong_matrix(413, "10001 rows", shape=[10_001, 4]),
    "a matrix too short": wrong_matrix(422, "holds 4 values, `shape` says 8", data=["1", "Ulm", "", ""]),
    "a ragged matrix": wrong_matrix(422, "data[1] holds 2 values", data=[["1", "a", "", "b"], ["1", "a"]]),
    "a matrix without data": wrong_matrix(422, "`data` is not a list", data=None),
    "a matrix of lists in lists": wrong_matrix(422, "column `tenure`: data[0]", data=[[["1"]] * 4] * 2),
    "a matrix of numbers": wrong_matrix(
        422, "column `joined`: datatype 'FP64' does not fit a date", datatype="FP64", data=[1] * 8
    ),
    "a matrix with a word": wrong_matrix(422, "column `tenure`", data=["1", "", "", "", "many", "", "", ""]),
    "a version that is none": ("/v2/models/churn/versions/0/infer", {"json": matrix()}, 404, "no such model"),
}
