"""The arithmetic behind the pictures: curves, bins and fronts. It knows nothing about drawing them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.report.predictions import Floats


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows with similar predictions: what was predicted, what was seen, and the 95 % range of what was seen."""

    predicted: float
    observed: float
    low: float
    high: float
    rows: int


def wilson(hits: float, rows: int, z: float = 1.96) -> tuple[float, float]:
    """Bound a share by Wilson's score interval (1927), which stays inside 0 and 1."""
    share, shrink = hits / rows, 1 + z * z / rows
    middle = (share + z * z / (2 * rows)) / shrink
    reach = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows)) / shrink
    return max(0.0, middle - reach), min(1.0, middle + reach)


def ranked(hit: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """Count hits and misses at or above each distinct score, the highest score first; both counts start at 0."""
    order = np.argsort(-score, kind="stable")
    hits, misses = np.cumsum(hit[order]), np.cumsum(~hit[order])
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    return np.concatenate(([0.0], hits[last])), np.concatenate(([0.0], misses[last]))


def roc(hit: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """False-alarm rate and hit rate along every threshold; both classes must be there."""
    hits, misses = ranked(hit, score)
    return misses / misses[-1], hits / hits[-1]


def precision_recall(hit: NDArray[np.bool_], score: Floats) -> tuple[Floats, Floats]:
    """Recall and precision along every threshold; a hit must be there."""
    hits, misses = ranked(hit, score)
    return hits[1:] / hits[-1], hits[1:] / (hits[1:] + misses[1:])


def reliability(hit: NDArray[np.bool_], score: Floats, bins: int = 10) -> list[Bin]:
    """Group rows into bins of about equal size by their prediction; equal predictions share a bin."""
    order = np.argsort(score, kind="stable")
    score, seen = score[order], hit[order]
    edges = np.searchsorted(score, score[np.arange(1, bins) * len(score) // bins])
    found = []
    for start, end in zip([0, *edges], [*edges, len(score)], strict=True):
        if end > start:
            low, high = wilson(float(seen[start:end].sum()), int(end - start))
            found.append(
                Bin(float(score[start:end].mean()), float(seen[start:end].mean()), low, high, int(end - start))
            )
    return found


def calibration_error(bins: Sequence[Bin]) -> float:
    """Average distance between predicted and seen, each bin weighing its rows."""
    return sum(b.rows * abs(b.predicted - b.observed) for b in bins) / sum(b.rows for b in bins)


def confusion(y: NDArray[Any], predicted: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Rows of the result are true classes, columns are predicted ones."""
    return np.bincount(y.astype(np.int64) * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def pareto(costs: Sequence[float], scores: Sequence[float], greater_is_better: bool) -> list[int]:
    """Find the points that no other point beats at the same or lower cost, the cheapest first."""
    sign = -1.0 if greater_is_better else 1.0
    front: list[int] = []
    best = math.inf
    for i in sorted(range(len(costs)), key=lambda i: (costs[i], sign * scores[i])):
        if sign * scores[i] < best:
            best = sign * scores[i]
            front.append(i)
    return front


def thinned(x: Floats, y: Floats, points: int = 240) -> tuple[Floats, Floats]:
    """Keep so many points of a line, both ends included, evenly along its length in the unit square."""
    if len(x) <= points:
        return x, y
    along = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))))
    keep = np.unique(np.append(np.searchsorted(along, np.linspace(0, along[-1], points)), [0, len(x) - 1]))
    return x[keep], y[keep]
