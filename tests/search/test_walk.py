"""The walk stays cheap, gets better for less than chance does, and survives being written down."""

import json
import math
from dataclasses import asdict

import numpy as np
import pytest

from lepton_ray.search.walk import Axis, Point, Walk, seconds_at_most

AXES = (Axis(4, 2000, True, 1, True), Axis(4, 1000, True, 1, True), Axis(0.005, 1, True), Axis(0.3, 1))


def boosting(point: Point, best: tuple[float, float, float]) -> tuple[float, float]:
    """Loss and seconds of a make-believe boosted forest: many trees or leaves are dear, and not always better."""
    trees, leaves, rate, part = (axis.value(at) for axis, at in zip(AXES, point, strict=True))
    loss = 0.08 * abs(math.log(trees * rate / best[0])) + 0.05 * abs(math.log(leaves / best[1]))
    loss += 0.05 * math.log1p(rate / 0.1) + 0.1 * (part - best[2]) ** 2
    return loss, 2e-4 * trees * leaves**0.7 + 0.05


def walked(seed: int, seconds: float, best: tuple[float, float, float], at_once: int) -> float:
    walk, rng, found = Walk((AXES[0].at(4), AXES[1].at(4), 0.5, 0.5), (True,) * 4), np.random.default_rng(seed), 9.0
    while seconds > 0:
        for tried in [walk.ask(rng) for _ in range(at_once)]:
            loss, took = boosting(tried.point, best)
            seconds -= took
            found = min(found, loss) if seconds >= 0 else found
            walk.tell(tried, loss, took)
    return found


def drawn(seed: int, seconds: float, best: tuple[float, float, float]) -> float:
    rng, found = np.random.default_rng(seed), 9.0
    while True:
        loss, took = boosting(tuple(rng.uniform(size=4)), best)
        seconds -= took
        if seconds < 0:
            return found
        found = min(found, loss)


@pytest.mark.parametrize("at_once", [1, 4])
def test_it_finds_more_than_chance_with_a_third_of_the_money(at_once: int) -> None:
    wins = 0
    for seed in range(30):
        rng = np.random.default_rng(1000 + seed)
        best = (math.exp(rng.uniform(1.1, 4.1)), math.exp(rng.uniform(2.1, 5.7)), float(rng.uniform(0.5, 0.9)))
        wins += walked(seed, 20, best, at_once) < drawn(seed, 60, best)
    assert wins >= 20


def test_it_starts_where_it_is_cheap_and_goes_back_when_nothing_helps() -> None:
    walk, rng = Walk((0.0, 0.0), (True, True)), np.random.default_rng(0)
    first = walk.ask(rng)
    assert first.point == (0.0, 0.0) and walk.ask(rng).point != (0.0, 0.0)
    walk.tell(first, 1.0, 1.0)
    for _ in range(200):
        walk.tell(walk.ask(rng), 2.0, 1.0)
        if walk.best is None:
            break
    assert walk.best is None, "a walk that has converged starts again"
    walk.tell(walk.ask(rng), None, 1.0)
    assert walk.best is None


def test_a_move_that_does_not_help_is_mirrored_and_the_cheaper_of_equals_is_better() -> None:
    walk, rng = Walk((0.5, 0.5), (True, True)), np.random.default_rng(0)
    walk.tell(walk.ask(rng), 1.0, 1.0)
    missed = walk.ask(rng)
    walk.tell(missed, 2.0, 1.0)
    mirror = walk.ask(rng)
    assert mirror.mirrored and mirror.move == tuple(-part for part in missed.move)
    walk.tell(mirror, 1.0, 0.5)
    assert walk.best == mirror.point and walk.cost == 0.5 and not walk.mirrors


def test_it_goes_on_from_json() -> None:
    walk = Walk((0.5, 0.5), (True, False))
    for n in range(20):
        rng = np.random.default_rng(n)
        tried = walk.ask(rng)
        walk.tell(tried, abs(tried.point[0] - 0.7), 1.0)
    back = Walk.from_dict(json.loads(json.dumps(asdict(walk))))
    assert back == walk
    assert back.ask(np.random.default_rng(99)) == walk.ask(np.random.default_rng(99))


@pytest.mark.parametrize("axis", [*AXES, Axis(0, 10, quantum=2.5), Axis(options=("a", "b", "c")), Axis(3, 3)])
def test_an_axis_has_a_place_for_each_of_its_values(axis: Axis) -> None:
    for at in (0.0, 0.2, 0.5, 1.0):
        value = axis.value(at)
        assert axis.value(axis.at(value)) == pytest.approx(value) if not axis.options else value in axis.options
    with pytest.raises(ValueError):
        axis.at("d" if axis.options else 1e9)


def test_seconds_are_log_linear_and_their_quantile_covers() -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(200):
        points = [tuple(rng.uniform(size=3)) for _ in range(9)]
        seconds = [math.exp(4 * point[0] + 0.3 * rng.normal()) for point in points]
        covered.append(seconds[-1] <= seconds_at_most(points[:-1], seconds[:-1], points[-1]))
    assert 0.85 <= np.mean(covered) <= 0.99
    assert seconds_at_most([(0.0,), (0.5,)], [1.0, 10.0], (1.0,)) > 10
