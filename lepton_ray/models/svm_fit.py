"""The mathematics of support vector machines on given features: losses, the way through penalties, probabilities.

Both losses are the squared ones of LIBLINEAR (Fan et al. 2008, JMLR 9): hinge for classes, one against the rest, and
epsilon-insensitive for values. They are smooth, so L-BFGS minimises them and asks ``stop`` before every evaluation. It
knows nothing about kernels, families or files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from lepton_ray.features.graph import Wire, beside
from lepton_ray.features.matrix import Floats
from lepton_ray.models.linear_fit import lbfgs

Bend = Callable[[Floats], tuple[float, Floats, Floats]]  # scores (n, k) -> loss, its first and second derivatives
Stop = Callable[[], bool]
_STEP, _STEPS, _PATIENCE = 0.6, 8, 2  # between values of log10 C; values at most; without a gain in a row: the end
_MOST = 300  # iterations
_FREE = 1e-6  # the penalty of the bias in that curvature


@dataclass(frozen=True, slots=True)
class Machine:
    """Weights (width, k) and bias (k,) of the least ``loss + |weights|^2 / (2 C)``."""

    weights: Floats
    bias: Floats
    log10_C: float

    def scores(self, F: Floats) -> Floats:
        return np.asarray(F @ self.weights + self.bias, dtype=np.float64)


def hinge(signs: Floats, weight: Floats) -> Bend:
    """Classes: signs (n, k) are 1 where the row is of the class, else -1."""
    weight = weight[:, None]

    def bend(scores: Floats) -> tuple[float, Floats, Floats]:
        short = np.maximum(1.0 - signs * scores, 0.0)
        return float(np.sum(weight * short * short)) / 2.0, -weight * signs * short, weight * (short > 0.0)

    return bend


def insensitive(values: Floats, weight: Floats, *, epsilon: float, cap: float) -> Bend:
    """Values: errors up to ``epsilon`` are free; more than ``cap`` beyond it the loss grows linearly, as MAE does."""
    weight = weight[:, None]

    def bend(scores: Floats) -> tuple[float, Floats, Floats]:
        gap = scores - values[:, None]
        beyond = np.maximum(np.abs(gap) - epsilon, 0.0)
        pull = np.minimum(beyond, cap)
        value = float(np.sum(weight * pull * (beyond - pull / 2.0)))
        return value, weight * np.sign(gap) * pull, weight * ((beyond > 0.0) & (beyond <= cap))

    return bend


def machine_of(F: Floats, bend: Bend, weight: Floats, *, log10_C: float, start: Machine, stop: Stop) -> Machine:
    """Return the machine of the least loss over features (n, width), or the best found when ``stop`` says so.

    It descends from ``start``; the fewer the columns of F have in common, the faster.
    """
    shape, total, penalty = (F.shape[1] + 1, len(start.bias)), float(np.sum(weight)), 10.0**-log10_C

    def objective(flat: Floats) -> tuple[float, Floats]:
        point = flat.reshape(shape)
        value, slope, _ = bend(F @ point[:-1] + point[-1])
        value += penalty * float(np.vdot(point[:-1], point[:-1])) / 2.0
        gradient = np.vstack([F.T @ slope + penalty * point[:-1], slope.sum(axis=0)])
        return value / total, gradient.ravel() / total

    curved = np.append((weight @ (F * F) + penalty) / total, 1.0)
    first = np.vstack([start.weights, start.bias]).ravel()
    found = lbfgs(objective, first, np.repeat(1.0 / curved, shape[1]), most=_MOST, stop=stop).reshape(shape)
    return Machine(found[:-1], found[-1], log10_C)


def on_the_way(
    F: Floats, bend: Bend, weight: Floats, *, start: Machine, error: Callable[[Machine], float], stop: Stop
) -> Machine:
    """Weaken the penalty step by step from that of ``start`` while ``error`` falls; return the best machine."""
    best = last = machine_of(F, bend, weight, log10_C=start.log10_C, start=start, stop=stop)
    least, idle = error(best), 0
    for step in range(1, _STEPS):
        if stop() or idle >= _PATIENCE:
            break
        last = machine_of(F, bend, weight, log10_C=start.log10_C + _STEP * step, start=last, stop=stop)
        now = error(last)
        idle += 1
        if now < least:
            best, least, idle = last, now, 0
    return best


def left_out(F: Floats, machine: Machine, bend: Bend) -> Floats:
    """Return what each row's scores (n, k) would be, had it not been learned from.

    One Newton step away from the minimum, exact for a squared loss while no other row crosses its margin (Rad and
    Maleki 2020, JRSS B 82). It costs about as much as making one matrix of second derivatives, not a fit for each fold.
    """
    scores = machine.scores(F)
    _, slope, curve = bend(scores)
    ones = np.hstack([F, np.ones((len(F), 1))])
    penalty = np.full(ones.shape[1], 10.0**-machine.log10_C)
    penalty[-1] = _FREE
    reach = np.column_stack([_reach(ones, column, penalty) for column in curve.T])
    held = np.minimum(curve * reach, 0.99)
    return np.asarray(scores + reach / (1.0 - held) * slope, dtype=np.float64)


def _reach(rows: Floats, curve: Floats, penalty: Floats) -> Floats:
    """Return x' H^-1 x for each row x, (n,)."""
    counting = curve > 0.0
    some = rows[counting]
    second = some.T @ (some * curve[counting, None])
    second[np.diag_indices_from(second)] += penalty
    lower = linalg.cholesky(second, lower=True)
    reach = np.zeros(len(rows))
    ahead = linalg.solve_triangular(lower, some.T, lower=True, overwrite_b=True)
    reach[counting] = np.einsum("ij,ij->j", ahead, ahead)
    return reach  # of a row beyond its margin it is not needed: its slope is 0


@dataclass(frozen=True, slots=True)
class Odds:
    """Probabilities from scores: softmax(slope * score + offset), which for two classes is Platt's sigmoid."""

    slope: float
    offsets: Floats

    def probabilities(self, scores: Floats) -> Floats:
        """Return (n, classes) from (n, classes), or from (n, 1) for two classes."""
        z = self.slope * _of_each_class(scores) + self.offsets
        z = np.exp(z - z.max(axis=1, keepdims=True))
        return np.asarray(z / z.sum(axis=1, keepdims=True), dtype=np.float64)

    def draw(self, scores: Wire) -> Wire:
        """Draw ``probabilities``."""
        each = beside([scores * 0.0, scores]) if len(self.offsets) == 2 else scores
        return (each * self.slope + self.offsets).apply("Softmax", axis=1)


def odds_of(scores: Floats, y: NDArray[np.int64], weight: Floats) -> Odds:
    """Fit the slope and the offsets to scores of rows that were not learned from, against smoothed classes.

    The smoothing is Platt's, with a row of each class more: scores that part the classes do not give odds without end.
    """
    each = _of_each_class(scores)
    k, total = each.shape[1], float(np.sum(weight))
    counts = np.bincount(y, weight, minlength=k)
    prior = (counts + 1.0) / (total + k)
    doubt = 1.0 / (counts[y] + 2.0)
    truth = doubt[:, None] * prior
    truth[np.arange(len(y)), y] += 1.0 - doubt
    share = weight[:, None] / total

    def objective(point: Floats) -> tuple[float, Floats]:
        z = point[0] * each + point[1:]
        top = z.max(axis=1, keepdims=True)
        odds = np.exp(z - top)
        sums = odds.sum(axis=1, keepdims=True)
        value = float(np.sum(share * truth * (np.log(sums) + top - z)))
        gap = share * (odds / sums - truth)
        return value, np.concatenate([[np.vdot(gap, each)], gap.sum(axis=0)])

    spread = float(np.sum(share * (each - each.mean(axis=1, keepdims=True)) ** 2))
    reach = np.concatenate([[1.0 / max(spread / 4.0, 1e-3)], 1.0 / np.maximum(prior * (1.0 - prior), 1e-3)])
    start = np.concatenate([[0.0], np.log(prior)])
    found = lbfgs(objective, start, reach, most=100, stop=lambda: False)
    if found[0] <= 0.0:  # scores that say nothing about rows left out
        return Odds(0.0, np.log(prior))
    return Odds(float(found[0]), found[1:])


def _of_each_class(scores: Floats) -> Floats:
    return np.hstack([np.zeros_like(scores), scores]) if scores.shape[1] == 1 else scores
