"""What a replica says of its last seconds, against the same counted by hand."""

import numpy as np
import pytest

from lepton_ray.serving.recent import SHORT, WINDOW, Beat, Recent
from tests.serving.asking import Clock


def test_a_replica_that_was_never_asked_says_nothing() -> None:
    clock = Clock()
    recent = Recent(clock)
    assert recent.beat() == Beat()
    clock.now += 1000
    assert recent.beat() == Beat()


def test_rates_busy_and_waiting_are_means_over_the_last_seconds() -> None:
    clock = Clock()
    clock.now = 100.0
    recent = Recent(clock)
    for _ in range(60):  # 10 a second, a quarter of the time at work, two waiting meanwhile
        recent.came()
        recent.now(1, 2)
        clock.now += 0.025
        recent.answered(0.025)
        recent.now(0, 0)
        clock.now += 0.075
    beat = recent.beat()
    assert beat.rate == pytest.approx(10, rel=0.05) and beat.done == pytest.approx(10, rel=0.05)
    assert beat.busy == pytest.approx(0.25, rel=0.05) and beat.waiting == pytest.approx(0.5, rel=0.05)
    clock.now += SHORT + 2
    later = recent.beat()
    assert (later.rate, later.done, later.busy, later.waiting) == (0, 0, 0, 0) and later.answered == 50
    clock.now += WINDOW
    assert recent.beat() == Beat()


def test_a_work_that_does_not_end_is_seen_while_it_lasts() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.now(1, 3)
    clock.now += 60.5
    beat = recent.beat()
    assert beat.busy == pytest.approx(1.0) and beat.waiting == pytest.approx(3.0)


def test_quantiles_are_right_to_a_tenth() -> None:
    clock, rng = Clock(), np.random.default_rng(0)
    recent, took = Recent(clock), []
    for seconds in rng.lognormal(-4, 1, 5000):
        recent.answered(seconds)
        took.append(seconds)
        clock.now += 0.001
    beat = recent.beat()
    for said, share in ((beat.p50, 0.5), (beat.p99, 0.99)):
        assert 1.0 <= said / np.quantile(took, share) * 1.01 <= 1.12
    assert beat.answered == 5000
    recent.answered(1e9)
    recent.answered(0.0)
    assert recent.beat().answered == 5002
