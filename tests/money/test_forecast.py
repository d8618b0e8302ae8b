"""A forecast is wide when it knows little, learns from what ended, and its quantile is one."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.money.forecast import LONGEST_SECONDS, UNKNOWN_SECONDS, Forecast

work = st.floats(min_value=1e-3, max_value=1e12)
spent = st.floats(min_value=0, max_value=1e5)
history = st.lists(st.tuples(st.sampled_from("ab"), work, spent), max_size=8)


def learned(history: list[tuple[str, float, float]]) -> Forecast:
    forecast = Forecast()
    for key, size, seconds in history:
        forecast = forecast.observe(key, size, seconds)
    return forecast


@given(history, st.sampled_from("abc"), work)
def test_quantiles_are_ordered_times(history: list[tuple[str, float, float]], key: str, size: float) -> None:
    forecast = learned(history)
    low, middle, high = (forecast.quantile(key, size, q) for q in (0.1, 0.5, 0.9))
    assert 0 < low <= middle <= high <= LONGEST_SECONDS * 1.000001


@given(history, st.permutations(range(8)))
def test_the_order_of_observations_does_not_matter(history: list[tuple[str, float, float]], order: list[int]) -> None:
    shuffled = [history[index] for index in order if index < len(history)]
    expected = learned(history).quantile("a", 10.0)
    assert learned(shuffled).quantile("a", 10.0) == pytest.approx(expected)


@given(history, work, work)
def test_more_work_is_never_expected_to_take_less(history: list[tuple[str, float, float]], x: float, y: float) -> None:
    forecast = learned(history)
    assert forecast.quantile("a", min(x, y), 0.5) <= forecast.quantile("a", max(x, y), 0.5) * (1 + 1e-9)


def test_the_prior_is_wide_and_gives_way() -> None:
    nothing = Forecast()
    assert nothing.quantile("a", 100, 0.5) == pytest.approx(UNKNOWN_SECONDS)
    assert nothing.quantile("a", 100) > 5 * UNKNOWN_SECONDS
    widths, forecast = [], nothing
    for _ in range(10):
        forecast = forecast.observe("a", 100, 1.0)
        assert forecast.quantile("a", 100, 0.5) == pytest.approx(1.0)
        widths.append(forecast.quantile("a", 100))
    assert widths[0] == pytest.approx(3.56, abs=0.01) and widths == sorted(widths, reverse=True)
    assert widths[1] == pytest.approx(3.0, abs=0.01)
    assert widths[2] < 2 and widths[9] < 1.5


def test_observing_changes_nothing_but_the_answer() -> None:
    before = Forecast()
    after = before.observe("a", 1.0, 9.0)
    assert before == Forecast() and after.quantile("a", 1.0, 0.5) == pytest.approx(9.0)


def test_a_guess_serves_until_the_first_observation() -> None:
    guessed = Forecast().guess("a", 100, 4.0)
    assert guessed.quantile("a", 100, 0.5) == pytest.approx(4.0)
    assert guessed.observe("a", 100, 0.5).quantile("a", 100, 0.5) == pytest.approx(0.5)


def test_an_unknown_key_borrows_from_the_others_with_doubt() -> None:
    forecast = learned([("a", 100.0, 1.0)] * 6)
    assert forecast.quantile("b", 100, 0.5) == pytest.approx(1.0)
    assert forecast.quantile("b", 100) > 5 > forecast.quantile("a", 100)


def test_an_extrapolation_is_less_sure() -> None:
    forecast = learned([("a", size, size / 100) for size in (100.0, 110.0, 90.0, 105.0)])
    near, far = (forecast.quantile("a", size) / forecast.quantile("a", size, 0.5) for size in (100.0, 100_000.0))
    assert far > 2 * near


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5])
def test_the_ninth_decile_covers_nine_tenths(exponent: float) -> None:
    rng = random.Random(7)

    def trial() -> tuple[float, float]:
        size = math.exp(rng.uniform(0, 5))
        return size, 0.01 * size**exponent * math.exp(rng.gauss(0, 0.4))

    covered = 0
    for _ in range(200):
        forecast = learned([("a", *trial()) for _ in range(8)])
        size, seconds = trial()
        covered += seconds <= forecast.quantile("a", size)
    assert 0.86 <= covered / 200 <= 0.98


@pytest.mark.parametrize(("size", "seconds"), [(0, 1), (-1, 1), (math.inf, 1), (math.nan, 1), (1, -1), (1, math.nan)])
def test_impossible_observations_are_refused(size: float, seconds: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        Forecast().observe("a", size, seconds)
