"""How much of the data a trial is judged on. It knows nothing about families, money or time."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

N_FOLDS = 5
ALWAYS_ALL_FOLDS_BELOW = 2_000
"""Rows under which every trial is judged on all folds: below, one fold is too noisy even for a first look."""
ALL_FOLDS_BELOW = 15_000
"""Rows under which the last rung is all folds."""
FIRST_RUNG_ROWS = 10_000
"""FLAML's first sample size (Wang et al. 2021, arXiv:1911.04706)."""


@dataclass(frozen=True, slots=True)
class Rung:
    """``rows`` of training data at most (None: all) and the number of ``folds`` that are fitted."""

    rows: int | None
    folds: int


def ladder(n_rows: int) -> tuple[Rung, ...]:
    """The rungs for a development part of ``n_rows`` rows, cheapest first."""
    if n_rows < ALWAYS_ALL_FOLDS_BELOW:
        return (Rung(None, N_FOLDS),)
    if n_rows < ALL_FOLDS_BELOW:
        return Rung(None, 1), Rung(None, N_FOLDS)
    return Rung(FIRST_RUNG_ROWS, 1), Rung(None, 1)


def splits(
    folds: np.ndarray, rung: Rung, *, usable: np.ndarray, timed: bool, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (train, valid) row indexes, one pair for each fold of the rung.

    Args:
        folds: (n,) fold of each row, 0 … N_FOLDS - 1; with ``timed``, in order of time.
        usable: (n,) bool: rows that may train. Validation keeps all rows.
        timed: train on earlier folds only, validate on the latest ones.
        rng: draws the rows of a rung that takes a part.
    """
    numbers = np.unique(folds)
    latest_first = numbers[::-1][: rung.folds]
    for number in latest_first:
        if timed and number == numbers[0]:
            return
        train = np.flatnonzero(((folds < number) if timed else (folds != number)) & usable)
        if rung.rows is not None and len(train) > rung.rows:
            train = np.sort(rng.choice(train, rung.rows, replace=False))
        valid = np.flatnonzero(folds == number)
        if rung.rows is not None and len(valid) > rung.rows:
            valid = np.sort(rng.choice(valid, rung.rows, replace=False))
        if len(train) and len(valid):
            yield train, valid
