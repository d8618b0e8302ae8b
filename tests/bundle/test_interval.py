"""Bounds around a predicted value: they hold the stated share of rows that nobody saw, wide where it is noisy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.bundle.bundle import Bundle, write_bundle
from lepton_ray.bundle.interval import FEWEST_ROWS, Interval
from tests.sealed import parts, raw_table


def noisy(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Truths around a prediction that is the less sure the larger it is, and skewed."""
    rng = np.random.default_rng(seed)
    predicted = rng.uniform(0, 10, n)
    return predicted + predicted * rng.exponential(1.0, n), predicted


@pytest.mark.parametrize("level", [0.5, 0.9])
@pytest.mark.parametrize("n", [60, 400, 5_000])
def test_new_rows_lie_within_as_often_as_stated(n: int, level: float) -> None:
    within = []
    for seed in range(40):
        interval = Interval.measured(*noisy(n, seed), level=level)
        assert interval is not None
        y, predicted = noisy(2_000, seed + 1_000)
        low, high = interval.around(predicted)
        within.append(np.mean((y >= low) & (y <= high)))
    assert np.mean(within) == pytest.approx(level, abs=0.02)
    assert np.mean(within) >= level - 0.01


def test_it_is_wide_where_the_model_errs_more() -> None:
    interval = Interval.measured(*noisy(5_000, 0))
    assert interval is not None and len(interval.low) == 10
    widths = [high - low for low, high in zip(interval.low, interval.high, strict=True)]
    assert widths[-1] > 5 * widths[0]


@given(st.lists(st.floats(-1e6, 1e6), min_size=FEWEST_ROWS, max_size=300), st.integers(0, 3))
def test_any_predictions(predicted: list[float], digits: int) -> None:
    said = np.round(np.array(predicted), digits)
    interval = Interval.measured(said + np.linspace(-1, 1, len(said)), said)
    assert interval is not None
    low, high = interval.around(said)
    assert np.all(low <= high)
    assert Interval.from_dict(interval.to_dict()) == interval


def test_too_few_rows_give_none() -> None:
    assert Interval.measured(*noisy(FEWEST_ROWS - 1, 0)) is None


def test_a_bundle_answers_with_its_bounds(tmp_path: Path) -> None:
    interval = Interval(0.9, (0.5,), (-0.1, -0.2), (0.3, 0.4))
    bundle = write_bundle(tmp_path / "b", **parts("regression"), interval=interval)
    assert bundle.manifest.outputs == ("prediction", "prediction_low", "prediction_high")
    found = Bundle.load(tmp_path / "b").predict(raw_table())
    said, low, high = (found[name].to_numpy() for name in bundle.manifest.outputs)
    assert np.allclose(low, said - np.where(said < 0.5, 0.1, 0.2))
    assert np.allclose(high, said + np.where(said < 0.5, 0.3, 0.4))
    assert bundle.predict(raw_table().slice(0, 0)).column_names == list(bundle.manifest.outputs)


def test_classes_have_none(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", **parts("binary"), interval=Interval(0.9, (), (-1.0,), (1.0,)))
    assert bundle.manifest.interval is None and "prediction_low" not in bundle.manifest.outputs


@pytest.mark.parametrize(
    "wrong", [{"low": [1.0, 2.0]}, {"edges": [2.0, 1.0], "low": [0.0] * 3, "high": [0.0] * 3}, {"high": ["wide"]}]
)
def test_other_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Interval.from_dict({"level": 0.9, "edges": [], "low": [0.0], "high": [1.0], **wrong})
