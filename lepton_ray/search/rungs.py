"""How much of the data a trial is judged on. It knows nothing about families, money or time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

N_FOLDS = 5
REPEATS = 3
"""Of a repeated cross-validation, each with other folds (Kohavi 1995; Bouckaert and Frank 2004 on why repeats)."""
REPEATED_BELOW = 2_000
"""Rows under which every trial is judged on all folds and the better ones again on others: one fold is noise here."""
ALL_FOLDS_BELOW = 8_000
"""Rows under which the last rung is all folds. Of 11,000 (bike_sharing, 60 s) they took half of a search, and left
blends of one or two: rmse 35.7, and 30.8 with one fold."""
FIRST_RUNG_ROWS = 10_000
"""FLAML's first sample size (Wang et al. 2021, arXiv:1911.04706)."""
GROWTH = 6
"""How many times as many rows the next rung of a large table has."""

WORTH_A_RUNG, WORTH_THE_FIRST = 4, 2
"""A middle rung is at most this part of the table, and the first one this: a larger one costs nearly as much as all."""


@dataclass(frozen=True, slots=True)
class Rung:
    """``rows`` of training data at most (None: all), the number of ``folds`` that are fitted, and how many times over
    with other folds."""

    rows: int | None
    folds: int
    repeats: int = 1

    @property
    def fits(self) -> int:
        return self.folds * self.repeats


def ladder(n_rows: int, repeats: int = REPEATS) -> tuple[Rung, ...]:
    """The rungs for a development part of ``n_rows`` rows whose folds were drawn ``repeats`` times, cheapest first."""
    if n_rows < REPEATED_BELOW:
        return (Rung(None, N_FOLDS), *((Rung(None, N_FOLDS, repeats),) if repeats > 1 else ()))
    if n_rows < ALL_FOLDS_BELOW:
        return Rung(None, 1), Rung(None, N_FOLDS)
    if n_rows < WORTH_THE_FIRST * FIRST_RUNG_ROWS:
        return (Rung(None, 1),)
    sizes = [FIRST_RUNG_ROWS]
    while sizes[-1] * GROWTH * WORTH_A_RUNG < n_rows:
        sizes.append(sizes[-1] * GROWTH)
    return *(Rung(rows, 1) for rows in sizes), Rung(None, 1)


def one_in(rungs: Sequence[Rung], n_rows: int) -> tuple[int, ...]:
    """For each rung but the last: how many times its work the next one adds. A promotion that is more folds of the same
    rows does not repeat its parent's."""
    ratios = []
    for this, following in pairwise(rungs):
        rows = n_rows if this.rows is None else min(this.rows, n_rows)
        more = n_rows if following.rows is None else min(following.rows, n_rows)
        known = this.fits if this.rows is None else 0
        ratios.append(max(1, round(more * (following.fits - known) / max(rows * this.fits, 1))))
    return tuple(ratios)


def splits(
    folds: np.ndarray, rung: Rung, *, usable: np.ndarray, timed: bool, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (train, valid) row indexes, one pair for each fold of each repeat of the rung.

    Args:
        folds: (n, repeats) fold of each row, 0 … N_FOLDS - 1; with ``timed``, in order of time.
        usable: (n,) bool: rows that may train. Validation keeps all rows.
        timed: train on earlier folds only, validate on the latest ones.
        rng: draws the rows of a rung that takes a part.
    """
    for drawn in folds.T[: rung.repeats]:
        numbers = np.unique(drawn)
        latest_first = numbers[::-1][: rung.folds]
        for number in latest_first:
            if timed and number == numbers[0]:
                break
            train = _some(np.flatnonzero(((drawn < number) if timed else (drawn != number)) & usable), rung.rows, rng)
            valid = _some(np.flatnonzero(drawn == number), rung.rows, rng)
            if len(train) and len(valid):
                yield train, valid


def _some(rows: np.ndarray, most: int | None, rng: np.random.Generator) -> np.ndarray:
    return rows if most is None or len(rows) <= most else np.sort(rng.choice(rows, most, replace=False))
