"""How people write dates: 2015-07-01, 1/7/2015, 01.07.15, 1 July 2015, 20150701, each with or without a time.

Knows no columns and no plans. An impossible date (30 February) is no date.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.table import values

Dates = npt.NDArray[np.datetime64]

_TIME = (
    r"(?:[T ]+(?P<H>[0-9]{1,2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2})(?:[.,](?P<f>[0-9]{1,6})[0-9]*)?)?"
    r"\s*(?P<p>[AaPp]\.?[Mm]\.?)?)?\s*(?P<z>Z|UTC|GMT|[+-][0-9]{2}:?[0-9]{2})?$"
)
_SHAPES = {
    "ymd": r"^(?P<y>[0-9]{4})[-/.](?P<m>[0-9]{1,2})[-/.](?P<d>[0-9]{1,2})",
    "dmy": r"^(?P<d>[0-9]{1,2})[-/.](?P<m>[0-9]{1,2})[-/.](?P<y>[0-9]{4}|[0-9]{2})",
    "mdy": r"^(?P<m>[0-9]{1,2})[-/.](?P<d>[0-9]{1,2})[-/.](?P<y>[0-9]{4}|[0-9]{2})",
    "d month y": r"^(?P<d>[0-9]{1,2})(?:st|nd|rd|th)?[- .]+(?P<m>[A-Za-z]{3,9})\.?[- ,]+(?P<y>[0-9]{4}|[0-9]{2})",
    "month d y": r"^(?P<m>[A-Za-z]{3,9})\.?[- ]+(?P<d>[0-9]{1,2})(?:st|nd|rd|th)?[, ]+(?P<y>[0-9]{4})",
    "compact": r"^(?P<y>(?:19|20)[0-9]{2})(?P<m>[0-9]{2})(?P<d>[0-9]{2})",
    "ym": r"^(?P<y>[0-9]{4})[-/](?P<m>[0-9]{1,2})(?P<d>)",
}
FORMS = tuple(_SHAPES)
"""The names of the forms, in the order in which they are tried."""

IN_WORDS = {
    "ymd": "year-month-day",
    "dmy": "day/month/year",
    "mdy": "month/day/year",
    "d month y": "day, month's name, year",
    "month d y": "month's name, day, year",
    "compact": "YYYYMMDD",
    "ym": "year-month",
}
_LIKELY = r"^[0-9]{1,4}(?:st|nd|rd|th)?[-/. ]+[0-9A-Za-z]|^[A-Za-z]{3,9}\.?[- ]+[0-9]|^(?:19|20)[0-9]{6}(?:[T ]|$)"
_MONTHS = {
    name: str(i % 12 + 1)
    for i, name in enumerate(
        "jan feb mar apr may jun jul aug sep oct nov dec january february march april may june july august september"
        " october november december".split()
    )
} | {"sept": "9"}


def may_be_dates(texts: Any) -> npt.NDArray[np.bool_]:
    """Which trimmed texts are worth a closer look: a cheap test without false negatives."""
    return values.matches(texts, _LIKELY)


def read_dates(texts: Any, form: str) -> tuple[Dates, npt.NDArray[np.bool_]]:
    """Trimmed texts as naive UTC times (NaT: no date), and which are shaped like a date but impossible."""
    dates = np.full(len(texts), np.datetime64("NaT"), dtype="datetime64[us]")
    parts = pc.extract_regex(texts, _SHAPES[form] + _TIME)
    shaped = np.flatnonzero(pc.is_valid(parts).to_numpy(zero_copy_only=False))
    impossible = np.zeros(len(texts), dtype=bool)
    if not len(shaped):
        return dates, impossible
    found, month_known = _assemble(parts.take(pa.array(shaped)))
    dates[shaped] = found
    impossible[shaped] = np.isnat(found) & month_known
    return dates, impossible


def _assemble(parts: Any) -> tuple[Dates, npt.NDArray[np.bool_]]:
    """Put the parts of dates together, and say which have a month at all."""
    month_texts = pc.utf8_lower(parts.field("m"))
    if values.matches(month_texts, "[a-z]").any():
        month_texts = pa.array([_MONTHS.get(word, "-1") for word in month_texts.to_pylist()])
    month, day, year = _whole(month_texts), _whole(parts.field("d"), "1"), _whole(parts.field("y"))
    short = pc.equal(pc.utf8_length(parts.field("y")), 2).to_numpy(zero_copy_only=False)
    year = np.where(short, np.where(year < 69, 2000, 1900) + year, year)
    hour, minute, second = _whole(parts.field("H")), _whole(parts.field("M")), _whole(parts.field("S"))
    fraction = _whole(pc.utf8_rpad(parts.field("f"), 6, "0"))
    half = pc.utf8_lower(pc.utf8_slice_codeunits(parts.field("p"), 0, 1)).to_numpy(zero_copy_only=False)
    hour = np.where(half == "", hour, np.where((hour < 1) | (hour > 12), 99, hour % 12 + 12 * (half == "p")))
    good = (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1) & (hour < 24) & (minute < 60) & (second < 60)
    months = ((year - 1970) * 12 + np.where(good, month, 1) - 1).astype("datetime64[M]")
    good &= day <= ((months + 1).astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64)
    micros = ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction - _offset(parts.field("z"))
    days = months.astype("datetime64[D]") + (day - 1)
    dates = days.astype("datetime64[us]") + micros.astype("timedelta64[us]")
    return np.where(good, dates, np.datetime64("NaT")), month >= 0


def _whole(texts: Any, empty: str = "0") -> npt.NDArray[np.int64]:
    filled = pc.if_else(pc.equal(texts, ""), empty, texts)
    return np.asarray(filled.cast(pa.int64()).to_numpy(zero_copy_only=False), dtype=np.int64)


def _offset(zones: Any) -> npt.NDArray[np.int64]:
    """Microseconds east of Greenwich."""
    parts = pc.extract_regex(zones, r"^(?P<sign>[+-])(?P<h>[0-9]{2}):?(?P<m>[0-9]{2})$")
    if not pc.any(pc.is_valid(parts)).as_py():
        return np.zeros(len(zones), dtype=np.int64)
    sign = np.where(pc.fill_null(parts.field("sign"), "").to_numpy(zero_copy_only=False) == "-", -1, 1)
    minutes = _whole(pc.fill_null(parts.field("h"), "")) * 60 + _whole(pc.fill_null(parts.field("m"), ""))
    return np.asarray(sign * minutes * 60_000_000, dtype=np.int64)
