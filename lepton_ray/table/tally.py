"""Tallies: how often each distinct value occurs, in bounded memory and free of order. Knows no columns and no plans.

A tally keeps the ``SIZE`` values with the smallest hashes, each with its exact count. A value among the smallest of the
whole is among the smallest of every part, so merging loses nothing: up to SIZE distinct values the tally is the exact
table of counts, beyond it is a fair sample of the distinct values (k minimum values, Bar-Yossef et al. 2002).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt

from lepton_ray.table.hashing import Hashes

SIZE = 1024
TEXT_LENGTH = 200
"""Longer values are cut for keeping; their hashes are not."""

ROWS_SIZE = 2**20
EXTREMES = 3


@dataclass(frozen=True, slots=True)
class Tally:
    """Entries are (hash, text, count), in the order of their hashes; ``overflowed``: there were more than SIZE."""

    entries: tuple[tuple[int, str, int], ...] = ()
    overflowed: bool = False

    @property
    def exact(self) -> bool:
        """Whether every distinct value is here."""
        return not self.overflowed

    @property
    def distinct(self) -> int:
        """How many distinct values there are; an estimate (about 3 % off) if not exact."""
        if self.exact:
            return len(self.entries)
        return round((SIZE - 1) * 2.0**64 / max(self.entries[-1][0], 1))

    @property
    def mean_count(self) -> float:
        """How often a distinct value occurs on average; of the sample, if not exact."""
        return sum(count for _, _, count in self.entries) / max(len(self.entries), 1)

    def counts(self) -> dict[str, int]:
        """Counts by value, most frequent first."""
        return {text: count for _, text, count in sorted(self.entries, key=lambda entry: (-entry[2], entry[1]))}

    def add(self, other: "Tally") -> "Tally":
        """The tally of both."""
        merged = {entry[0]: entry for entry in self.entries}
        for key, text, count in other.entries:
            known = merged.get(key)
            merged[key] = (key, text, count + known[2]) if known else (key, text, count)
        kept = tuple(merged[key] for key in sorted(merged)[:SIZE])
        return Tally(kept, self.overflowed or other.overflowed or len(merged) > SIZE)


def tally(hashes: Hashes, counts: npt.NDArray[np.int64], texts: Callable[[npt.NDArray[np.int64]], list[str]]) -> Tally:
    """Count values that are given by hash and count; equal hashes may come twice. ``texts`` names those kept."""
    keys, first, places = np.unique(hashes, return_index=True, return_inverse=True)
    totals = np.zeros(len(keys), dtype=np.int64)
    np.add.at(totals, places, counts)
    names = [text[:TEXT_LENGTH] for text in texts(first[:SIZE])]
    return Tally(tuple(zip(keys[:SIZE].tolist(), names, totals[:SIZE].tolist(), strict=True)), len(keys) > SIZE)


@dataclass(frozen=True, slots=True, eq=False)
class RowTally:
    """Which row hashes occur, and how often: exact for up to ROWS_SIZE different rows, else a fair sample."""

    hashes: Any
    counts: Any
    overflowed: bool

    @classmethod
    def of(cls, hashes: Hashes) -> "RowTally":
        """Count the rows of one block."""
        keys, counts = np.unique(hashes, return_counts=True)
        return cls(keys[:ROWS_SIZE], counts[:ROWS_SIZE].astype(np.int64), len(keys) > ROWS_SIZE)

    def add(self, other: "RowTally") -> "RowTally":
        """The tally of both."""
        keys, places = np.unique(np.concatenate([self.hashes, other.hashes]), return_inverse=True)
        totals = np.zeros(len(keys), dtype=np.int64)
        np.add.at(totals, places, np.concatenate([self.counts, other.counts]))
        over = self.overflowed or other.overflowed or len(keys) > ROWS_SIZE
        return RowTally(keys[:ROWS_SIZE], totals[:ROWS_SIZE], over)

    def repeated(self, rows: int) -> int:
        """How many of the ``rows`` repeat an earlier one; from the sample, if not all different rows are here."""
        seen = int(self.counts.sum())
        extra = seen - len(self.counts)
        return extra if not self.overflowed else round(rows * extra / seen)


Extremes = tuple[tuple[float, int], ...]
"""Some smallest (or largest) distinct numbers with exact counts, the most extreme first."""


def extremes(numbers: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], sign: int) -> Extremes:
    """The smallest numbers (sign 1) or the largest (sign -1)."""
    found = np.unique(numbers[_few(numbers * sign)])[:: 1 if sign > 0 else -1]
    return tuple((float(number), int(counts[numbers == number].sum())) for number in found)


def _few(signed: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Places of the values that are no larger than the EXTREMES-th smallest distinct one."""
    bound = -np.inf
    for _ in range(EXTREMES):
        above = signed[signed > bound]
        if not len(above):
            break
        bound = above.min()
    return np.flatnonzero(signed <= bound)


def merge_extremes(a: Extremes, b: Extremes, sign: int) -> Extremes:
    """The extremes of both."""
    counts = reduce(lambda known, pair: {**known, pair[0]: known.get(pair[0], 0) + pair[1]}, b, dict(a))
    return tuple(sorted(counts.items(), key=lambda pair: pair[0] * sign)[:EXTREMES])
