"""What is in a table: counts, sums and tallies per column, merged from blocks. Knows no target and decides nothing.

``merge`` is associative and commutative, and every number in a profile is exact or free of order, so any partition of
the rows into blocks, in any order, gives the same profile bit for bit.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.errors import DataError
from lepton_ray.table import dates, numerals, values
from lepton_ray.table.hashing import Hashes, hash_rows, hash_values
from lepton_ray.table.sums import MAX_ROWS, as_fraction, exact_sum
from lepton_ray.table.tally import Extremes, RowTally, Tally, extremes, merge_extremes, tally

Weights = npt.NDArray[np.int64]

PHYSICAL = ("empty", "boolean", "integer", "number", "date", "nested", "text")
"""What the file says a column holds; of two different words the later one holds for both."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of a column: as written with a decimal point, unless ``comma`` says otherwise."""

    count: int = 0
    integers: int = 0
    infinite: int = 0
    long: int = 0  # integers of 19 digits and more
    zero_led: int = 0  # 007
    comma: int = 0  # 12,5: read only with a decimal comma, not in ``count``
    dotted: int = 0  # 12.5 or 1,200.50
    decorated: int = 0  # $1,200 or 45 %
    total: int = 0
    squares: int = 0  # of each square rounded to a double
    lowest: Extremes = ()
    highest: Extremes = ()

    def add(self, other: "Numbers") -> "Numbers":
        """The numbers of both."""
        summed = {
            name.name: getattr(self, name.name) + getattr(other, name.name)
            for name in dataclasses.fields(self)
            if name.name not in ("lowest", "highest")
        }
        lowest = merge_extremes(self.lowest, other.lowest, 1)
        return Numbers(**summed, lowest=lowest, highest=merge_extremes(self.highest, other.highest, -1))

    @property
    def mean(self) -> float:
        """The mean of the finite numbers, correctly rounded."""
        return float(as_fraction(self.total) / max(self.count - self.infinite, 1))

    @property
    def deviation(self) -> float:
        """The standard deviation of the finite numbers."""
        count = max(self.count - self.infinite, 1)
        variance = as_fraction(self.squares) / count - (as_fraction(self.total) / count) ** 2
        return math.sqrt(variance) if variance > 0 else 0.0


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """One column: ``missing`` counts nulls and blanks, ``words`` the words for missing as they were written."""

    name: str
    physical: str
    rows: int = 0
    missing: int = 0
    words: dict[str, int] = field(default_factory=dict)
    values: Tally = Tally()
    numbers: Numbers = Numbers()
    dates: dict[str, int] = field(default_factory=dict)
    impossible_dates: int = 0
    characters: int = 0
    bytes: int = 0
    spaces: int = 0
    longest: int = 0

    @property
    def present(self) -> int:
        """How many cells hold a value."""
        return self.rows - self.missing - sum(self.words.values())

    @property
    def decimal(self) -> numerals.Decimal:
        """How most of its decimals are written."""
        return "," if self.numbers.comma > self.numbers.dotted else "."

    @property
    def number_count(self) -> int:
        """How many cells read as numbers, with that decimal sign."""
        return self.numbers.count + (self.numbers.comma if self.decimal == "," else 0)

    def add(self, other: "ColumnProfile") -> "ColumnProfile":
        """The profile of both."""
        return ColumnProfile(
            self.name,
            max(self.physical, other.physical, key=PHYSICAL.index),
            self.rows + other.rows,
            self.missing + other.missing,
            _add_counts(self.words, other.words),
            self.values.add(other.values),
            self.numbers.add(other.numbers),
            _add_counts(self.dates, other.dates),
            self.impossible_dates + other.impossible_dates,
            self.characters + other.characters,
            self.bytes + other.bytes,
            self.spaces + other.spaces,
            max(self.longest, other.longest),
        )

    def to_dict(self) -> dict[str, Any]:
        """The facts as JSON values; counts of values only if all are known."""
        facts: dict[str, Any] = {"name": self.name, "physical": self.physical, "rows": self.rows}
        facts |= {"missing": self.rows - self.present, "missing_words": dict(sorted(self.words.items()))}
        facts |= {"distinct": self.values.distinct, "distinct_is_exact": self.values.exact}
        if self.values.exact:
            facts["most_frequent"] = dict(list(self.values.counts().items())[:10])
        if self.numbers.count:
            numbers = self.numbers
            facts |= {"numbers": numbers.count, "infinite": numbers.infinite, "mean": numbers.mean}
            facts["deviation"] = numbers.deviation
            facts |= {"lowest": list(map(list, numbers.lowest)), "highest": list(map(list, numbers.highest))}
        if self.dates:
            facts |= {"dates": dict(sorted(self.dates.items())), "impossible_dates": self.impossible_dates}
        if self.characters:
            facts |= {"mean_length": self.characters / max(self.present, 1), "longest": self.longest}
        return facts


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """A whole table."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    row_tally: RowTally

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def duplicates(self) -> int:
        """How many rows repeat an earlier row exactly; an estimate if ``duplicates_are_exact`` is false."""
        return self.row_tally.repeated(self.rows)

    @property
    def duplicates_are_exact(self) -> bool:
        """False if the table has more different rows than are kept in mind."""
        return not self.row_tally.overflowed

    def column(self, name: str) -> ColumnProfile:
        """The column of that name."""
        return next(column for column in self.columns if column.name == name)

    def to_dict(self) -> dict[str, Any]:
        """The profile as JSON values."""
        return {
            "rows": self.rows,
            "duplicates": self.duplicates,
            "duplicates_are_exact": self.duplicates_are_exact,
            "columns": [column.to_dict() for column in self.columns],
        }


def merge(a: Profile, b: Profile) -> Profile:
    """The profile of the rows of both."""
    if set(a.names) != set(b.names):
        odd = sorted(set(a.names) ^ set(b.names))
        raise DataError(
            f"Parts of the table have different columns: {', '.join(map(repr, odd[:5]))}.",
            "Give every file of the table the same columns.",
        )
    columns = tuple(column.add(b.column(column.name)) for column in a.columns)
    return Profile(a.rows + b.rows, columns, a.row_tally.add(b.row_tally))


def profile_block(block: Any, row_hashes: Hashes | None = None) -> Profile:
    """The profile of one raw block; ``row_hashes`` over its columns in order of their names, if they are known."""
    hashes = hash_rows(block, sorted(block.column_names)) if row_hashes is None else row_hashes
    if block.num_rows > MAX_ROWS:
        starts = range(0, block.num_rows, MAX_ROWS)
        parts = (profile_block(block.slice(i, MAX_ROWS), hashes[i : i + MAX_ROWS]) for i in starts)
        return reduce(merge, parts)
    columns = tuple(profile_column(name, block.column(name)) for name in block.column_names)
    return Profile(block.num_rows, columns, RowTally.of(hashes))


def profile_column(name: str, column: Any) -> ColumnProfile:
    """The profile of one raw column of at most MAX_ROWS rows."""
    array = values.plain(column)
    if array is None:
        return ColumnProfile(name, "nested", rows=len(column))
    kinds, places = values.distinct(array)
    weights = values.counts(places, len(kinds))
    physical = "empty" if pa.types.is_null(column.type) else _physical(array.type)
    base = ColumnProfile(name, physical, rows=len(array), missing=array.null_count)
    if physical in ("text", "empty"):
        return _profile_texts(base, kinds, weights)
    counted = tally(hash_values(kinds), weights, lambda places: values.as_texts(kinds.take(places)).to_pylist())
    if physical == "boolean":
        return dataclasses.replace(base, values=counted)
    floats = kinds.cast(pa.int64()) if physical == "date" else kinds
    floats = np.asarray(floats.to_numpy(zero_copy_only=False), dtype=np.float64)
    return dataclasses.replace(base, values=counted, numbers=_measure(floats, weights))


def profile_long_column(name: str, column: Any) -> ColumnProfile:
    """The profile of one raw column of any length."""
    answer = profile_column(name, column.slice(0, MAX_ROWS))
    for start in range(MAX_ROWS, len(column), MAX_ROWS):
        answer = answer.add(profile_column(name, column.slice(start, MAX_ROWS)))
    return answer


def _physical(kind: Any) -> str:
    if pa.types.is_string(kind):
        return "text"
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_timestamp(kind):
        return "date"
    return "integer" if pa.types.is_integer(kind) else "number"


def _profile_texts(base: ColumnProfile, kinds: Any, weights: Weights) -> ColumnProfile:
    """Fill in what the distinct texts of a column say, each weighted by its rows."""
    texts = values.trimmed(kinds)
    blank = values.is_word(texts, ("",))
    absent = values.is_word(texts, values.MISSING_WORDS)
    words = _group(texts.filter(pa.array(absent & ~blank)).to_pylist(), weights[absent & ~blank])
    texts, kept = texts.filter(pa.array(~absent)), weights[~absent]
    named = values.canonical(texts)
    numbers, unread = _profile_numerals(texts, kept)
    found, impossible = _profile_dates(texts, kept, unread)
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
    return dataclasses.replace(
        base,
        missing=base.missing + int(weights[blank].sum()),
        words=words,
        values=tally(hash_values(named), kept, lambda places: named.take(pa.array(places)).to_pylist()),
        numbers=numbers,
        dates=found,
        impossible_dates=impossible,
        characters=int(lengths @ kept),
        bytes=int(pc.binary_length(texts).to_numpy(zero_copy_only=False) @ kept),
        spaces=int(pc.count_substring_regex(texts, r"\s+").to_numpy(zero_copy_only=False) @ kept),
        longest=int(lengths.max(initial=0)),
    )


def _profile_numerals(texts: Any, weights: Weights) -> tuple[Numbers, npt.NDArray[np.bool_]]:
    """The numbers among texts, and which texts are none."""
    floats = numerals.read_numbers(texts)
    unread = np.isnan(floats)
    if unread.all() and not values.matches(texts, ",[0-9]").any():
        return Numbers(), unread
    numbers = _measure(floats[~unread], weights[~unread])
    comma = np.flatnonzero(unread)
    comma = comma[~np.isnan(numerals.read_numbers(texts.take(pa.array(comma)), ","))]
    unread[comma] = False

    def rows(pattern: str) -> int:
        return int(weights[values.matches(texts, pattern)].sum())

    return dataclasses.replace(
        numbers,
        integers=rows(numerals.INTEGER),
        long=rows(numerals.LONG_INTEGER),
        zero_led=rows(numerals.ZERO_LED),
        comma=int(weights[comma].sum()),
        dotted=int(weights[~np.isnan(floats) & values.matches(texts, r"\.")].sum()),
        decorated=int(weights[~unread & ~values.matches(texts, numerals.PLAIN)].sum()),
    ), unread


def _measure(floats: npt.NDArray[np.float64], weights: Weights) -> Numbers:
    """What numbers, each weighted by its rows, amount to."""
    floats = floats + 0.0
    finite = np.isfinite(floats)
    count, infinite = int(weights.sum()), int(weights[~finite].sum())
    floats, weights = floats[finite], weights[finite]
    return Numbers(
        count=count,
        integers=int(weights[floats == np.trunc(floats)].sum()),
        infinite=infinite,
        total=exact_sum(floats, weights),
        squares=exact_sum(np.minimum(np.abs(floats), 1e150) ** 2, weights),
        lowest=extremes(floats, weights, 1),
        highest=extremes(floats, weights, -1),
    )


def _profile_dates(texts: Any, weights: Weights, unread: npt.NDArray[np.bool_]) -> tuple[dict[str, int], int]:
    """How many rows each form of date reads, and how many are shaped like a date but impossible."""
    places = np.flatnonzero(unread | values.matches(texts, "^(?:19|20)[0-9]{6}$"))
    places = places[dates.may_be_dates(texts.take(pa.array(places)))]
    if not len(places):
        return {}, 0
    texts, weights = texts.take(pa.array(places)), weights[places]
    counts, read, impossible = {}, np.zeros(len(texts), dtype=bool), np.zeros(len(texts), dtype=bool)
    for form in dates.FORMS:
        found, wrong = dates.read_dates(texts, form)
        rows = int(weights[~np.isnat(found)].sum())
        if rows:
            counts[form] = rows
        read |= ~np.isnat(found)
        impossible |= wrong
    return counts, int(weights[impossible & ~read & unread[places]].sum())


def _group(texts: list[str], weights: Weights) -> dict[str, int]:
    """Counts by text."""
    counts: dict[str, int] = {}
    for text, weight in zip(texts, weights.tolist(), strict=True):
        counts[text] = counts.get(text, 0) + weight
    return counts


def _add_counts(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in sorted({*a, *b})}


def quantiles(column: ColumnProfile, shares: Sequence[float]) -> list[float]:
    """Quantiles of the numbers of a column, from its tally; NaN if it has none."""
    texts = pa.array([text for _, text, _ in column.values.entries], type=pa.string())
    numbers = numerals.read_numbers(texts, column.decimal)
    weights = np.array([count for _, _, count in column.values.entries], dtype=np.float64)
    known = np.flatnonzero(np.isfinite(numbers))
    if not len(known):
        return [math.nan] * len(shares)
    order = known[np.argsort(numbers[known], kind="stable")]
    upto = np.cumsum(weights[order])
    places = np.searchsorted(upto, np.array(shares) * upto[-1])
    return [float(numbers[order[min(place, len(order) - 1)]]) for place in places]
