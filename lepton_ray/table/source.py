"""Where a table comes from: a file, a folder or a frame, found out and read as raw blocks. Decides nothing."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from lepton_ray.errors import DataError
from lepton_ray.table import frames, reading, values
from lepton_ray.table.dialect import Dialect, check_names
from lepton_ray.table.pieces import PIECE_BYTES, Piece, expanded_bytes, parquet_rows, pieces_of
from lepton_ray.table.reading import Rejected

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".jsonl", ".ndjson", ".json")
KEPT_REJECTED = 100_000
"""So many ragged rows are kept with their text; more are only counted."""


@dataclass(slots=True)
class RejectedRows:
    """The rows set aside while reading: ``count`` of them, the first KEPT_REJECTED with their text."""

    count: int = 0
    rows: list[Rejected] = field(default_factory=list)

    def add(self, row: Rejected) -> None:
        """Set one row aside."""
        self.count += 1
        if len(self.rows) < KEPT_REJECTED:
            self.rows.append(row)

    def extend(self, other: "RejectedRows", rows_before: int) -> None:
        """Set those of another part of the table aside, of whose file so many rows come before."""
        self.count += other.count
        for row in other.rows[: KEPT_REJECTED - len(self.rows)]:
            self.rows.append(replace(row, row=None if row.row is None else row.row + rows_before))

    def clear(self) -> None:
        """Forget them, before reading anew."""
        self.count, self.rows[:] = 0, []

    def write(self, path: Path) -> None:
        """Write them as a CSV file: file, row, text."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "row", "text"])
            writer.writerows((row.file, row.row, row.text) for row in self.rows)


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A table that can be read: ``format`` is csv, parquet, jsonl or frame; ``dialects`` has one entry per CSV file."""

    name: str
    format: str
    names: tuple[str, ...]
    size_bytes: int
    files: tuple[Path, ...] = ()
    dialects: tuple[Dialect, ...] = ()
    frame: Any = None
    rejected: RejectedRows = field(default_factory=RejectedRows)

    @property
    def encoding(self) -> str | None:
        """The encoding of the (first) CSV file."""
        return self.dialects[0].encoding if self.dialects else None

    @property
    def delimiter(self) -> str | None:
        """The delimiter of the (first) CSV file."""
        return self.dialects[0].delimiter if self.dialects else None

    @property
    def header(self) -> bool | None:
        """Whether the (first) CSV file has a header; without one the columns are column_1, column_2, …"""
        return self.dialects[0].header if self.dialects else None

    def blocks(self) -> Iterator[Any]:
        """The raw blocks, file by file; ``rejected`` is filled on the way."""
        self.rejected.clear()
        if self.frame is not None:
            yield self.frame
            return
        rows = 0
        for i in range(len(self.files)):
            for block in self.piece_blocks(Piece(i), self.rejected.add):
                rows += block.num_rows
                yield block
        self.require_rows(rows)

    def require_rows(self, rows: int) -> None:
        """Refuse a table of which so many rows were read, if that makes no table."""
        if not rows:
            raise DataError(f"{self.name} has a header but no rows.", "Give a table with at least two rows.")
        if self.rejected.count > rows:
            raise DataError(
                f"{self.name} is not a table: {self.rejected.count:,} of its rows have more or fewer than "
                f"{len(self.names)} fields, {rows:,} fit.",
                "Check the delimiter and the quotes.",
            )

    @property
    def expanded_bytes(self) -> int:
        """About how large the table is once it is unzipped and its numbers are plain."""
        return self.size_bytes if self.frame is not None else expanded_bytes(self.format, self.files)

    def rows_about(self) -> int | None:
        """About how many rows there are, from the first block of a CSV file; None where this is not soon found out."""
        if self.format == "parquet":
            return parquet_rows(self.files)
        first = next(self.piece_blocks(Piece(0), lambda row: None), None) if self.format == "csv" else None
        if first is None:
            return None
        size = min(reading.BLOCK_BYTES, expanded_bytes("csv", self.files[:1]))
        return int(first.num_rows * self.expanded_bytes / size)

    def pieces(self, piece_bytes: int = PIECE_BYTES) -> list[Piece]:
        """The parts that can be read side by side, in the order of their rows."""
        return pieces_of(self.format, self.files, self.dialects, piece_bytes)

    def piece_blocks(self, piece: Piece, keep: reading.Keep) -> Iterator[Any]:
        """The raw blocks of one piece; ragged rows go to ``keep``, counted from the first row of the piece."""
        path = self.files[piece.file]
        if self.format == "csv":
            found = reading.read_csv(path, self.dialects[piece.file], keep, piece.span)
        elif self.format == "parquet":
            found = reading.read_parquet(path, piece.span)
        else:
            found = reading.read_jsonl(path, keep)
        for block in found:
            yield block if self.format == "jsonl" and not piece.file else _aligned(path, block, self.names)

    def read(self) -> Any:
        """The whole table in memory."""
        blocks = list(self.blocks())
        if len(blocks) == 1:
            return blocks[0]
        try:
            return pa.concat_tables(blocks, promote_options="permissive")
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            return pa.concat_tables([_as_texts(block) for block in blocks])


def _aligned(path: Path, block: Any, names: tuple[str, ...]) -> Any:
    if set(block.column_names) != set(names):
        odd = sorted(set(names) ^ set(block.column_names))
        raise DataError(
            f"{path.name} has other columns than the first file: {', '.join(map(repr, odd[:5]))}.",
            "Give every file of the table the same columns.",
        )
    return block.select(list(names))


def _as_texts(block: Any) -> Any:
    """A block with every cell as text, for files that disagree about the types of a column."""
    columns = {name: values.plain(block.column(name)) for name in block.column_names}
    return pa.table({name: values.as_texts(array) for name, array in columns.items() if array is not None})


def open_source(table: Any) -> Source:
    """Find out what a table is: a path to a file or a folder, or a pandas, polars or Arrow frame."""
    if isinstance(table, Source):
        return table
    if not isinstance(table, str | Path):
        frame = frames.table_of(table)
        if not frame.num_rows:
            raise DataError("The table has no rows.", "Give a table with at least two rows.")
        name = frames.in_words(table, frame.num_rows, frame.num_columns)
        return Source(name, "frame", tuple(frame.column_names), frame.nbytes, frame=frame)
    path = Path(table).expanduser()
    files = _files_of(path)
    heads = [reading.head_of(file) for file in files]
    formats = [reading.find_format(file, head) for file, head in zip(files, heads, strict=True)]
    if len(set(formats)) > 1:
        raise DataError(f"{path} mixes {' and '.join(sorted(set(formats)))} files.", "Keep one format per folder.")
    size = sum(file.stat().st_size for file in files)
    if formats[0] == "csv":
        dialects = tuple(reading.dialect_of(file, head) for file, head in zip(files, heads, strict=True))
        return Source(path.name, "csv", dialects[0].names, size, files, dialects)
    names = _names_of(files[0], formats[0])
    check_names(path.name, names)
    return Source(path.name, formats[0], names, size, files)


def _files_of(path: Path) -> tuple[Path, ...]:
    """The file itself, or the tables in a folder in the order of their names."""
    try:
        if not path.is_dir():
            if path.exists() and not path.is_file():
                raise DataError(
                    f"{path} is a pipe or a device, and a table is read twice.", "Write it to a file first."
                )
            return (path,)
        files = sorted(
            file
            for file in path.iterdir()
            if file.is_file() and file.name.lower().removesuffix(".gz").endswith(SUFFIXES) and file.name[0] not in "._"
        )
    except PermissionError:
        raise DataError(f"{path} cannot be read: permission denied.", "Give yourself the right to read it.") from None
    if not files:
        raise DataError(f"The folder {path} holds no tables.", f"Give one with {', '.join(SUFFIXES[:6])} files.")
    return tuple(files)


def _names_of(file: Path, kind: str) -> tuple[str, ...]:
    """The names of the columns of a Parquet or JSON-lines file."""
    blocks = reading.read_parquet(file) if kind == "parquet" else reading.read_jsonl(file, lambda row: None)
    first = next(blocks, None)
    if first is None:
        raise DataError(f"{file.name} has no rows.", "Give a table with at least two rows.")
    return tuple(first.column_names)
