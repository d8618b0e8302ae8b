"""The corrected score sees through luck: the best of many models of pure noise is no better than chance."""

import numpy as np
import pytest

from lepton_ray.search.bias import corrected_score
from lepton_ray.training.metrics import METRICS

AUC, RMSE = METRICS["roc_auc"], METRICS["rmse"]


def noise(rng: np.random.Generator, rows: int, models: int) -> tuple[np.ndarray, list[np.ndarray]]:
    drawn = rng.uniform(size=(models, rows))
    return rng.integers(0, 2, rows), [np.column_stack([1 - one, one]) for one in drawn]


def test_the_best_of_noise_looks_good_and_is_not() -> None:
    naive, corrected = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y, models = noise(rng, 150, 40)
        naive.append(max(AUC.score(y, one) for one in models))
        corrected.append(corrected_score(AUC, y, models, rng=rng).score)
    assert np.mean(naive) > 0.58
    assert abs(np.mean(corrected) - 0.5) < 0.04
    assert all(seen < told for seen, told in zip(corrected, naive, strict=True))


def test_a_model_that_knows_keeps_its_score() -> None:
    rng = np.random.default_rng(0)
    y, models = noise(rng, 300, 10)
    signal = np.clip(0.5 + 0.35 * (y - 0.5) + rng.normal(0, 0.15, 300), 0, 1)
    models.append(np.column_stack([1 - signal, signal]))
    found = corrected_score(AUC, y, models, rng=rng)
    assert found.score == pytest.approx(AUC.score(y, models[-1]), abs=0.02)
    assert found.low < found.score < found.high


def test_lower_is_better_where_it_is() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=200)
    found = corrected_score(RMSE, y, [y + rng.normal(0, 0.1, 200), np.zeros(200)], rng=rng)
    assert found.score == pytest.approx(0.1, abs=0.02)


def test_rows_of_weight_zero_do_not_count() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=200)
    told = y.copy()
    told[:20] += 100.0
    weight = np.ones(200)
    weight[:20] = 0.0
    assert corrected_score(RMSE, y, [told], rng=rng, weight=weight).score == pytest.approx(0.0)


def test_a_draw_of_one_class_is_passed_over_and_where_all_are_there_is_no_score() -> None:
    rare = np.array([0] * 26 + [1] * 4)
    told = np.column_stack([1 - rare * 0.9, rare * 0.9])
    found = corrected_score(AUC, rare, [told], rng=np.random.default_rng(0))
    assert found is not None and found.score == 1.0
    assert corrected_score(AUC, np.eye(30, dtype=np.int64)[0], [told], rng=np.random.default_rng(0)) is None
