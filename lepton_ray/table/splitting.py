"""Which rows are held out, and which fold a row is in: by hash of the raw row, or by time. Never by unseeded chance.

Rows that are equal but for the target have equal keys, so they never stand on two sides. Knows no plan and no model.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lepton_ray.errors import DataError
from lepton_ray.table.hashing import Hashes, hash_rows, mix
from lepton_ray.table.kinds import judge
from lepton_ray.table.profile import profile_column
from lepton_ray.table.schema import Kind
from lepton_ray.table.values import MISSING_WORDS

Mask = npt.NDArray[np.bool_]

SHARE = 0.2
MIN_HELD_OUT, MAX_HELD_OUT = 200, 50_000
_FOLD_SALT, _SAMPLE_SALT = 1, 2


def needs_cross_validation(n_rows: int) -> bool:
    """Whether a table is too small to hold rows out: fewer than 1,000."""
    return n_rows < MIN_HELD_OUT / SHARE


def key_columns(names: Sequence[str], *, target: str, weight: str | None = None, group: str | None = None) -> list[str]:
    """The columns whose values make a row's key: the group alone, or all but target and weight."""
    return [group] if group is not None else sorted(name for name in names if name not in (target, weight))


def row_keys(block: Any, columns: Sequence[str], seed: int = 0) -> Hashes:
    """One 64-bit key per row of a raw block, the same in every process: equal rows, equal keys."""
    return hash_rows(block, columns, seed)


def held_out_count(n_rows: int) -> int:
    """How many rows are held out of so many."""
    return min(max(round(n_rows * SHARE), MIN_HELD_OUT), MAX_HELD_OUT)


def holdout_mask(keys: Hashes, count: int | None = None) -> Mask:
    """Hold out the rows with the smallest keys; rows with one key stay together, so the count may miss a little."""
    return np.asarray(keys <= holdout_bound(keys, count), dtype=bool)


def holdout_bound(keys: Hashes, count: int | None = None) -> np.uint64:
    """The largest key that is held out, for tables whose blocks are split one by one."""
    return np.uint64(_cut(keys, held_out_count(len(keys)) if count is None else count))


def _cut(order: npt.NDArray[Any], count: int) -> Any:
    """The value up to which (inclusive) about ``count`` rows lie, and never all of them."""
    distinct, sizes = np.unique(order, return_counts=True)
    if len(distinct) < 2:
        raise DataError(
            "The rows cannot be held out: all belong to one group, or are equal.", "Check the group or time column."
        )
    upto = np.cumsum(sizes)[:-1]
    return distinct[int(np.argmin(np.abs(upto - count)))]


def times(block: Any, column: str) -> npt.NDArray[np.float64]:
    """The time column of a raw block as numbers (microseconds, if it holds dates); a missing time is NaN."""
    if column not in block.column_names:
        raise DataError(f"The table has no time column {column!r}.", "Name a column of dates or numbers.")
    plan = judge(profile_column(column, block.column(column)))
    if plan.kind not in (Kind.DATE, Kind.NUMBER):
        raise DataError(f"The time column {column!r} holds {plan.kind.value} values.", "Name one of dates or numbers.")
    cleaned = plan.clean(block.column(column), MISSING_WORDS)
    whole = cleaned.cast(pa.int64()).cast(pa.float64(), safe=False) if plan.kind is Kind.DATE else cleaned
    return np.asarray(whole.to_numpy(zero_copy_only=False), dtype=np.float64)


def latest_mask(when: npt.NDArray[np.float64], count: int | None = None) -> Mask:
    """Hold out the latest rows; rows of one time stay together, rows without a time are not held out."""
    known = when[~np.isnan(when)]
    size = held_out_count(len(when)) if count is None else count
    return np.asarray(when > _cut(known, len(known) - size), dtype=bool)


def fold_ids(keys: Hashes, n_folds: int) -> npt.NDArray[np.int64]:
    """The fold of each row, independent of the holdout; folds are as even as whole keys allow."""
    distinct, places, sizes = np.unique(mix(keys, _FOLD_SALT), return_inverse=True, return_counts=True)
    if len(distinct) < n_folds:
        raise DataError(
            f"There are {len(distinct)} different rows or groups, too few for {n_folds} folds.", "Give more of them."
        )
    middle = np.cumsum(sizes) - sizes / 2
    return (middle * n_folds / len(keys)).astype(np.int64)[places]


def time_folds(when: npt.NDArray[np.float64], n_folds: int) -> list[tuple[Mask, Mask]]:
    """Expanding windows: each fold trains on all that lies before the part on which it is tested."""
    known = np.sort(when[~np.isnan(when)])
    if not len(known):
        raise DataError("No row has a time.", "Name another time column.")
    bounds = np.unique(known[[len(known) * part // (n_folds + 1) for part in range(1, n_folds + 1)]])
    bounds = bounds[bounds > known[0]]
    if not len(bounds):
        raise DataError("Too few different times to test on later ones.", "Name another time column.")
    ends = [*bounds[1:], np.inf]
    return [
        ((when < start) | np.isnan(when), (when >= start) & (when < end))
        for start, end in zip(bounds, ends, strict=True)
    ]


def sample_mask(keys: Hashes, count: int) -> Mask:
    """Choose up to ``count`` rows, free of their order and independent of holdout and folds."""
    if len(keys) <= count:
        return np.ones(len(keys), dtype=bool)
    mixed = mix(keys, _SAMPLE_SALT)
    return np.asarray(mixed < np.partition(mixed, count)[count], dtype=bool)
