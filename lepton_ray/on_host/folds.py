"""The fold of each row that a search judges by, from keys or times of rows. It knows nothing about tables or plans."""

import numpy as np

from lepton_ray.search.rungs import N_FOLDS, REPEATED_BELOW, REPEATS
from lepton_ray.table.splitting import each_by_itself, fold_ids, time_folds


def folds_of(keys: np.ndarray, *, apart: bool = False) -> np.ndarray:
    """(n, repeats) fold of each row; only a table as small as to need them has more than one repeat.

    Args:
        apart: whether rows of equal keys may come into different folds.
    """
    keys = each_by_itself(keys) if apart else keys
    repeats = REPEATS if len(keys) < REPEATED_BELOW else 1
    return np.column_stack([fold_ids(keys, N_FOLDS, repeat) for repeat in range(repeats)])


def folds_in_time(when: np.ndarray) -> np.ndarray:
    """(n,) fold of each row in order of time; fold 0 only trains."""
    folds = np.zeros(len(when), np.int64)
    for number, (_, judged) in enumerate(time_folds(when, N_FOLDS), start=1):
        folds[judged] = number
    return folds
