"""The threshold that earns most is the one; what it earns is measured elsewhere; the interval covers the truth."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.errors import DataError
from lepton_ray.money.dollars import Dollars
from lepton_ray.report.predictions import Predictions
from lepton_ray.report.roi import Costs, bootstrap_mean, measure_roi, profit_curve
from lepton_ray.report.threshold import NEVER, best_threshold, deciding_threshold, earnings
from lepton_ray.report.value import Value

VALUE = Value.parse(
    "true_positive: 10\nfalse_positive: -3\ntrue_negative: 1\nfalse_negative: -8\ndecisions_per_year: 1000"
)
NUMBER = Value.parse("unit_of_error: 2\ndecisions_per_year: 1000\nproject_cost: 500\n")
COSTS = Costs(Dollars.parse("0.01"), Dollars.parse("0.1"))


def told(y: np.ndarray, p: np.ndarray) -> Predictions:
    return Predictions(y, np.column_stack((1 - p, p)))


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0])), min_size=1, max_size=30))
def test_no_threshold_earns_more(rows: list[tuple[int, float]]) -> None:
    y, p = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    chosen = earnings(y, p >= best_threshold(y, p, VALUE), VALUE).sum()
    every = [earnings(y, p >= t, VALUE).sum() for t in (0, 0.05, 0.2, 0.4, 0.7, 0.95, math.inf)]
    assert chosen == pytest.approx(max(every))


def test_one_class_means_a_constant_decision() -> None:
    p = np.linspace(0.1, 0.9, 9)
    assert best_threshold(np.ones(9, int), p, VALUE) == 0.0
    assert best_threshold(np.zeros(9, int), p, VALUE) == NEVER
    assert best_threshold(np.zeros(0, int), np.zeros(0), VALUE) == NEVER


def test_without_a_payoff_or_rows_to_choose_on_the_threshold_stays_in_the_middle() -> None:
    y, p = np.tile([0, 1], 20), np.linspace(0, 1, 40)
    assert deciding_threshold(VALUE, y, p) == best_threshold(y, p, VALUE) != 0.5
    assert deciding_threshold(None, y, p) == deciding_threshold(NUMBER, y, p) == 0.5
    assert deciding_threshold(VALUE, y[:9], p[:9]) == 0.5


def test_calibrated_probabilities_lead_to_the_threshold_of_the_theory() -> None:
    p, luck = rng().random((2, 200_000))
    y = (luck < p).astype(int)
    assert best_threshold(y, p, VALUE) == pytest.approx((1 + 3) / (1 + 3 + 10 + 8), abs=0.03)


def test_the_curve_is_what_the_decisions_earn() -> None:
    p, y = np.round(rng().random(500), 2), np.arange(500) % 2
    for threshold, dollars in profit_curve(told(y, p), VALUE)[::20]:
        assert dollars == pytest.approx(earnings(y, p >= threshold, VALUE).mean())


def test_the_held_out_rows_choose_nothing() -> None:
    p, luck = rng().random((2, 400))
    y = (luck < p).astype(int)
    one = measure_roi(VALUE, told(y, p), told(y, p), COSTS, answer="yes", rng=rng())
    other = measure_roi(VALUE, told(y, p), told(1 - y, p), COSTS, answer="yes", rng=rng())
    assert (one.threshold, one.constant) == (other.threshold, other.constant)
    assert one.gain_per_year.value > 0 > other.gain_per_year.value


def test_a_model_without_signal_is_worth_nothing() -> None:
    gains = []
    for seed in range(40):
        draw = np.random.default_rng(seed)
        p, y = draw.random(300), draw.integers(0, 2, 300)
        cross = measure_roi(VALUE, told(y, p), None, COSTS, answer="yes", rng=draw)
        gains.append(cross.gain_per_year.value)
    assert np.mean(gains) <= 0  # chosen on the rows that measure it, it would look like a gain


@pytest.mark.exam
def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        few, many = draw.choice([0.0, 5.0, -3.0], 150), draw.normal(1, 2, 150)
        for gains, truth in ((few, 2 / 3), (many, 1.0)):
            found = bootstrap_mean(gains, draw, resamples=300)
            covered += found.low <= truth <= found.high
    assert 0.90 <= covered / 400 <= 0.985


def test_costs_and_payback_add_up() -> None:
    y = np.arange(100.0)
    roi = measure_roi(NUMBER, Predictions(y, y), Predictions(y, y), COSTS, answer="price", rng=rng())
    serving = 0.1 * 365.25 * 24
    assert roi.gain_per_year.value == pytest.approx(1000 * 2 * 25.0)
    assert roi.net.value == pytest.approx(50_000 - 500.01 - serving)
    assert roi.payback_days == pytest.approx(500.01 / ((50_000 - serving) / 365.25))
    assert roi.sentences()[-1].startswith("It has paid for itself after 4 days")


def test_a_model_that_loses_never_pays_back() -> None:
    y = np.arange(100.0)
    roi = measure_roi(NUMBER, Predictions(y, y), Predictions(y, y[::-1]), COSTS, answer="price", rng=rng())
    assert roi.payback_days is None
    assert "does not pay for itself" in roi.sentences()[-1]


def test_rows_without_an_answer_are_left_out_and_too_few_are_refused() -> None:
    p, y = rng().random(40), rng().integers(0, 2, 40)
    y[:5], p[5] = -1, np.nan
    roi = measure_roi(VALUE, told(y, p), told(y, p), COSTS, answer="yes", rng=rng())
    assert roi.rows == 34
    with pytest.raises(DataError, match="Only 3 rows"):
        measure_roi(VALUE, told(y[6:9], p[6:9]), told(y, p), COSTS, answer="yes", rng=rng())


def test_the_same_generator_gives_the_same_interval() -> None:
    p, y = rng().random(100), rng().integers(0, 2, 100)
    both = [measure_roi(VALUE, told(y, p), None, COSTS, answer="yes", rng=rng()) for _ in range(2)]
    assert both[0] == both[1]
