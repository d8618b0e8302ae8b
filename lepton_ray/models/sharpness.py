"""One power for all probabilities: averages of many models are too cautious, boosted ones too bold.

It is temperature scaling (Guo et al. 2017, arXiv:1706.04599) of given shares. It knows nothing about who gives them.
"""

from __future__ import annotations

import numpy as np

from lepton_ray.features.graph import Wire
from lepton_ray.features.matrix import Floats
from lepton_ray.models.blocks import by_blocks

_POWERS = 2.0 ** (np.arange(-8, 21) / 8.0)  # from half to six
_DOUBT = 0.3  # how far from 1 the logarithm of a power is expected, before rows are seen: one standard deviation
_LEAST = 1e-12


def sharpened(shares: Floats, power: float) -> Floats:
    """Return (rows, classes): the shares to this power, each row adding up to 1 and not depending on the others."""
    if power == 1.0:
        return shares

    def to_power(rows: Floats) -> Floats:
        odds = rows**power
        said: Floats = odds / np.maximum(odds.sum(axis=1, keepdims=True), _LEAST**power)
        return said

    return by_blocks(to_power, shares)


def drawn_sharpened(shares: Wire, power: float) -> Wire:
    """Draw ``sharpened``."""
    if power == 1.0:
        return shares
    odds = shares.apply("Pow", power)
    return odds / odds.sum().apply("Max", _LEAST**power)


def best_power(shares: Floats, truth: Floats, weight: Floats) -> float:
    """Return the power with the least log_loss on rows that were not learned from; few rows hardly move it from 1.

    Args:
        shares: (rows, classes).
        truth: (rows, classes) of 0 and 1; a row of zeros, whose class is not among them, does not count.
        weight: (rows,).
    """
    logs = np.log(np.maximum(shares, _LEAST))
    known = weight * truth.sum(axis=1)
    hit = np.sum(logs * truth, axis=1)
    losses = [
        float(np.sum(known * (np.log(np.exp(power * logs).sum(axis=1)) - power * hit)))
        + np.log(power) ** 2 / (2.0 * _DOUBT**2)
        for power in _POWERS
    ]
    return float(_POWERS[int(np.argmin(losses))])
