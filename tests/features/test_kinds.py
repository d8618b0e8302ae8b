"""What each kind of column becomes, by worked example."""

from datetime import datetime

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.features.calendar import calendar_parts, scaled_calendar
from lepton_ray.features.category import category_codes, one_hot
from lepton_ray.features.grams import character_grams, letters, word_grams
from lepton_ray.features.numeric import raw_numbers, scaled_numbers
from lepton_ray.features.step import learn
from lepton_ray.features.text import FOR_LINEAR, weighted_grams


def strings(*values: str | None) -> pa.Table:
    return pa.table({"c": pa.array(values, pa.string())})


def numbers(*values: float | None) -> pa.Table:
    return pa.table({"c": pa.array(values, pa.float64())})


def test_raw_numbers_keep_missing_and_forget_infinity() -> None:
    step = raw_numbers(["c"])
    dense = step.apply({}, numbers(1.5, None, float("inf"))).dense
    assert np.array_equal(dense[:, 0], [1.5, np.nan, np.nan], equal_nan=True)


def test_scaled_numbers_withstand_an_outlier() -> None:
    step = scaled_numbers(["c"])
    state = learn(step, [numbers(*range(100), 1e12, None)])
    X = step.apply(state, numbers(50.0, 0.0, 99.0, 1e12, None))
    z = X.dense[:, 0]
    assert abs(z[0]) < 0.1
    assert -2.0 < z[1] < -1.0
    assert 1.0 < z[2] < 2.0
    assert 7.9 < z[3] <= 8.0
    assert abs(z[4]) < 0.1
    assert X.names == ("c", "c is missing")
    assert X.dense[:, 1].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_tenths_put_each_value_in_one_place_and_the_missing_at_the_median() -> None:
    step = scaled_numbers(["c"])
    state = learn(step, [numbers(*range(1, 101), None)])
    cells = step.apply(state, numbers(1.0, 10.0, 11.0, 100.0, 1e9, -5.0, None, 50.0)).sparse.toarray()
    assert cells.argmax(axis=1).tolist() == [0, 0, 1, 9, 9, 0, 4, 4]
    assert (cells.sum(axis=1) == 1.0).all()


def test_codes_follow_frequency_and_fold_the_rare_with_the_unseen() -> None:
    step = category_codes(["c"])
    state = learn(step, [strings("b", "b", "b", "a", "a", "d", "d", "rare", None)])
    codes = step.apply(state, strings("b", "a", "d", "rare", "never seen", None)).dense[:, 0]
    assert np.array_equal(codes, [0, 1, 2, 3, 3, np.nan], equal_nan=True)
    assert step.apply(state, strings("b")).categorical == (0,)


def test_one_hot_has_a_place_for_other_and_for_missing() -> None:
    step = one_hot(["c"], most=2, seldom=1)
    state = learn(step, [strings("b", "b", "a", "a", "z")])
    X = step.apply(state, strings("a", "b", "z", "never seen", None))
    assert X.sparse.toarray().argmax(axis=1).tolist() == [0, 1, 2, 2, 3]
    assert X.groups == (("c", 4),)


def test_calendar_parts_of_a_saturday_evening() -> None:
    step = calendar_parts(["c"])
    block = pa.table({"c": pa.array([datetime(2024, 2, 24, 18, 30), None, datetime(2024, 2, 29)], pa.timestamp("us"))})
    X = step.apply(learn(step, [block]), block)
    assert X.names == ("c.year", "c.month", "c.day", "c.weekday", "c.hour", "c.weekend", "c.age")
    assert X.dense[0] == pytest.approx([2024, 2, 24, 5, 18, 1, 4 + 5.5 / 24])
    assert np.isnan(X.dense[1]).all()
    assert X.dense[2, 6] == 0.0


def test_a_date_column_without_dates_is_still_a_column() -> None:
    empty = pa.table({"c": pa.array([None, None], pa.timestamp("us"))})
    tree, linear = calendar_parts(["c"]), scaled_calendar(["c"])
    assert np.isnan(tree.apply(learn(tree, [empty]), empty).dense).all()
    assert np.isfinite(linear.apply(learn(linear, [empty]), empty).dense).all()


def test_words_are_counted_with_their_pairs_and_case_is_folded() -> None:
    texts, buckets = word_grams(letters(pa.array(["Good day", "good DAY!", None])))
    first, second = buckets[texts == 0], buckets[texts == 1]
    assert len(first) == 3
    assert sorted(first) == sorted(second)
    assert 2 not in texts


def test_words_are_found_without_spaces_in_chinese() -> None:
    texts, buckets = word_grams(letters(pa.array(["房间很好", "很好"])))
    assert (texts == 0).sum() == 7
    assert set(buckets[texts == 1]) <= set(buckets[texts == 0])


def test_character_grams_stay_inside_their_word() -> None:
    texts, buckets = character_grams(letters(pa.array(["ab", "ab cd", ""])), 3, 4)
    assert (texts == 0).sum() == 3  # " ab", "ab ", " ab "
    assert set(buckets[texts == 0]) < set(buckets[texts == 1])
    assert 2 not in texts


def test_text_vectors_have_one_length_and_unknown_words_are_ignored() -> None:
    step = weighted_grams(["c"], FOR_LINEAR)
    state = learn(step, [strings(*["late parcel", "nice parcel", "late again"] * 2)])
    X = step.apply(state, strings("late parcel", "xyzzy", None))
    words = X.sparse[:, : X.groups[0][1]].toarray()
    assert np.linalg.norm(words, axis=1) == pytest.approx([FOR_LINEAR.length, 0.0, 0.0], rel=1e-6)
