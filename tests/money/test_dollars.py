"""Dollars are exact, round in one place, and refuse what is not money."""

from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.errors import MoneyError
from lepton_ray.money.dollars import Dollars

micros = st.integers(min_value=0, max_value=10**15)
anyhow = st.integers(min_value=-(10**15), max_value=10**15)
seconds = st.floats(min_value=0, max_value=1e8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.02", 20_000),
        ("$0.02", 20_000),
        (" $ 0.02 ", 20_000),
        ("0.02 usd", 20_000),
        ("USD 0.02", 20_000),
        ("0.02$", 20_000),
        ("0.02 dollars", 20_000),
        ("1 dollar", 1_000_000),
        ("2 cents", 20_000),
        ("2c", 20_000),
        ("1.5 cent", 15_000),
        ("0.00005 c", 0),
        ("2¢", 20_000),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("1,234,567.89", 1_234_567_890_000),
        ("1e-3", 1_000),
        ("0", 0),
        (0, 0),
        (3, 3_000_000),
        (0.1 + 0.2, 300_000),
        (1e-5, 10),
        (Decimal("0.0000015"), 2),
        (Decimal("0.0000025"), 2),
        (Dollars(7), 7),
    ],
)
def test_what_people_write_is_read(text: object, expected: int) -> None:
    if expected == 0 and text == "0.00005 c":
        with pytest.raises(MoneyError, match="less than a millionth"):
            Dollars.parse(text)
        return
    assert Dollars.parse(text) == Dollars(expected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("", "not an amount"),
        ("abc", "not an amount"),
        ("0,02", "not an amount"),
        ("1,00", "not an amount"),
        ("€0.02", "not an amount"),
        ("0.02 eur", "not an amount"),
        ("1 2", "not an amount"),
        ("$", "not an amount"),
        (".", "not an amount"),
        ("nan", "not an amount"),
        ("inf", "not an amount"),
        ("٣", "not an amount"),
        ("9" * 100, "not an amount"),
        (None, "not an amount"),
        (True, "not an amount"),
        ([], "not an amount"),
        (float("nan"), "not a finite"),
        (float("inf"), "not a finite"),
        (float("-inf"), "not a finite"),
        (Decimal("nan"), "not a finite"),
        ("-0.02", "negative"),
        ("$-0.02", "negative"),
        ("-$0.02", "negative"),
        (-1, "negative"),
        (-0.5, "negative"),
        ("1e999", "absurdly large"),
        (Decimal("1e999999"), "absurdly large"),
        (10**400, "absurdly large"),
        ("1e-9", "less than a millionth"),
        (1e-300, "less than a millionth"),
    ],
)
def test_what_is_not_money_is_refused_in_one_sentence(value: object, word: str) -> None:
    with pytest.raises(MoneyError, match=word) as caught:
        Dollars.parse(value, name="budget")  # type: ignore[arg-type]
    assert "budget" in caught.value.what and caught.value.hint.endswith(".")
    assert "\n" not in str(caught.value) and caught.value.exit_code == 4


def test_numbers_of_other_libraries_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert Dollars.parse(numpy.float64(0.02)) == Dollars.parse(numpy.float32(0.5)) - Dollars(480_000)
    assert Dollars.parse(numpy.int64(2)) == Dollars(2_000_000)


@given(micros)
def test_the_text_hides_no_micro_dollar(amount: int) -> None:
    text = str(Dollars(amount))
    assert Dollars.parse(text) == Dollars(amount)
    assert len(text.partition(".")[2]) >= 2
    assert str(-Dollars(amount)) == (f"-{text}" if amount else text)
    assert f"{Dollars(amount):>30}" == text.rjust(30)


@given(micros)
def test_a_json_number_brings_the_amount_back(amount: int) -> None:
    assert Dollars.parse(float(Dollars(amount))) == Dollars(amount)


@given(st.lists(anyhow), anyhow, anyhow)
def test_arithmetic_is_that_of_integers(many: list[int], a: int, b: int) -> None:
    assert Dollars.total(map(Dollars, many)) == Dollars(sum(many))
    assert Dollars(a) + Dollars(b) == Dollars(a + b)
    assert Dollars(a) - Dollars(b) == Dollars(a) + -Dollars(b) == Dollars(a - b)
    assert (Dollars(a) < Dollars(b)) == (a < b)
    assert bool(Dollars(a)) == bool(a)


def test_dollars_mix_with_nothing_else() -> None:
    for wrong in (1, 1.0, "1"):
        with pytest.raises(TypeError):
            Dollars(1) + wrong  # type: ignore[operator]
        with pytest.raises(TypeError):
            Dollars(1) - wrong  # type: ignore[operator]
    for wrong in (1.0, True, "1"):
        with pytest.raises(TypeError):
            Dollars(wrong)  # type: ignore[arg-type]


@given(micros, seconds)
def test_a_rate_times_a_time_rounds_half_even_and_exactly(rate: int, time: float) -> None:
    exact = Fraction(rate) * Fraction(time) / 3600
    assert Dollars.of_rate(Dollars(rate), time).micros == round(exact)


def test_ties_go_to_the_even_micro() -> None:
    halves = [Dollars.of_rate(Dollars(1800), time).micros for time in (1, 3, 5, 7)]
    assert halves == [int(Decimal(x).quantize(Decimal(1), ROUND_HALF_EVEN)) for x in ("0.5", "1.5", "2.5", "3.5")]


@given(micros, seconds, seconds)
def test_more_time_never_costs_less(rate: int, a: float, b: float) -> None:
    early, late = sorted((a, b))
    assert Dollars.of_rate(Dollars(rate), early) <= Dollars.of_rate(Dollars(rate), late)


@pytest.mark.parametrize("time", [-1.0, float("nan"), float("inf")])
def test_impossible_times_have_no_price(time: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        Dollars.of_rate(Dollars(1), time)


@given(st.integers(1, 10**12), st.integers(1, 10**12))
def test_what_an_amount_buys_costs_that_amount(amount: int, rate: int) -> None:
    bought = Dollars(amount).buys(Dollars(rate))
    assert Dollars.of_rate(Dollars(rate), bought) == Dollars(amount)
