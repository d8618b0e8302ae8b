"""Durations as people write them, in seconds as programs count them. It knows nothing about money."""

import math
import re

from lepton_ray.errors import MoneyError

LONGEST_SECONDS = 30 * 24 * 3600.0

_NUMBER = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)"
_PARTS = re.compile(
    rf"""(?:{_NUMBER}\s*(?:d|days?)\s*)?  (?:{_NUMBER}\s*(?:h|hrs?|hours?)\s*)?
         (?:{_NUMBER}\s*(?:m|mins?|minutes?)\s*)?  (?:{_NUMBER}\s*(?:s|secs?|seconds?)\s*)?
         (?:{_NUMBER}\s*(?:ms|milliseconds?))?""",
    re.VERBOSE | re.IGNORECASE,
)
_BARE = re.compile(_NUMBER)
_UNITS = (86400.0, 3600.0, 60.0, 1.0, 0.001)
_LONGEST_TEXT = 64
_HINT = "Write it like 90s, 5m, 1h30m or a number of seconds."


def parse_duration(value: str | int | float, *, name: str = "duration") -> float:
    """Read a duration in seconds; ``name`` says in the error what it was for.

    A bare number is seconds. Zero, negative, not finite and longer than 30 days are refused.
    """
    seconds = _read(value, name)
    if not math.isfinite(seconds):
        raise MoneyError(f"The {name} {value!r} is not a finite time.", _HINT)
    if seconds <= 0:
        raise MoneyError(f"The {name} {value!r} is not longer than zero.", _HINT)
    if seconds > LONGEST_SECONDS:
        raise MoneyError(f"The {name} {value!r} is longer than 30 days.", _HINT)
    return seconds


def duration_text(seconds: float) -> str:
    """Say a duration briefly: ``8.5s``, ``5m``, ``1h30m``; tenths of a second below a minute, whole seconds above."""
    if round(seconds, 1) < 60:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{count}{unit}" for count, unit in parts if count)


def _read(value: object, name: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    text = value.strip() if isinstance(value, str) else ""
    if 0 < len(text) <= _LONGEST_TEXT:
        positive = text.removeprefix("-")
        sign = 1.0 if positive == text else -1.0
        if _BARE.fullmatch(positive):
            return sign * float(positive)
        if match := _PARTS.fullmatch(positive):
            pairs = zip(match.groups(), _UNITS, strict=True)
            return sign * sum(float(count) * unit for count, unit in pairs if count is not None)
    raise MoneyError(f"The {name} {str(value)[:_LONGEST_TEXT]!r} is not a time.", _HINT)
