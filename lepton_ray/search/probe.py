"""How fast a machine is: a fixed piece of arithmetic on one core, about a quarter of a second. Knows no models."""

from collections.abc import Callable

import numpy as np

ROUNDS = 7
_ROWS, _BINS = 120_000, 64


def probe(clock: Callable[[], float]) -> float:
    """Seconds by ``clock`` of a round of what fitting trees and linear models does: count, sort, multiply, interpret.

    The median of the rounds after the first, so that a moment's noise does not count, and a busy machine does. No
    product goes to BLAS, which may spread over several cores.
    """
    rng = np.random.default_rng(0)
    bins, values = rng.integers(0, _BINS, _ROWS), rng.random(_ROWS)
    cells = rng.random((_ROWS // 16, 16))
    taken = []
    for _ in range(ROUNDS + 1):
        began = clock()
        _round(bins, values, cells)
        taken.append(clock() - began)
    return float(np.median(taken[1:]))


def _round(bins: np.ndarray, values: np.ndarray, cells: np.ndarray) -> float:
    total = 0.0
    for _ in range(8):
        total += float(np.bincount(bins, values, _BINS)[0])
    order = np.argsort(values, kind="stable")
    total += float(values[order[:1000]].sum())
    for column in range(cells.shape[1]):
        total += float((cells * cells[:, column : column + 1]).sum())
    for number in range(30_000):
        total += number * 1e-9
    return total
