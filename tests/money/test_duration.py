"""Durations are read as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.errors import MoneyError
from lepton_ray.money.duration import LONGEST_SECONDS, duration_text, parse_duration


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("90s", 90),
        ("5m", 300),
        ("1h30m", 5400),
        ("2h", 7200),
        ("90", 90),
        ("1.5m", 90),
        (".5h", 1800),
        ("1h 30m 5s", 5405),
        ("2 hours", 7200),
        ("1 min", 60),
        ("1d", 86400),
        ("30d", LONGEST_SECONDS),
        (" 5M ", 300),
        (12.5, 12.5),
        (60, 60),
        ("0.2", 0.2),
        ("20ms", 0.02),
        ("1s 500 milliseconds", 1.5),
    ],
)
def test_what_people_write_is_read(value: str | float, seconds: float) -> None:
    assert parse_duration(value) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("", "not a time"),
        ("soon", "not a time"),
        ("5x", "not a time"),
        ("1h30", "not a time"),
        ("30m1h", "not a time"),
        ("1m1m", "not a time"),
        ("m", "not a time"),
        ("1:30", "not a time"),
        ("nan", "not a time"),
        ("9" * 100, "not a time"),
        (None, "not a time"),
        (True, "not a time"),
        (float("nan"), "not a finite"),
        (float("inf"), "not a finite"),
        (10**400, "not a finite"),
        ("0", "not longer than zero"),
        ("0s", "not longer than zero"),
        ("-5m", "not longer than zero"),
        (-1, "not longer than zero"),
        ("31d", "longer than 30 days"),
        (LONGEST_SECONDS * 2, "longer than 30 days"),
        ("9" * 60, "longer than 30 days"),
    ],
)
def test_what_is_not_a_time_is_refused_in_one_sentence(value: object, word: str) -> None:
    with pytest.raises(MoneyError, match=word) as caught:
        parse_duration(value, name="deadline")  # type: ignore[arg-type]
    assert "deadline" in caught.value.what and caught.value.hint.endswith(".")


@given(st.floats(min_value=0.1, max_value=LONGEST_SECONDS))
def test_the_text_can_be_read_again(seconds: float) -> None:
    text = duration_text(seconds)
    assert parse_duration(text) == pytest.approx(seconds, abs=0.06 if seconds < 59.9 else 0.51)


def test_the_text_is_brief() -> None:
    said = [duration_text(s) for s in (0, 8, 8.46, 59.96, 60, 61, 3600, 5400, 86400)]
    assert said == ["0s", "8s", "8.5s", "1m", "1m", "1m1s", "1h", "1h30m", "24h"]
