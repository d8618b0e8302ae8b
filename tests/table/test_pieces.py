"""Cutting files: a piece begins with a row, and all pieces together are the file."""

import csv
import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lepton_ray.table.pieces import csv_spans
from lepton_ray.table.source import RejectedRows, Source, open_source

CELLS = ["plain", "", "12.5", 'says ""hello""', "two\nlines", "a,b", 'ends with "', "ä", "\n", '"', "x\r\ny"]


def written(path: Path, rows: int, seed: int, cells: list[str] = CELLS, encoding: str = "utf-8") -> Path:
    rng = np.random.default_rng(seed)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n" if seed % 2 else "\n")
    writer.writerow(["n", "a", "b"])
    for i in range(rows):
        writer.writerow([i, *rng.choice(cells, 2)])
        if rng.random() < 0.01:
            writer.writerow(["ragged", i])
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def in_pieces(source: Source, piece_bytes: int) -> tuple[pa.Table, list[str], int]:
    kept, blocks = RejectedRows(), []
    pieces = source.pieces(piece_bytes)
    for piece in pieces:
        blocks += source.piece_blocks(piece, kept.add)
    return pa.concat_tables(blocks), [row.text for row in kept.rows], len(pieces)


@pytest.mark.parametrize("seed", range(6))
def test_the_pieces_of_a_csv_file_are_the_file(tmp_path: Path, seed: int) -> None:
    source = open_source(written(tmp_path / "t.csv", 2_000, seed))
    table, rejected, pieces = in_pieces(source, 4_000)
    assert pieces > 5
    assert table.equals(source.read())
    assert rejected == [row.text for row in source.rejected.rows] != []


def test_a_file_with_stray_quotes_is_not_cut(tmp_path: Path) -> None:
    for stray in ['5" disk', ' "spaced"', '"open', '"closed"early']:
        path = tmp_path / "t.csv"
        path.write_text("a,b\n" + "1,2\n" * 2_000 + f"{stray},3\n" + "1,2\n" * 2_000)
        source = open_source(path)
        assert csv_spans(path, source.dialects[0], 1_000) == []
        assert in_pieces(source, 1_000)[0].equals(source.read())


def test_wide_characters_and_zipped_files_are_not_cut(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", 500, 0, ["x", "ä"], "utf-16")
    assert in_pieces(open_source(path), 100)[2] == 1


def test_latin_1_is_cut(tmp_path: Path) -> None:
    source = open_source(written(tmp_path / "t.csv", 500, 0, ["é", "x y", "ü\nü"], "latin-1"))
    table, _, pieces = in_pieces(source, 1_000)
    assert pieces > 2 and table.equals(source.read())


def test_parquet_is_cut_between_row_groups(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": range(1_000), "b": ["x"] * 1_000}), tmp_path / "t.parquet", row_group_size=100)
    source = open_source(tmp_path / "t.parquet")
    table, _, pieces = in_pieces(source, 5_000)
    assert 2 <= pieces <= 5
    assert table.equals(source.read())


def test_a_table_expands(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1.0] * 100_000}), tmp_path / "t.parquet")
    source = open_source(tmp_path / "t.parquet")
    assert source.size_bytes < 100_000 < source.expanded_bytes == 800_000
