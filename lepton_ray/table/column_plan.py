"""How one column is cleaned: the same for a block, for one served row, and for the target. Fits nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.table import dates, numerals, values
from lepton_ray.table.fields import Fields
from lepton_ray.table.numerals import Decimal
from lepton_ray.table.schema import Kind

CLEAN_TYPES = {
    Kind.NUMBER: pa.float64(),
    Kind.CATEGORY: pa.string(),
    Kind.TEXT: pa.string(),
    Kind.DATE: pa.timestamp("us"),
}


class Reason(StrEnum):
    """Why a column is left out."""

    BLANK = "blank"
    CONSTANT = "constant"
    ID = "id"
    NESTED = "nested"
    LEAK = "leak"
    DROPPED = "dropped"
    WEIGHT = "weight"
    GROUP = "group"
    TIME = "time"


IN_WORDS = {
    Reason.BLANK: "it holds no value",
    Reason.CONSTANT: "it holds one value only",
    Reason.ID: "it numbers or names the rows",
    Reason.NESTED: "its cells are lists or objects",
    Reason.LEAK: "it seems to know the answer",
    Reason.DROPPED: "you said so",
    Reason.WEIGHT: "it weighs the rows",
    Reason.GROUP: "it groups the rows",
    Reason.TIME: "it orders the rows in time",
}


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """What one column means and how its cells are read.

    ``reason`` says why the column is left out (None: it is used); ``sentinels`` are numbers and ``missing`` words
    (lower case) that stand for missing in this column only; ``dates`` are the forms of its dates, tried in order;
    ``by_user``: the user gave the kind, so no suspicion sets the column aside.
    """

    name: str
    kind: Kind
    reason: Reason | None = None
    decimal: Decimal = "."
    sentinels: tuple[float, ...] = ()
    missing: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    by_user: bool = False

    @property
    def use(self) -> bool:
        """Whether the column is a feature."""
        return self.reason is None

    def to_dict(self) -> dict[str, Any]:
        """The plan as JSON values; what is empty is left out."""
        facts: dict[str, Any] = {"name": self.name, "kind": self.kind.value, "use": self.use}
        if self.reason is not None:
            facts["reason"] = self.reason.value
        if self.decimal != ".":
            facts["decimal"] = self.decimal
        for name in ("sentinels", "missing", "dates"):
            if getattr(self, name):
                facts[name] = list(getattr(self, name))
        return facts | ({"by_user": True} if self.by_user else {})

    @classmethod
    def from_fields(cls, fields: Fields) -> "ColumnPlan":
        """The inverse of ``to_dict``; ``use: true`` brings a column back, whatever the reason says."""
        fields.only("name", "kind", "use", "reason", "decimal", "sentinels", "missing", "dates", "by_user")
        reason = None
        if not fields.flag("use"):
            reason = fields.choice("reason", Reason) if "reason" in fields.values else Reason.DROPPED
        for form in fields.texts("dates"):
            Fields({"dates": form}, fields.where).one_of("dates", dates.FORMS)
        return cls(
            fields.text("name"),
            fields.choice("kind", Kind),
            reason,
            "," if "decimal" in fields.values and fields.one_of("decimal", (".", ",")) == "," else ".",
            fields.numbers("sentinels"),
            tuple(word.lower() for word in fields.texts("missing")),
            fields.texts("dates"),
            "by_user" in fields.values and fields.flag("by_user"),
        )

    def clean(self, column: Any, missing_words: tuple[str, ...]) -> Any:
        """A raw column as one clean array: each cell by itself, null where it is missing or cannot be read."""
        array = values.plain(column)
        if array is None:
            return pa.nulls(len(column), CLEAN_TYPES[self.kind])
        words = missing_words + self.missing
        if self.kind is Kind.NUMBER:
            return self._numbers(array, words)
        if self.kind is Kind.DATE:
            return self._dates(array, words)
        return self._texts(array, words)

    def _numbers(self, array: Any, words: tuple[str, ...]) -> Any:
        if pa.types.is_string(array.type):
            kinds, places = values.distinct(array)
            texts = values.trimmed(kinds)
            numbers = numerals.read_numbers(texts, self.decimal)
            if self.missing:
                numbers[values.is_word(texts, words)] = np.nan
            return values.spread(pa.array(self._finite(numbers), from_pandas=True), places)
        if pa.types.is_timestamp(array.type):
            array = array.cast(pa.int64())
        floats = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return pa.array(self._finite(floats), from_pandas=True)

    def _finite(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """The numbers with NaN for infinities and sentinels."""
        gone = np.isinf(numbers)
        if self.sentinels:
            gone |= np.isin(numbers, self.sentinels)
        return np.where(gone, np.nan, numbers)

    def _dates(self, array: Any, words: tuple[str, ...]) -> Any:
        if pa.types.is_timestamp(array.type):
            return array
        kinds, places = values.distinct(array)
        texts = values.trimmed(kinds) if pa.types.is_string(kinds.type) else values.as_texts(kinds)
        found = np.full(len(texts), np.datetime64("NaT"), dtype="datetime64[us]")
        for form in dict.fromkeys((*self.dates, "ymd")):
            unread = np.flatnonzero(np.isnat(found))
            if not len(unread):
                break
            found[unread] = dates.read_dates(texts.take(pa.array(unread)), form)[0]
        found[values.is_word(texts, words)] = np.datetime64("NaT")
        return values.spread(pa.array(found, type=pa.timestamp("us")), places)

    def _texts(self, array: Any, words: tuple[str, ...]) -> Any:
        kinds, places = values.distinct(array)
        if self.kind is Kind.TEXT and pa.types.is_string(kinds.type):
            texts = values.trimmed(kinds)
        else:
            texts = values.as_texts(kinds)
        return values.spread(pc.if_else(pa.array(values.is_word(texts, words)), None, texts), places)


def clean_together(plans: Sequence[ColumnPlan], columns: Sequence[Any], missing_words: tuple[str, ...]) -> list[Any]:
    """Clean the columns of a few rows: those that are read alike in one go, which saves most of the time."""
    cleaned: list[Any] = [None] * len(plans)
    alike: dict[Any, list[tuple[int, Any]]] = {}
    for i, (plan, column) in enumerate(zip(plans, columns, strict=True)):
        array = values.plain(column)
        if array is None:
            cleaned[i] = plan.clean(column, missing_words)
        else:
            rules = (plan.kind, plan.decimal, plan.sentinels, plan.missing, plan.dates, array.type)
            alike.setdefault(rules, []).append((i, array))
    for members in alike.values():
        together = plans[members[0][0]].clean(pa.concat_arrays([array for _, array in members]), missing_words)
        for place, (i, array) in enumerate(members):
            cleaned[i] = together.slice(place * len(array), len(array))
    return cleaned
