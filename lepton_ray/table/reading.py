"""One file as raw blocks: CSV (every cell a string), Parquet, JSON lines, each also gzipped. Decides nothing."""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.json as pj
import pyarrow.parquet as pq

from lepton_ray.errors import DataError
from lepton_ray.table.dialect import SAMPLE_BYTES, Dialect, find_dialect, find_encoding, refuse_foreign
from lepton_ray.table.place import missing
from lepton_ray.table.values import without_views

BLOCK_BYTES = 16 << 20
_PARQUET_ROWS = 1 << 17
_MAX_OPEN_QUOTES = 100
_DEEPEST = 64
"""Levels of a JSON line: Arrow writes no deeper types, and its reader ends the process where a line is far deeper."""
_JSON_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"?')

_ASCII = bytes(range(0x80))
_OPENING, _CLOSING = (np.frombuffer(marks, np.uint8) for marks in (b"[{", b"]}"))


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that does not fit the table: the file, the row's number in it (from 1) and its text."""

    file: str
    row: int | None
    text: str


Keep = Callable[[Rejected], None]
Span = tuple[int, int]
"""From and to (not included) within a file: bytes of a CSV file, row groups of a Parquet file."""


def opened(path: Path) -> Any:
    """The bytes of a file, unzipped if it is gzipped; reading may fail as DataError."""
    try:
        raw = path.open("rb")
        magic = raw.read(2)
        raw.seek(0)
        return gzip.open(raw) if magic == b"\x1f\x8b" else raw
    except FileNotFoundError:
        raise missing(path) from None
    except PermissionError:
        raise DataError(f"{path} cannot be read: permission denied.", "Give yourself the right to read it.") from None
    except OSError as fault:
        raise DataError(f"{path} cannot be read: {fault.strerror or fault}.", "Check the file.") from None


def _stretch(path: Path, span: Span) -> Any:
    """Some of the bytes of a file, without copying them."""
    with pa.memory_map(str(path)) as mapped:
        mapped.seek(span[0])
        return mapped.read_buffer(span[1] - span[0])


def head_of(path: Path) -> bytes:
    """The first bytes of a file, unzipped."""
    with opened(path) as file:
        try:
            return bytes(file.read(SAMPLE_BYTES))
        except (OSError, EOFError) as fault:
            raise DataError(f"{path} cannot be read: {fault}.", "The gzip file is damaged: make it again.") from None


def find_format(path: Path, head: bytes) -> str:
    """``parquet``, ``jsonl`` or ``csv``, by the first bytes."""
    if head.startswith(b"PAR1"):
        return "parquet"
    refuse_foreign(path.name, head)
    if not head.strip():
        raise DataError(f"{path.name} is empty.", "Give a file with a header line and at least two rows.")
    if path.name.lower().removesuffix(".gz").endswith((".parquet", ".pq")):
        raise DataError(f"{path.name} is no Parquet file, whatever its name.", "Write it again or correct the name.")
    return "jsonl" if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{" else "csv"


def dialect_of(path: Path, head: bytes) -> Dialect:
    """How a CSV file is written. All of its bytes are looked at, because one of them tells Latin-1 from UTF-8."""
    return _found_dialect(path.name, head, b"" if _is_utf8(path) else _high_bytes(path))


def _found_dialect(name: str, head: bytes, high_bytes: bytes) -> Dialect:
    encoding = find_encoding(name, head, high_bytes)
    if encoding == "utf-16":
        head = head[: len(head) // 2 * 2]
    text = head.decode("utf-8-sig" if encoding == "utf-8" else encoding, errors="replace")
    return find_dialect(name, text, encoding, cut=len(head) == SAMPLE_BYTES)


def _is_utf8(path: Path) -> bool:
    rest = b""
    with opened(path) as file:
        while chunk := file.read(BLOCK_BYTES):
            if not rest and chunk.isascii():
                continue
            chunk = rest + chunk
            try:
                chunk.decode()
                rest = b""
            except UnicodeDecodeError as fault:
                if fault.reason != "unexpected end of data" or len(chunk) - fault.start > 3:
                    return False
                rest = chunk[fault.start :]
    return not rest


def _high_bytes(path: Path) -> bytes:
    """Which bytes above 0x7f a file has."""
    with opened(path) as file:
        found = set()
        while chunk := file.read(BLOCK_BYTES):
            found |= set(chunk.translate(None, _ASCII))
        return bytes(sorted(found))


def read_csv(path: Path, dialect: Dialect, keep: Keep, span: Span | None = None) -> Iterator[Any]:
    """The blocks of a CSV file, or of a stretch of it, every cell a string; rows of another width go to ``keep``.

    Where a quote is opened and never closed, the row that it stands in goes to ``keep`` too, and the lines that it
    would swallow are read again, after the others.
    """
    header = dialect.header and (span is None or not span[0])
    rest = None if span is None else _stretch(path, span)
    for _ in range(_MAX_OPEN_QUOTES):
        swallowed: list[str] = []
        yield from _read_stream(path, rest, dialect, _without_open_quotes(keep, swallowed), header)
        if not swallowed:
            return
        header, rest, dialect = False, "\n".join(swallowed).encode(), replace(dialect, encoding="utf-8")
    raise DataError(f"{path.name} has many quoted cells that do not end.", 'Close or double each quote (") in it.')


def _without_open_quotes(keep: Keep, swallowed: list[str]) -> Keep:
    """Keep only the first line of a row whose quotes are not in pairs, and put the lines after it aside."""

    def keep_first_line(row: Rejected) -> None:
        if row.text.count('"') % 2 and "\n" in row.text:
            first, *rest = row.text.splitlines()
            swallowed.extend(rest)
            row = replace(row, text=first)
        keep(row)

    return keep_first_line


def _read_stream(path: Path, rest: Any, dialect: Dialect, keep: Keep, header: bool) -> Iterator[Any]:
    """The blocks of a CSV file, or of a rest of one."""

    def set_aside(row: Any) -> str:
        keep(Rejected(str(path), row.number, row.text))
        return "skip"

    names, last = list(dialect.names), None
    read = pv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES, column_names=names, encoding=dialect.encoding)
    parse = pv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True, invalid_row_handler=set_aside)
    convert = pv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    with opened(path) if rest is None else pa.BufferReader(rest) as stream:
        try:
            for batch in pv.open_csv(stream, read, parse, convert):
                block = pa.Table.from_batches([batch])
                if header and block.num_rows:
                    block, header = block.slice(1), False
                if last is not None and last.num_rows:
                    yield last
                last = block
        except (pa.ArrowInvalid, UnicodeError, OSError, EOFError) as fault:
            raise _unreadable(path, fault) from None
    if last is not None and last.num_rows:
        if "\n" in last.column(-1)[-1].as_py() and _quotes(path, rest) % 2:
            cells = [column[-1].as_py() for column in last.columns]
            keep(Rejected(str(path), None, dialect.delimiter.join(cells[:-1] + ['"' + cells[-1]])))
            last = last.slice(0, last.num_rows - 1)
        yield last


def _quotes(path: Path, rest: Any) -> int:
    """How many quotes a file, or the rest of one, holds."""
    if rest is not None:
        return int((np.frombuffer(rest, np.uint8) == ord('"')).sum())
    with opened(path) as file:
        return sum(chunk.count(b'"') for chunk in iter(lambda: file.read(BLOCK_BYTES), b""))


def parse_csv(name: str, data: bytes) -> tuple[Any, list[Rejected]]:
    """A CSV file in memory as one block, every cell a string, and the rows that do not fit into it.

    Encoding, delimiter and header are found as for a file; what an open quote swallows is not read again.

    Args:
        name: what an error calls it.

    Raises:
        DataError: it is no table.
    """
    head, rejected = data[:SAMPLE_BYTES], list[Rejected]()
    refuse_foreign(name, head)
    if not head.strip():
        raise DataError(f"{name} is empty.", "Give a header line and at least one row.")
    try:
        data.decode()
        high = b""
    except UnicodeDecodeError:
        high = bytes(sorted(set(data.translate(None, _ASCII))))
    dialect = _found_dialect(name, head, high)
    blocks = list(_read_stream(Path(name), pa.py_buffer(data), dialect, rejected.append, dialect.header))
    empty = pa.table({column: pa.array([], pa.string()) for column in dialect.names})
    return pa.concat_tables(blocks or [empty]), rejected


def read_parquet(path: Path, span: Span | None = None) -> Iterator[Any]:
    """The blocks of a Parquet file, or of some of its row groups."""
    try:
        with opened(path) as file:
            whole = pa.BufferReader(file.read()) if isinstance(file, gzip.GzipFile) else file
            groups = None if span is None else range(*span)
            for batch in pq.ParquetFile(whole).iter_batches(_PARQUET_ROWS, row_groups=groups, use_threads=False):
                block = without_views(pa.Table.from_batches([batch]).replace_schema_metadata(None))
                yield block.rename_columns([name.strip() for name in block.column_names])
    except (pa.ArrowException, OSError) as fault:
        raise _unreadable(path, fault) from None


def read_jsonl(path: Path, keep: Keep) -> Iterator[Any]:
    """The blocks of a JSON-lines file; where a column mixes types, its cells become text."""
    if not _has_depths(path):
        with opened(path) as file:
            try:
                options = pj.ReadOptions(use_threads=False, block_size=BLOCK_BYTES)
                yield pj.read_json(file, options)
                return
            except (pa.ArrowException, OSError, EOFError):
                pass
    yield _read_mixed_json(path, keep)


def _has_depths(path: Path) -> bool:
    """Whether a JSON-lines file has a line that is too deep."""
    with opened(path) as file:
        try:
            return any(any(map(_too_deep, lines)) for lines in iter(lambda: file.readlines(BLOCK_BYTES), []))
        except (OSError, EOFError) as fault:
            raise _unreadable(path, fault) from None


def _too_deep(line: bytes) -> bool:
    """Whether a line of JSON is nested deeper than any table is."""
    if len(line) <= _DEEPEST or line.count(b"[") + line.count(b"{") <= _DEEPEST:
        return False
    marks = np.frombuffer(_JSON_TEXT.sub(b"", line), np.uint8)
    steps = np.isin(marks, _OPENING).astype(np.int64) - np.isin(marks, _CLOSING)
    return bool(steps.cumsum().max(initial=0) > _DEEPEST)


def _read_mixed_json(path: Path, keep: Keep) -> Any:
    """A JSON-lines file that Arrow refuses, line by line; lines that are broken or too deep go to ``keep``."""
    rows: list[dict[str, Any]] = []
    with opened(path) as file:
        for number, line in enumerate(file, 1):
            text = line.decode("utf-8-sig", errors="replace").strip()
            try:
                row = json.loads(text) if text and not _too_deep(line) else None
            except ValueError:
                row = None
            if isinstance(row, dict):
                rows.append(row)
            elif text:
                keep(Rejected(str(path), number, text))
    names = list(dict.fromkeys(name for row in rows for name in row))
    if not names:
        raise DataError(f"{path.name} holds no JSON objects.", "Write one JSON object per line.")
    return pa.table({name: _json_column([row.get(name) for row in rows]) for name in names})


def _json_column(cells: list[Any]) -> Any:
    try:
        return pa.array(cells)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        texts = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
        return pa.array(texts, type=pa.string())


def _unreadable(path: Path, fault: Exception) -> DataError:
    reason = str(fault).split("\n")[0].rstrip(".")[:200]
    if "straddling" in reason or "out of sync" in reason:
        return DataError(f"{path.name}: a quoted cell does not end.", 'Close or double the quote (") in the file.')
    return DataError(f"{path.name} cannot be read: {reason}.", "Repair the file or save it again.")
