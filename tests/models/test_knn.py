"""The k-NN family against scikit-learn's search, and its promises about stopping and bounded rows."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsRegressor

from lepton_ray.features.matrix import Matrix
from lepton_ray.models.family import Batch
from lepton_ray.models.knn import KNNFamily, KNNModel
from lepton_ray.table.schema import Problem, Task
from tests.contracts.family_exam import run_drawn

VALUES = Problem("t", Task.REGRESSION, (), "rmse")
CLASSES = Problem("t", Task.BINARY, ("no", "yes"), "log_loss")


def table(n: int, seed: int = 0) -> Matrix:
    return Matrix(np.random.default_rng(seed).normal(size=(n, 3)), names=tuple("abc"))


def fitted(batch: Batch, problem: Problem, valid: Batch | None = None, **config: object) -> KNNModel:
    stop = config.pop("stop", lambda: False)
    return KNNFamily().fit(batch, valid, config, problem=problem, stop=stop, seed=0, threads=1)


def test_neighbours_are_those_of_scikit_learn() -> None:
    X, queries = table(300), table(90, 1)
    y = X.dense[:, 0] ** 2
    told = KNeighborsRegressor(7, algorithm="brute").fit(X.dense, y).predict(queries.dense)
    said = fitted(Batch(X, y), VALUES, rounds=0, k=7, weighting="even").predict(queries)
    assert said == pytest.approx(told, abs=1e-6)


@pytest.mark.parametrize("weighting", ["even", "distance"])
def test_drawn_as_onnx_it_breaks_ties_alike(weighting: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    rng = np.random.default_rng(0)
    X, queries = (Matrix(rng.integers(0, 3, (n, 4)) + 100.0, names=tuple("abcd")) for n in (900, 200))
    model = fitted(Batch(X, rng.normal(size=900)), VALUES, rounds=0, k=9, weighting=weighting)
    drawn = run_drawn(model, queries, 1, tmp_path)[:, 0]
    assert drawn == pytest.approx(model.predict(queries), rel=0.0, abs=1e-9)


def test_near_neighbours_say_more_than_far_ones() -> None:
    X = Matrix(np.array([[0.0], [1.0], [2.0], [9.0]]), names=("a",))
    batch = Batch(X, np.array([10.0, 20.0, 30.0, 90.0]))
    near, even = (fitted(batch, VALUES, rounds=0, k=3, weighting=way) for way in ("distance", "even"))
    here = Matrix(np.array([[0.1]]), names=("a",))
    assert even.predict(here)[0] == pytest.approx(20.0)
    assert near.predict(here)[0] < 20.0


def test_no_probability_is_0_or_1_where_both_classes_are_known() -> None:
    X = table(200)
    said = fitted(Batch(X, (X.dense[:, 0] > 0).astype(np.int64)), CLASSES).predict(table(100, 1))
    assert 0.0 < said.min() and said.max() < 1.0


def test_k_is_chosen_on_the_validation_rows_and_no_more_on_a_refit() -> None:
    X, rng = table(1200), np.random.default_rng(2)
    smooth, noisy = X.dense[:, 0], rng.normal(size=1200)
    parts = [slice(0, 800), slice(800, 1200)]
    for y, few in ((smooth, True), (noisy, False)):
        train, valid = (Batch(X.rows(part), y[part]) for part in parts)
        model = fitted(train, VALUES, valid, rounds=0)
        assert (model.k <= 20) == few
        assert fitted(train, VALUES, valid, rounds=0, **model.effort).effort == model.effort


def test_reference_rows_are_bounded_and_drawn_by_the_seed() -> None:
    X = table(500)
    model = fitted(Batch(X, X.dense[:, 0]), VALUES, rows=100)
    assert len(model.points) == 100
    assert np.isfinite(model.predict(X)).all()


def test_stop_ends_the_search_for_k() -> None:
    X = table(1200)
    train, valid = Batch(X, X.dense[:, 0]), Batch(table(1000, 1), table(1000, 1).dense[:, 0])
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    model = fitted(train, VALUES, valid, rounds=0, stop=stop)
    assert len(asked) == 4
    assert np.isfinite(replace(model, k=3).predict(X)).all()
