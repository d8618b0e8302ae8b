"""Exact sums of doubles, so that the order of blocks and rows cannot change a bit. Knows no tables.

A sum is one Python integer, in units of 2**-1200: every finite double is a whole number of them.
"""

from fractions import Fraction

import numpy as np
import numpy.typing as npt

_BITS = 1200
MAX_ROWS = 2**25
"""Up to so many rows at a time are summed exactly: 27-bit halves times counts stay below 2**53."""


def exact_sum(numbers: npt.NDArray[np.float64], counts: npt.NDArray[np.int64]) -> int:
    """The sum of finite numbers times their counts, exactly."""
    if not len(numbers):
        return 0
    mantissa, exponent = np.frexp(numbers)
    whole = (mantissa * 2.0**53).astype(np.int64)
    bucket = exponent.astype(np.int64) - 53 + _BITS
    first = int(bucket.min())
    high = np.bincount(bucket - first, weights=(whole >> 27) * counts)
    low = np.bincount(bucket - first, weights=(whole & (2**27 - 1)) * counts)
    return sum(
        ((int(high[i]) << 27) + int(low[i])) << (i + first) for i in np.flatnonzero((high != 0) | (low != 0)).tolist()
    )


def as_fraction(total: int) -> Fraction:
    """An exact sum as a fraction."""
    return Fraction(total, 1 << _BITS)
