"""Parts of a table that can be read side by side: files, row groups of Parquet files, stretches of big CSV files.

Knows no plans, and not who reads the parts. A CSV file is cut only where a row surely begins: every quote before it
must be where the rules of CSV have quotes, else the file stays whole.
"""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from lepton_ray.table.dialect import Dialect
from lepton_ray.table.reading import Span, opened

STEP_BYTES = 4 << 20
PIECE_BYTES = 8 * STEP_BYTES
"""About so much of a file is one piece."""

_QUOTE, _NEWLINE, _RETURN = b'"\n\r'
_ONE_BYTE = ("utf-8", "latin-1", "cp1252")
_GZIP_RATIO = 5


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of one file: ``span`` counts bytes (CSV) or row groups (Parquet); None: the whole file."""

    file: int
    span: Span | None = None


def pieces_of(kind: str, files: tuple[Path, ...], dialects: tuple[Dialect, ...], piece_bytes: int) -> list[Piece]:
    """All pieces of a table, in the order of its rows."""
    found: list[Piece] = []
    for i, path in enumerate(files):
        spans: list[Span] = []
        if kind == "csv" and path.stat().st_size >= 2 * piece_bytes:
            spans = csv_spans(path, dialects[i], piece_bytes)
        elif kind == "parquet":
            spans = list(_group_spans(path, piece_bytes))
        found += [Piece(i, span) for span in spans] or [Piece(i)]
    return found


def csv_spans(path: Path, dialect: Dialect, piece_bytes: int) -> list[Span]:
    """Stretches of a CSV file that begin with a row each; none if it is not sure where rows begin."""
    if dialect.encoding not in _ONE_BYTE or _zipped(path):
        return []
    data = np.memmap(path, np.uint8, "r")
    cuts, quotes = [0], 0
    size = min(STEP_BYTES, piece_bytes)
    for start in range(0, len(data), size):
        step = data[start : start + size]
        marks = np.flatnonzero(step == _QUOTE)
        if not _by_the_rules(data, marks + start, quotes % 2, ord(dialect.delimiter)):
            return []
        if start + size > cuts[-1] + piece_bytes:
            ends = np.flatnonzero(step == _NEWLINE)
            ends = ends[(quotes + np.searchsorted(marks, ends)) % 2 == 0]
            cuts += [start + int(end) + 1 for end in ends[:1]]
        quotes += len(marks)
    if quotes % 2:
        return []
    cuts = [cut for cut in cuts if cut < len(data)]
    return list(zip(cuts, [*cuts[1:], len(data)], strict=True))


def _by_the_rules(data: npt.NDArray[np.uint8], marks: npt.NDArray[np.int64], inside: int, delimiter: int) -> bool:
    """Whether quotes open after a delimiter or a line's end, and close before one; a doubled quote does both."""
    opening, closing = marks[inside::2], marks[1 - inside :: 2]
    before = data[opening[opening > 3] - 1]  # three bytes may be a byte-order mark
    after = data[closing[closing < len(data) - 1] + 1]
    fitting = np.array([delimiter, _NEWLINE, _RETURN, _QUOTE], np.uint8)
    return bool(np.isin(before, fitting).all() and np.isin(after, fitting).all())


def _group_spans(path: Path, piece_bytes: int) -> Iterator[Span]:
    """Row groups of a Parquet file, gathered to pieces."""
    if _zipped(path):
        return
    facts, first, size = _metadata(path), 0, 0
    for i in range(facts.num_row_groups):
        size += max(facts.row_group(i).total_byte_size, facts.row_group(i).num_rows * facts.num_columns * 8)
        if size >= piece_bytes or i == facts.num_row_groups - 1:
            yield first, i + 1
            first, size = i + 1, 0


def expanded_bytes(kind: str, files: tuple[Path, ...]) -> int:
    """About how large a table would be as plain text, or as plain numbers: what it takes to read it."""
    return sum(_expanded(kind, path) for path in files)


def _expanded(kind: str, path: Path) -> int:
    size = path.stat().st_size
    if _zipped(path):
        return size * _GZIP_RATIO
    if kind != "parquet":
        return size
    facts = _metadata(path)
    stored = sum(facts.row_group(i).total_byte_size for i in range(facts.num_row_groups))
    return int(max(size, stored, facts.num_rows * facts.num_columns * 8))


def parquet_rows(files: tuple[Path, ...]) -> int | None:
    """How many rows Parquet files say that they have; None if one is zipped."""
    return None if any(map(_zipped, files)) else sum(_metadata(path).num_rows for path in files)


def _metadata(path: Path) -> Any:
    with opened(path) as file:
        return pq.ParquetFile(file).metadata


def _zipped(path: Path) -> bool:
    with opened(path) as file:
        return isinstance(file, gzip.GzipFile)
