"""Through Ray Data a table gives what it gives in memory."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest

from lepton_ray.errors import DataError
from lepton_ray.on_host.preparation import Prepared, open_table, prepare, prepare_blocks
from lepton_ray.on_ray.session import Session, short_temp_dir
from lepton_ray.spec import RunSpec
from lepton_ray.table.source import Source
from tests.on_host.test_preparation_blocks import same, table

pytestmark = pytest.mark.ray

PIECE_BYTES = 300_000


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    session = Session(short_temp_dir(), cpus=2, object_store_bytes=150 * 2**20).start()
    session.wait(60)
    yield
    session.stop()


def through_ray(spec: RunSpec, source: Source, room: float = float("inf")) -> Prepared:
    from lepton_ray.on_ray.tables import OnRay

    return prepare_blocks(spec, source, OnRay(source, source.pieces(PIECE_BYTES)), room)


@pytest.mark.parametrize("options", [{}, {"time": "day"}, {"group": "who", "weight": "weight"}], ids=str)
def test_one_big_file(tmp_path: Path, capfd: pytest.CaptureFixture[str], options: dict[str, str]) -> None:
    path = tmp_path / "t.csv"
    pv.write_csv(table(20_000), path)
    spec = RunSpec.from_options({"table": str(path), "target": "churn", **options})
    source = open_table(spec.table)
    assert len(source.pieces(PIECE_BYTES)) > 3
    same(prepare(spec), through_ray(spec, source))
    assert capfd.readouterr() == ("", "")


def test_a_folder_of_files_with_ragged_rows(tmp_path: Path) -> None:
    whole = table(12_000)
    for i in range(3):
        path = tmp_path / f"part{i}.csv"
        pv.write_csv(whole.slice(4_000 * i, 4_000), path)
        lines = path.read_bytes().splitlines(keepends=True)
        for place in (3, 1_500, 3_900):
            lines.insert(place, b"ragged,%d\n" % i)
        path.write_bytes(b"".join(lines))
    spec = RunSpec.from_options({"table": str(tmp_path), "target": "churn"})
    there, here = open_table(spec.table), open_table(spec.table)
    many = through_ray(spec, there)
    same(prepare(spec, here), many)
    assert there.rejected.rows == here.rejected.rows
    assert [row.row for row in there.rejected.rows[:3]] == [4, 1_501, 3_901]
    assert many.rejected == 9


def test_a_parquet_file(tmp_path: Path) -> None:
    whole = table(20_000)
    typed = whole.set_column(0, "x", pa.array(range(whole.num_rows), pa.int32()))
    pq.write_table(typed, tmp_path / "t.parquet", row_group_size=2_000)
    spec = RunSpec.from_options({"table": str(tmp_path / "t.parquet"), "target": "amount"})
    source = open_table(spec.table)
    assert len(source.pieces(PIECE_BYTES)) > 3
    same(prepare(spec), through_ray(spec, source))


def test_what_fits_is_kept_whichever_way(tmp_path: Path) -> None:
    pq.write_table(table(20_000), tmp_path / "t.parquet", row_group_size=2_000)
    spec = RunSpec.from_options({"table": str(tmp_path / "t.parquet"), "target": "churn"})
    source = open_table(spec.table)
    from lepton_ray.table.passes import InMemory

    there = through_ray(spec, source, 500_000)
    assert there.note is not None
    same(prepare_blocks(spec, source, InMemory(source.read()), 500_000), there)


def test_a_fault_in_a_task_is_said_as_it_was_meant(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pq.write_table(table(4_000), tmp_path / "a.parquet")
    pq.write_table(table(4_000).drop_columns(["city"]), tmp_path / "b.parquet")
    spec = RunSpec.from_options({"table": str(tmp_path), "target": "churn"})
    messages = []
    for way in (partial(through_ray, spec), partial(prepare, spec)):
        with pytest.raises(DataError) as caught:
            way(open_table(spec.table))
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert "'city'" in messages[0]
    assert "Traceback" not in "".join(capfd.readouterr())


def test_rows_that_are_no_table_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,churn\n" + "1,2,yes\n1,2,no\n" * 200 + "1,2\n" * 500)
    spec = RunSpec.from_options({"table": str(tmp_path / "t.csv"), "target": "churn"})
    with pytest.raises(DataError, match="500 of its rows"):
        through_ray(spec, open_table(spec.table))
