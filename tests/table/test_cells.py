"""Numbers, dates and categories, however they are written."""

import math

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.table import dates, numerals, values

NUMBERS = [
    ("12", 12, 12),
    ("-0.5", -0.5, None),
    ("1e-3", 0.001, None),
    ("1,234", 1234, 1.234),
    ("1,234.5", 1234.5, None),
    ("1.234,50", None, 1234.5),
    ("12,5", None, 12.5),
    ("1 234,5", None, 1234.5),
    ("1'234'567", 1234567, 1234567),
    ("$12", 12, 12),
    ("-$3.50", -3.5, None),
    ("€ 5", 5, 5),
    ("5 EUR", 5, 5),
    ("(300)", -300, -300),
    ("45 %", 45, 45),
    ("inf", math.inf, None),
    ("abc", None, None),
    ("", None, None),
    ("-", None, None),
    ("1,23,4", None, None),
    ("12 34", None, None),
    ("2024-01-01", None, None),
    ("0x10", None, None),
    ("1_000", None, None),
    ("$", None, None),
    ("12abc", None, None),
]


@pytest.mark.parametrize(("text", "point", "comma"), NUMBERS)
def test_number(text: str, point: float | None, comma: float | None) -> None:
    for decimal, expected in ((".", point), (",", comma)):
        for neighbours in ([], ["x"], ["1"]):  # the quick way and the careful one agree
            found = numerals.read_numbers(pa.array([text, *neighbours]), decimal)[0]
            assert (None if np.isnan(found) else found) == expected


DATES = [
    ("2015-07-01", "ymd", "2015-07-01"),
    ("2015/7/1 9:05", "ymd", "2015-07-01T09:05"),
    ("2015-07-01T10:11:12.123456+02:00", "ymd", "2015-07-01T08:11:12.123456"),
    ("2015-07-01 10:11:12Z", "ymd", "2015-07-01T10:11:12"),
    ("1/7/2015", "dmy", "2015-07-01"),
    ("1/7/2015", "mdy", "2015-01-07"),
    ("01.07.68", "dmy", "2068-07-01"),
    ("7/1/2015 3:05 PM", "mdy", "2015-07-01T15:05"),
    ("7/1/2015 12:05 am", "mdy", "2015-07-01T00:05"),
    ("3rd of May", "d month y", None),
    ("1 July 2015", "d month y", "2015-07-01"),
    ("01-Jul-15", "d month y", "2015-07-01"),
    ("July 4, 2015", "month d y", "2015-07-04"),
    ("20150704", "compact", "2015-07-04"),
    ("2015-07", "ym", "2015-07-01"),
    ("2016-02-29", "ymd", "2016-02-29"),
]


@pytest.mark.parametrize(("text", "form", "date"), DATES)
def test_date(text: str, form: str, date: str | None) -> None:
    found, impossible = dates.read_dates(pa.array([text, "x"]), form)
    assert (None if np.isnat(found[0]) else found[0]) == (None if date is None else np.datetime64(date, "us"))
    assert not impossible.any()
    assert date is None or dates.may_be_dates(pa.array([text]))[0]


@pytest.mark.parametrize("text", ["2015-02-29", "2015-13-01", "0000-00-00", "2015-04-31", "2015-01-01 25:00"])
def test_impossible_date(text: str) -> None:
    found, impossible = dates.read_dates(pa.array([text]), "ymd")
    assert np.isnat(found[0]) and impossible[0]


def test_one_category_however_written() -> None:
    for cells in ([" 1 ", "1.0", "1"], ["TRUE", "true", " True"]):
        assert len(set(values.as_texts(pa.array(cells)).to_pylist())) == 1
    typed = [pa.array([1]), pa.array([1.0]), pa.array(["1.00"])]
    assert {values.as_texts(values.plain(array))[0].as_py() for array in typed} == {"1"}
    assert values.as_texts(pa.array([True]))[0].as_py() == values.as_texts(pa.array(["true"]))[0].as_py() == "True"


def test_every_arrow_type_becomes_plain() -> None:
    import datetime
    import decimal

    cases: list[tuple[pa.Array, object]] = [
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array(["a"], pa.large_string()), "a"),
        (pa.array([1], pa.uint8()), 1),
        (pa.array([2**64 - 1], pa.uint64()), float(2**64)),
        (pa.array([1.5], pa.float32()), 1.5),
        (pa.array([decimal.Decimal("1.25")]), 1.25),
        (pa.array([datetime.date(2024, 1, 2)]), datetime.datetime(2024, 1, 2)),
        (pa.array([datetime.datetime(2024, 1, 2)], pa.timestamp("ns", "UTC")), datetime.datetime(2024, 1, 2)),
        (pa.array([90], pa.duration("s")), 90.0),
        (pa.array([datetime.time(0, 1, 30)]), 90.0),
        (pa.nulls(1), None),
        (pa.array([math.nan]), None),
    ]
    for array, expected in cases:
        assert values.plain(array)[0].as_py() == expected, array.type
    assert values.plain(pa.array([[1]])) is None
