"""Classes of so few rows that chance could leave them to the held-out part alone. Knows no plan and no model.

Of such a class at least half of the rows, and two, are never held out; which ones, their keys alone decide. Like every
answer about a block it adds up over blocks in any order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lepton_ray.table import values
from lepton_ray.table.hashing import Hashes
from lepton_ray.table.profile import ColumnProfile, profile_long_column
from lepton_ray.table.target import MAX_CLASSES, class_counts, learns_classes

FEW = 10
"""Rows of a class: of so many, chance leaves fewer than two to learn from in one of 200,000 splits."""


@dataclass(frozen=True, slots=True, eq=False)
class RareClasses:
    """The profile of the target, and the different keys of the rows of each value that fewer than FEW rows have."""

    column: ColumnProfile
    keys: Mapping[str, Hashes]

    @classmethod
    def of(cls, name: str, column: Any, keys: Hashes) -> "RareClasses":
        """Those of one block, of which ``column`` is the target and ``keys`` the keys of its rows."""
        profile, array = profile_long_column(name, column), values.plain(column)
        if array is None or profile.values.distinct > MAX_CLASSES:
            return cls(profile, {})
        kinds, places = values.distinct(array)
        rare = set(_rare(profile))
        named = {place: text for place, text in enumerate(values.as_texts(kinds).to_pylist()) if text in rare}
        rows = np.flatnonzero(np.isin(places, list(named)))
        texts = np.array([named[place] for place in places[rows].tolist()], dtype=object)
        return cls(profile, {text: np.unique(keys[rows[texts == text]]) for text in rare})

    def add(self, other: "RareClasses") -> "RareClasses":
        """Those of both."""
        column = self.column.add(other.column)
        none = np.zeros(0, np.uint64)
        both = {
            text: np.union1d(self.keys.get(text, none), other.keys.get(text, none))
            for text in _rare(column)
            if text in self.keys or text in other.keys
        }
        return RareClasses(column, both)

    def spared(self, task: str) -> tuple[int, ...]:
        """The keys of rows that are not to be held out; none where the target's values are no classes."""
        if not learns_classes(self.column, task):
            return ()
        kept = [keys[min(len(keys) // 2, max(len(keys) - 2, 0)) :] for keys in self.keys.values()]
        return tuple(np.unique(np.concatenate(kept)).tolist()) if kept else ()


def _rare(column: ColumnProfile) -> list[str]:
    """The values that few rows have; none where there are too many values to be classes."""
    counts = class_counts(column)
    return [text for text, count in counts.items() if count < FEW] if len(counts) <= MAX_CLASSES else []
