"""How people write numbers: 1234.5, 1,234.50, 1.234,50, $12, 45 %, (300), 1e5. Knows no columns and no plans."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.table import values

Decimal = Literal[".", ","]
Floats = npt.NDArray[np.float64]

PLAIN = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?$|^[+-]?(inf|infinity|Inf|Infinity|INF)$"
INTEGER = r"^[+-]?[0-9]+$"
LONG_INTEGER = r"^[+-]?[1-9][0-9]{18,}$"
ZERO_LED = r"^0[0-9]+$"
"""Written like a code (a postcode, a product number), not like an amount."""

_COMPLETE = r"[0-9]"
_MONEY = r"(?:[$€£¥₹]|USD|EUR|GBP|CHF|JPY|CNY|INR)"
_GROUPS = {".": r"[,'’ \x{00a0}\x{202f}]", ",": r"[.'’ \x{00a0}\x{202f}]"}


def _decorated(decimal: Decimal) -> str:
    """The pattern of a number with signs, groups of three digits, a currency or a percent sign."""
    whole = rf"[0-9]{{1,3}}(?:{_GROUPS[decimal]}[0-9]{{3}})+|[0-9]*"
    fraction = rf"(?:\{decimal}(?P<fraction>[0-9]*))?"
    sign = r"(?P<sign>[+\-−(]?)"
    return rf"^{sign}\s*{_MONEY}?\s*(?P<inner>-?)(?P<whole>{whole}){fraction}\s*(?:%|{_MONEY})?\)?$"


_DECORATED = {".": _decorated("."), ",": _decorated(",")}


def read_numbers(texts: Any, decimal: Decimal = ".") -> Floats:
    """Trimmed texts as numbers; NaN where a text is no number."""
    if decimal == ".":
        try:
            return np.asarray(texts.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)
        except pa.ArrowInvalid:
            pass
    numbers = np.full(len(texts), np.nan)
    easy = values.matches(texts, PLAIN if decimal == "." else INTEGER)
    numbers[easy] = _cast(texts.filter(pa.array(easy)))
    hard = np.flatnonzero(~easy & values.matches(texts, _COMPLETE))
    if len(hard):
        numbers[hard] = _read_decorated(texts.take(pa.array(hard)), decimal)
    return numbers


def _cast(texts: Any) -> Floats:
    return np.asarray(texts.cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _read_decorated(texts: Any, decimal: Decimal) -> Floats:
    numbers = np.full(len(texts), np.nan)
    parts = pc.extract_regex(texts, _DECORATED[decimal])
    known = np.flatnonzero(pc.is_valid(parts).to_numpy(zero_copy_only=False))
    if not len(known):
        return numbers
    parts = parts.take(pa.array(known))
    digits = pc.replace_substring_regex(parts.field("whole"), r"[^0-9]", "")
    fraction = parts.field("fraction")
    some = pc.greater(pc.add(pc.utf8_length(digits), pc.utf8_length(fraction)), 0)
    written = pc.binary_join_element_wise(pc.if_else(some, digits, "0"), fraction, ".")
    amounts = _cast(written)
    minus = pc.or_(pc.is_in(parts.field("sign"), pa.array(["-", "−", "("])), pc.equal(parts.field("inner"), "-"))
    amounts = np.where(minus.to_numpy(zero_copy_only=False), -amounts, amounts)
    numbers[known] = np.where(some.to_numpy(zero_copy_only=False), amounts, np.nan)
    return numbers
