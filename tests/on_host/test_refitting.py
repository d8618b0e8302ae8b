"""A refit on newer rows: the same plan and configuration, other rows, and nothing in the way is overwritten."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.bundle.bundle import Bundle, write_bundle
from lepton_ray.errors import BundleError, DataError
from lepton_ray.on_host.refitting import refit_bundle
from lepton_ray.table.cleaning import make_plan
from lepton_ray.table.profile import profile_block
from tests.sealed import fitted, raw_table, seal


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return seal(tmp_path_factory.mktemp("first") / "bundle")


def test_the_same_rows_give_the_same_predictions(first: Bundle, tmp_path: Path) -> None:
    table = raw_table()
    made = refit_bundle(first, table, tmp_path / "again", seed=1, threads=1)
    assert made.plan == first.plan and made.manifest.members == first.manifest.members
    assert made.manifest.facts == {
        "refit_of": first.id,
        "fitted_on": "all",
        "fitted_rows": table.num_rows,
        "score": None,
    }
    assert made.predict_block(table).equals(first.predict_block(table)) and made.id != first.id


def test_other_rows_teach_something_else(first: Bundle, tmp_path: Path) -> None:
    table = raw_table()
    turned = ["no" if left == "yes" else "yes" for left in table.column("leaves").to_pylist()]
    where = table.column_names.index("leaves")
    table = table.set_column(where, "leaves", pa.array(turned))
    made = refit_bundle(first, table, tmp_path / "turned", seed=1, threads=1)
    was, now = (np.array(one.predict_block(table).column(2)) for one in (first, made))
    assert np.corrcoef(was, now)[0, 1] < -0.8


def test_rows_without_a_known_target_do_not_train(first: Bundle, tmp_path: Path) -> None:
    table = raw_table()
    some = ["perhaps" if number % 4 == 0 else left for number, left in enumerate(table.column("leaves").to_pylist())]
    table = table.set_column(table.column_names.index("leaves"), "leaves", pa.array(some))
    made = refit_bundle(first, table, tmp_path / "some", seed=1, threads=1)
    assert made.manifest.facts["fitted_rows"] == 180


def test_a_table_that_cannot_teach_is_refused(first: Bundle, tmp_path: Path) -> None:
    table = raw_table()
    wrong = {
        "no column 'leaves'": table.drop_columns(["leaves"]),
        "lacks the column 'city'": table.drop_columns(["city"]),
        "Only 5 rows": table.slice(0, 5),
    }
    for told, rows in wrong.items():
        with pytest.raises(DataError, match=told):
            refit_bundle(first, rows, tmp_path / "no", seed=1, threads=1)
    assert not (tmp_path / "no").exists()


def test_a_folder_in_the_way_is_never_overwritten(first: Bundle, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(BundleError, match="exists already"):
        refit_bundle(first, raw_table(), tmp_path / "there", seed=1, threads=1)
    assert list(tmp_path.iterdir()) == [tmp_path / "there"]


@pytest.mark.exam
def test_rows_that_weigh_nothing_are_no_rows(tmp_path: Path) -> None:
    table = raw_table().append_column("weight", pa.array(["1"] * 240))
    plan = make_plan(profile_block(table), target="leaves", drop=("level", "value"), weight="weight")
    first = Bundle.load(write_bundle(tmp_path / "first", **fitted(table, plan, "lightgbm")).folder)
    few = table.set_column(table.column_names.index("weight"), "weight", pa.array(["1"] * 9 + ["0"] * 231))
    with pytest.raises(DataError, match="Only 9 rows of the table weigh"):
        refit_bundle(first, few, tmp_path / "no", seed=1, threads=1)
    assert refit_bundle(first, table, tmp_path / "again", seed=1, threads=1).manifest.facts["fitted_rows"] == 240
