"""Every way to write one table gives the same raw table."""

import gzip
import io
import os
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lepton_ray.errors import DataError
from lepton_ray.table.source import Source, open_source

NAMES = ["id", "name", "größe"]
ROWS = [["1", "Ann", "1.5"], ["2", "Jörg, Jr.", "-2"], ["3", 'a "b"\nc', ""], ["4", "", "4"]]


def csv_text(delimiter: str = ",", newline: str = "\n") -> str:
    table = pd.DataFrame(ROWS, columns=NAMES)
    return table.to_csv(index=False, sep=delimiter, lineterminator=newline)


def written(tmp_path: Path, content: bytes, name: str = "t.csv") -> Source:
    (tmp_path / name).write_bytes(content)
    return open_source(tmp_path / name)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_csv_however_written(tmp_path: Path, delimiter: str, encoding: str) -> None:
    for packed in (False, True):
        content = csv_text(delimiter).encode(encoding)
        source = written(tmp_path, gzip.compress(content) if packed else content)
        table = source.read()
        assert table.column_names == NAMES and table.to_pylist() == [dict(zip(NAMES, row, strict=True)) for row in ROWS]
        assert source.delimiter == delimiter and source.header and not source.rejected.count


def test_windows_line_ends_and_curly_quotes(tmp_path: Path) -> None:
    table = written(tmp_path, csv_text(newline="\r\n").replace("Ann", "“Ann”").encode("cp1252")).read()
    assert table.column("name")[0].as_py() == "“Ann”" and table.num_rows == 4


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("0,1,2,risk\nA,6,x,1\nB,8,y,2\n", True),  # names that are numbers
        ("0,1,2\nA,6,x\nB,8,y\n", True),  # the same without its target
        ("1,0,2\n4,6,7\n5,8,9\n", False),
        ("a,b\nx,y\n", True),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n6.1,2.8,virginica\n", False),
        ("2024-01-01,3\n2024-01-02,4\n", False),
        ("date,n\n2024-01-01,3\n2024-01-02,4\n", True),
    ],
)
def test_header_is_found_out(tmp_path: Path, text: str, header: bool) -> None:
    source = written(tmp_path, text.encode())
    assert source.header is header
    assert source.read().num_rows == text.count("\n") - header
    if not header:
        assert source.names[0] == "column_1"


def test_ragged_rows_are_kept_aside(tmp_path: Path) -> None:
    good = "".join(f"{i},x,{i % 2}\n" for i in range(50))
    source = written(tmp_path, f"a,b,y\n{good}1,2\n1,2,3,4\n{good}".encode())
    assert source.read().num_rows == 100
    assert [row.text for row in source.rejected.rows] == ["1,2", "1,2,3,4"]
    source.rejected.write(tmp_path / "rejected.csv")
    assert pd.read_csv(tmp_path / "rejected.csv").text.tolist() == ["1,2", "1,2,3,4"]
    assert source.read().num_rows == 100 and source.rejected.count == 2  # reading again does not count twice


def test_open_quote_swallows_nothing(tmp_path: Path) -> None:
    good = "".join(f"{i},x,{i % 2}\n" for i in range(50))
    source = written(tmp_path, f'a,b,y\n{good}7,"x,1\n{good}'.encode())
    table = source.read()
    assert table.num_rows == 100 and [row.text for row in source.rejected.rows] == ['7,"x,1']
    assert table.column("a").to_pylist() == [str(i) for i in range(50)] * 2


def test_open_quote_in_the_last_column_swallows_nothing(tmp_path: Path) -> None:
    good = "".join(f"{i},said {i}\n" for i in range(50))
    source = written(tmp_path, f'a,text\n{good}7,"open\n{good}'.encode())
    assert source.read().column("text").to_pylist() == [f"said {i}" for i in range(50)] * 2
    assert [row.text for row in source.rejected.rows] == ['7,"open']


@pytest.mark.exam
def test_long_file_with_late_latin_byte_in_blocks(tmp_path: Path) -> None:
    text = "a,b\n" + "".join(f"{i},{'x' * 90}\n" for i in range(200_000)) + "1,é\n"
    source = written(tmp_path, text.encode("latin-1"))
    blocks = list(source.blocks())
    assert source.encoding == "latin-1" and len(blocks) > 1
    assert sum(block.num_rows for block in blocks) == 200_001
    assert blocks[-1].column("b")[-1].as_py() == "é"


def test_folder_is_one_table_whatever_the_order_of_columns(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("y,a\n3,4\n")
    (tmp_path / "a.csv").write_text("a;y\n1;2\n")
    (tmp_path / "notes.md").write_text("no table")
    assert open_source(tmp_path).read().to_pydict() == {"a": ["1", "4"], "y": ["2", "3"]}


def test_parquet_json_and_frames_agree(tmp_path: Path) -> None:
    frame = pd.DataFrame({"n": [1, 2, 3], "f": [0.5, np.nan, 2.0], "s": ["x", None, "z"], "b": [True, False, True]})
    frame["d"] = pd.to_datetime(["2024-01-01", "2024-01-02", None])
    expected = open_source(frame).read().to_pylist()
    assert expected[1] == {"n": 2, "f": None, "s": None, "b": False, "d": pd.Timestamp("2024-01-02")}
    table = pa.Table.from_pandas(frame)
    pq.write_table(table, tmp_path / "t.parquet")
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    (tmp_path / "z.parquet.gz").write_bytes(gzip.compress(buffer.getvalue()))
    for source in (tmp_path / "t.parquet", tmp_path / "z.parquet.gz", table, pl.from_pandas(frame)):
        assert open_source(source).read().to_pylist() == expected
    assert open_source(pl.from_pandas(frame).lazy()).read().to_pylist() == expected
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True, date_format="iso")
    assert open_source(tmp_path / "t.jsonl").read().column("n").to_pylist() == [1, 2, 3]


def test_files_that_disagree_about_types_become_text(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1, 2], "b": [1.0, 2.5]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": [1, 2], "a": ["x", "3"]}), tmp_path / "2.parquet")
    assert open_source(tmp_path).read().to_pydict() == {"a": ["1", "2", "x", "3"], "b": ["1", "2.5", "1", "2"]}


@pytest.mark.exam
def test_json_lines_that_mix_types(tmp_path: Path) -> None:
    lines = ['{"a": 1, "b": "x"}', '{"a": "two"}', "not json", '{"a":' * 100_000, '{"a": 98765432109876543210}']
    (tmp_path / "t.jsonl").write_text("".join(line + "\n" for line in lines))
    source = open_source(tmp_path / "t.jsonl")
    assert source.read().to_pydict() == {"a": ["1", "two", "98765432109876543210"], "b": ["x", None, None]}
    assert [row.row for row in source.rejected.rows] == [3, 4]


def test_json_lines_that_are_too_deep_are_kept_aside(tmp_path: Path) -> None:
    """Arrow's reader follows a line by calling itself, and would end the process."""
    deep = '{"a":' * 100_000 + "1" + "}" * 100_000
    wide = '{"a": 2, "b": "' + "[{" * 200 + '\\"[[' + '"}'
    (tmp_path / "t.jsonl").write_text("".join(line + "\n" for line in ('{"a": 1, "b": "x"}', deep, wide, "[" * 400)))
    source = open_source(tmp_path / "t.jsonl")
    assert source.read().column("a").to_pylist() == [1, 2] and [row.row for row in source.rejected.rows] == [2, 4]


def test_frame_with_mixed_objects_and_number_names() -> None:
    table = open_source(pd.DataFrame({0: [1, "a", None], 1: [1, 2, 3]})).read()
    assert table.to_pydict() == {"0": ["1", "a", None], "1": [1, 2, 3]}


def test_what_only_pandas_knows_becomes_text() -> None:
    frame = pd.DataFrame({"p": pd.period_range("2024-01", periods=3, freq="M"), "z": np.array([1j, 2j, None])})
    frame["i"] = pd.cut([1, 2, np.nan], [0, 1, 2])
    frame["c"] = np.array([1j, 2j, 3j])
    table = open_source(frame).read()
    assert {str(kind) for kind in table.schema.types} == {"string"}
    assert table["i"].to_pylist() == ["(0.0, 1.0]", "(1.0, 2.0]", None] and table["p"].to_pylist()[0] == "2024-01"


def test_views_can_be_filtered_in_frames_and_files(tmp_path: Path) -> None:
    """Arrow cannot filter views, which is how polars keeps texts, also in a Parquet file."""
    table = pa.table(
        {
            "text": pa.array(["a", None, "b"], pa.string_view()),
            "bytes": pa.array([b"a", None, b"b"], pa.binary_view()),
            "list": pa.array([["a"], None, []], pa.list_(pa.string_view())),
            "object": pa.array([{"k": "a"}, None, {"k": None}], pa.struct([("k", pa.string_view())])),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    frame = pl.DataFrame({"text": ["a", None, "b"]}, schema_overrides={"text": pl.Categorical})
    for source in (table, tmp_path / "t.parquet", frame):
        kept = open_source(source).read().filter(pa.array([True, False, True]))
        assert kept.column("text").to_pylist() == ["a", "b"]


def test_what_can_be_read_once_only_or_has_no_end_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.csv")
    for endless in (tmp_path / "rows.csv", Path("/dev/zero")):
        with pytest.raises(DataError, match="is a pipe or a device"):
            open_source(endless)
