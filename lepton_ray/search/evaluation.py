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


@dataclass(frozen=True, slots=True)
class Labelled:
    """Rows that can be learned from: ``X`` (n, d), ``y`` (n,) class codes or values, ``weight`` (n,) or None."""

    X: Matrix
    y: np.ndarray
    weight: np.ndarray | None

    def batch(self, rows: np.ndarray) -> Batch:
        return Batch(self.X.rows(rows), self.y[rows], None if self.weight is None else self.weight[rows])


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What the folds said.

    Attributes:
        error: lower is better: the metric or its distance from 1, averaged over folds by their rows.
        score: the same in the metric's own direction.
        rows: (m,) validation rows in the order of ``predictions``, (m, k) or (m,).
        effort: what a refit on all rows should use.
        model: the first fold's model, the best that exists until a refit.
        folds: how many were judged.
        complete: False when the lease ended before all folds were fitted.
    """

    error: float
    score: float
    rows: np.ndarray
    predictions: np.ndarray
    effort: dict[str, Any]
    model: Model
    folds: int
    complete: bool


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
) -> Evaluation:
    """Fit and judge ``config`` on every split until ``stop`` says so; the first is always finished.

    Raises:
        ValueError: a prediction is not finite or has the wrong shape.
    """
    metric = METRICS[problem.metric]
    rows: list[np.ndarray] = []
    predictions: list[np.ndarray] = []
    scores: list[float] = []
    efforts: list[dict[str, Any]] = []
    models: list[Model] = []
    for train, valid in splits:
        if models and stop():
            break
        judged = data.batch(valid)
        model = family.fit(data.batch(train), judged, config, problem=problem, stop=stop, seed=seed, threads=threads)
        prediction = checked(model.predict(judged.X), len(valid), problem)
        rows.append(valid)
        predictions.append(prediction)
        scores.append(metric.score(judged.y, prediction, judged.weight))
        efforts.append(dict(model.effort))
        models.append(model)
    defined = np.isfinite(scores)
    if not defined.any():
        raise ValueError(f"{problem.metric} is not defined on the rows that were to judge it")
    score = float(np.average(np.asarray(scores)[defined], weights=np.array([len(part) for part in rows])[defined]))
    return Evaluation(
        error=1.0 - score if metric.greater_is_better else score,
        score=score,
        rows=np.concatenate(rows),
        predictions=np.concatenate(predictions),
        effort=_joined(efforts),
        model=models[0],
        folds=len(models),
        complete=len(models) == len(splits) and not stop(),
    )


def checked(prediction: np.ndarray, n_rows: int, problem: Problem) -> np.ndarray:
    """The prediction, if it has the shape the problem asks for and is finite."""
    expected = (n_rows, len(problem.classes)) if problem.classes else (n_rows,)
    if prediction.shape != expected:
        raise ValueError(f"predicted an array of shape {prediction.shape} where {expected} was due")
    if not np.isfinite(prediction).all():
        raise ValueError("predicted values that are not finite")
    return prediction


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
