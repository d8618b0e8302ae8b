"""Dollars: an amount of money as whole micro-dollars. It knows nothing about prices, machines or clocks.

Rounding happens in one function of this file, ``_half_even``, and only where an amount enters (``Dollars.parse``) or a
rate meets a time (``Dollars.of_rate``). Sums and differences are exact, so the lines of a receipt add up to its total.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from typing import Self, final

from lepton_ray.errors import MoneyError

Amount = str | int | float | Decimal

_MICROS = 1_000_000
_HOUR_SECONDS = 3600
_LARGEST = 10**12  # dollars: above this an amount is a mistake, and arithmetic on 1e999 would not end
_LONGEST_TEXT = 64
_AMOUNT = re.compile(
    r"""(-?) \s* (?:\$|us\$|usd)? \s* (-?) \s*
        ((?=\.?[0-9]) (?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]*) (?:\.[0-9]*)? (?:e[+-]?[0-9]{1,3})?) \s*
        (?:(\$|us\$|usd|dollars?) | (cents?|c|¢))?""",
    re.VERBOSE | re.IGNORECASE,
)
_HINT = 'Write US dollars like 0.02, "$0.02", "0.02 usd" or "2 cents".'


@final
@dataclass(frozen=True, order=True, slots=True)
class Dollars:
    """An amount of money, exact to the micro-dollar; negative only as a difference."""

    micros: int

    def __post_init__(self) -> None:
        if type(self.micros) is not int:
            raise TypeError(f"micros must be an int, got {self.micros!r}")

    @classmethod
    def parse(cls, value: "Amount | Dollars", *, name: str = "amount") -> "Dollars":
        """Read an amount that a person wrote; ``name`` says in the error what it was for.

        Zero passes (a budget refuses it later). What is negative, not finite, or smaller than a micro-dollar does not.
        """
        if isinstance(value, Dollars):
            return value
        number, per_dollar = _read(value, name)
        if not number.is_finite():
            raise MoneyError(f"The {name} {value!r} is not a finite number of dollars.", _HINT)
        if number < 0:
            raise MoneyError(f"The {name} {value!r} is negative.", _HINT)
        if number > _LARGEST:
            raise MoneyError(f"The {name} {str(value)[:_LONGEST_TEXT]!r} is absurdly large.", _HINT)
        top, bottom = number.as_integer_ratio()
        micros = _half_even(top * _MICROS, bottom * per_dollar)
        if number and not micros:
            raise MoneyError(f"The {name} {value!r} is less than a millionth of a dollar.", "Give $0.000001 or more.")
        return cls(micros)

    @classmethod
    def of_rate(cls, per_hour: "Dollars", seconds: float) -> "Dollars":
        """What ``seconds`` cost at ``per_hour``: computed exactly, then rounded half to even."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds must be finite and not negative, got {seconds!r}")
        top, bottom = seconds.as_integer_ratio()
        return cls(_half_even(per_hour.micros * top, bottom * _HOUR_SECONDS))

    @classmethod
    def total(cls, amounts: "Iterable[Dollars]") -> "Dollars":
        """Add up any number of amounts; none is $0."""
        return cls(sum(amount.micros for amount in amounts))

    def buys(self, per_hour: "Dollars") -> float:
        """How many seconds this amount pays for at ``per_hour``, which must not be zero."""
        return self.micros * _HOUR_SECONDS / per_hour.micros

    def __add__(self, other: "Dollars") -> Self:
        return type(self)(self.micros + other.micros) if isinstance(other, Dollars) else NotImplemented

    def __sub__(self, other: "Dollars") -> Self:
        return type(self)(self.micros - other.micros) if isinstance(other, Dollars) else NotImplemented

    def __neg__(self) -> Self:
        return type(self)(-self.micros)

    def __bool__(self) -> bool:
        return self.micros != 0

    def __float__(self) -> float:
        """The amount as a JSON number: the nearest float, which prints with at most six decimals."""
        return self.micros / _MICROS

    def __str__(self) -> str:
        whole, rest = divmod(abs(self.micros), _MICROS)
        decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
        return f"{'-' if self.micros < 0 else ''}${whole}.{decimals}"

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


def _read(value: object, name: str) -> tuple[Decimal, int]:
    """Return the number and how many of its unit make a dollar (1, or 100 for cents)."""
    if isinstance(value, Decimal):
        return value, 1
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value), 1
    if isinstance(value, Real) and not isinstance(value, bool):
        return Decimal(repr(float(value))), 1
    text = value.strip() if isinstance(value, str) else ""
    match = _AMOUNT.fullmatch(text) if len(text) <= _LONGEST_TEXT else None
    if match is None:
        raise MoneyError(f"The {name} {str(value)[:_LONGEST_TEXT]!r} is not an amount of money.", _HINT)
    minus, inner_minus, digits, _, cents = match.groups()
    number = Decimal(digits.replace(",", ""))
    return (-number if minus or inner_minus else number), (100 if cents else 1)


def _half_even(top: int, bottom: int) -> int:
    """Round ``top / bottom`` to the nearest integer, ties to the even one, without leaving the integers."""
    whole, rest = divmod(top, bottom)
    return whole + (2 * rest > bottom or (2 * rest == bottom and whole % 2 == 1))
