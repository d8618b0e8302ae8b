"""Rows as a network reads them: numbers by rank, flags, words and category codes. It knows nothing about torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from lepton_ray.features.graph import Type, Wire, Wires, beside, where
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.densified import Fullest, fullest

_KNOTS = 256
_FARTHEST = 1e-3  # the rank of the lowest value, and of the highest from above: 3.1 deviations
_WORDS = 256
_SMALL = ("straight", "categorical", "gappy", "levels")


@dataclass(frozen=True, slots=True)
class Inputs:
    """Rows ready for the network: ``numbers`` (n, d) and ``plain`` (n, p) as float32, ``codes`` (n, c) as int64."""

    numbers: NDArray[np.float32]
    plain: NDArray[np.float32]
    codes: NDArray[np.int64]

    def packed(self) -> Floats:
        """Return all of it as one array (n, d + p + c); codes and float32 are exact in it."""
        return np.hstack([self.numbers, self.plain, self.codes])


@dataclass(frozen=True, slots=True)
class Reading:
    """What was learned about the columns of the training rows.

    Attributes:
        straight, categorical: the dense columns of each sort.
        knots, places: (columns, 256), values of a number column in rising order and their places on a normal scale.
        gappy: which of the number columns had missing values: they get a flag.
        levels: how many codes each category had.
        words: the columns of text that are read.
    """

    straight: tuple[int, ...]
    categorical: tuple[int, ...]
    knots: Floats
    places: Floats
    gappy: tuple[int, ...]
    levels: tuple[int, ...]
    words: Fullest

    @property
    def tables(self) -> tuple[int, ...]:
        """The rows of each category's embedding: never seen, one for each code, missing."""
        return tuple(count + 2 for count in self.levels)

    def inputs(self, X: Matrix) -> Inputs:
        """Return rows as the network reads them."""
        plain = np.hstack([np.isnan(X.dense[:, self.straight])[:, self.gappy], self.words.of(X)])
        return Inputs(self._numbers(X).astype(np.float32), plain.astype(np.float32), self._codes(X))

    def unpacked(self, rows: Floats) -> Inputs:
        """Return what ``Inputs.packed`` made one array of."""
        first = len(self.straight)
        last = rows.shape[1] - len(self.categorical)
        numbers, plain = (part.astype(np.float32) for part in (rows[:, :first], rows[:, first:last]))
        return Inputs(numbers, plain, rows[:, last:].astype(np.int64))

    def _numbers(self, X: Matrix) -> Floats:
        """Return normal scores; a missing value is where the median is."""
        values = X.dense[:, self.straight]
        scores = np.zeros_like(values)
        for index, (knots, places) in enumerate(zip(self.knots, self.places, strict=True)):
            scores[:, index] = np.interp(values[:, index], knots, places)
        return np.where(np.isnan(values), 0.0, scores)

    def _codes(self, X: Matrix) -> NDArray[np.int64]:
        """Return rows of one embedding table that holds those of all categories, one after the other."""
        given = X.dense[:, self.categorical]
        levels = np.array(self.levels, dtype=np.float64)
        places = np.where(np.isnan(given), levels + 1.0, np.where(given < levels, given + 1.0, 0.0))
        ends = np.cumsum(self.tables, dtype=np.int64)
        return (places + ends - np.array(self.tables, dtype=np.int64)).astype(np.int64)

    def draw(self, X: Wires) -> tuple[Wire | None, Wire | None, Wire | None]:
        """Draw ``inputs``: numbers, plain ones and codes, each None where it has no columns."""
        values, given = X.part(self.straight), X.part(self.categorical)
        flags = None if values is None or not self.gappy else values.apply("IsNaN").columns(self.gappy)
        plain = [None if flags is None else flags.cast(Type.FLOAT), X.part((), self.words.columns)]
        there = [part.cast(Type.FLOAT) for part in plain if part is not None]
        return (
            None if values is None else self._drawn_numbers(values),
            beside(there) if there else None,
            None if given is None else self._drawn_codes(given),
        )

    def _drawn_numbers(self, values: Wire) -> Wire:
        """Draw ``_numbers``: the line between the two knots around a value."""
        scores = []
        for index, (knots, places) in enumerate(zip(self.knots, self.places, strict=True)):
            value = values.columns([index]).clip(knots[0], knots[-1])
            widths = np.diff(knots)
            slopes = np.divide(np.diff(places), widths, out=np.zeros_like(widths), where=widths > 0)
            segment = (value >= knots[None, 1:-1]).cast(Type.INT64).sum()
            start, begin, slope = (value.graph.add("Gather", of, segment) for of in (knots[:-1], places[:-1], slopes))
            scores.append((begin + (value - start) * slope).where_gap(0.0))
        return beside(scores).cast(Type.FLOAT)

    def _drawn_codes(self, given: Wire) -> Wire:
        """Draw ``_codes``."""
        levels = np.array(self.levels, dtype=np.float64)
        places = where(given < levels, given + 1.0, 0.0)
        starts = np.cumsum([0, *self.tables[:-1]]).astype(np.float64)
        return (where(given.apply("IsNaN"), levels + 1.0, places) + starts).cast(Type.INT64)

    def owners(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return whose each column of ``Inputs.packed`` is."""
        numbers = [names[column] for column in self.straight]
        flags = [numbers[index] for index in self.gappy]
        return (*numbers, *flags, *self.words.owners, *(names[column] for column in self.categorical))

    def facts(self) -> dict[str, Any]:
        """What is small, as JSON; ``knots`` and ``places`` are arrays."""
        return {"words": self.words.facts(), **{key: list(getattr(self, key)) for key in _SMALL}}

    @classmethod
    def from_facts(cls, facts: dict[str, Any], knots: Floats, places: Floats) -> Reading:
        words = Fullest.from_facts(facts["words"])
        straight, categorical, gappy, levels = (tuple(facts[key]) for key in _SMALL)
        return cls(straight, categorical, knots, places, gappy, levels, words)


def reading_of(X: Matrix) -> Reading:
    """Learn from the training rows."""
    straight = tuple(column for column in range(X.dense.shape[1]) if column not in X.categorical)
    curves = [_curve(X.dense[:, column]) for column in straight]
    shape = (len(straight), _KNOTS)
    codes = X.dense[:, X.categorical]
    return Reading(
        straight,
        X.categorical,
        np.array([knots for knots, _ in curves]).reshape(shape),
        np.array([places for _, places in curves]).reshape(shape),
        tuple(np.flatnonzero(np.isnan(X.dense[:, straight]).any(axis=0)).tolist()),
        tuple((np.nan_to_num(codes, nan=-1.0).max(axis=0, initial=-1.0) + 1.0).astype(int).tolist()),
        fullest(X, _WORDS),
    )


def _curve(values: Floats) -> tuple[Floats, Floats]:
    """Return quantiles of a column and their normal scores; equal values share the middle of their ranks."""
    seen = np.sort(values[~np.isnan(values)])
    if not len(seen):
        return np.zeros(_KNOTS), np.zeros(_KNOTS)
    knots = np.unique(np.quantile(seen, np.linspace(0.0, 1.0, _KNOTS), method="nearest"))
    ranks = (np.searchsorted(seen, knots, "left") + np.searchsorted(seen, knots, "right")) / (2.0 * len(seen))
    places = ndtri(np.clip(ranks, _FARTHEST, 1.0 - _FARTHEST))
    rest = _KNOTS - len(knots)
    return np.pad(knots, (0, rest), mode="edge"), np.pad(places, (0, rest), mode="edge")
