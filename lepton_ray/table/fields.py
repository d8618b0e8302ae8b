"""JSON objects read field by field, with a clear refusal for each wrong one. Knows no plan; a plan is read with it."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from lepton_ray.errors import DataError

Choice = TypeVar("Choice", bound=StrEnum)


def nearest(word: str, known: Sequence[str], otherwise: str = "") -> str:
    """A hint that offers the known words nearest to a wrong one."""
    lower = {name.lower(): name for name in known}
    close = [lower[name] for name in difflib.get_close_matches(word.lower(), list(lower), 3, 0.5)]
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    shown = ", ".join(known[:12]) + (", …" if len(known) > 12 else "")
    return otherwise or f"There are: {shown}."


def parsed(text: str, where: str) -> "Fields":
    """A JSON text that must be one object."""
    try:
        return Fields.of(json.loads(text), where)
    except ValueError as fault:
        raise DataError(f"{where} is not JSON: {fault}.", "Correct it, or write it anew.") from None
    except RecursionError:
        raise DataError(f"{where} is nested too deeply.", "Correct it, or write it anew.") from None


@dataclass(frozen=True, slots=True)
class Fields:
    """The fields of one JSON object; ``where`` names it in refusals."""

    values: Mapping[str, Any]
    where: str

    @classmethod
    def of(cls, values: Any, where: str) -> "Fields":
        """Check that a value is an object."""
        if not isinstance(values, dict):
            raise DataError(f"{where} must be an object in braces, but is {values!r:.60}.", "Correct this entry.")
        return cls(values, where)

    def only(self, *names: str) -> None:
        """Refuse fields of other names."""
        for name in self.values:
            if name not in names:
                raise DataError(f"{self.where} has an unknown field {name!r}.", nearest(name, names))

    def text(self, name: str) -> str:
        """A text."""
        return str(self._typed(name, str, "a text"))

    def optional_text(self, name: str) -> str | None:
        """A text, or None where it is null or not given."""
        return None if self.values.get(name) is None else self.text(name)

    def flag(self, name: str) -> bool:
        """True or false."""
        return bool(self._typed(name, bool, "true or false"))

    def optional_number(self, name: str) -> float | None:
        """A number, or None where it is null or not given."""
        value = self.values.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            self._refuse(name, "a number or null")
        return float(value)

    def choice(self, name: str, options: type[Choice]) -> Choice:
        """One of the words of an enumeration."""
        return options(self.one_of(name, [option.value for option in options]))

    def one_of(self, name: str, options: Sequence[str]) -> str:
        """One of some words."""
        value = self.text(name)
        if value not in options:
            self._refuse(name, f"one of {', '.join(map(repr, options))}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of texts; empty if not given."""
        return tuple(self._list(name, str, "texts"))

    def numbers(self, name: str) -> tuple[float, ...]:
        """A list of numbers; empty if not given."""
        return tuple(float(number) for number in self._list(name, (int, float), "numbers"))

    def object(self, name: str) -> "Fields":
        """An object."""
        return Fields.of(self._typed(name, dict, "an object"), f"{self.where}.{name}")

    def objects(self, name: str) -> list["Fields"]:
        """A list of objects."""
        values = self._list(name, dict, "objects")
        return [Fields.of(value, f"{self.where}.{name}[{i}]") for i, value in enumerate(values)]

    def _list(self, name: str, kind: Any, words: str) -> list[Any]:
        values = self.values.get(name, [])
        if not isinstance(values, list) or not all(isinstance(v, kind) and not isinstance(v, bool) for v in values):
            self._refuse(name, f"a list of {words}")
        return list(values)

    def _typed(self, name: str, kind: type, words: str) -> Any:
        if name not in self.values:
            raise DataError(f"{self.where} has no field {name!r}.", f"Add it: {words}.")
        if not isinstance(self.values[name], kind):
            self._refuse(name, words)
        return self.values[name]

    def _refuse(self, name: str, words: str) -> None:
        raise DataError(f"{self.where}.{name} is {self.values[name]!r:.60}.", f"Give {words}.")
