"""Rungs and splits: sides are disjoint, a part is the same part for every trial, time only runs forward."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_ray.search.rungs import (
    ALL_FOLDS_BELOW,
    FIRST_RUNG_ROWS,
    GROWTH,
    N_FOLDS,
    REPEATED_BELOW,
    REPEATS,
    Rung,
    ladder,
    one_in,
    splits,
)

EVERY = Rung(None, N_FOLDS)

folded = st.lists(st.integers(0, N_FOLDS - 1), min_size=5, max_size=60).map(np.array)


def once(folds: np.ndarray) -> np.ndarray:
    return folds[:, None]


def pairs(folds: np.ndarray, rung: Rung, *, usable: np.ndarray | None = None, timed: bool = False, seed: int = 0):
    usable = np.ones(len(folds), bool) if usable is None else usable
    folds = once(folds) if folds.ndim == 1 else folds
    return list(splits(folds, rung, usable=usable, timed=timed, rng=np.random.default_rng(seed)))


@settings(deadline=None)
@given(folded, st.integers(1, N_FOLDS), st.none() | st.integers(1, 20), st.booleans(), st.data())
def test_sides_are_disjoint(folds: np.ndarray, count: int, rows: int | None, timed: bool, data: st.DataObject) -> None:
    usable = np.array(data.draw(st.lists(st.booleans(), min_size=len(folds), max_size=len(folds))))
    found = pairs(folds, Rung(rows, count), usable=usable, timed=timed)
    assert len(found) <= count
    judged: list[int] = []
    for train, valid in found:
        assert len(train) and len(valid)
        assert not set(train) & set(valid)
        assert usable[train].all(), "a row that may not train has trained"
        assert len({int(fold) for fold in folds[valid]}) == 1
        assert rows is None or max(len(train), len(valid)) <= rows
        if timed:
            assert folds[train].max() < folds[valid].min(), "a later row has trained"
        judged += valid.tolist()
    assert len(judged) == len(set(judged)), "a row was judged twice"


@given(st.lists(st.integers(0, 7), min_size=30, max_size=80).map(np.array))
def test_groups_stay_on_one_side(groups: np.ndarray) -> None:
    folds = groups % N_FOLDS
    for train, valid in pairs(folds, EVERY):
        assert not set(groups[train]) & set(groups[valid])


def test_cross_validation_judges_every_row_once() -> None:
    folds = np.arange(100) % N_FOLDS
    judged = np.concatenate([valid for _, valid in pairs(folds, EVERY)])
    assert sorted(judged) == list(range(100))


def test_timed_folds_judge_the_latest_first_and_the_first_fold_only_trains() -> None:
    folds = np.repeat(np.arange(N_FOLDS + 1), 4)
    found = pairs(folds, EVERY, timed=True)
    assert [int(folds[valid][0]) for _, valid in found] == [5, 4, 3, 2, 1]
    (only,) = pairs(folds, Rung(None, 1), timed=True)
    assert folds[only[1]].tolist() == [5] * 4 and set(folds[only[0]]) == {0, 1, 2, 3, 4}


def test_a_part_is_drawn_by_the_seed() -> None:
    folds = np.arange(500) % N_FOLDS
    rung = Rung(50, 1)
    ((train, valid),) = pairs(folds, rung)
    ((again, judged),) = pairs(folds, rung)
    assert len(train) == len(valid) == 50
    assert (train == again).all() and (valid == judged).all()
    assert (pairs(folds, rung, seed=1)[0][0] != train).any()


@pytest.mark.parametrize(
    "rows, expected",
    [
        (100, (EVERY, Rung(None, N_FOLDS, REPEATS))),
        (REPEATED_BELOW, (Rung(None, 1), EVERY)),
        (ALL_FOLDS_BELOW, (Rung(None, 1),)),
        (2 * FIRST_RUNG_ROWS, (Rung(FIRST_RUNG_ROWS, 1), Rung(None, 1))),
        (400_000, (Rung(FIRST_RUNG_ROWS, 1), Rung(GROWTH * FIRST_RUNG_ROWS, 1), Rung(None, 1))),
    ],
)
def test_the_ladder_grows_with_the_table(rows: int, expected: tuple[Rung, ...]) -> None:
    assert ladder(rows) == expected
    assert ladder(rows)[-1].rows is None, "the winner is chosen by all rows"


def test_folds_that_cannot_be_drawn_again_are_used_once() -> None:
    assert ladder(100, repeats=1) == (EVERY,)


def test_a_repeat_judges_every_row_again_on_other_folds() -> None:
    rng = np.random.default_rng(0)
    folds = rng.integers(0, N_FOLDS, (60, REPEATS))
    found = pairs(folds, Rung(None, N_FOLDS, REPEATS))
    assert len(found) == N_FOLDS * REPEATS
    assert found[:N_FOLDS][0][1].tolist() == pairs(folds, EVERY)[0][1].tolist(), "the first repeat is the rung before"
    judged = np.bincount(np.concatenate([valid for _, valid in found]), minlength=60)
    assert judged.tolist() == [REPEATS] * 60


def test_how_much_more_the_next_rung_is() -> None:
    assert one_in(ladder(800), 800) == (2,)  # ten folds more than five
    assert one_in(ladder(5_000), 5_000) == (4,)
    assert one_in(ladder(40_000), 40_000) == (4,)
    assert one_in(ladder(300_000), 300_000) == (6, 5)
    assert one_in((Rung(None, 1),), 100) == ()
