"""What the values of each column are like, by itself: for a form to fill in, and for rows that are nobody's.

A margin holds quantiles of a number or a date and the frequent levels of a category. It never holds a row, a text, the
smallest or the largest value, nor a level that fewer than ``FEWEST`` rows have. It knows nothing about models.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.errors import BundleError
from lepton_ray.table.column_plan import CLEAN_TYPES
from lepton_ray.table.schema import Column, Kind, Schema

NAME = "margins.json"
FEWEST = 5
"""So many rows stand behind every value that is told."""

MOST_QUANTILES, MOST_LEVELS, MOST_NUMBERS = 32, 50, 8_192
SEEN_ROWS = 50_000

Value = float | str


@dataclass(frozen=True, slots=True)
class Margin:
    """One column by itself.

    Attributes:
        values: of a number or a date, quantiles in ascending order (dates in ISO form), each for as many rows; of a
            category, its frequent levels, the most frequent first; of a text, none.
        shares: of the rows with a value, by level; empty for what has quantiles.
        missing: the share of rows without a value.
        whole: every value of a category is in ``values``, or every number is an integer.
    """

    values: tuple[Value, ...]
    shares: tuple[float, ...] = ()
    missing: float = 0.0
    whole: bool = False

    def slots(self, count: int) -> list[Value | None]:
        """``count`` values that are spread as those of the column are; None is a missing one."""
        shares = np.array(self.shares or (1.0,) * len(self.values))
        weights = np.append(shares / shares.sum() * (1.0 - self.missing), self.missing) if len(shares) else np.ones(1)
        ends = np.cumsum(weights)
        found = np.searchsorted(ends, (np.arange(count) + 0.5) / count * ends[-1])
        return [self.values[place] if place < len(self.values) else None for place in found.tolist()]


Margins = Mapping[str, Margin]


def margins_of(clean: pa.Table, schema: Schema) -> dict[str, Margin]:
    """Measure the columns of a clean block; of a long one, evenly chosen rows."""
    if clean.num_rows > SEEN_ROWS:
        clean = clean.take(pa.array(np.linspace(0, clean.num_rows - 1, SEEN_ROWS).astype(np.int64)))
    most = min(MOST_QUANTILES, max(4, MOST_NUMBERS // max(1, len(schema.columns))))
    return {column.name: _margin(clean.column(column.name), column.kind, most) for column in schema.columns}


def block_of(margins: Margins, schema: Schema, count: int, rng: np.random.Generator) -> pa.Table:
    """A clean block of ``count`` rows that nobody is: each column spread as its margin, and independent of the rest."""
    cells = [rng.permutation(np.array(margins[name].slots(count), dtype=object)).tolist() for name in schema.names]
    arrays = [clean_array(values, column) for values, column in zip(cells, schema.columns, strict=True)]
    return pa.table(arrays, names=list(schema.names))


def clean_array(values: Sequence[Any], column: Column) -> pa.Array:
    """Values as a margin holds them, as the clean array of their column."""
    if column.kind is Kind.DATE:
        values = [None if value is None else datetime.fromisoformat(str(value)) for value in values]
    return pa.array(values, CLEAN_TYPES[column.kind])


def to_json(margins: Margins) -> str:
    """The exact text of the file."""
    columns = {
        name: {"values": one.values, "shares": one.shares, "missing": one.missing, "whole": one.whole}
        for name, one in margins.items()
    }
    return json.dumps({"columns": columns}, separators=(",", ":"), allow_nan=False) + "\n"


def from_json(text: str | None, schema: Schema) -> dict[str, Margin] | None:
    """Read what ``to_json`` wrote; of nothing, nothing.

    Raises:
        BundleError: it is not that, or of other columns.
    """
    if text is None:
        return None
    try:
        columns = json.loads(text)["columns"]
        margins = {
            column.name: Margin(
                tuple(columns[column.name]["values"]),
                tuple(map(float, columns[column.name]["shares"])),
                float(columns[column.name]["missing"]),
                bool(columns[column.name]["whole"]),
            )
            for column in schema.columns
        }
        block_of(margins, schema, 1, np.random.default_rng(0))
    except (KeyError, TypeError, ValueError, RecursionError, pa.ArrowException) as fault:
        raise BundleError(f"{NAME} does not tell of this bundle's columns.", "Train a new bundle.") from fault
    return margins


def _margin(column: pa.ChunkedArray, kind: Kind, most: int) -> Margin:
    known = column.drop_null()
    missing = round(1.0 - len(known) / max(len(column), 1), 4)
    if kind is Kind.TEXT or len(known) < FEWEST:
        return Margin((), missing=missing)
    if kind is Kind.CATEGORY:
        return _levels(known, missing)
    ordered = known.take(pc.sort_indices(known))
    count = min(most, len(ordered) // FEWEST)
    places = ((np.arange(count) + 0.5) / count * len(ordered)).astype(np.int64)
    values = ordered.take(pa.array(places)).to_pylist()
    if kind is Kind.DATE:
        return Margin(tuple(value.isoformat() for value in values), missing=missing)
    whole = bool(pc.all(pc.equal(ordered, pc.floor(ordered))).as_py())
    return Margin(tuple(map(float, values)), missing=missing, whole=whole)


def _levels(known: pa.ChunkedArray, missing: float) -> Margin:
    counted = [(entry["values"], entry["counts"]) for entry in pc.value_counts(known).to_pylist()]
    frequent = sorted((one for one in counted if one[1] >= FEWEST), key=lambda one: (-one[1], one[0]))[:MOST_LEVELS]
    shares = tuple(round(count / len(known), 4) for _, count in frequent)
    # A level so rare that its share rounds to nothing still is a level.
    told = tuple(max(share, 1e-4) for share in shares)
    return Margin(tuple(level for level, _ in frequent), told, missing, whole=len(frequent) == len(counted))
