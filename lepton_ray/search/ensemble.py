"""Which models to blend, and in what shares: greedy selection over out-of-fold predictions.

Caruana, Niculescu-Mizil, Crew and Ksikes (2004), "Ensemble selection from libraries of models", ICML: add, with
replacement, the model that lowers the blend's error most. Here a member also has a price: the seconds of its refit
and of one row at the endpoint, which must fit what is left of each. It knows nothing about families, files or clocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ray.search.bias import Judged
from lepton_ray.training.metrics import Metric

MOST_MEMBERS = 8
MOST_STEPS = 25
PATIENCE = 5
"""Additions without a gain that end the selection; what they added is forgotten."""
MOST_CANDIDATES = 30
"""Of the lowest errors; a selection that looks at more costs time and finds chance."""
MOST_ROWS = 20_000
"""That a selection compares on."""
BOOTSTRAPS, SURE_ENOUGH = 60, 0.8
"""A blend must beat the best single model on this share of bootstrap samples of the rows."""
LEAST_GAIN = 1e-9
"""Of the error, relative: less is rounding."""
COLDEST, HOTTEST = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class Candidate:
    """A model that could be a member.

    Attributes:
        predictions: out of fold, (n,) or (n, k), over the same rows for every candidate.
        refit_seconds: of fitting it again on all rows.
        row_seconds: of one prediction, its features included, which members that share them count twice.
    """

    id: str
    predictions: np.ndarray
    refit_seconds: float = 0.0
    row_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Room:
    """What the members may take together; the best single model whose rows are fast enough is never refused."""

    refit_seconds: float = float("inf")
    row_seconds: float = float("inf")
    members: int = MOST_MEMBERS

    def holds(self, members: Sequence[Candidate]) -> bool:
        return (
            len(members) <= self.members
            and sum(one.refit_seconds for one in members) <= self.refit_seconds
            and sum(one.row_seconds for one in members) <= self.row_seconds
        )


@dataclass(frozen=True, slots=True)
class Blending:
    """What was chosen.

    Attributes:
        shares: (id, share) of each member, largest first; they sum to 1.
        single: id of the best single model, the first that was chosen.
        error: of the blend on the rows it was chosen on; ``single_error`` of the best single model there.
        sure: on which share of bootstrap samples the blend was the better one.
    """

    shares: tuple[tuple[str, float], ...]
    single: str
    error: float
    single_error: float
    sure: float = 1.0


def error_of(metric: Metric, judged: Judged, prediction: np.ndarray, rows: np.ndarray) -> float:
    """Lower is better; infinite where the rows do not define the metric."""
    score = judged.score(metric, prediction, rows)
    if not np.isfinite(score):
        return np.inf
    return 1.0 - score if metric.greater_is_better else score


def greedy(
    metric: Metric, judged: Judged, candidates: Sequence[Candidate], *, rows: np.ndarray, room: Room
) -> Blending:
    """Select on ``rows``; the first member is the best single model that is fast enough, else the fastest.

    Args:
        candidates: at least one.
    """
    fast = [one for one in candidates if one.row_seconds <= room.row_seconds]
    candidates = fast or [min(candidates, key=lambda one: one.row_seconds)]
    errors = [error_of(metric, judged, one.predictions, rows) for one in candidates]
    order = sorted(range(len(candidates)), key=lambda at: (errors[at], candidates[at].id))[:MOST_CANDIDATES]
    first = order[0]
    taken, best_error, best_length = [first], errors[first], 1
    total = np.array(candidates[first].predictions, dtype=np.float64)
    while len(taken) < MOST_STEPS and len(taken) - best_length < PATIENCE:
        found: tuple[float, int] | None = None
        for at in order:
            if at not in taken and not room.holds([candidates[one] for one in {*taken, at}]):
                continue
            error = error_of(metric, judged, (total + candidates[at].predictions) / (len(taken) + 1), rows)
            if found is None or error < found[0]:
                found = error, at
        if found is None:
            break
        taken.append(found[1])
        total += candidates[found[1]].predictions
        if found[0] < best_error * (1.0 - LEAST_GAIN):
            best_error, best_length = found[0], len(taken)
    kept = taken[:best_length]
    shares = {at: kept.count(at) / best_length for at in dict.fromkeys(kept)}
    ranked = sorted(shares, key=lambda at: (-shares[at], order.index(at)))
    members = tuple((candidates[at].id, shares[at]) for at in ranked)
    return Blending(members, candidates[first].id, best_error, errors[first])


def choose(
    metric: Metric, judged: Judged, candidates: Sequence[Candidate], *, room: Room, rng: np.random.Generator
) -> Blending:
    """The blend that is worth its members: the best single model unless the greedy one is surely better."""
    n_rows = len(judged.y)
    rows = np.arange(n_rows)
    if n_rows > MOST_ROWS:
        rows = np.sort(rng.choice(n_rows, MOST_ROWS, replace=False))
    found = greedy(metric, judged, candidates, rows=rows, room=room)
    if len(found.shares) == 1:
        return found
    by_id = {one.id: one for one in candidates}
    blend = blended(found.shares, {name: by_id[name].predictions for name, _ in found.shares})
    single = by_id[found.single]
    wins = 0
    for _ in range(BOOTSTRAPS):
        drawn = rows[rng.integers(0, len(rows), len(rows))]
        wins += error_of(metric, judged, blend, drawn) < error_of(metric, judged, single.predictions, drawn)
    sure = wins / BOOTSTRAPS
    if sure < SURE_ENOUGH:
        return Blending(((single.id, 1.0),), single.id, found.single_error, found.single_error)
    return Blending(found.shares, found.single, found.error, found.single_error, sure)


def blended(shares: Sequence[tuple[str, float]], predictions: Mapping[str, np.ndarray]) -> np.ndarray:
    """The weighted mean of the members' predictions."""
    return np.asarray(sum(share * predictions[name] for name, share in shares))


def temperature_of(y: np.ndarray, probabilities: np.ndarray, weight: np.ndarray | None) -> float:
    """The temperature with the least log loss on these out-of-fold rows (Guo et al. 2017, arXiv:1706.04599).

    Args:
        y: (n,) class codes; probabilities: (n, k).
    """
    from scipy.optimize import minimize_scalar  # a quarter of a second, which the start of a run can do without

    logs = np.log(np.clip(probabilities, 1e-15, 1.0))
    weights = np.ones(len(y)) if weight is None else weight

    def loss(log_temperature: Any) -> float:
        scaled = logs / np.exp(log_temperature)
        top = scaled.max(axis=1)
        normaliser = top + np.log(np.exp(scaled - top[:, None]).sum(axis=1))
        return float(np.sum(weights * (normaliser - scaled[np.arange(len(y)), y])) / np.sum(weights))

    found = minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(HOTTEST)), method="bounded")
    return float(np.exp(found.x)) if loss(found.x) < loss(0.0) else 1.0
