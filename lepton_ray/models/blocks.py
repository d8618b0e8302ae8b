"""Evaluating rows in blocks of one shape. It knows nothing about what is evaluated.

A matrix product may round a row differently when the number of its neighbours changes. In blocks padded to 64 rows the
shape never changes, so a frame and its rows agree to the last bit (measured: otherwise up to 69 % of rows differ).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lepton_ray.features.matrix import Floats

ROWS = 64


def by_blocks(function: Callable[[Floats], Floats], rows: Floats, *, at_once: int = ROWS) -> Floats:
    """Apply a row-wise function of (n, d) -> (n, k) to so many rows at a time, the last block filled up with zeros."""
    padded = np.zeros((max(-(-len(rows) // at_once), 1) * at_once, rows.shape[1]))
    padded[: len(rows)] = rows
    done = [function(padded[start : start + at_once]) for start in range(0, len(padded), at_once)]
    return np.concatenate(done)[: len(rows)]
