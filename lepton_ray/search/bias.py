"""An honest score where no rows can be held out: bootstrap bias-corrected cross-validation.

The winner's own cross-validated score is optimistic, since it won on those rows. Tsamardinos, Greasidou and
Borboudakis (2018), "Bootstrapping the out-of-sample predictions for efficient and accurate cross-validation",
Machine Learning 107: choose the winner on a bootstrap sample of rows, score it on the rows outside, repeat. The
winner may be a blend, and with a repeated cross-validation the score is the mean over its repeats. It knows nothing
about families or how the predictions were made.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from lepton_ray.training.metrics import Metric

REPEATS = 200
MOST_SCORES = 6_000
"""Scores taken in all: about a second. Many configurations are compared in fewer repeats, but in no fewer than 30."""
FEWEST_REPEATS = 30
HANDFUL = 5
"""Draws that a score needs at least."""
SHOWN_ONE_IN = 3
"""As many configurations as the search promotes."""
RANKINGS = ("roc_auc", "average_precision")
"""They compare rows with rows, so they are taken fold by fold: each fold's model is off by its own base rate, and a
constant, compared over folds, would look worse than chance."""


@dataclass(frozen=True, slots=True)
class CorrectedScore:
    """The mean over repeats, in the metric's direction, and its 2.5 % and 97.5 % points."""

    score: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Judged:
    """The rows that were predicted out of fold: (n,) truth, and (n,) weight and fold where there are."""

    y: np.ndarray
    weight: np.ndarray | None = None
    folds: np.ndarray | None = None

    def score(self, metric: Metric, prediction: np.ndarray, rows: np.ndarray) -> float:
        """The metric on some of the rows; NaN where they hold one class only and it is undefined."""
        if self.folds is None or metric.name not in RANKINGS:
            return self._plain(metric, prediction, rows)
        parts = [rows[self.folds[rows] == fold] for fold in np.unique(self.folds)]
        found = [(self._plain(metric, prediction, part), len(part)) for part in parts if len(part)]
        defined = [(score, size) for score, size in found if np.isfinite(score)]
        return sum(score * size for score, size in defined) / sum(size for _, size in defined) if defined else np.nan

    def _plain(self, metric: Metric, prediction: np.ndarray, rows: np.ndarray) -> float:
        return metric.score(self.y[rows], prediction[rows], None if self.weight is None else self.weight[rows])


Rule = Callable[[Sequence[np.ndarray], np.ndarray], Sequence[tuple[int, float]]]
"""Predictions out of fold and the rows to choose by, to the (index, share) of each that is blended."""


def corrected_score(
    metric: Metric,
    judged: Judged,
    predictions: Sequence[np.ndarray],
    *,
    rule: Rule,
    rng: np.random.Generator,
    late: Callable[[], bool] = lambda: False,
) -> CorrectedScore | None:
    """Score what ``rule`` blends out of these on rows it did not choose by.

    Only the best third of the first repeat, on the rows that are drawn, is shown to the rule: the search promoted by
    the same rows, so its promotions are part of what is repeated here.

    Args:
        predictions: one out-of-fold array per configuration, each (repeats, n) or (repeats, n, k), all over the same
            rows; a configuration that was not promoted has one repeat.
        late: asked before each draw; once it says so, the draws so far are the answer.

    Returns:
        None where no draw of rows defines the metric, or fewer than a handful could be made in time.
    """
    sign = -1.0 if metric.greater_is_better else 1.0
    n_rows, scores = len(judged.y), []
    means = [every.mean(axis=0) for every in predictions]
    repeats = max(len(every) for every in predictions)
    for _ in range(min(REPEATS, max(FEWEST_REPEATS, MOST_SCORES // len(predictions)))):
        if late():
            break
        chosen = rng.integers(0, n_rows, n_rows)
        outside = np.setdiff1d(np.arange(n_rows), chosen)
        errors = np.array([judged.score(metric, every[0], chosen) * sign for every in predictions])
        if not len(outside) or not np.isfinite(errors).any():
            continue
        shown = np.argsort(errors, kind="stable")[: max(1, len(errors) // SHOWN_ONE_IN)]
        picked = [(int(shown[at]), share) for at, share in rule([means[at] for at in shown], chosen)]
        found = [judged.score(metric, _mixed(predictions, picked, number), outside) for number in range(repeats)]
        if np.isfinite(found).all():
            scores.append(float(np.mean(found)))
    if not scores or (len(scores) < HANDFUL and late()):
        return None
    low, high = np.quantile(scores, [0.025, 0.975])
    return CorrectedScore(float(np.mean(scores)), float(low), float(high))


def _mixed(predictions: Sequence[np.ndarray], picked: Sequence[tuple[int, float]], repeat: int) -> np.ndarray:
    return np.asarray(sum(share * predictions[at][min(repeat, len(predictions[at]) - 1)] for at, share in picked))
