from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.predictor import predict_file
from lepton_ray.errors import DataError, EnvironmentFault, UsageError
from tests.sealed import ROWS, raw_table, seal


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return seal(tmp_path_factory.mktemp("sealed") / "churn")


def csv_of(table: pa.Table, path: Path) -> Path:
    pa_csv.write_csv(table, path)
    return path


def test_csv_and_parquet_say_what_the_bundle_says(sealed: Bundle, tmp_path: Path) -> None:
    table = csv_of(raw_table(), tmp_path / "in.csv")
    expected = sealed.predict(raw_table())
    done = predict_file(sealed.folder, table, tmp_path / "out.csv", keep=["note", "tenure"])
    assert (done.rows, done.rejected) == (ROWS, 0)
    back = pa_csv.read_csv(tmp_path / "out.csv")
    assert back.column_names == ["note", "tenure", *expected.column_names]
    assert back["note"].to_pylist() == raw_table()["note"].to_pylist()
    assert back.select(expected.column_names).to_pydict() == expected.to_pydict()
    predict_file(sealed.folder, table, tmp_path / "out.parquet")
    assert pa_parquet.read_table(tmp_path / "out.parquet").equals(expected)


def test_reasons_stand_beside_the_answers_and_add_up(sealed: Bundle, tmp_path: Path) -> None:
    table = csv_of(raw_table(12), tmp_path / "in.csv")
    predict_file(sealed.folder, table, tmp_path / "out.parquet", keep=["city"], explain=True)
    back = pa_parquet.read_table(tmp_path / "out.parquet").to_pandas()
    parts = back[[f"contribution_{name}" for name in sealed.schema.names]]
    change = back["explained_value"] - back["explained_base"]
    assert set(back["explained_of"]) == {"yes"} and (parts.sum(axis=1) - change).abs().max() < 1e-6
    odds = np.log(back["probability_yes"] / back["probability_no"])
    assert np.allclose(back["explained_value"], odds.clip(np.log(1e-6 / (1 - 1e-6)), -np.log(1e-6 / (1 - 1e-6))))


def test_what_is_wrong_is_said_and_nothing_is_left(sealed: Bundle, tmp_path: Path) -> None:
    table = csv_of(raw_table(), tmp_path / "in.csv")
    short = csv_of(raw_table().drop_columns(["city"]), tmp_path / "short.csv")
    with pytest.raises(UsageError, match="out.xlsx"):
        predict_file(sealed.folder, table, tmp_path / "out.xlsx")
    (tmp_path / "link.csv").symlink_to(table)
    for out in (table, tmp_path / "link.csv"):
        with pytest.raises(UsageError, match="is the table itself"):
            predict_file(sealed.folder, table, out)
    (tmp_path / "link.csv").unlink()
    with pytest.raises(DataError, match="`city`"):
        predict_file(sealed.folder, short, tmp_path / "out.csv")
    with pytest.raises(DataError, match="`nothing`"):
        predict_file(sealed.folder, table, tmp_path / "out.csv", keep=["nothing"])
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        predict_file(sealed.folder, table, tmp_path / "in.csv" / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "short.csv"]


def test_lines_that_are_no_rows_are_kept_aside(sealed: Bundle, tmp_path: Path) -> None:
    path = csv_of(raw_table(), tmp_path / "in.csv")
    path.write_text(path.read_text() + "1,2\n")
    done = predict_file(sealed.folder, path, tmp_path / "out.csv")
    assert (done.rows, done.rejected) == (ROWS, 1)
    assert done.rejected_path is not None and "1,2" in done.rejected_path.read_text()


def in_files(place: Path, *columns: pa.Array) -> Path:
    """A folder of Parquet files that hold another column ``more`` each."""
    place.mkdir()
    for number, more in enumerate(columns):
        pa_parquet.write_table(raw_table().append_column("more", more), place / f"{number}.parquet")
    return place


WHOLE, HALVES = pa.array(range(ROWS)), pa.array([number / 2 for number in range(ROWS)])


@pytest.mark.parametrize(
    ("columns", "type_", "last"),
    [
        ((WHOLE, HALVES), pa.float64(), (ROWS - 1) / 2),
        ((pa.nulls(ROWS), WHOLE), pa.int64(), ROWS - 1),
        ((WHOLE, pa.array(["one"] * ROWS)), pa.string(), "one"),
    ],
)
def test_files_that_disagree_about_a_column_to_keep(
    sealed: Bundle, tmp_path: Path, columns: tuple[pa.Array, ...], type_: pa.DataType, last: object
) -> None:
    table = in_files(tmp_path / "in", *columns)
    assert predict_file(sealed.folder, table, tmp_path / "out.parquet", keep=["more", "more"]).rows == 2 * ROWS
    back = pa_parquet.read_table(tmp_path / "out.parquet")
    assert back.column_names.count("more") == 1
    assert back.schema.field("more").type == type_ and back["more"][-1].as_py() == last


def test_what_no_cell_can_hold_is_said(sealed: Bundle, tmp_path: Path) -> None:
    lists = pa.array([[1, 2]] * ROWS)
    with pytest.raises(DataError, match="`more` to keep holds list<.*parquet"):
        predict_file(sealed.folder, in_files(tmp_path / "one", lists), tmp_path / "out.csv", keep=["more"])
    with pytest.raises(DataError, match="in one file and text in another"):
        two = in_files(tmp_path / "two", lists, pa.array(["x"] * ROWS))
        predict_file(sealed.folder, two, tmp_path / "out.parquet", keep=["more"])
    assert not (tmp_path / "out.csv").exists() and not (tmp_path / "out.parquet").exists()
    predict_file(sealed.folder, tmp_path / "one", tmp_path / "out.parquet", keep=["more"])
    assert pa_parquet.read_table(tmp_path / "out.parquet")["more"][0].as_py() == [1, 2]
