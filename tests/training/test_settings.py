"""What settings refuse, what becomes of the rate, and what balances classes; without torch."""

from typing import Any

import pytest

from lepton_ray.errors import UsageError
from lepton_ray.training.settings import Schedule, Settings, balanced, rate_factor, waves


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"accumulate": 0},
        {"clip": 0.0},
        {"clip": float("nan")},
        {"warm_up": 1.0},
        {"average": 1.0},
        {"patience": 0},
        {"save_steps": 0},
        {"precision": "fp8"},
        {"schedule": "steps"},
        {"class_weights": (1.0, -1.0)},
        {"class_weights": (1.0, float("inf"))},
    ],
)
def test_what_cannot_be_is_refused_by_name(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(UsageError, match=name):
        Settings(**({"epochs": 1} | wrong))


@pytest.mark.parametrize(
    ("schedule", "half", "end"), [("constant", 1.0, 1.0), ("cosine", 0.5, 0.0), ("linear", 0.5, 0.0)]
)
def test_the_rate_rises_and_falls(schedule: Schedule, half: float, end: float) -> None:
    settings = Settings(epochs=1, schedule=schedule, warm_up=0.2)
    said = [rate_factor(settings, done) for done in (0.0, 0.1, 0.2, 0.6, 1.0)]
    assert said == pytest.approx([0.0, 0.5, 1.0, half, end])


def test_each_wave_ends_at_rest() -> None:
    ends = [0.0, 1 / 15, 3 / 15, 7 / 15, 1.0]
    assert [waves(end) for end in ends] == pytest.approx([0.0] * 5, abs=1e-12)
    assert all(waves((2 ** (k + 0.5) - 1) / 15) == pytest.approx(1.0) for k in range(4))


def test_balanced_classes_weigh_the_same() -> None:
    counts = [90, 0, 10]
    weights = balanced(counts)
    assert [weight * count for weight, count in zip(weights, counts, strict=True)] == pytest.approx([50.0, 0.0, 50.0])
