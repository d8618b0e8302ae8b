"""Each bad input gets one clear sentence and a hint, and nothing else."""

import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.errors import DataError, LeptonError, UsageError
from lepton_ray.table.cleaning import CleaningPlan, make_plan
from lepton_ray.table.profile import profile_block
from lepton_ray.table.source import open_source


def plan_for(table: Any, target: str = "y", **options: Any) -> CleaningPlan:
    return make_plan(profile_block(open_source(table).read()), target=target, **options)


def rows(header: str, line: str, count: int = 40) -> bytes:
    """A CSV file: ``{i}`` is the row's number, ``{b}`` its last bit."""
    lines = [line.format(i=i, b=i % 2, c=i % 3) for i in range(count)]
    return "\n".join([header, *lines, ""]).encode()


GOOD = rows("a,b,y", "{c},x{c},{b}")

FILES = [
    ("empty.csv", b"", "is empty"),
    ("blank.csv", b"\n \n", "is empty"),
    ("header.csv", b"a,b,y\n", "no rows"),
    ("book.xlsx", b"PK\x03\x04....[Content_Types].xml", "Save the sheet as CSV"),
    ("old.xls", b"\xd0\xcf\x11\xe0\xa1\xb1", "Save the sheet as CSV"),
    ("doc.csv", b"%PDF-1.7 ...", "PDF"),
    ("pic.csv", b"\x89PNG\r\n", "PNG"),
    ("archive.csv", b"PK\x03\x04abc", "zip archive"),
    ("binary.csv", bytes(range(256)) * 8, "binary data"),
    ("page.csv", b"<!DOCTYPE html><html></html>", "web page"),
    ("array.json", b'[{"a": 1, "y": 2}]', "one JSON object per line"),
    ("broken.jsonl", b'{"a": 1\n{"a": \n', "no JSON objects"),
    ("deep.jsonl", b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "no JSON objects"),
    ("wrong.parquet", b"a,b\n1,2\n", "no Parquet file"),
    ("cut.parquet", b"PAR1abcdef", "cannot be read"),
    ("cut.csv.gz", gzip.compress(GOOD * 50)[:60], "cannot be read"),
    ("twice.csv", rows("a,a,y", "{i},2,{b}"), "'a' occurs twice"),
    ("unnamed.csv", rows(",a,y", "{i},{c},{b}"), "has no name"),
    ("ragged.csv", rows("a,b,c", "1,2,3", 20) + rows("1", "1,2", 40), "not a table"),
]


@pytest.mark.parametrize(("name", "content", "words"), FILES, ids=[name for name, _, _ in FILES])
def test_bad_file(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        open_source(path).read()
    assert words in str(caught.value) and name in caught.value.what and caught.value.hint
    assert "\n" not in str(caught.value)


TABLES = [
    ("target missing", rows("a,Churned,z", "{c},{b},{c}"), {"target": "churn"}, "Did you mean 'Churned'"),
    ("target constant", rows("a,y", "{c},1"), {}, "every row"),
    ("one class and NA", rows("a,y", "{c},None") + b"1,NA\n2,\n", {}, "every row but 2, where it is missing"),
    ("target blank", rows("a,b,y", "{c},{c},"), {}, "holds no value"),
    ("one row of a class", rows("a,y", "{c},n{b}") + b"1,rare\n", {}, "one row only of class 'rare'"),
    ("one row", rows("a,b,y", "{c},2,{b}", 1), {}, "1 row"),
    ("one column", rows("y", "{b}"), {}, "one column only"),
    ("prose", b"It was, as you know, a day.\nNo; rain, wind\nand,so,on,and,on\nend", {}, "one column only"),
    ("a date as target", rows("a,y", "{c},2024-01-{c}{b}"), {}, "is a date"),
    ("too many classes", rows("a,y", "{c},w{i}", 2000), {}, "more than the 200 classes"),
    ("unknown drop", GOOD, {"drop": ["bb"]}, "no column 'bb'"),
    ("unknown typed column", GOOD, {"types": {"q": "date"}}, "no column 'q'"),
    ("all dropped", GOOD, {"drop": ["a", "b"]}, "No column is left"),
    ("all useless", rows("a,b,y", "1,,{b}"), {}, "No column is left"),
    ("unknown group", GOOD, {"group": "g"}, "no column 'g'"),
]

UNFIT = [
    ("words as regression", rows("a,y", "{c},w{b}"), {"task": "regression"}, "holds words"),
    ("binary with three", rows("a,y", "{b},w{c}"), {"task": "binary"}, "3 classes, not two"),
    ("unknown metric", GOOD, {"metric": "rocauc"}, "Did you mean 'roc_auc'"),
    ("metric of another task", GOOD, {"metric": "rmse"}, "does not fit a binary task"),
    ("unknown task", GOOD, {"task": "regresion"}, "Did you mean 'regression'"),
    ("unknown positive", GOOD, {"positive": "yes"}, "no class 'yes'"),
    ("positive of a number", rows("a,y", "{c},{i}.5"), {"positive": "1"}, "no positive class"),
    ("unknown kind", GOOD, {"types": {"a": "numbr"}}, "Did you mean 'number'"),
    ("no number to read", GOOD, {"types": {"b": "number"}}, "no cell is one"),
    ("no date to read", GOOD, {"types": {"b": "date"}}, "no cell is one"),
]
"""What was asked does not fit the target or the column: not the table is wrong, but the option."""


@pytest.mark.parametrize(
    ("content", "options", "words", "fault"),
    [(*t[1:], fault) for fault, tables in ((DataError, TABLES), (UsageError, UNFIT)) for t in tables],
    ids=[t[0] for t in (*TABLES, *UNFIT)],
)
def test_bad_table(
    tmp_path: Path, content: bytes, options: dict[str, Any], words: str, fault: type[LeptonError]
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(fault) as caught:
        plan_for(path, **options)
    assert words in str(caught.value) and caught.value.hint and "\n" not in str(caught.value)


COLUMNS = [
    ("all blank", "", None, "it holds no value"),
    ("all unique words", "k{i}", None, "numbers or names the rows"),
    ("all unique integers", "{i}", None, "numbers or names the rows"),
    ("beyond 64 bits", "9{i:02d}8765432109876543210", None, "numbers or names the rows"),
    ("beyond 64 bits, repeated", "{c}98765432109876543210", "category", "too long for a number"),
    ("infinite", "{c}|inf", "number", "infinite numbers become missing"),
    ("impossible dates", "2024-02-{c}1|2024-02-30", "date", "1 dates do not exist"),
    ("numbers and one word", "{c}|many", "number", "words among numbers"),
    ("numbers and words", "{c}|low{c}|high{b}|{b}.5|x|y", "category", "are mixed"),
    ("decimal comma", '"{i},5"', "number", "decimal comma"),
    ("money", '"${i},300.50"', "number", "Currency"),
    ("two ways to write a date", "2024-01-1{c}|1{c}/01/2024", "date", "2 ways"),
    ("sentinel", "{i}|{i}|-999", "number", "-999"),
]


@pytest.mark.parametrize(("cell", "kind", "words"), [t[1:] for t in COLUMNS], ids=[t[0] for t in COLUMNS])
def test_odd_column(tmp_path: Path, cell: str, kind: str | None, words: str) -> None:
    first, *others = cell.split("|")
    lines = [f"{(first if i >= len(others) * 2 or i % 2 else others[i // 2])},{{c}},{{b}}" for i in range(100)]
    text = "\n".join(["odd,a,y", *(line.format(i=i, b=i % 2, c=i % 3) for i, line in enumerate(lines))])
    if words == "-999":
        text += "\n-999,1,0" * 5
    path = tmp_path / "table.csv"
    path.write_text(text)
    plan = plan_for(path)
    odd = plan.columns[0]
    assert (odd.kind.value if odd.use else None) == kind
    assert any("'odd'" in sentence and words in sentence for sentence in plan.describe()), plan.describe()


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path, words in ((tmp_path / "no.csv", "no file"), (tmp_path, "holds no tables")):
        with pytest.raises(DataError, match=words):
            open_source(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "secret.csv"
    path.write_bytes(GOOD)
    path.chmod(0)
    with pytest.raises(DataError, match="permission denied"):
        open_source(path)


def test_object_that_is_no_table() -> None:
    with pytest.raises(DataError, match="is not a table"):
        open_source({"a": [1]})


def test_folder_of_unlike_files(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(GOOD)
    (tmp_path / "2.csv").write_bytes(rows("a,c,y", "1,2,3"))
    with pytest.raises(DataError, match="other columns than the first file: 'b', 'c'"):
        open_source(tmp_path).read()
    (tmp_path / "3.jsonl").write_bytes(b'{"a": 1}\n')
    with pytest.raises(DataError, match="mixes csv and jsonl"):
        open_source(tmp_path)


def test_a_type_that_arrow_does_not_know_is_said() -> None:
    import polars as pl

    frame = pl.DataFrame({"a": pl.Series([1, 2], dtype=pl.Int128)})
    with pytest.raises(DataError, match="holds what Arrow does not know"):
        open_source(frame)
