"""A built-in table is one by its name, whatever verb is to read it."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lepton_ray.bundle.bundle import Bundle, write_bundle
from lepton_ray.datasets import Dataset, load_builtin_dataset
from lepton_ray.table.cleaning import make_plan
from lepton_ray.table.profile import profile_block
from tests.cli.conftest import Inside
from tests.sealed import fitted

NAME = "builtin:wine"


@pytest.fixture(scope="module")
def wine() -> Dataset:
    return load_builtin_dataset("wine")


@pytest.fixture(scope="module")
def bundle(wine: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    plan = make_plan(profile_block(wine.frame), target=wine.target)
    return write_bundle(tmp_path_factory.mktemp("wine") / "bundle", **fitted(wine.frame, plan, "linear"))


def test_it_is_predicted(bundle: Bundle, wine: Dataset, inside: Inside, tmp_path: Path) -> None:
    done = inside("predict", bundle.folder, NAME, "--out", tmp_path / "p.parquet", "--keep", wine.target)
    assert done.code == 0, done
    found = pq.read_table(tmp_path / "p.parquet")
    assert found["prediction"].to_pylist() == bundle.predict(wine.frame)["prediction"].to_pylist()
    assert found[wine.target].to_pylist() == wine.frame[wine.target].to_pylist()


def test_it_is_learned_from_again(bundle: Bundle, wine: Dataset, inside: Inside, tmp_path: Path) -> None:
    done = inside("refit", bundle.folder, NAME, "--out", tmp_path / "new")
    assert done.code == 0, done
    assert Bundle.load(tmp_path / "new").manifest.facts["fitted_rows"] == wine.frame.num_rows


def test_it_is_profiled(wine: Dataset, inside: Inside) -> None:
    done = inside("profile", NAME, "--target", wine.target, "--json")
    assert done.code == 0, done
    said = json.loads(done.out)
    assert said["profile"]["rows"] == wine.frame.num_rows and said["plan"]["problem"]["target"] == wine.target


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "BUNDLE", "builtin:vine", "--out", "p.csv"),
        ("refit", "BUNDLE", "builtin:vine", "--out", "new"),
        ("profile", "builtin:vine"),
    ],
)
def test_one_that_is_not_there_is_named(bundle: Bundle, inside: Inside, tmp_path: Path, words: tuple[Any, ...]) -> None:
    done = inside(*(bundle.folder if word == "BUNDLE" else word for word in words), cwd=tmp_path)
    assert done.code == 3 and "no built-in table 'vine'" in done.err and "wine" in done.err
    assert not list(tmp_path.iterdir())
