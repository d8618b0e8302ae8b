"""Splits are the same everywhere, keep equal rows and groups together, and do not see the target."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.errors import DataError
from lepton_ray.table import splitting
from lepton_ray.table.hashing import hash_rows
from lepton_ray.table.profile import profile_column
from lepton_ray.table.splitting import Census, Mask

RNG = np.random.default_rng(0)


def table(rows: int = 5000) -> pa.Table:
    return pa.table(
        {
            "a": RNG.integers(0, 50, rows),
            "b": [str(word) for word in RNG.integers(0, 90, rows)],
            "g": RNG.integers(0, 100, rows),
            "y": RNG.integers(0, 2, rows),
        }
    )


BLOCK = table()
KEYS = hash_rows(BLOCK, splitting.key_columns(BLOCK.column_names, target="y"))


def kept_apart(order: np.ndarray) -> Mask:
    return Census.of(order).holdout().mask(order)


def times(days: list[str]) -> np.ndarray:
    block = pa.table({"d": days})
    return splitting.times_by(splitting.time_plan(profile_column("d", block.column("d"))), block)


@pytest.mark.process
def test_keys_are_pinned_and_the_same_in_another_process() -> None:
    code = (
        "import pyarrow as pa; from lepton_ray.table.hashing import hash_rows;"
        "print(hash_rows(pa.table({'a': [1, None], 'b': ['x', 'ü']}), ['a', 'b'], 7).tolist())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "[14060580611749151769, 12009516239309624920]"


def test_equal_rows_have_equal_keys_whatever_the_target_and_the_order() -> None:
    order = RNG.permutation(BLOCK.num_rows)
    shuffled = BLOCK.take(pa.array(order)).set_column(3, "y", [RNG.integers(0, 2, BLOCK.num_rows)])
    assert (hash_rows(shuffled, ["a", "b", "g"]) == KEYS[order]).all()
    assert (hash_rows(BLOCK, ["a", "b", "g"], seed=1) != KEYS).mean() > 0.99


@pytest.mark.parametrize(("rows", "held_out"), [(1000, 200), (5000, 1000), (400, 200), (300_000, 50_000)])
def test_size_of_the_holdout(rows: int, held_out: int) -> None:
    keys = RNG.integers(0, 2**63, rows).astype(np.uint64)
    assert kept_apart(keys).sum() == held_out
    assert splitting.needs_cross_validation(rows) is (rows < 1000)


def test_equal_rows_and_groups_stay_together() -> None:
    columns = splitting.key_columns(BLOCK.column_names, target="y", group="g")
    keys = hash_rows(BLOCK, columns)
    groups = BLOCK.column("g").to_numpy()
    mask = kept_apart(keys)
    assert abs(mask.sum() - 1000) < 60
    assert not set(groups[mask]) & set(groups[~mask])
    folds = splitting.fold_ids(keys, 5)
    assert all(len(set(folds[groups == group])) == 1 for group in set(groups))
    assert np.bincount(folds).min() > 0.9 * 1000


def test_folds_are_even_and_independent_of_the_holdout() -> None:
    mask, folds = kept_apart(KEYS), splitting.fold_ids(KEYS, 4)
    for fold in range(4):
        assert mask[folds == fold].mean() == pytest.approx(0.2, abs=0.03)
    assert np.bincount(folds).tolist() == pytest.approx([1250] * 4, abs=5)
    with pytest.raises(DataError, match="of one group"):
        splitting.fold_ids(np.array([1, 1], dtype=np.uint64), 3)


@pytest.mark.parametrize("sizes", [[2, 1], [999, 1], [1, 98, 1], [40, 40, 40, 1]])
def test_few_groups_make_fewer_folds(sizes: list[int]) -> None:
    folds = splitting.fold_ids(np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes), 5)
    assert 2 <= len(set(folds)) <= len(sizes) and folds.max() < 5


def test_one_group_cannot_be_held_out() -> None:
    with pytest.raises(DataError, match="one group"):
        kept_apart(np.zeros(2000, dtype=np.uint64))


def test_the_latest_rows_are_held_out() -> None:
    days = [f"{1 + i % 28:02d}/{1 + i // 28 % 12:02d}/2020" for i in range(2000)] + [""]
    when = times(days)
    mask = kept_apart(-when)
    assert np.nanmax(when[~mask]) < when[mask].min() and not mask[-1]
    assert mask.sum() == pytest.approx(400, abs=7)
    folds = splitting.time_folds(when, 3)
    assert len(folds) == 3
    for train, test in folds:
        assert np.nanmax(when[train]) < when[test].min()
    assert [int(train.sum()) for train, _ in folds] == sorted(int(train.sum()) for train, _ in folds)
    with pytest.raises(DataError, match="holds category values"):
        times(["a", "b"] * 9)


def test_a_sample_is_bounded_and_free_of_order() -> None:
    order = RNG.permutation(len(KEYS))
    mask = splitting.sample_mask(KEYS, 500)
    assert mask.sum() == pytest.approx(500, abs=3) and (splitting.sample_mask(KEYS[order], 500) == mask[order]).all()
    assert splitting.sample_mask(KEYS[:10], 500).all()
