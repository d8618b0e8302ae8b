"""An honest score where no rows can be held out: bootstrap bias-corrected cross-validation.

The winner's own cross-validated score is optimistic, since it won on those rows. Tsamardinos, Greasidou and
Borboudakis (2018), "Bootstrapping the out-of-sample predictions for efficient and accurate cross-validation",
Machine Learning 107: choose the winner on a bootstrap sample of rows, score it on the rows outside, repeat.
It knows nothing about families or how the predictions were made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lepton_ray.training.metrics import Metric

REPEATS = 200


@dataclass(frozen=True, slots=True)
class CorrectedScore:
    """The mean over repeats, in the metric's direction, and its 2.5 % and 97.5 % points."""

    score: float
    low: float
    high: float


def corrected_score(
    metric: Metric,
    y: np.ndarray,
    predictions: Sequence[np.ndarray],
    *,
    rng: np.random.Generator,
    weight: np.ndarray | None = None,
) -> CorrectedScore | None:
    """Score the rule "take the best of these" on rows it did not choose by.

    Args:
        y: (n,) truth.
        predictions: one out-of-fold array per configuration, each (n,) or (n, k), all over the same rows.

    Returns:
        None where no draw of rows defines the metric.
    """
    sign = -1.0 if metric.greater_is_better else 1.0
    scores = []
    for _ in range(REPEATS):
        chosen = rng.integers(0, len(y), len(y))
        outside = np.setdiff1d(np.arange(len(y)), chosen)
        errors = [_score(metric, y, prediction, weight, chosen) * sign for prediction in predictions]
        if not len(outside) or not np.isfinite(errors).any():
            continue
        score = _score(metric, y, predictions[int(np.nanargmin(errors))], weight, outside)
        if np.isfinite(score):
            scores.append(score)
    if not scores:
        return None
    low, high = np.quantile(scores, [0.025, 0.975])
    return CorrectedScore(float(np.mean(scores)), float(low), float(high))


def _score(metric: Metric, y: np.ndarray, prediction: np.ndarray, weight: np.ndarray | None, rows: np.ndarray) -> float:
    """NaN where the rows hold one class only and the metric is undefined."""
    return float(metric.score(y[rows], prediction[rows], None if weight is None else weight[rows]))
