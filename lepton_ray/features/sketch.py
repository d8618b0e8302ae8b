"""Quantiles that merge exactly: value counts on a lattice that coarsens. It knows nothing about tables.

Every float64 maps to an integer key that keeps its order. Keys are counted; when more than ``CAPACITY`` of them are
there, the lowest bit of all keys is dropped, and again, until they fit. A union never fits before its parts do, so the
final number of dropped bits, the keys and the counts depend only on the multiset of values: any partition of the rows,
merged in any order, gives the same sketch. Up to ``CAPACITY`` distinct values the quantiles are exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Sketch = dict[str, Any]

CAPACITY = 1 << 14
_LOW_BITS = np.int64(0x7FFF_FFFF_FFFF_FFFF)


def sketch(values: NDArray[np.float64]) -> Sketch:
    """Count the finite values; the others are counted as missing."""
    finite = values[np.isfinite(values)]
    bits = (finite + 0.0).view(np.int64)
    keys, counts = np.unique(np.where(bits < 0, bits ^ _LOW_BITS, bits), return_counts=True)
    return _fitted({"dropped": 0, "keys": keys, "counts": counts, "missing": int(len(values) - len(finite))})


def merge_sketches(a: Sketch, b: Sketch) -> Sketch:
    dropped = max(a["dropped"], b["dropped"])
    keys = np.concatenate([side["keys"] >> (dropped - side["dropped"]) for side in (a, b)])
    counts = np.concatenate([a["counts"], b["counts"]])
    keys, counts = _summed(keys, counts)
    return _fitted({"dropped": dropped, "keys": keys, "counts": counts, "missing": a["missing"] + b["missing"]})


def quantiles(s: Sketch, at: tuple[float, ...]) -> list[float]:
    """Return the lower quantile at each of ``at`` (0 to 1), or NaN when nothing was counted."""
    if not len(s["keys"]):
        return [float("nan")] * len(at)
    below = np.cumsum(s["counts"])
    ranks = np.ceil(np.asarray(at) * below[-1])
    picked = s["keys"][np.searchsorted(below, np.maximum(ranks, 1))]
    return [float(value) for value in _values(picked, s["dropped"])]


def _fitted(s: Sketch) -> Sketch:
    dropped, keys, counts = s["dropped"], s["keys"], s["counts"]
    while len(keys) > CAPACITY:
        dropped += 1
        keys, counts = _summed(keys >> 1, counts)
    return {**s, "dropped": dropped, "keys": keys, "counts": counts}


def _summed(keys: NDArray[np.int64], counts: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    unique, place = np.unique(keys, return_inverse=True)
    total = np.zeros(len(unique), dtype=np.int64)
    np.add.at(total, place, counts)
    return unique, total


def _values(keys: NDArray[np.int64], dropped: int) -> NDArray[np.float64]:
    middle = (keys << dropped) + ((1 << dropped) >> 1)
    bits: NDArray[np.int64] = np.where(middle < 0, middle ^ _LOW_BITS, middle)
    return bits.view(np.float64)
