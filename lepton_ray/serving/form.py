"""The fields of the page's form, made from a bundle's columns. Knows nothing about HTML.

A field is filled with what is typical of its column, and says what is usual there, as far as the bundle holds margins.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lepton_ray.bundle.margins import Margin, Margins
from lepton_ray.table.schema import Column, Kind, Schema

MOST_CHOICES = 12
"""A category of more levels is typed, with its frequent levels suggested."""


@dataclass(frozen=True, slots=True)
class Field:
    """One column to fill in.

    Attributes:
        control: "number", "date", "moment" (a date and a time of day), "choice", "word" or "text".
        filled: what stands there at first, as text; "" where nothing is known.
        levels: to choose from, or to suggest.
        hint: one short sentence; may be empty.
    """

    name: str
    kind: str
    control: str
    filled: str
    levels: tuple[str, ...]
    hint: str


def fields_of(schema: Schema, example: Mapping[str, Any], margins: Margins | None) -> list[Field]:
    """The fields in the order of the columns."""
    known = margins or {}
    return [_field(column, example.get(column.name), known.get(column.name, Margin(()))) for column in schema.columns]


def _field(column: Column, typical: Any, margin: Margin) -> Field:
    levels: tuple[str, ...] = ()
    control, hint = "text", ""
    if column.kind is Kind.NUMBER:
        control, hint = "number", _usual([figure(float(value)) for value in margin.values])
    elif column.kind is Kind.DATE:
        control = "date" if all(_is_day(value) for value in (*margin.values, typical)) else "moment"
        hint = _usual([str(value)[:10] for value in margin.values])
    elif column.kind is Kind.CATEGORY:
        levels = tuple(map(str, margin.values))
        control = "choice" if margin.whole and 0 < len(levels) <= MOST_CHOICES else "word"
        if control == "choice" and typical is not None and str(typical) not in levels:
            levels = (*levels, str(typical))
        hint = f"often {', '.join(levels[:3])}" if control == "word" and levels else ""
    return Field(column.name, column.kind.value, control, _filled(control, typical), levels, hint)


def figure(value: float) -> str:
    """A number in a hint: four digits that count."""
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def _usual(values: list[str]) -> str:
    return f"usually {values[0]} to {values[-1]}" if len(set(values)) > 1 else ""


def _is_day(value: Any) -> bool:
    text = "" if value is None else str(value)
    return len(text) <= 10 or text[10:].strip("T :0") == ""


def _filled(control: str, typical: Any) -> str:
    if typical is None:
        return ""
    if control == "date":
        return str(typical)[:10]
    if control == "moment":
        return f"{str(typical)[:10]}T{str(typical)[11:19] or '00:00:00'}"
    if control == "number":
        number = float(typical)
        return str(int(number)) if number.is_integer() and abs(number) < 2**53 else f"{number:.8g}"
    return str(typical)
