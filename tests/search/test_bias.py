"""The corrected score sees through luck: the best of many models of pure noise is no better than chance."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lepton_ray.search.bias import FEWEST_REPEATS, SHOWN_ONE_IN, Judged, corrected_score
from lepton_ray.training.metrics import METRICS, Metric

AUC, RMSE = METRICS["roc_auc"], METRICS["rmse"]


def corrected(metric: Metric, judged: Judged, models: list[np.ndarray], *, rng: np.random.Generator) -> Any:
    """With the rule "take the best", and every configuration judged once."""

    def best(means: list[np.ndarray], rows: np.ndarray) -> list[tuple[int, float]]:
        sign = -1.0 if metric.greater_is_better else 1.0
        return [(int(np.nanargmin([sign * judged.score(metric, mean, rows) for mean in means])), 1.0)]

    return corrected_score(metric, judged, [model[None] for model in models], rule=best, rng=rng)


def noise(rng: np.random.Generator, rows: int, models: int) -> tuple[np.ndarray, list[np.ndarray]]:
    drawn = rng.uniform(size=(models, rows))
    return rng.integers(0, 2, rows), [np.column_stack([1 - one, one]) for one in drawn]


@pytest.mark.exam
def test_the_best_of_noise_looks_good_and_is_not() -> None:
    naive, seen_through = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y, models = noise(rng, 150, 40)
        naive.append(max(AUC.score(y, one) for one in models))
        seen_through.append(corrected(AUC, Judged(y), models, rng=rng).score)
    assert np.mean(naive) > 0.58
    assert abs(np.mean(seen_through) - 0.5) < 0.04
    assert all(seen < told for seen, told in zip(seen_through, naive, strict=True))


@pytest.mark.exam
def test_a_model_that_knows_keeps_its_score() -> None:
    rng = np.random.default_rng(0)
    y, models = noise(rng, 300, 10)
    signal = np.clip(0.5 + 0.35 * (y - 0.5) + rng.normal(0, 0.15, 300), 0, 1)
    models.append(np.column_stack([1 - signal, signal]))
    found = corrected(AUC, Judged(y), models, rng=rng)
    assert found.score == pytest.approx(AUC.score(y, models[-1]), abs=0.02)
    assert found.low < found.score < found.high


def test_lower_is_better_where_it_is() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=200)
    found = corrected(RMSE, Judged(y), [y + rng.normal(0, 0.1, 200), np.zeros(200)], rng=rng)
    assert found.score == pytest.approx(0.1, abs=0.02)


def test_rows_of_weight_zero_do_not_count() -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(size=200)
    told = y.copy()
    told[:20] += 100.0
    weight = np.ones(200)
    weight[:20] = 0.0
    assert corrected(RMSE, Judged(y, weight), [told], rng=rng).score == pytest.approx(0.0)


def test_a_draw_of_one_class_is_passed_over_and_where_all_are_there_is_no_score() -> None:
    rare = np.array([0] * 26 + [1] * 4)
    told = np.column_stack([1 - rare * 0.9, rare * 0.9])
    found = corrected(AUC, Judged(rare), [told], rng=np.random.default_rng(0))
    assert found is not None and found.score == 1.0
    assert corrected(AUC, Judged(np.eye(30, dtype=np.int64)[0]), [told], rng=np.random.default_rng(0)) is None


def test_a_constant_is_at_chance_although_each_fold_has_its_own() -> None:
    rng = np.random.default_rng(4)
    y, folds = rng.integers(0, 2, 100), np.arange(100) % 5
    shares = np.array([y[folds != fold].mean() for fold in range(5)])[folds]
    told = np.column_stack([1 - shares, shares])
    assert AUC.score(y, told) < 0.45, "compared over folds it looks worse than chance"
    found = corrected(AUC, Judged(y, None, folds), [told], rng=rng)
    assert found is not None and found.score == 0.5


@pytest.mark.exam
def test_many_configurations_are_compared_in_fewer_repeats() -> None:
    rng, counted = np.random.default_rng(5), []
    metric = replace(RMSE, formula=lambda y, told, weight: counted.append(1) or float(np.mean(told)))
    corrected(metric, Judged(np.zeros(20)), [np.ones(20)] * 400, rng=rng)
    assert len(counted) == FEWEST_REPEATS * (400 + 400 // SHOWN_ONE_IN + 1)


def test_repeats_are_scored_one_by_one_and_not_as_their_mean() -> None:
    rng = np.random.default_rng(6)
    y = rng.normal(size=400)
    repeats = y + rng.normal(0, 1.0, (3, 400))
    averaged = RMSE.score(y, repeats.mean(axis=0))
    found = corrected_score(RMSE, Judged(y), [repeats], rule=lambda means, rows: [(0, 1.0)], rng=rng)
    assert found is not None
    assert found.score == pytest.approx(1.0, abs=0.1) and averaged < 0.7


def test_a_blend_is_scored_as_a_blend() -> None:
    rng = np.random.default_rng(7)
    y = rng.normal(size=400)
    pair = [(y + rng.normal(0, 1.0, 400))[None] for _ in range(6)]
    found = corrected_score(RMSE, Judged(y), pair, rule=lambda means, rows: [(0, 0.5), (1, 0.5)], rng=rng)
    assert found is not None and found.score == pytest.approx(1 / np.sqrt(2), abs=0.08)


def test_what_comes_late_is_left_out() -> None:
    rng, y = np.random.default_rng(8), np.arange(50.0)
    told = [(y + rng.normal(0, 1.0, 50))[None]]
    asked = iter(range(1000))
    some = corrected_score(
        RMSE, Judged(y), told, rule=lambda means, rows: [(0, 1.0)], rng=rng, late=lambda: next(asked) > 10
    )
    assert some is not None and some.score == pytest.approx(1.0, abs=0.3) and next(asked) == 12
    none = corrected_score(RMSE, Judged(y), told, rule=lambda means, rows: [(0, 1.0)], rng=rng, late=lambda: True)
    assert none is None
