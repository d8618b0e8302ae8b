"""How good one configuration is: fit on the training side of each fold, judge on the other.

It is handed matrices, a family and a ``stop`` to ask; it knows nothing about workers, money, files or Ray.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ray.features.matrix import Matrix
from lepton_ray.models.family import Batch, Family, Model
from lepton_ray.table.schema import Problem
from lepton_ray.training.metrics import METRICS

ROUNDED = 1e-3
"""How far probabilities may be from what they should be: float32 is."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows that can be learned from: ``X`` (n, d), ``y`` (n,) class codes or values, ``weight`` (n,) or None."""

    X: Matrix
    y: np.ndarray
    weight: np.ndarray | None

    def batch(self, rows: np.ndarray) -> Batch:
        return Batch(self.X.rows(rows), self.y[rows], None if self.weight is None else self.weight[rows])


@dataclass(frozen=True, slots=True)
class Fold:
    """What one fold said: the (m,) ``rows`` that were judged, the (m, k) or (m,) ``prediction``, the ``score`` in the
    metric's own direction (NaN where it is not defined), and the ``effort`` that the fit settled on."""

    rows: np.ndarray
    prediction: np.ndarray
    score: float
    effort: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the folds said.

    Attributes:
        folds: those that were judged, in order; earlier ones that were handed in come first.
        model: of the first fold that was fitted here, the best that exists until a refit.
        complete: False when the lease ended before all folds were fitted.
    """

    problem: Problem
    folds: tuple[Fold, ...]
    model: Model
    complete: bool

    @property
    def score(self) -> float:
        """In the metric's own direction, averaged over folds by their rows."""
        return mean_score(self.folds)

    @property
    def error(self) -> float:
        """Lower is better: the metric or its distance from 1."""
        return _error(self.problem, self.score)

    @property
    def fold_errors(self) -> tuple[float, ...]:
        return tuple(_error(self.problem, fold.score) for fold in self.folds)

    @property
    def effort(self) -> dict[str, Any]:
        """What a refit on all rows should use."""
        return _joined([fold.effort for fold in self.folds])


def evaluate(
    family: Family,
    config: dict[str, Any],
    data: Labelled,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    problem: Problem,
    stop: Callable[[], bool],
    seed: int,
    threads: int,
    before: Sequence[Fold] = (),
    keep: Callable[[Sequence[Fold]], None] = lambda folds: None,
) -> Evaluation:
    """Fit and judge ``config`` on every split until ``stop`` says so; the first is always finished.

    Args:
        before: what the first splits said already; they are not fitted again, the others are.
        keep: given all folds that there are whenever one has ended and another is to follow.

    Raises:
        ValueError: a prediction is not finite or has the wrong shape.
    """
    metric = METRICS[problem.metric]
    folds, first = list(before), None
    for train, valid in splits[len(before) :]:
        if first is not None and stop():
            break
        judged = data.batch(valid)
        model = family.fit(data.batch(train), judged, config, problem=problem, stop=stop, seed=seed, threads=threads)
        prediction = checked(model.predict(judged.X), len(valid), problem)
        score = metric.score(judged.y, prediction, judged.weight)
        folds.append(Fold(valid, prediction, float(score), dict(model.effort)))
        first = first or model
        if len(folds) < len(splits):
            keep(folds)
    if first is None:
        raise ValueError("there is no fold to judge it on")
    if not any(np.isfinite(fold.score) for fold in folds):
        raise ValueError(f"{problem.metric} is not defined on the rows that were to judge it")
    return Evaluation(problem, tuple(folds), first, complete=len(folds) == len(splits) and not stop())


def mean_score(folds: Sequence[Fold]) -> float:
    """The folds' score, each by its rows, those left out where it is not defined."""
    defined = [(fold.score, len(fold.rows)) for fold in folds if np.isfinite(fold.score)]
    return float(sum(score * size for score, size in defined) / sum(size for _, size in defined))


def checked(prediction: np.ndarray, n_rows: int, problem: Problem) -> np.ndarray:
    """The prediction, if it has the shape the problem asks for and its numbers can be what they are called."""
    expected = (n_rows, len(problem.classes)) if problem.classes else (n_rows,)
    if prediction.shape != expected:
        raise ValueError(f"predicted an array of shape {prediction.shape} where {expected} was due")
    if not np.isfinite(prediction).all():
        raise ValueError("predicted values that are not finite")
    if problem.classes and (
        prediction.min(initial=0.0) < -ROUNDED or np.abs(prediction.sum(axis=1) - 1.0).max(initial=0.0) > ROUNDED
    ):
        raise ValueError("predicted numbers that are no probabilities: below 0, or not 1 together")
    return prediction


def _error(problem: Problem, score: float) -> float:
    return 1.0 - score if METRICS[problem.metric].greater_is_better else score


def _joined(efforts: list[dict[str, Any]]) -> dict[str, Any]:
    """Numbers averaged over folds (integers rounded up: a refit has more rows), the rest from the first fold."""
    joined = dict(efforts[0])
    for key, value in joined.items():
        values = [effort[key] for effort in efforts if key in effort]
        if isinstance(value, int) and not isinstance(value, bool):
            joined[key] = int(np.ceil(np.mean(values)))
        elif isinstance(value, float):
            joined[key] = float(np.mean(values))
    return joined
