"""The greedy blend: no worse than the best on the rows it saw, few members, within its room, and never by chance."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.search.bias import Judged
from lepton_ray.search.ensemble import (
    MOST_MEMBERS,
    Candidate,
    Room,
    blended,
    choose,
    error_of,
    greedy,
    temperature_of,
)
from lepton_ray.training.metrics import METRICS
from tests.examples import examples

RMSE, AUC, LOSS = METRICS["rmse"], METRICS["roc_auc"], METRICS["log_loss"]
WIDE = Room()


def noisy(rng: np.random.Generator, y: np.ndarray, count: int, noise: float = 1.0) -> list[Candidate]:
    return [Candidate(f"t{at:03d}", y + rng.normal(0, noise, len(y)), 1.0, 0.001) for at in range(count)]


def pick(judged: Judged, candidates: list[Candidate], room: Room = WIDE, seed: int = 0):
    return choose(RMSE, judged, candidates, room=room, rng=np.random.default_rng(seed))


def test_independent_errors_average_out() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=800)
    found = pick(Judged(y), noisy(rng, y, 6))
    assert len(found.shares) >= 4 and found.sure == 1.0
    assert found.error < 0.6 * found.single_error
    assert sum(share for _, share in found.shares) == pytest.approx(1.0)
    assert [share for _, share in found.shares] == sorted((share for _, share in found.shares), reverse=True)


def test_a_copy_of_the_best_brings_nothing() -> None:
    rng = np.random.default_rng(1)
    y = rng.normal(size=300)
    (best,) = noisy(rng, y, 1, 0.5)
    worse = [Candidate(f"w{at}", best.predictions + 0.3 * at + 0.3) for at in range(3)]
    found = pick(Judged(y), [*worse, best])
    assert found.shares == (("t000", 1.0),) and found.error == found.single_error


def test_noise_does_not_join_by_chance() -> None:
    """Of twenty models that know nothing more than the best, a blend that wins by chance is kept out."""
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 120)
    told = np.clip(0.5 + 0.4 * (y - 0.5) + rng.normal(0, 0.05, 120), 0.01, 0.99)
    sure = Candidate("sure", np.column_stack([1 - told, told]))
    noise = rng.uniform(0.01, 0.99, (20, 120))
    rest = [Candidate(f"n{at}", np.column_stack([1 - one, one])) for at, one in enumerate(noise)]
    found = choose(AUC, Judged(y), [sure, *rest], room=WIDE, rng=rng)
    assert found.shares == (("sure", 1.0),)


@examples(40)
@given(st.integers(1, 12), st.floats(0.5, 8.0), st.floats(0.0005, 0.01), st.integers(1, 5), st.integers(0, 1000))
def test_the_room_binds_and_the_best_is_never_refused(
    count: int, refit: float, row: float, members: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(size=60)
    candidates = [replace(one, row_seconds=0.0004 * (at + 1)) for at, one in enumerate(noisy(rng, y, count))]
    room = Room(refit_seconds=refit, row_seconds=row, members=members)
    found = greedy(RMSE, Judged(y), candidates, rows=np.arange(60), room=room)
    by_id = {one.id: one for one in candidates}
    taken = [by_id[name] for name, _ in found.shares]
    assert len(taken) == 1 or room.holds(taken)
    fast = [one for one in candidates if one.row_seconds <= row]
    errors = {one.id: error_of(RMSE, Judged(y), one.predictions, np.arange(60)) for one in fast}
    assert found.single_error == min(errors.values()) and found.error <= found.single_error
    mixed = blended(found.shares, {one.id: one.predictions for one in candidates})
    assert error_of(RMSE, Judged(y), mixed, np.arange(60)) == pytest.approx(found.error)


def test_members_are_few() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(size=200)
    assert len(pick(Judged(y), noisy(rng, y, 40)).shares) <= MOST_MEMBERS


def test_many_rows_are_compared_on_a_part_of_them() -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=50_000)
    found = pick(Judged(y), noisy(rng, y, 3))
    assert len(found.shares) == 3 and found.error == pytest.approx(1 / np.sqrt(3), rel=0.05)


def test_weights_decide_which_rows_count() -> None:
    y = np.zeros(200)
    weight = np.repeat([1.0, 0.0], 100)
    right_where_it_counts = Candidate("a", np.repeat([0.1, 9.0], 100))
    elsewhere = Candidate("b", np.repeat([1.0, 0.0], 100))
    assert pick(Judged(y, weight), [right_where_it_counts, elsewhere]).shares == (("a", 1.0),)


def test_the_temperature_undoes_what_made_a_model_too_sure() -> None:
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1.5, (4000, 3))
    true = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    y = np.array([rng.choice(3, p=row) for row in true])
    assert temperature_of(y, true, None) == pytest.approx(1.0, abs=0.08)
    cold = true**2.5 / (true**2.5).sum(axis=1, keepdims=True)
    assert temperature_of(y, cold, None) == pytest.approx(2.5, rel=0.08)
    assert temperature_of(y, np.full((4000, 3), 1 / 3), None) == 1.0
    weight = np.where(np.arange(4000) < 2000, 1.0, 0.0)
    assert temperature_of(y, cold, weight) == pytest.approx(temperature_of(y[:2000], cold[:2000], None), rel=1e-3)


def test_where_all_are_too_slow_the_fastest_is_taken() -> None:
    y = np.zeros(50)
    slow, fast = Candidate("slow", y + 0.1, 0.0, 0.5), Candidate("fast", y + 0.2, 0.0, 0.1)
    found = greedy(RMSE, Judged(y), [slow, fast], rows=np.arange(50), room=Room(row_seconds=0.01))
    assert found.shares == (("fast", 1.0),)
