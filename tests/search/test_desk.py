"""The desk, from one thread and from many: every trial once, no lease beyond the search's end, never nothing."""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.search.cost import CostModel, CostPrior, Law, Size
from lepton_ray.search.desk import LEASE_FACTOR, LONGEST_AFTERWARDS, SHORTEST_LEASE_SECONDS, Assignment, Desk
from lepton_ray.search.policy import PromotionPolicy, Stop, Wait
from lepton_ray.search.rungs import Rung
from lepton_ray.search.trial import DONE, KILLED, Outcome, Trial, beats
from tests.examples import examples

ONE = (Rung(None, 5),)
TWO = (Rung(100, 1), Rung(None, 1))


def expecting(size: Size, **seconds: float) -> CostModel:
    """A model that expects a family to take so long at this size, give or take a factor of two."""
    centre = np.array([0.0, *size.features[1:]])
    widths = np.diag(np.array([0.7, 0.2, 0.0, 0.0, 0.0]) ** 2)
    laws = {
        name: Law(centre, np.array([np.log(expected / size.fits), 1.0, 0.0, 0.0, 0.0]), widths, 0.25, 2.0)
        for name, expected in seconds.items()
    }
    return CostModel.begin(CostPrior(0.1, 0.01, (-8.0, 1.0), laws))


def desk(
    *,
    wall: float = 60.0,
    trials: int = 30,
    rungs: tuple[Rung, ...] = ONE,
    seconds: float = 1.0,
    reserve: float | Callable[[Outcome | None], float] = 5.0,
    seen: list[Outcome] | None = None,
    scoring: float = 0.0,
) -> Desk:
    """A desk over ``trials`` configurations of one family that is expected to take ``seconds`` each."""

    def size(trial: Trial) -> Size:
        rows = min(rungs[trial.rung].rows or 1000, 1000)
        return Size(float(rows), rows, 10, 1, rungs[trial.rung].fits)

    policy = PromotionPolicy(
        (("constant", {}), *(("trees", {"n": n}) for n in range(trials))),
        lambda family, rng, near: None,
        one_in=(3,) * (len(rungs) - 1),
        seed=0,
    )
    return Desk(
        policy,
        Budget.resolve(None, wall, Dollars(96_000)),
        rungs=rungs,
        size=size,
        costs=expecting(size(Trial("", "trees", {}, 0)), constant=0.1, trees=seconds),
        reserve=reserve if callable(reserve) else lambda best: reserve,
        on_outcome=(seen if seen is not None else []).append,
        scoring=lambda trial: scoring,
    )


def ended(given: Assignment, error: float | None = 0.5, *, seconds: float = 1.0, folds: int = 5) -> Outcome:
    """What a bench says: it seals a bundle for what beats the best."""
    errors = () if error is None else (error,) * folds
    sealed = "sealed" if errors and (given.beat is None or beats(errors, given.beat)) else None
    outcome = Outcome(given.trial, DONE, "host", given.lease.started, seconds, error=error, score=error, bundle=sealed)
    return replace(outcome, fold_errors=errors)


def take(found: Desk, now: float) -> Assignment:
    given = found.next_step(now)
    assert isinstance(given, Assignment)
    return given


@pytest.mark.parametrize("now", [0.0, 54.0, 56.0, 59.9])
def test_the_first_trial_is_admitted_as_long_as_there_is_time_at_all(now: float) -> None:
    given = take(desk(seconds=1000.0), now)
    assert given.trial.family == "constant" and given.beat is None
    assert now + min(SHORTEST_LEASE_SECONDS, 60.0 - now) <= given.lease.until <= 60.0


def test_one_fit_on_all_rows_is_forecast_where_it_was_not_just_that() -> None:
    found = desk(rungs=TWO, seconds=4.0)
    few = ended(take(found, 0.0), seconds=4.0, folds=1)
    whole = replace(few, trial=replace(few.trial, rung=1), seconds=38.0)
    assert found.fit_seconds(whole) == 38.0
    assert 20.0 < found.fit_seconds(replace(few, trial=replace(few.trial, family="trees"))) < 80.0, "ten times the rows"


def test_while_there_is_no_model_the_next_one_is_tried_whatever_it_takes() -> None:
    found = desk(seconds=1000.0)
    found.finish(ended(take(found, 56.0), None))
    given = take(found, 57.0)
    assert given.trial.family == "trees" and given.lease.until == 60.0
    found.lost(given.trial.id, 58.0, "host", "gone")
    assert isinstance(found.next_step(60.0), Stop)


def test_with_a_model_only_what_fits_is_admitted_and_the_desk_stops_for_good() -> None:
    found = desk(seconds=10.0)
    found.finish(ended(take(found, 0.0)))
    assert isinstance(found.next_step(55.0), Stop)
    reason = found.view(55.0).stopped_because
    assert reason is not None and "fits" in reason
    assert found.next_step(1.0) == Stop(reason), "it stays stopped"


def test_once_there_is_a_model_of_the_last_rung_nothing_is_begun_that_cannot_come_as_far() -> None:
    found = desk(rungs=TWO, seconds=4.0, wall=100.0)  # 4 s for 100 rows, 40 s for the 1,000 of the last rung
    found.finish(ended(take(found, 0.0), seconds=0.1, folds=1))
    looked = take(found, 1.0)
    assert looked.trial.rung == 0
    assert isinstance(found.next_step(80.0), Assignment), "before, a first look may be all that there will ever be"
    found.finish(ended(looked, 0.4, seconds=4.0, folds=1))
    last = replace(looked.trial, id="t009", rung=1, parent=looked.trial.id)
    found.replay([replace(ended(looked, 0.3, seconds=40.0, folds=1), trial=last)])
    assert take(found, 30.0).trial.rung == 0
    assert isinstance(found.next_step(80.0), Wait)
    other = replace(last, id="t010", family="other")
    unseen = desk(rungs=TWO, seconds=4.0, wall=100.0)
    unseen.finish(ended(take(unseen, 0.0), seconds=0.1, folds=1))
    unseen.replay([replace(ended(looked, 0.3, seconds=40.0, folds=1), trial=other)])
    assert take(unseen, 80.0).trial.rung == 0, "of a family that this table has not seen nobody knows"


def test_a_lease_is_a_multiple_of_the_forecast_and_never_reaches_beyond_the_search() -> None:
    found = desk(seconds=4.0)
    found.finish(ended(take(found, 0.0), seconds=0.1))
    assert take(found, 1.0).lease.until == pytest.approx(1.0 + LEASE_FACTOR * 4.0)
    late = desk(seconds=4.0)
    late.finish(ended(take(late, 0.0), seconds=0.1))
    assert take(late, 50.0).lease.until == late.search_end() == 55.0


@examples(60)
@given(
    st.floats(8.0, 120.0),
    st.floats(0.01, 20.0),
    st.floats(0.5, 6.0),
    st.lists(st.tuples(st.floats(0.0, 3.0), st.none() | st.floats(0, 1), st.floats(0.01, 30.0)), max_size=40),
)
def test_no_lease_ends_after_the_search(wall: float, seconds: float, reserve: float, story: list[Any]) -> None:
    found, now = desk(wall=wall, seconds=seconds, reserve=reserve), 0.5
    for step, error, took in story:
        model = found.best() is not None
        end = found.search_end()
        given = found.next_step(now)
        if not isinstance(given, Assignment):
            break
        assert given.lease.started == now
        assert given.lease.until <= (max(end, now) if model else wall)
        found.finish(ended(given, error, seconds=took))
        now += step


def test_a_lease_leaves_time_for_what_follows_the_fits() -> None:
    found = desk(seconds=30.0, reserve=5.0)
    first = replace(ended(take(found, 0.0), seconds=2.5), fit_seconds=0.5)
    found.finish(first)
    given = take(found, 3.0)
    assert given.lease.until == 53.0, "the search ends at 55, and 2 seconds went to scoring and sealing"
    found.begin(given.trial.id, 20.0)
    assert found.running()[0].lease.until == 53.0
    found.finish(replace(first, trial=given.trial, seconds=40.0, fit_seconds=30.0))
    assert take(found, 9.0).lease.until == 55.0 - LONGEST_AFTERWARDS


def test_where_another_driver_starts_only_short_trials_are_given_and_none_is_no_reason_to_stop() -> None:
    found = desk(seconds=4.0)
    found.finish(ended(take(found, 0.0), seconds=0.1))
    assert isinstance(found.next_step(1.0, within=1.5), Wait)
    assert isinstance(found.next_step(1.0, within=8.0), Assignment)


def test_the_reserve_follows_the_best_so_far() -> None:
    found = desk(reserve=lambda best: 1.0 if best is None else 10.0)
    assert found.search_end() == 59.0
    found.finish(ended(take(found, 0.0)))
    assert found.search_end() == 50.0


def test_the_error_to_beat_is_the_best_at_the_same_rung() -> None:
    found = desk(rungs=TWO, trials=6)
    found.finish(ended(take(found, 0.0), 0.5))
    found.finish(ended(take(found, 1.0), 0.3))
    assert (third := take(found, 2.0)).beat == (0.3,) * 5
    found.finish(ended(third, 0.4))
    found.finish(ended(take(found, 2.5), 0.5))
    promoted = take(found, 3.0)
    assert (promoted.trial.rung, promoted.beat) == (1, None), "a score at a lower rung is no measure"
    found.finish(ended(promoted, 0.35))
    assert found.best() is not None and found.best().trial.rung == 1
    assert take(found, 4.0).beat == (0.35,), "on fewer rows, too, for models are compared as they are"


@examples(150)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.none() | st.sampled_from([0.1, 0.2, 0.3, 0.4]), st.integers(1, 5))),
    st.integers(1, 3),
    st.sampled_from([ONE, TWO]),
)
def test_the_best_always_has_a_bundle(story: list[Any], workers: int, rungs: tuple[Rung, ...]) -> None:
    found, running = desk(rungs=rungs), []
    for which, error, folds in story:
        while len(running) < workers and isinstance(given := found.next_step(1.0), Assignment):
            running.append(given)
        if running:
            given = running.pop(which % len(running))
            found.finish(ended(given, error, folds=min(folds, rungs[given.trial.rung].folds)))
        best = found.best()
        assert best is None or best.bundle is not None


def test_waits_while_a_running_trial_may_change_the_answer() -> None:
    found = desk(trials=0)
    given = take(found, 0.0)
    assert isinstance(found.next_step(0.1), Wait)
    found.finish(ended(given))
    assert isinstance(found.next_step(0.2), Stop)


def test_the_second_word_about_a_trial_is_ignored() -> None:
    seen: list[Outcome] = []
    found = desk(seen=seen)
    given = take(found, 1.0)
    found.lost(given.trial.id, 3.5, "ray", "its process was killed")
    found.finish(ended(given, 0.1))
    found.lost("t999", 4.0, "ray", "never heard of")
    (outcome,) = found.outcomes()
    assert seen == [outcome] and found.running() == ()
    assert (outcome.state, outcome.driver, outcome.error) == (KILLED, "ray", None)
    assert (outcome.started, outcome.seconds, outcome.reason) == (1.0, 2.5, "its process was killed")


def test_stop_keeps_its_first_reason_and_lets_what_runs_end() -> None:
    found = desk()
    given = take(found, 0.0)
    found.stop("you asked to stop")
    found.stop("another reason")
    assert found.next_step(1.0) == Stop("you asked to stop")
    found.finish(ended(given, 0.2))
    assert found.best() is not None and found.view(2.0).stopped_because == "you asked to stop"


def overdue(found: Desk, now: float) -> list[str]:
    return found.overdue(now, grace=2.0, late=0.5)


def test_overdue_after_lease_and_grace_and_soon_after_the_end_of_the_search() -> None:
    found = desk(seconds=1.0)
    found.finish(ended(take(found, 0.0), seconds=0.1))
    early = take(found, 1.0)
    found.begin(early.trial.id, 1.0)
    until = early.lease.until
    assert overdue(found, until + 1.9) == []
    assert overdue(found, until + 2.1) == [early.trial.id]
    last = take(found, 54.0)
    found.begin(last.trial.id, 54.5)
    assert last.trial.id not in overdue(found, 55.4)
    assert last.trial.id in overdue(found, 55.6)


def test_a_lease_runs_from_when_its_worker_is_there_and_never_beyond_the_end() -> None:
    found = desk(seconds=1.0)
    found.finish(ended(take(found, 0.0)))
    waiting = take(found, 1.0)
    assert overdue(found, 50.0) == [], "who waits for a worker is not late"
    length = waiting.lease.until - waiting.lease.started
    found.begin(waiting.trial.id, 21.0)
    (running,) = found.running()
    assert running.begun and (running.lease.started, running.lease.until) == (21.0, 21.0 + length)
    found.begin(waiting.trial.id, 54.9)
    (running,) = found.running()
    assert running.lease.until == found.search_end() == 55.0
    found.begin("t999", 54.9)


def test_a_trial_that_was_never_begun_is_skipped_and_not_counted() -> None:
    found = desk()
    found.finish(ended(take(found, 0.0)))
    found.skip(take(found, 1.0).trial.id, 50.0, "ray", "too late")
    assert found.outcomes()[-1].state == "skipped" and found.tried() == 1 and found.running() == ()


def test_what_was_seen_changes_the_forecast() -> None:
    found = desk(seconds=10.0)
    found.finish(ended(take(found, 0.0)))
    for n in range(4):
        found.finish(ended(take(found, 1.0 + n), seconds=0.5))
    assert take(found, 10.0).lease.until == pytest.approx(10.0 + LEASE_FACTOR * 0.5, rel=0.5)


def test_many_threads_share_one_desk() -> None:
    seen: list[Outcome] = []
    found, given, gate = desk(trials=100, wall=600.0, seen=seen), [], threading.Barrier(8)
    faults: list[BaseException] = []

    def work(driver: int) -> None:
        try:
            gate.wait()
            while not isinstance(step := found.next_step(time.monotonic() - begun), Stop):
                if isinstance(step, Wait):
                    time.sleep(0.0001)
                    continue
                given.append(step.trial)
                found.view(1.0), overdue(found, 1.0), found.best()
                if len(given) % 7 == 3:
                    found.lost(step.trial.id, 1.0, "ray", "died")
                found.finish(ended(step, 1.0 / (1 + len(given)), seconds=0.01))
        except BaseException as fault:
            faults.append(fault)

    begun = time.monotonic()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not faults and not any(thread.is_alive() for thread in threads)
    names = [trial.id for trial in given]
    assert len(set(names)) == len(names) == len(seen) == len(found.outcomes()) >= 60
    assert sorted(outcome.trial.id for outcome in seen) == sorted(names)
    assert len({str(trial.config) for trial in given}) == len(given)
    assert found.running() == () and all(isinstance(trial, Trial) for trial in given)


def test_what_is_replayed_is_known_and_told_to_nobody() -> None:
    before, seen = desk(seconds=10.0, rungs=TWO), []
    for n in range(7):
        before.finish(ended(take(before, float(n)), 0.5 - 0.01 * n, seconds=0.5))
    again = desk(seconds=10.0, rungs=TWO, seen=seen)
    again.replay(before.outcomes())
    assert again.outcomes() == before.outcomes() and again.best() == before.best() and not seen
    assert take(again, 10.0) == take(before, 10.0), "the same step follows, under the same lease"


def test_a_trial_has_begun_once_a_worker_takes_it_up() -> None:
    begun: list[tuple[str, float, str]] = []
    found = desk()
    found._on_begin = lambda trial, now, driver, node: begun.append((trial.id, now, driver))
    found.next_step(1.0, driver="host")
    waiting = take(found, 2.0)
    found.begin(waiting.trial.id, 5.0, "ray")
    take(found, 6.0)
    assert begun == [("t000", 1.0, "host"), ("t001", 5.0, "ray")]


def test_what_is_not_worth_beginning_is_said_with_the_trial() -> None:
    found = desk(seconds=4.0)
    assert take(found, 0.0).least == 0.0, "the first one is begun whatever is left"
    found = desk(seconds=4.0)
    found.finish(ended(take(found, 0.0)))
    assert take(found, 1.0).least == pytest.approx(2.0, rel=0.5)
