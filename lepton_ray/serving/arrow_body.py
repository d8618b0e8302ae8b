"""An Arrow stream that a stranger wrote, as one raw block of a schema's columns. Knows nothing about HTTP or models.

What it declares is not believed: the buffers are validated whole, and nothing is unfolded (a compressed buffer, a
dictionary, a view) that could become much larger than what was sent.
"""

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.errors import DataError
from lepton_ray.serving.schema import Refusal, check_count
from lepton_ray.table.dialect import check_names
from lepton_ray.table.schema import Column, Kind, Schema
from lepton_ray.table.values import plain, without_views

_DICTIONARY, _BATCH = 2, 3
"""Kinds of messages, in Arrow's Message.fbs."""

_VALUES = (
    *(pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null, pa.types.is_boolean),
    *(pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
    *(pa.types.is_timestamp, pa.types.is_date, pa.types.is_time, pa.types.is_duration),
)
"""What is one value."""


def read_stream(body: bytes, most: int) -> pa.Table:
    """All rows of an Arrow IPC stream, its columns named as a table's are, nothing of its cells looked at yet."""
    try:
        if any(_compressed(bytes(message.metadata)) for message in pa.ipc.MessageReader.open_stream(body)):
            raise Refusal(415, "The Arrow stream is compressed: send its buffers as they are.")
        table = pa.ipc.open_stream(body).read_all()
        table = table.rename_columns([name.strip() for name in table.column_names])
    except (pa.ArrowException, OSError, UnicodeError, struct.error) as fault:
        raise Refusal(400, f"The body is not an Arrow stream: {_first_line(fault)}.") from None
    check_count(table.num_rows, "The Arrow stream", most)
    try:
        check_names("The Arrow stream", tuple(table.column_names))
    except DataError as fault:
        raise Refusal(422, str(fault)) from None
    return table


def plain_columns(table: pa.Table, schema: Schema, most: int) -> pa.Table:
    """The columns of a stream that a schema names, as plain arrays that its kinds can be read from.

    Args:
        most: bytes that all texts may take together once they are unfolded.

    Raises:
        Refusal: a column is damaged, too large, or not of its kind.
    """
    found = {}
    for column in schema.columns:
        cells = table.column(column.name)
        wrong = Refusal(422, f"The column `{column.name}` holds {cells.type}: it is a {column.kind.value}.")
        if not _is_value(cells.type):
            raise wrong
        try:
            cells.validate(full=True)
            whole = cells.combine_chunks()
            most -= _unfolded(whole)
            if most < 0:
                raise Refusal(413, f"The column `{column.name}` is too large once its texts are written out.")
            array = plain(without_views(pa.table([whole], names=["one"])).column(0))
        except pa.ArrowException as fault:
            raise Refusal(400, f"The column `{column.name}` is damaged: {_first_line(fault)}.") from None
        if not _fits(array.type, column.kind):
            raise wrong
        _refuse_infinity(array, column)
        found[column.name] = array
    return pa.table(found)


def _is_value(kind: pa.DataType) -> bool:
    """Whether a cell of this type is one value, as which a table may hold it."""
    if pa.types.is_dictionary(kind):
        return not pa.types.is_dictionary(kind.value_type) and _is_value(kind.value_type)
    return any(is_one(kind) for is_one in _VALUES)


def _refuse_infinity(array: Any, column: Column) -> None:
    if column.kind is Kind.NUMBER and pa.types.is_floating(array.type):
        endless = np.flatnonzero(pc.fill_null(pc.is_inf(array), False).to_numpy(zero_copy_only=False))
        if len(endless):
            raise Refusal(422, f"Row {endless[0]}, column `{column.name}`: infinity is not a value; send null.")


def write_stream(table: pa.Table, about: dict[str, str]) -> bytes:
    """A table as an Arrow IPC stream; ``about`` goes into the metadata of its schema."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema.with_metadata(about)) as writer:
        writer.write_table(table.replace_schema_metadata(about))
    return bytes(sink.getvalue())


def _fits(kind: pa.DataType, wanted: Kind) -> bool:
    """Whether cells of this plain type are read as such a kind, as the same values in JSON would be."""
    if pa.types.is_string(kind) or wanted not in (Kind.NUMBER, Kind.DATE):
        return True
    if wanted is Kind.DATE:
        return bool(pa.types.is_timestamp(kind))
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _unfolded(array: Any) -> int:
    """Bytes of the texts of a valid array whose cells may share the same bytes; of any other array 0."""
    if pa.types.is_dictionary(array.type):
        texts = array.dictionary
        if pa.types.is_string_view(texts.type):
            return _unfolded(texts) * len(array)
        if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
            return 0
        lengths = pc.binary_length(texts).cast(pa.int64()).take(array.indices)
        return int(pc.sum(lengths).as_py() or 0)
    if pa.types.is_string_view(array.type):
        views = np.frombuffer(array.buffers()[1], np.int32).reshape(-1, 4)[array.offset : array.offset + len(array)]
        return int(views[array.is_valid().to_numpy(zero_copy_only=False), 0].sum(dtype=np.int64))
    return 0


def _compressed(metadata: bytes) -> bool:
    """Whether the buffers that a message announces are compressed: its ``RecordBatch.compression`` is there.

    ``metadata`` is a flatbuffer that Arrow has verified; pyarrow does not tell this fact of it.
    """

    def field(table: int, number: int) -> int:
        """Where a field of a table lies; 0: it is not there."""
        vtable = table - _int("<i", table)
        offset = 4 + 2 * number
        inside = _int("<H", vtable + offset) if offset < _int("<H", vtable) else 0
        return table + inside if inside else 0

    def _int(form: str, at: int) -> int:
        return int(struct.unpack_from(form, metadata, at)[0])

    def follow(at: int) -> int:
        return at + _int("<I", at)

    message = follow(0)
    kind = field(message, 1)
    if not kind or metadata[kind] not in (_DICTIONARY, _BATCH):
        return False
    header = follow(field(message, 2))
    return bool(field(follow(field(header, 1)) if metadata[kind] == _DICTIONARY else header, 3))


def _first_line(fault: Any) -> str:
    return (str(fault).strip() or type(fault).__name__).splitlines()[0].rstrip(".")[:200]
