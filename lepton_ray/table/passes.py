"""What is done with each block of a table, and how the answers of all blocks become one. Knows no files and no Ray.

Three things make a table ready: ``Count`` finds which rows are held out, ``LookAt`` profiles the others, ``Clean``
cleans all. Where each look at a block is dear, ``Survey`` does the first two at once. Each is a pure function of one
block; answers are joined in the order of the rows, so the same table gives the same, bit for bit, whether it comes as
one block or as many.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.column_plan import ColumnPlan
from lepton_ray.table.hashing import Hashes, hash_rows, hash_rows_and_part
from lepton_ray.table.profile import ColumnProfile, Profile, merge, profile_block, profile_long_column
from lepton_ray.table.rarity import RareClasses
from lepton_ray.table.splitting import Census, Holdout, sample_order, share_mask, times_by

Answer = TypeVar("Answer")


class Rows:
    """A raw block, and the hashes of its rows once somebody has asked for them."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self._split: Split | None = None
        self._hashes: tuple[Hashes, Hashes] = (np.zeros(0, np.uint64), np.zeros(0, np.uint64))
        self._when: npt.NDArray[np.float64] | None = None

    def hashes(self, split: "Split") -> tuple[Hashes, Hashes]:
        """One hash per row over all columns, and its key; those of the last split are kept."""
        if self._split != split:
            self._hashes = hash_rows_and_part(self.raw, sorted(self.raw.column_names), split.columns, split.seed)
            self._split = split
        return self._hashes

    def keys(self, split: "Split") -> Hashes:
        """One key per row: equal rows, equal keys, in every process."""
        return self.hashes(split)[1]

    def order(self, split: "Split") -> npt.NDArray[Any]:
        """The place of each row in the order in which rows are held out: its key, or its time, latest first."""
        if split.time is None:
            return self.keys(split)
        if self._when is None:
            self._when = times_by(split.time, self.raw)
        return -self._when


Work = Callable[[Rows], Answer]


class Blocks(Protocol):
    """A table that can be gone through block by block, as often as needed.

    ``rows_about``: about how many rows it has, where going through them is dear; None where it is cheap.
    """

    rows_about: int | None

    def each(self, work: Work[Answer]) -> Iterator[Answer]:
        """The answer of each block, in the order of the rows."""


class InMemory:
    """A table of one block."""

    rows_about: int | None = None

    def __init__(self, raw: Any) -> None:
        self._rows = Rows(raw)

    def each(self, work: Work[Answer]) -> Iterator[Answer]:
        """The one answer."""
        yield work(self._rows)


@dataclass(frozen=True, slots=True)
class Split:
    """By what rows are told apart: a key over ``columns``, and the time if there is one.

    ``target``: the column of which rare classes are to be learned from; None: nothing but key and time counts.
    """

    columns: tuple[str, ...]
    seed: int
    time: ColumnPlan | None
    target: str | None = None


@dataclass(frozen=True, slots=True)
class ProfileOne:
    """The profile of one column, over all rows."""

    name: str

    def __call__(self, rows: Rows) -> ColumnProfile:
        return profile_long_column(self.name, rows.raw.column(self.name))


@dataclass(frozen=True, slots=True)
class Count:
    """The rows and their first places, and the rows of rare classes."""

    split: Split

    def __call__(self, rows: Rows) -> Census:
        target, order = self.split.target, rows.order(self.split)
        if target is None:
            return Census.of(order)
        return Census.of(order, rare=RareClasses.of(target, rows.raw.column(target), order))


@dataclass(frozen=True, slots=True, eq=False)
class Alike:
    """The keys of rows, and what their keys were if some columns did not count."""

    keys: Hashes
    without: Hashes

    def add(self, other: "Alike") -> "Alike":
        """Those of both."""
        return Alike(np.concatenate([self.keys, other.keys]), np.concatenate([self.without, other.without]))

    @property
    def apart(self) -> bool:
        """Whether two rows are told apart by those columns alone."""
        order = np.argsort(self.without)
        keys, without = self.keys[order], self.without[order]
        return bool(np.any((without[1:] == without[:-1]) & (keys[1:] != keys[:-1])))

    @property
    def most(self) -> int:
        """How many rows are equal, where most are, if those columns do not count."""
        return int(np.unique(self.without, return_counts=True)[1].max(initial=0))


@dataclass(frozen=True, slots=True)
class Compare:
    """Look for rows that a split tells apart and one of fewer columns does not."""

    split: Split
    fewer: Split

    def __call__(self, rows: Rows) -> Alike:
        return Alike(rows.keys(self.split), hash_rows(rows.raw, self.fewer.columns, self.fewer.seed))


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Up to ``size`` raw rows, those whose numbers in a fair order lie below ``bound`` (None: all rows)."""

    size: int
    rows: Any
    numbers: Hashes
    bound: np.uint64 | None = None

    @classmethod
    def of(cls, rows: Any, numbers: Hashes, size: int) -> "Sample":
        """The sample of one block."""
        return cls(size, rows, numbers)._cut()

    def add(self, other: "Sample") -> "Sample":
        """The sample of both; exact, because a row that a part leaves out the whole leaves out too."""
        bounds = [bound for bound in (self.bound, other.bound) if bound is not None]
        rows = pa.concat_tables([self.rows, other.rows], promote_options="permissive")
        both = Sample(self.size, rows, np.concatenate([self.numbers, other.numbers]), min(bounds, default=None))
        return both._below(both.bound)._cut()

    def in_order(self) -> Any:
        """The rows in the fair order; those with one number as they came."""
        return self.rows.take(pa.array(np.argsort(self.numbers, kind="stable")))

    def _cut(self) -> "Sample":
        if len(self.numbers) <= self.size:
            return self
        return self._below(np.partition(self.numbers, self.size)[self.size])

    def _below(self, bound: np.uint64 | None) -> "Sample":
        if bound is None:
            return self
        keep = self.numbers < bound
        rows = self.rows if keep.all() else self.rows.filter(pa.array(keep))
        return Sample(self.size, rows, self.numbers[keep], bound)


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What is seen of the development rows: their profile, and some of them."""

    profile: Profile
    sample: Sample

    def add(self, other: "Sight") -> "Sight":
        """The sight of both."""
        return Sight(merge(self.profile, other.profile), self.sample.add(other.sample))


@dataclass(frozen=True, slots=True)
class LookAt:
    """The profile and a sample of ``size`` of the development rows."""

    split: Split
    holdout: Holdout
    size: int

    def __call__(self, rows: Rows) -> Sight:
        dev = ~self.holdout.mask(rows.order(self.split))
        raw = rows.raw if dev.all() else rows.raw.filter(pa.array(dev))
        hashes, keys = (found[dev] for found in rows.hashes(self.split))
        return Sight(profile_block(raw, hashes), Sample.of(raw, sample_order(keys), self.size))


@dataclass(frozen=True, slots=True, eq=False)
class Surveyed:
    """A census, the sight of the rows that are surely not held out, and the other rows as they are."""

    census: Census
    sight: Sight
    unsure: Any

    def add(self, other: "Surveyed") -> "Surveyed":
        """What both say."""
        unsure = pa.concat_tables([self.unsure, other.unsure], promote_options="permissive")
        return Surveyed(self.census.add(other.census), self.sight.add(other.sight), unsure)

    def settle(self, look: LookAt, guess: Holdout) -> Sight | None:
        """The sight of all development rows, now that it is known which they are; None if the guess was too small."""
        if not guess.covers(look.holdout):
            return None
        return self.sight.add(look(Rows(self.unsure)))


@dataclass(frozen=True, slots=True)
class Survey:
    """Count and look in one go, with a guess at which rows may be held out."""

    split: Split
    guess: Holdout
    size: int

    def __call__(self, rows: Rows) -> Surveyed:
        unsure = rows.raw.filter(pa.array(self.guess.mask(rows.order(self.split))))
        return Surveyed(Count(self.split)(rows), LookAt(self.split, self.guess, self.size)(rows), unsure)


@dataclass(frozen=True, slots=True, eq=False)
class Cleaned:
    """Clean rows with labels, weights and places in the order of the rows."""

    table: Any
    y: npt.NDArray[Any]
    weight: npt.NDArray[np.float64] | None
    order: npt.NDArray[Any]

    def filter(self, keep: npt.NDArray[np.bool_]) -> "Cleaned":
        """Some of the rows."""
        if keep.all():
            return self
        weight = None if self.weight is None else self.weight[keep]
        return Cleaned(self.table.filter(pa.array(keep)), self.y[keep], weight, self.order[keep])

    @classmethod
    def join(cls, parts: Sequence["Cleaned"]) -> "Cleaned":
        """All rows of all parts."""
        weights = [part.weight for part in parts if part.weight is not None]
        return cls(
            pa.concat_tables([part.table for part in parts]).combine_chunks(),
            np.concatenate([part.y for part in parts]),
            np.concatenate(weights) if weights else None,
            np.concatenate([part.order for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Clean:
    """The rows of a block made clean: those to learn from, of which only a ``share`` is kept, and those held out."""

    plan: CleaningPlan
    split: Split
    holdout: Holdout
    share: float = 1.0

    def __call__(self, rows: Rows) -> tuple[Cleaned, Cleaned]:
        order = rows.order(self.split)
        held = self.holdout.mask(order)
        kept = ~held
        if self.share < 1:
            kept &= share_mask(rows.keys(self.split), self.share)
        every = Cleaned(self.plan.clean(rows.raw), self.plan.labels(rows.raw), self.plan.weights(rows.raw), order)
        return every.filter(kept), every.filter(held)
