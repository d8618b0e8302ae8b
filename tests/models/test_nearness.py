"""Distances, what nearness learns, and that equal rows are one."""

import numpy as np
import pytest
from scipy import sparse

from lepton_ray.features.matrix import Matrix
from lepton_ray.models.family import Batch
from lepton_ray.models.nearness import Lens, Points, even_factors, shares_of
from lepton_ray.models.relevance import Kernel, distinct, learned_factors
from tests.examples import one_in


def rows(n: int, width: int = 30, seed: int = 0) -> Matrix:
    cells = sparse.random(n, width, density=0.2, format="csr", dtype=np.float32, random_state=seed)
    return Matrix(np.random.default_rng(seed).normal(size=(n, 4)), cells, tuple("abcd"), groups=(("words", width),))


def never() -> bool:
    return False


@pytest.mark.parametrize("width", one_in(2, [30, 900]), ids=["narrow", "wide"])
@pytest.mark.parametrize("single", one_in(2, [True, False]))
def test_distances_are_those_of_the_scaled_rows(width: int, single: bool) -> None:
    X, queries = rows(80, width), rows(70, width, seed=1)
    factors = np.random.default_rng(2).uniform(0.1, 2.0, X.width)
    factors[2] = 0.0
    lens = Lens(factors, single)
    points = Points.of(lens.see(X))
    assert (points.seen.sparse is None) == (width == 30)
    whole = [np.hstack([part.dense, part.sparse.toarray()]) * factors for part in (X, queries)]
    told = ((whole[1][:, None, :] - whole[0][None]) ** 2).sum(axis=2)
    found = np.vstack(
        [points.squared_distances(block)[: place.stop - place.start] for place, block in lens.blocks(queries)]
    )
    assert found == pytest.approx(told, rel=1e-4, abs=1e-4)
    kept = Points.from_arrays(points.to_arrays())
    for _, block in lens.blocks(queries):
        assert np.array_equal(kept.squared_distances(block), points.squared_distances(block))


@pytest.mark.parametrize("width", [30, 900], ids=["narrow", "wide"])
def test_the_nearest_are_exact_and_of_equal_ones_the_first(width: int) -> None:
    cells, copies = rows(60, width), np.tile(np.arange(60), 5)
    lens = Lens(np.random.default_rng(2).uniform(0.1, 2.0, cells.width), single=True)
    points = Points.of(lens.see(cells.rows(copies)))
    whole = points.coordinates().astype(np.float64)
    for place, block in lens.blocks(cells):
        near, found = points.nearest(block, place.stop - place.start, 12)
        for row, (squares, places) in enumerate(zip(near, found, strict=True)):
            told = ((whole - whole[place.start + row]) ** 2).sum(axis=1)
            assert squares == pytest.approx(np.sort(told)[:12], rel=1e-6, abs=1e-12)
            assert squares[:5].tolist() == [0.0] * 5  # the row itself, five times over
            assert (np.diff(places)[np.diff(squares) == 0.0] > 0).all()
            assert {place % 60 for place in places[:10].tolist()} == set((places[[0, 5]] % 60).tolist())


def test_even_factors_put_levels_and_texts_one_apart_and_count_repeated_numbers_half() -> None:
    levels = sparse.csr_matrix(np.eye(3, dtype=np.float32)[[0, 1, 2, 0]])
    text = sparse.csr_matrix(3.0 * np.eye(4, dtype=np.float32))
    cells = sparse.csr_matrix(sparse.hstack([levels, levels, text], format="csr"))
    X = Matrix(np.zeros((4, 1)), cells, ("size",), groups=(("size", 3), ("city", 3), ("note (words)", 4)))
    factors = even_factors(X)
    assert factors[0] == 1.0
    assert 2.0 * factors[1] ** 2 == pytest.approx(0.5)
    assert 2.0 * factors[4] ** 2 == pytest.approx(1.0)
    assert 2.0 * (3.0 * factors[7]) ** 2 == pytest.approx(1.0)


@pytest.mark.exam
def test_what_does_not_matter_shrinks_and_what_matters_stays() -> None:
    rng = np.random.default_rng(0)
    X = Matrix(rng.normal(size=(1000, 6)), names=tuple("abcdef"))
    targets = (np.sin(2.0 * X.dense[:, 0]) * X.dense[:, 1])[:, None]  # no column tells anything alone
    factors = learned_factors(X, targets, np.ones(1000), rounds=2, gain=0.005, stop=never)
    assert factors[:2].min() > 5.0 * factors[2:].max()
    assert np.array_equal(learned_factors(X, targets, np.ones(1000), rounds=0, gain=0.0, stop=never), np.ones(6))
    assert np.array_equal(learned_factors(X, targets, np.ones(1000), rounds=3, gain=0.0, stop=lambda: True), np.ones(6))


@pytest.mark.exam
def test_a_round_that_does_not_help_is_undone() -> None:
    rng = np.random.default_rng(1)
    X, noise = Matrix(rng.normal(size=(1200, 8)), names=tuple("abcdefgh")), rng.normal(size=(1200, 1))
    assert np.array_equal(learned_factors(X, noise, np.ones(1200), rounds=3, gain=0.005, stop=never), np.ones(8))


def test_one_wild_row_does_not_undo_what_helps_the_others() -> None:
    rng = np.random.default_rng(2)
    X = Matrix(rng.normal(size=(1000, 6)), names=tuple("abcdef"))
    targets = np.sin(2.0 * X.dense[:, :1])
    targets[5] = 1000.0  # a judging row of the first fold
    factors = learned_factors(X, targets, np.ones(1000), rounds=1, gain=0.005, stop=never)
    assert factors[0] > 3.0 * factors[1:].max()


def test_the_columns_of_a_wide_group_share_a_factor() -> None:
    X = rows(60, 900)
    targets = np.asarray(X.sparse[:, 0].toarray(), dtype=np.float64)
    factors = learned_factors(X, targets, np.ones(60), rounds=1, gain=-10.0, stop=never)
    assert np.ptp(factors[4:]) < 1e-12
    assert not np.array_equal(factors, even_factors(X))


def test_equal_rows_are_one_in_an_order_of_their_own() -> None:
    X, y = rows(50), np.arange(50) % 3
    again = np.random.default_rng(0).permutation(np.concatenate([np.arange(50), np.arange(10)]))
    once = distinct(Batch(X, y, np.where(np.arange(50) < 10, 2.0, 1.0)), 7)
    twice = distinct(Batch(X.rows(again), y[again]), 7)
    assert np.array_equal(once.X.dense, twice.X.dense)
    assert np.array_equal(once.y, twice.y)
    assert np.array_equal(once.weight, twice.weight)
    assert len(once) == 50
    assert not np.array_equal(distinct(Batch(X, y), 8).y, once.y)


def test_nystroem_with_every_row_a_landmark_is_the_kernel() -> None:
    seen = Lens(np.ones(34)).see(rows(60))
    kernel = Kernel.of(seen)
    features = kernel.likeness(seen) @ kernel.whitening()
    assert features @ features.T == pytest.approx(kernel.likeness(seen), abs=1e-6)


def test_shares_follow_the_factors() -> None:
    X = rows(100)
    factors = np.zeros(34)
    assert shares_of(X, factors) is None
    factors[0] = 2.0
    assert shares_of(X, factors) == pytest.approx({"a": 1.0, "b": 0.0, "c": 0.0, "d": 0.0, "words": 0.0})
