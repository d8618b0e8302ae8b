"""How good a prediction is: one function per metric, numpy only. It knows nothing about models.

Labels are class codes (int) or values (float); predictions are probabilities of shape (n, classes) or values of shape
(n,). A metric that a sample does not define (AUC of one class, R2 of a constant) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.table.schema import Task
from lepton_ray.table.target import DEFAULT_METRICS, fitting_metric

Floats = NDArray[np.float64]
Labels = NDArray[Any]
Formula = Callable[[Labels, Floats, Floats], float]

_LEAST = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Metric:
    """A named formula and its direction; which tasks it fits is said in ``table.target.METRICS``."""

    name: str
    greater_is_better: bool
    formula: Formula

    def score(self, y: Labels, prediction: Floats, weight: Floats | None = None) -> float:
        """Return the metric as its name promises; ``weight`` defaults to 1 for each row."""
        given = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
        return float(self.formula(np.asarray(y), np.asarray(prediction, dtype=np.float64), given))

    def error(self, y: Labels, prediction: Floats, weight: Floats | None = None) -> float:
        """Return the score turned so that lower is better: the distance from 1 where 1 is the best, else the score."""
        score = self.score(y, prediction, weight)
        return 1.0 - score if self.greater_is_better else score


def metric_named(name: str, task: Task) -> Metric:
    """Return the metric; the task's default where the name is "auto".

    Raises:
        UsageError: there is none of that name, or it does not fit the task.
    """
    return METRICS[fitting_metric(name, task)]


def default_metric(task: Task) -> str:
    return DEFAULT_METRICS[task]


def bootstrap_interval(
    metric: Metric,
    y: Labels,
    prediction: Floats,
    rng: np.random.Generator,
    *,
    weight: Floats | None = None,
    level: float = 0.9,
    draws: int = 200,
) -> tuple[float, float]:
    """Return the interval that holds the middle ``level`` of the metric over resampled rows (Efron's percentiles)."""
    y, prediction = np.asarray(y), np.asarray(prediction)
    order = np.arange(len(y)) if prediction.shape[1:] != (2,) else np.argsort(-prediction[:, 1], kind="stable")
    y, prediction, given = y[order], prediction[order], np.ones(len(y)) if weight is None else weight[order]
    scores = []
    for _ in range(draws):  # a row weighs as often as it is drawn, and none has to be sorted again
        times = np.bincount(rng.integers(0, len(y), len(y)), minlength=len(y))[order]
        scores.append(metric.score(y, prediction, times * given))
    known = np.array([score for score in scores if np.isfinite(score)])
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def _roc_auc(y: Labels, prediction: Floats, weight: Floats) -> float:
    """Of the positive class when there are two; of each class against the rest, their plain mean, when more."""
    if prediction.shape[1] == 2:
        return _class_auc(y == 1, prediction[:, 1], weight)
    each = [_class_auc(y == code, prediction[:, code], weight) for code in np.unique(y.astype(np.int64))]
    known = [score for score in each if np.isfinite(score)]
    return float(np.mean(known)) if known else float("nan")


def _class_auc(hit: Labels, score: Floats, weight: Floats) -> float:
    positive, negative = _by_threshold(hit, score, weight)
    wins = np.sum(positive * (np.sum(negative) - np.cumsum(negative) + negative / 2.0))
    return _ratio(wins, np.sum(positive) * np.sum(negative))


def _average_precision(y: Labels, prediction: Floats, weight: Floats) -> float:
    positive, negative = _by_threshold(y == 1, prediction[:, 1], weight)
    found = np.cumsum(positive)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(found > 0, found / (found + np.cumsum(negative)), 0.0)
    return _ratio(np.sum(precision * positive), np.sum(positive))


def _by_threshold(hit: Labels, score: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return the weight of hits and of others at each distinct score, the highest score first."""
    order = np.argsort(-score, kind="stable")
    score, weight, hit = score[order], weight[order], hit[order]
    if not len(score):
        return score, score
    starts = np.flatnonzero(np.concatenate([[True], score[1:] != score[:-1]]))
    positive = np.add.reduceat(np.where(hit, weight, 0.0), starts)
    return positive, np.add.reduceat(np.where(hit, 0.0, weight), starts)


def _log_loss(y: Labels, prediction: Floats, weight: Floats) -> float:
    told = np.clip(prediction[np.arange(len(y)), y.astype(np.int64)], _LEAST, 1.0 - _LEAST)
    return _mean(-np.log(told), weight)


def _brier(y: Labels, prediction: Floats, weight: Floats) -> float:
    """Squared distance from the truth: of the positive class when there are two, summed over the classes when more."""
    if prediction.shape[1] == 2:
        return _mean((prediction[:, 1] - (y == 1)) ** 2, weight)
    truth = np.eye(prediction.shape[1])[y.astype(np.int64)]
    return _mean(np.sum((prediction - truth) ** 2, axis=1), weight)


def _accuracy(y: Labels, prediction: Floats, weight: Floats) -> float:
    return _mean(np.argmax(prediction, axis=1) == y, weight)


def _balanced_accuracy(y: Labels, prediction: Floats, weight: Floats) -> float:
    table = _confusion(y, prediction, weight)
    there = table.sum(axis=1) > 0
    return float(np.mean(np.diag(table)[there] / table.sum(axis=1)[there])) if there.any() else float("nan")


def _f1(y: Labels, prediction: Floats, weight: Floats) -> float:
    """F1 of the positive class when there are two, the plain mean over the classes seen or said when more."""
    table = _confusion(y, prediction, weight)
    sizes = table.sum(axis=1) + table.sum(axis=0)
    each = np.divide(2.0 * np.diag(table), sizes, out=np.zeros(len(sizes)), where=sizes > 0)
    if len(each) == 2:
        return float(each[1])
    return float(np.mean(each[sizes > 0])) if (sizes > 0).any() else float("nan")


def _confusion(y: Labels, prediction: Floats, weight: Floats) -> Floats:
    """Return the weight of rows by true class (row) and said class (column)."""
    k = prediction.shape[1]
    cells = y.astype(np.int64) * k + np.argmax(prediction, axis=1)
    table: Floats = np.bincount(cells, weight, minlength=k * k).reshape(k, k).astype(np.float64)
    return table


def _rmse(y: Labels, prediction: Floats, weight: Floats) -> float:
    return float(np.sqrt(_mean((y - prediction) ** 2, weight)))


def _mae(y: Labels, prediction: Floats, weight: Floats) -> float:
    return _mean(np.abs(y - prediction), weight)


def _mape(y: Labels, prediction: Floats, weight: Floats) -> float:
    return _mean(np.abs(y - prediction) / np.maximum(np.abs(y), _LEAST), weight)


def _r2(y: Labels, prediction: Floats, weight: Floats) -> float:
    spread = np.sum(weight * (y - _mean(y, weight)) ** 2)
    return 1.0 - _ratio(np.sum(weight * (y - prediction) ** 2), spread)


def _mean(values: NDArray[Any], weight: Floats) -> float:
    return _ratio(np.sum(values * weight), np.sum(weight))


def _ratio(part: Any, whole: Any) -> float:
    return float(part / whole) if whole > 0 else float("nan")


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("roc_auc", True, _roc_auc),
        Metric("average_precision", True, _average_precision),
        Metric("log_loss", False, _log_loss),
        Metric("brier", False, _brier),
        Metric("accuracy", True, _accuracy),
        Metric("balanced_accuracy", True, _balanced_accuracy),
        Metric("f1", True, _f1),
        Metric("rmse", False, _rmse),
        Metric("mae", False, _mae),
        Metric("mape", False, _mape),
        Metric("r2", True, _r2),
    )
}
