"""Support vector machines against LIBLINEAR and libsvm, rows left out against fits without them, honest odds."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.svm import SVC, LinearSVC

from lepton_ray.features.matrix import Matrix
from lepton_ray.models.family import Batch
from lepton_ray.models.nearness import even_factors
from lepton_ray.models.svm import SVMFamily, SVMModel
from lepton_ray.models.svm_fit import Bend, Machine, hinge, insensitive, left_out, machine_of, odds_of
from lepton_ray.table.schema import Problem, Task
from lepton_ray.training.metrics import METRICS


def features(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 5))


def signs_of(F: np.ndarray, seed: int = 1) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(size=len(F))
    return np.where(F[:, 0] - F[:, 1] + noise > 0, 1.0, -1.0)[:, None]


def solved(F: np.ndarray, bend: Bend, log10_C: float, weight: np.ndarray | None = None) -> Machine:
    start = Machine(np.zeros((F.shape[1], 1)), np.zeros(1), 0.0)
    weight = np.ones(len(F)) if weight is None else weight
    return machine_of(F, bend, weight, log10_C=log10_C, start=start, stop=lambda: False)


def fitted(X: Matrix, y: np.ndarray, task: Task, metric: str, **config: object) -> SVMModel:
    classes = () if task is Task.REGRESSION else tuple(str(code) for code in range(int(y.max()) + 1))
    problem = Problem("t", task, classes, metric)
    return SVMFamily().fit(Batch(X, y), None, config, problem=problem, stop=lambda: False, seed=0, threads=1)


def test_the_hinge_is_that_of_liblinear() -> None:
    F = features(300)
    signs = signs_of(F)
    told = LinearSVC(C=0.5, intercept_scaling=1000.0, tol=1e-8, max_iter=100_000).fit(F, signs[:, 0])
    machine = solved(F, hinge(signs, np.full(300, 2.0)), np.log10(0.5), np.full(300, 2.0))  # LIBLINEAR's is C x loss^2
    assert machine.scores(F)[:, 0] == pytest.approx(told.decision_function(F), abs=0.02)


def test_slopes_are_those_of_the_losses() -> None:
    F, weight = features(40), np.random.default_rng(3).uniform(0.5, 2.0, 40)
    scores = 0.3 * F[:, :1]
    for bend in (hinge(signs_of(F), weight), insensitive(F[:, 2], weight, epsilon=0.1, cap=0.5)):
        for order in (0, 1):
            ahead, behind = bend(scores + 1e-6), bend(scores - 1e-6)
            rise = (np.sum(ahead[order]) - np.sum(behind[order])) / 2e-6
            assert rise == pytest.approx(np.sum(bend(scores)[order + 1]), rel=1e-5)


def test_rows_left_out_are_scored_as_by_a_fit_without_them() -> None:
    F, weight = features(120), np.ones(120)
    signs = signs_of(F)
    machine = solved(F, hinge(signs, weight), 0.0)
    said = left_out(F, machine, hinge(signs, weight))
    for row in range(0, 120, 10):
        others = np.arange(120) != row
        told = solved(F[others], hinge(signs[others], weight[others]), 0.0).scores(F[row : row + 1])
        assert said[row, 0] == pytest.approx(told[0, 0], abs=0.02)


def test_odds_are_those_that_made_the_classes() -> None:
    scores = np.random.default_rng(4).normal(size=(20_000, 1))
    y = (np.random.default_rng(5).random(20_000) < expit(3.0 * scores[:, 0] - 1.0)).astype(np.int64)
    odds = odds_of(scores, y, np.ones(20_000))
    assert odds.slope == pytest.approx(3.0, abs=0.15)
    assert odds.offsets[1] - odds.offsets[0] == pytest.approx(-1.0, abs=0.1)
    wrong = odds_of(-scores, y, np.ones(20_000)).probabilities(scores)
    assert wrong[:, 1] == pytest.approx(np.full(20_000, y.mean()), abs=1e-3)


def test_the_kernel_machine_agrees_with_libsvm() -> None:
    rng = np.random.default_rng(6)
    X = Matrix(rng.normal(size=(600, 2)), names=("a", "b"))
    y = (X.dense[:, 0] * X.dense[:, 1] + 0.2 * rng.normal(size=600) > 0).astype(np.int64)
    assert np.array_equal(even_factors(X), np.ones(2))
    train, later = slice(0, 400), slice(400, 600)
    told = SVC(C=10.0).fit(X.dense[train], y[train]).score(X.dense[later], y[later])
    said = fitted(X.rows(train), y[train], Task.BINARY, "accuracy", rounds=0).predict(X.rows(later))
    assert METRICS["accuracy"].score(y[later], said) >= told - 0.03
    assert METRICS["log_loss"].error(y[later], said) < 0.35


@pytest.mark.exam
def test_many_classes_get_odds_that_hold_on_new_rows() -> None:
    rng = np.random.default_rng(7)
    centres = rng.normal(scale=2.0, size=(12, 4))
    y = rng.integers(0, 12, 900)
    X = Matrix(centres[y] + rng.normal(size=(900, 4)), names=tuple("abcd"))
    said = fitted(X.rows(slice(0, 600)), y[:600], Task.MULTICLASS, "log_loss").predict(X.rows(slice(600, 900)))
    distances = ((X.dense[600:, None] - centres) ** 2).sum(axis=2)
    truth = np.exp(-distances / 2.0) / np.exp(-distances / 2.0).sum(axis=1, keepdims=True)
    best = METRICS["log_loss"].error(y[600:], truth)
    assert METRICS["log_loss"].error(y[600:], said) < best + 0.25


def test_a_median_is_asked_for_by_mae() -> None:
    rng = np.random.default_rng(8)
    X = Matrix(rng.normal(size=(1000, 2)), names=("a", "b"))
    y = X.dense[:, 0] + rng.exponential(size=1000) ** 2
    mean, median = (fitted(X, y, Task.REGRESSION, metric, rounds=0).predict(X) for metric in ("rmse", "mae"))
    assert np.mean(np.abs(y - median)) < np.mean(np.abs(y - mean))
    assert np.mean((y - mean) ** 2) < np.mean((y - median) ** 2)


def test_rows_and_landmarks_are_bounded() -> None:
    X = Matrix(features(500), names=tuple("abcde"))
    model = fitted(X, X.dense[:, 0], Task.REGRESSION, "rmse", rows=200, landmarks=50)
    assert len(model.kernel.landmarks) == 50
