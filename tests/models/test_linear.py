"""The linear family against scikit-learn's solutions of the same problems, and its promises about stopping."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression, Ridge

from lepton_ray.features.matrix import Matrix
from lepton_ray.models import linear
from lepton_ray.models.family import Batch
from lepton_ray.models.linear import LinearFamily
from lepton_ray.models.linear_fit import lbfgs
from lepton_ray.models.target import scale_for
from lepton_ray.table.schema import Problem, Task


def rows(n: int, seed: int = 0) -> Matrix:
    rng = np.random.default_rng(seed)
    cells = sparse.random(n, 30, density=0.2, format="csr", dtype=np.float32, random_state=seed)
    return Matrix(rng.normal(size=(n, 4)), cells, tuple("abcd"), groups=(("words", 30),))


def both(X: Matrix) -> np.ndarray:
    return np.hstack([X.dense, X.sparse.toarray().astype(np.float64)])


def fitted(X: Matrix, y: np.ndarray, task: Task, **options: object):
    classes = () if task is Task.REGRESSION else tuple(str(code) for code in range(int(y.max()) + 1))
    given = {"config": {"C": 0.7}, "stop": lambda: False, "seed": 0, "threads": 1, "weight": None} | options
    batch, problem = Batch(X, y, given.pop("weight")), Problem("t", task, classes, "log_loss")
    return LinearFamily().fit(batch, None, given.pop("config"), problem=problem, **given)


@pytest.mark.parametrize("n_classes", [2, 4])
def test_classes_as_scikit_learn(n_classes: int) -> None:
    X, rng = rows(300), np.random.default_rng(1)
    y = np.argmax(both(X)[:, :n_classes] + rng.gumbel(size=(300, n_classes)), axis=1)
    weight = rng.uniform(0.5, 2.0, 300)
    told = LogisticRegression(C=0.7, tol=1e-8, max_iter=5000).fit(both(X), y, sample_weight=weight)
    model = fitted(X, y, Task.BINARY if n_classes == 2 else Task.MULTICLASS, weight=weight)
    assert model.predict(X) == pytest.approx(told.predict_proba(both(X)), abs=3e-3)


@pytest.mark.parametrize("exact", [True, False])
def test_values_as_scikit_learn(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear, "_EXACT", 10_000 if exact else 0)
    X, rng = rows(300), np.random.default_rng(2)
    y, weight = 100.0 + both(X) @ rng.normal(size=34) + rng.normal(size=300), rng.uniform(0.5, 2.0, 300)
    z = (y - np.average(y, weights=weight)) / np.sqrt(np.cov(y, aweights=weight, ddof=0))
    told = Ridge(alpha=1 / 0.7).fit(both(X), z, sample_weight=weight).predict(both(X))
    said = fitted(X, y, Task.REGRESSION, weight=weight).predict(X)
    assert (said - y.mean()) / y.std() == pytest.approx(
        told + (np.average(y, weights=weight) - y.mean()) / y.std(), abs=0.02
    )
    assert np.corrcoef(said, told)[0, 1] > 0.99999


@pytest.mark.exam
def test_threads_do_not_change_the_weights() -> None:
    rng = np.random.default_rng(3)
    cells = sparse.random(8000, 500, density=0.2, format="csr", dtype=np.float32, random_state=3)
    X = Matrix(np.empty((8000, 0)), cells, groups=(("words", 500),))
    y = rng.integers(0, 3, 8000)
    one, two = (fitted(X, y, Task.MULTICLASS, threads=threads, config={"iterations": 5}) for threads in (1, 2))
    assert np.array_equal(one.weights, two.weights)


def test_stop_is_asked_at_every_evaluation_and_the_best_point_is_returned() -> None:
    X, rng = rows(300), np.random.default_rng(4)
    y = (both(X)[:, 0] + rng.normal(size=300) > 0).astype(np.int64)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 5

    early = fitted(X, y, Task.BINARY, stop=stop)
    assert len(asked) == 6
    assert np.abs(early.weights).max() > 0.0

    def loss(model):
        return -np.log(model.predict(X)[np.arange(300), y]).mean()

    assert loss(fitted(X, y, Task.BINARY)) < loss(early) < -np.log(np.bincount(y)[y] / 300).mean()


def test_the_descent_finds_the_bottom_of_a_narrow_valley() -> None:
    bends = np.geomspace(1e-3, 1e3, 40)
    found = lbfgs(
        lambda x: (float(np.sum(bends * (x - 1.0) ** 2) / 2.0), bends * (x - 1.0)),
        np.zeros(40),
        1.0 / bends,
        most=50,
        stop=lambda: False,
    )
    assert found == pytest.approx(np.ones(40), abs=1e-6)


def test_a_logarithm_comes_back_on_the_targets_own_scale() -> None:
    rng = np.random.default_rng(5)
    X = rows(2000, 5)
    y = np.exp(1.0 + X.dense[:, 0] + rng.normal(0, 0.5, 2000)) - 1.0
    y = np.maximum(y, 0.0)
    plain, log = (fitted(X, y, Task.REGRESSION, config={"target": target}).predict(X) for target in ("plain", "log1p"))
    assert np.sqrt(np.mean((log - y) ** 2)) < 0.8 * np.sqrt(np.mean((plain - y) ** 2))
    assert log.max() <= y.max() * 2.0


def test_a_logarithm_is_not_taken_of_negative_values() -> None:
    values = np.array([-1.0, 2.0, 5.0])
    scale = scale_for(values, np.ones(3), "log1p")
    assert not scale.log
    assert scale.back(scale.there(values)) == pytest.approx(values)
