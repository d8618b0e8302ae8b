"""How a text file is written: encoding, delimiter, header. Found from its first bytes; knows no Arrow and no plans."""

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass

from lepton_ray.errors import DataError

SAMPLE_BYTES = 1 << 18
DELIMITERS = (",", ";", "\t", "|")

_SAVE_AS_CSV = "Save the sheet as CSV (UTF-8) and give that file."
_NO_TABLE = "Give a CSV, TSV, Parquet or JSON-lines file."
_FOREIGN = {
    b"%PDF": ("a PDF document", _NO_TABLE),
    b"\x89PNG": ("a PNG picture", _NO_TABLE),
    b"\xff\xd8\xff": ("a JPEG picture", _NO_TABLE),
    b"GIF8": ("a GIF picture", _NO_TABLE),
    b"\xd0\xcf\x11\xe0": ("an old Excel workbook", _SAVE_AS_CSV),
    b"BZh": ("a bzip2 archive", "Unpack it first, or compress it with gzip."),
    b"\xfd7zXZ": ("an xz archive", "Unpack it first, or compress it with gzip."),
    b"\x28\xb5\x2f\xfd": ("a zstd archive", "Unpack it first, or compress it with gzip."),
    b"7z\xbc\xaf": ("a 7z archive", "Unpack it first."),
    b"SQLite format": ("an SQLite database", "Export the table as CSV and give that file."),
    b"\x7fELF": ("a program", _NO_TABLE),
}
_BOMS = {codecs.BOM_UTF8: "utf-8", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How to read a delimited file; ``width`` is the number of columns and ``names`` their names, trimmed."""

    encoding: str
    delimiter: str
    header: bool
    names: tuple[str, ...]


def refuse_foreign(name: str, head: bytes) -> None:
    """Refuse what is known not to be a table, by its first bytes."""
    if head.startswith(b"PK\x03\x04"):
        sheet = name.lower().endswith((".xlsx", ".xlsm", ".ods")) or b"xl/" in head or b"[Content_Types]" in head
        what, hint = ("an Excel workbook", _SAVE_AS_CSV) if sheet else ("a zip archive", "Unpack it first.")
        raise DataError(f"{name} is {what}, not a table in a text or Parquet file.", hint)
    for magic, (what, hint) in _FOREIGN.items():
        if head.startswith(magic):
            raise DataError(f"{name} is {what}, not a table.", hint)
    if re.match(rb"\s*<(!doctype html|html)", head[:200].lower()):
        raise DataError(f"{name} is a web page, not a table.", _NO_TABLE)
    if head.lstrip()[:1] == b"[" and head.lstrip()[1:].lstrip()[:1] == b"{":
        raise DataError(f"{name} is one JSON array.", "Write one JSON object per line (JSON lines).")


def find_encoding(name: str, head: bytes, high_bytes: bytes) -> str:
    """The encoding: from a byte-order mark, else UTF-8 if ``head`` is, else by the bytes above 0x7f in the file."""
    for mark, encoding in _BOMS.items():
        if head.startswith(mark):
            return encoding
    if b"\x00" in head:
        even, odd = head[0::2].count(0), head[1::2].count(0)
        if max(even, odd) > 0.3 * len(head) / 2 and min(even, odd) < 0.05 * len(head) / 2:
            return "utf-16-le" if odd > even else "utf-16-be"
        raise DataError(f"{name} is not a table: it holds binary data.", _NO_TABLE)
    if _control_share(head) > 0.01:
        raise DataError(f"{name} is not a table: it holds binary data.", _NO_TABLE)
    if not high_bytes:
        return "utf-8"
    undefined_in_1252 = {0x81, 0x8D, 0x8F, 0x90, 0x9D}
    c1 = {byte for byte in set(high_bytes) if byte < 0xA0}
    return "cp1252" if c1 and not c1 & undefined_in_1252 else "latin-1"


def _control_share(head: bytes) -> float:
    controls = sum(head.count(bytes([code])) for code in (*range(1, 9), *range(14, 32)))
    return controls / max(len(head), 1)


def find_dialect(name: str, text: str, encoding: str, *, cut: bool) -> Dialect:
    """The dialect of a file from the text at its start; ``cut``: the last line of the text may be incomplete."""
    delimiter, rows = max(
        ((mark, _rows(text, mark, cut)) for mark in DELIMITERS), key=lambda found: _regularity(found[1])
    )
    if not rows:
        raise DataError(f"{name} is empty.", "Give a file with a header line and at least two rows.")
    if _regularity(rows)[0] < 0.5 and len(rows) > 3:
        raise DataError(f"{name} is not a table: its lines have no common number of fields.", _NO_TABLE)
    first = tuple(cell.strip() for cell in rows[0])
    header = has_header(rows)
    names = first if header else tuple(f"column_{i + 1}" for i in range(len(first)))
    check_names(name, names)
    return Dialect(encoding, delimiter, header, names)


def _rows(text: str, delimiter: str, cut: bool) -> list[list[str]]:
    """The first rows of a text, as CSV with that delimiter."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    try:
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) > 300:
                return rows
    except csv.Error:
        pass
    return rows[:-1] if cut and len(rows) > 1 else rows


def _regularity(rows: list[list[str]]) -> tuple[float, int]:
    """How well a delimiter explains rows: the share of rows as wide as most (0.5 for one column), then the width."""
    if not rows:
        return 0.0, 0
    width, often = Counter(map(len, rows)).most_common(1)[0]
    if width == 1:
        return 0.5, 1
    return 0.5 + often / len(rows) if often / len(rows) > 0.3 else often / len(rows), width


def has_header(rows: list[list[str]]) -> bool:
    """Whether the first row names the columns: no number over numbers, unless a word stands over numbers too.

    0, 1, 2, … are names: those that pandas writes for columns that nobody named.
    """
    first, rest = rows[0], rows[1:]
    if len(first) > 1 and [cell.strip() for cell in first] == [str(number) for number in range(len(first))]:
        return True
    if not rest:
        return not any(map(_is_number, first))
    against = False
    for i, cell in enumerate(first):
        below = [row[i].strip() for row in rest if i < len(row) and row[i].strip()]
        if not below or sum(map(_is_number, below)) < 0.9 * len(below):
            continue
        if not _is_number(cell):
            return bool(cell.strip()) or not against
        against = True
    return not against


def _is_number(cell: str) -> bool:
    return re.fullmatch(r"\s*[+-]?[$€£]?\d[\d.,]*(e[+-]?\d+)?\s*%?\s*|\s*\d{4}-\d\d-\d\d.*", cell) is not None


def check_names(where: str, names: tuple[str, ...]) -> None:
    """Refuse blank and duplicate column names."""
    blank = [i + 1 for i, name in enumerate(names) if not name.strip()]
    if blank:
        hint = "Name it in the header; a blank first name is often a pandas index: write with index=False."
        raise DataError(f"{where}: column {blank[0]} of {len(names)} has no name.", hint)
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{where}: the column name {twice[0]!r} occurs twice.", "Rename or remove one of the columns.")
