"""Recorded lines: written and read alike, resumable, and only what was done on every fold is a table's."""

import lzma
from pathlib import Path

import pytest

from lepton_ray.errors import DataError
from lepton_ray.search.records import Blends, line_of, read_blends, read_records, recorded_tables, without
from lepton_ray.search.trial import FAILED, PARTIAL
from tests.search.recording import STAMP, facts, record

TABLE = facts("bank@2000")


def written(folder: Path, *lines: str) -> Path:
    file = folder / "recorded.jsonl"
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_lines_come_back_as_they_were(tmp_path: Path) -> None:
    records = [record(TABLE, {"n": 1}), record(TABLE, {"n": 1}, fold=1, state=FAILED, error=None, reason="no")]
    blends = Blends(TABLE.name, (("trees", '{"n": 1}'), ("trees", '{"n": 2}')), (0.25,))
    file = written(tmp_path, line_of(STAMP), line_of(TABLE), *map(line_of, records), line_of(blends))
    assert read_records(file) == ({STAMP.id: STAMP}, records)
    assert read_blends(file) == {TABLE.name: blends}
    assert list(blends.pairs()) == [(*blends.keys, 0.25)]


def test_a_compressed_file_says_the_same(tmp_path: Path) -> None:
    file = written(tmp_path, line_of(TABLE), line_of(record(TABLE, {"n": 1})))
    packed = tmp_path / "recorded.jsonl.xz"
    packed.write_bytes(lzma.compress(file.read_bytes()))
    assert read_records(packed) == read_records(file)
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match="cannot be read"):
        read_records(packed)


def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    file = written(tmp_path, line_of(TABLE), line_of(record(TABLE, {})))
    with file.open("a") as out:
        out.write(line_of(record(TABLE, {"n": 2}))[:-9])
    assert len(read_records(file)[1]) == 1


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"table": "nobody"}', '{"source": "x"}', '{"probe_seconds": 1}', pytest.param("[" * 100_000, id="[…")],
)
def test_what_is_no_record_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(DataError, match="Line 2 of"):
        read_records(written(tmp_path, line_of(STAMP), line))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_records(tmp_path / "nothing.jsonl")


def test_only_what_was_done_on_every_fold_is_a_table_s() -> None:
    (table,) = recorded_tables(
        [
            record(TABLE, {"n": 1}, seconds=1.0, error=0.2),
            record(TABLE, {"n": 1}, fold=1, seconds=3.0, error=0.4),
            record(TABLE, {"n": 2}),
            record(TABLE, {"n": 3}),
            record(TABLE, {"n": 3}, fold=1, state=PARTIAL),
        ]
    )
    ((key, run),) = table.rungs[-1].items()
    assert key == ("trees", '{"n": 1}')
    assert (run.fold_errors, run.seconds, run.error) == ((0.2, 0.4), 4.0, pytest.approx(0.3))


def test_a_source_goes_with_all_its_tables() -> None:
    records = [record(facts(name), {}) for name in ("bank@2000", "bank@9000", "wine")]
    assert [one.table.name for one in without(records, "bank")] == ["wine"]
    with pytest.raises(DataError, match="No recorded table is called 'iris'. There are: bank, wine"):
        without(records, "iris")
