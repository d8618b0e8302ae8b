"""From which probability to act: the threshold of a yes-or-no decision that earns most by what its owner says it earns.

One rule for everybody who asks: the bundle that predicts, the report that counts. It knows no model and no page, and
not which rows it is handed: they must not be those that measure what the decision earns.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.bundle.bundle import DEFAULT_THRESHOLD
from lepton_ray.report.predictions import Floats
from lepton_ray.report.value import Payoff, Value

FEWEST_ROWS = 10
"""Fewer rows decide, and measure, nothing."""
NEVER = 2.0
"""A threshold that no probability reaches: never act. A number that JSON can write, which infinity is not."""


def deciding_threshold(value: Value | None, y: NDArray[Any], p: Floats) -> float:
    """From which probability the positive class is to be predicted.

    Args:
        value: what decisions are worth; None, or the value of a number, leaves the threshold where it is.
        y: (n,) class codes, 1 is positive; p: (n,) probabilities of it, out of fold.
    """
    if value is None or value.payoff is None or len(p) < FEWEST_ROWS:
        return DEFAULT_THRESHOLD
    return best_threshold(y, p, value)


def best_threshold(y: NDArray[Any], p: Floats, value: Value) -> float:
    """Choose the threshold that earns most: act where ``p >= threshold``. 0 is always, NEVER is never.

    Between two neighbouring probabilities the middle is taken; of equal earnings, the highest threshold.
    """
    payoff = _payoff(value)
    order = np.argsort(-p, kind="stable")
    ranked = p[order]
    acting = np.where(
        y[order] == 1,
        float(payoff.true_positive) - float(payoff.false_negative),
        float(payoff.false_positive) - float(payoff.true_negative),
    )
    ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True)) if len(p) else np.zeros(0, np.intp)
    earned = np.concatenate(([0.0], np.cumsum(acting)[ends]))
    best = int(np.argmax(np.round(earned, 9)))
    if best == 0:
        return NEVER
    if best == len(ends):
        return 0.0
    return float((ranked[ends[best - 1]] + ranked[ends[best]]) / 2)


def earnings(y: NDArray[Any], act: NDArray[np.bool_] | np.bool_, value: Value) -> Floats:
    """Dollars earned by each decision."""
    payoff = _payoff(value)
    acted = np.where(y == 1, float(payoff.true_positive), float(payoff.false_positive))
    passed = np.where(y == 1, float(payoff.false_negative), float(payoff.true_negative))
    return np.where(act, acted, passed)


def _payoff(value: Value) -> Payoff:
    if value.payoff is None:
        raise TypeError("this value prices a number, not a decision")
    return value.payoff
