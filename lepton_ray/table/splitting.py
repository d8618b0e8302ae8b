"""Which rows are held out, and which fold a row is in: by hash of the raw row, or by time. Never by unseeded chance.

Rows that are equal but for the target have equal keys, so they never stand on two sides. Knows no plan and no model.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lepton_ray.errors import DataError
from lepton_ray.table.column_plan import ColumnPlan
from lepton_ray.table.hashing import Hashes, mix
from lepton_ray.table.kinds import judge
from lepton_ray.table.profile import ColumnProfile
from lepton_ray.table.rarity import RareClasses
from lepton_ray.table.schema import Kind
from lepton_ray.table.values import MISSING_WORDS

Mask = npt.NDArray[np.bool_]

SHARE = 0.2
MIN_HELD_OUT, MAX_HELD_OUT = 200, 50_000
SPARED_SHARE = 0.1
"""Of the rows to be held out: where groups or equal rows would draw more along, rare classes are left to chance."""
_FOLD_SALT, _SAMPLE_SALT, _SHARE_SALT = 1, 2, 3


def needs_cross_validation(n_rows: int) -> bool:
    """Whether a table is too small to hold rows out: fewer than 1,000."""
    return n_rows < MIN_HELD_OUT / SHARE


def key_columns(names: Sequence[str], *, target: str, weight: str | None = None, group: str | None = None) -> list[str]:
    """The columns whose values make a row's key: the group alone, or all but target and weight."""
    return [group] if group is not None else sorted(name for name in names if name not in (target, weight))


def held_out_count(n_rows: int) -> int:
    """How many rows are held out of so many."""
    return min(max(round(n_rows * SHARE), MIN_HELD_OUT), MAX_HELD_OUT)


@dataclass(frozen=True, slots=True)
class Holdout:
    """Which rows are held out: those that come no later than ``bound`` in the order, but for the ``spared`` keys.

    A bound of None holds no row out.
    """

    bound: Any = None
    spared: tuple[int, ...] = ()

    def mask(self, order: npt.NDArray[Any]) -> Mask:
        """(n,) True where a row is held out; a row without a place in the order (NaN) never is."""
        if self.bound is None:
            return np.zeros(len(order), dtype=bool)
        held = np.asarray(order <= self.bound, dtype=bool)
        return held & ~np.isin(order, np.array(self.spared, np.uint64)) if self.spared else held

    @classmethod
    def guess(cls, rows: int) -> "Holdout":
        """Half as many rows again as are held out by their keys from so many, if the keys are spread evenly."""
        share = min(1.5 * held_out_count(rows) / max(rows, 1), 0.999)
        return cls(np.uint64(share * 2.0**64))

    def covers(self, other: "Holdout") -> bool:
        """Whether it holds out every row that the other does."""
        return other.bound is None or (self.bound is not None and bool(other.bound <= self.bound))


@dataclass(frozen=True, slots=True, eq=False)
class Census:
    """How many rows there are, and the first places in the order of the rows, each with its exact count.

    The order is that of the keys, or of the times, latest first. Places are kept as far as a holdout can reach, and
    what is first in the whole is first in every part: merging loses nothing.

    Attributes:
        rare: where rare classes count, the keys of their rows.
    """

    rows: int
    places: npt.NDArray[Any]
    counts: npt.NDArray[np.int64]
    more: bool
    rare: RareClasses | None = None

    @classmethod
    def of(
        cls, order: npt.NDArray[Any], limit: int | None = MAX_HELD_OUT + 1, *, rare: RareClasses | None = None
    ) -> "Census":
        """Count the rows of one block."""
        known = order[~np.isnan(order)] if order.dtype.kind == "f" else order
        places, counts = np.unique(known, return_counts=True)
        more = limit is not None and len(places) > limit
        return cls(len(order), places[:limit], counts[:limit].astype(np.int64), more, rare)

    def add(self, other: "Census") -> "Census":
        """The census of both."""
        places, where = np.unique(np.concatenate([self.places, other.places]), return_inverse=True)
        counts = np.zeros(len(places), np.int64)
        np.add.at(counts, where, np.concatenate([self.counts, other.counts]))
        limit = MAX_HELD_OUT + 1
        more = self.more or other.more or len(places) > limit
        rare = self.rare.add(other.rare) if self.rare is not None and other.rare is not None else None
        return Census(self.rows + other.rows, places[:limit], counts[:limit], more, rare)

    def holdout(self, task: str = "auto") -> Holdout:
        """Hold as many rows out as suit the table, and never all of them."""
        if not self.more and len(self.places) < 2:
            raise DataError(
                "The rows cannot be held out: all belong to one group, or are equal.", "Check the group or time column."
            )
        upto = np.cumsum(self.counts if self.more else self.counts[:-1])
        wanted = held_out_count(self.rows)
        bound = self.places[int(np.argmin(np.abs(upto - wanted)))]
        spared = () if self.rare is None else self.rare.spared(task)
        lost = self.counts[(self.places <= bound) & np.isin(self.places, np.array(spared, np.uint64))].sum()
        return Holdout(bound, spared if lost <= SPARED_SHARE * wanted else ())


def time_plan(profile: ColumnProfile) -> ColumnPlan:
    """How the time column is read, judged from all of it."""
    plan = judge(profile)
    if plan.kind not in (Kind.DATE, Kind.NUMBER):
        what = f"The time column {profile.name!r} holds {plan.kind.value} values."
        raise DataError(what, "Name one of dates or numbers.")
    return plan


def times_by(plan: ColumnPlan, block: Any) -> npt.NDArray[np.float64]:
    """The times of the rows of a raw block."""
    cleaned = plan.clean(block.column(plan.name), MISSING_WORDS)
    whole = cleaned.cast(pa.int64()).cast(pa.float64(), safe=False) if plan.kind is Kind.DATE else cleaned
    return np.asarray(whole.to_numpy(zero_copy_only=False), dtype=np.float64)


def each_by_itself(keys: Hashes) -> Hashes:
    """(n,) keys of which none are equal: the first of equal ones is as it was, the others follow from their order."""
    order = np.argsort(keys, kind="stable")
    at = np.arange(len(keys))
    first = np.append(True, np.diff(keys[order]) != 0)[: len(keys)]
    before = np.empty_like(keys)
    before[order] = at - np.maximum.accumulate(np.where(first, at, 0))
    return np.where(before > 0, mix(keys + before), keys)


def fold_ids(keys: Hashes, n_folds: int, repeat: int = 0) -> npt.NDArray[np.int64]:
    """The fold of each row, independent of the holdout and of other repeats; as even, and as many, as whole keys
    allow."""
    distinct, places, sizes = np.unique(mix(keys, _FOLD_SALT + 10 * repeat), return_inverse=True, return_counts=True)
    if len(distinct) < 2:
        raise DataError(
            "The rows to learn from are all equal, or of one group, so none can test what the others teach.",
            "Check the group, or bring a left-out column back.",
        )
    n_folds = min(n_folds, len(distinct))
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


def sample_order(keys: Hashes) -> Hashes:
    """The number of each row in a fair order, independent of holdout and folds: a sample takes the smallest."""
    return mix(keys, _SAMPLE_SALT)


def sample_mask(keys: Hashes, count: int) -> Mask:
    """Choose up to ``count`` rows, free of their order and independent of holdout and folds."""
    if len(keys) <= count:
        return np.ones(len(keys), dtype=bool)
    mixed = sample_order(keys)
    return np.asarray(mixed < np.partition(mixed, count)[count], dtype=bool)


def share_mask(keys: Hashes, share: float) -> Mask:
    """Choose about this share of the rows, each by its key alone and independent of holdout, folds and sample."""
    if share >= 1:
        return np.ones(len(keys), dtype=bool)
    return np.asarray(mix(keys, _SHARE_SALT) < np.uint64(share * 2.0**64), dtype=bool)
