"""Our metrics against scikit-learn's, ties and weights included."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from lepton_ray.errors import UsageError
from lepton_ray.report import wording
from lepton_ray.table import target
from lepton_ray.table.schema import Task
from lepton_ray.training.metrics import METRICS, bootstrap_interval, default_metric, metric_named
from tests.examples import examples, one_in

scores = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]) | st.floats(0.0, 1.0)
weights = st.sampled_from([0.5, 1.0, 2.0, 3.25])
values = st.floats(-1e6, 1e6)

BINARY = {
    "roc_auc": sk.roc_auc_score,
    "average_precision": sk.average_precision_score,
    "brier": sk.brier_score_loss,
    "log_loss": lambda y, p, sample_weight: sk.log_loss(y, p, sample_weight=sample_weight, labels=[0, 1]),
    "accuracy": lambda y, p, sample_weight: sk.accuracy_score(y, p > 0.5, sample_weight=sample_weight),
    "balanced_accuracy": lambda y, p, sample_weight: sk.balanced_accuracy_score(
        y, p > 0.5, sample_weight=sample_weight
    ),
    "f1": lambda y, p, sample_weight: sk.f1_score(y, p > 0.5, sample_weight=sample_weight, zero_division=0.0),
}
VALUES = {
    "rmse": sk.root_mean_squared_error,
    "mae": sk.mean_absolute_error,
    "mape": sk.mean_absolute_percentage_error,
    "r2": sk.r2_score,
}


@pytest.mark.parametrize("name", one_in(3, BINARY))
@examples(60)
@given(rows=st.lists(st.tuples(st.integers(0, 1), scores, weights), min_size=2, max_size=40))
def test_two_classes_as_scikit_learn(name, rows) -> None:
    y, p, weight = (np.array(column) for column in zip(*rows, strict=True))
    if len(set(y)) < 2:
        y[:2] = [0, 1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = BINARY[name](y, p, sample_weight=weight)
    ours = METRICS[name].score(y, np.column_stack([1.0 - p, p]), weight)
    assert ours == pytest.approx(told, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("name", one_in(3, VALUES))
@examples(60)
@given(rows=st.lists(st.tuples(values, values, weights), min_size=2, max_size=40))
def test_values_as_scikit_learn(name, rows) -> None:
    y, p, weight = (np.array(column) for column in zip(*rows, strict=True))
    if name == "r2" and np.ptp(y) < 1e-3:
        y[0] += 1.0
    assert METRICS[name].score(y, p, weight) == pytest.approx(
        VALUES[name](y, p, sample_weight=weight), rel=1e-6, abs=1e-9
    )


@pytest.mark.exam
@examples(40)
@given(seed=st.integers(0, 10**6))
def test_three_classes_as_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.concatenate([[0, 1, 2], rng.integers(0, 3, 20)])
    p = rng.dirichlet([1.0, 1.0, 1.0], 23)
    said, weight = p.argmax(axis=1), rng.uniform(0.1, 2.0, 23)
    told = {
        "roc_auc": sk.roc_auc_score(y, p, multi_class="ovr", average="macro", sample_weight=weight),
        "log_loss": sk.log_loss(y, p, sample_weight=weight),
        "accuracy": sk.accuracy_score(y, said, sample_weight=weight),
        "balanced_accuracy": sk.balanced_accuracy_score(y, said, sample_weight=weight),
        "f1": sk.f1_score(y, said, average="macro", sample_weight=weight, zero_division=0.0),
        "brier": np.average(((p - np.eye(3)[y]) ** 2).sum(axis=1), weights=weight),
    }
    for name, score in told.items():
        assert METRICS[name].score(y, p, weight) == pytest.approx(score, rel=1e-9)


@pytest.mark.parametrize("name", METRICS)
def test_no_weight_is_weight_one_and_error_falls_as_quality_rises(name: str) -> None:
    rng = np.random.default_rng(0)
    metric = METRICS[name]
    if Task.REGRESSION in target.METRICS[name]:
        y = rng.normal(5.0, 1.0, 50)
        good, bad = y + rng.normal(0, 0.1, 50), y + rng.normal(0, 2.0, 50)
    else:
        y = rng.integers(0, 2, 50)
        near = np.clip(y + rng.normal(0, 0.2, 50), 0.01, 0.99)
        far = np.clip(y + rng.normal(0, 1.5, 50), 0.01, 0.99)
        good, bad = np.column_stack([1 - near, near]), np.column_stack([1 - far, far])
    assert metric.score(y, good) == metric.score(y, good, np.ones(50))
    assert metric.error(y, good) < metric.error(y, bad)
    assert (metric.score(y, good) > metric.score(y, bad)) == metric.greater_is_better


def test_what_a_sample_does_not_define_is_nan() -> None:
    sure = np.array([[0.2, 0.8], [0.6, 0.4]])
    assert np.isnan(METRICS["roc_auc"].score(np.array([1, 1]), sure))
    assert np.isnan(METRICS["average_precision"].score(np.array([0, 0]), sure))
    assert np.isnan(METRICS["r2"].score(np.array([3.0, 3.0]), np.array([1.0, 2.0])))


@pytest.mark.parametrize("task", Task)
def test_the_default_metric_fits_its_task(task: Task) -> None:
    assert metric_named(default_metric(task), task).name == default_metric(task)


def test_an_unknown_or_unfitting_metric_is_refused_with_the_fitting_ones() -> None:
    with pytest.raises(UsageError, match="no metric 'rocauc'.*roc_auc"):
        metric_named("rocauc", Task.BINARY)
    with pytest.raises(UsageError, match="does not fit a regression task.*rmse"):
        metric_named("roc_auc", Task.REGRESSION)


@pytest.mark.exam
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y = rng.normal(0.0, 1.0, 150)
        low, high = bootstrap_interval(METRICS["rmse"], y, np.zeros(150), rng, draws=100)
        covered += low <= 1.0 <= high
    assert 46 <= covered <= 60


def test_the_interval_of_an_undefined_score_is_nan() -> None:
    alone = np.array([1, 1])
    interval = bootstrap_interval(METRICS["roc_auc"], alone, np.full((2, 2), 0.5), np.random.default_rng(0))
    assert np.isnan(interval).all()


def test_every_metric_has_a_formula_tasks_and_words() -> None:
    assert METRICS.keys() == target.METRICS.keys() == wording.METRICS.keys()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("name", "task"), [(name, task) for name, tasks in target.METRICS.items() for task in sorted(tasks)]
)
def test_the_interval_is_that_of_rows_drawn_one_by_one(name: str, task: Task, weighted: bool) -> None:
    """Also where ties and classes that are not drawn are among them."""
    rng, metric, n = np.random.default_rng(2), METRICS[name], 40
    if task is Task.REGRESSION:
        y, said = rng.normal(size=n), np.round(rng.normal(size=n), 1)
    else:
        k = 2 if task is Task.BINARY else 3
        y, said = (
            rng.choice(k, n, p=[0.94, 0.06] if k == 2 else [0.9, 0.06, 0.04]),
            np.round(rng.dirichlet([1] * k, n), 1),
        )
    weight = rng.random(n) if weighted else None
    draw, scores = np.random.default_rng(3), []
    for _ in range(50):
        rows = draw.integers(0, n, n)
        scores.append(metric.score(y[rows], said[rows], None if weight is None else weight[rows]))
    expected = np.nanquantile(scores, [0.05, 0.95])
    found = bootstrap_interval(metric, y, said, np.random.default_rng(3), weight=weight, draws=50)
    assert found == pytest.approx(expected)
