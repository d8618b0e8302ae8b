"""A linear support vector machine by mini-batches: Pegasos with averaging. It knows no family, file or table.

Shalev-Shwartz, Singer, Srebro and Cotter (2011, Mathematical Programming 127): steps of ``1 / (lambda t)`` along the
subgradient of the hinge loss of a few rows, ``lambda`` being ``1 / (C n)``; the average of the last half of all steps
is the machine (Rakhlin, Shamir and Sridharan 2012, arXiv:1109.5647). Columns are scaled to mean 0 and spread 1 first,
which the weights undo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.matrix import Floats

_EASING = 10.0  # steps by which the first ones are held back: they would leap by lambda's inverse


@dataclass(frozen=True, slots=True)
class Hinge:
    """Weights (k, width) and offsets (k,): one machine for two classes, else one for each against the rest."""

    weights: Floats
    offsets: Floats

    def scores(self, X: Floats) -> Floats:
        """Return (n, k)."""
        return np.asarray(X @ self.weights.T + self.offsets, dtype=np.float64)

    def codes(self, X: Floats) -> NDArray[np.int64]:
        found = self.scores(X)
        return (found[:, 0] > 0).astype(np.int64) if found.shape[1] == 1 else found.argmax(axis=1)


def fit_hinge(X: Floats, codes: NDArray[np.int64], *, C: float, epochs: int, batch_size: int, seed: int) -> Hinge:
    """Return the machine after so many passes over the rows, in a new order each.

    Args:
        X: (n, width). codes: (n,) of two classes or more, from 0.
    """
    n, k = len(X), int(codes.max()) + 1
    signs = np.where(codes[:, None] == (np.arange(k) if k > 2 else 1), 1.0, -1.0)
    centre, spread = X.mean(axis=0), X.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)
    rows = np.hstack([(X - centre) / spread, np.ones((n, 1))])
    size, penalty = min(batch_size, n), 1.0 / (C * n)
    weights, average = np.zeros((signs.shape[1], rows.shape[1])), np.zeros((signs.shape[1], rows.shape[1]))
    steps, step, kept = epochs * max(n // size, 1), 0, 0
    rng = np.random.default_rng(seed)
    shrunk = np.append(np.full(X.shape[1], penalty), 0.0)  # the offset is free
    for _ in range(epochs):
        order = rng.permutation(n)
        for start in range(0, n - size + 1, size):
            step += 1
            picked = order[start : start + size]
            short = signs[picked] * (rows[picked] @ weights.T) < 1.0
            pull = (short * signs[picked]).T @ rows[picked] / size
            weights += (pull - shrunk * weights) / (penalty * step + _EASING / np.sqrt(steps))
            if step > steps // 2:
                kept += 1
                average += (weights - average) / kept
    inner = average[:, :-1] / spread
    return Hinge(inner, average[:, -1] - inner @ centre)
