"""A trial whose node went away: taken up again before anything new, not for ever, and no fault of its family."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.rates import Rates
from lepton_ray.search.desk import LETTING_GO_SECONDS, Assignment
from lepton_ray.search.policy import MOST_INTERRUPTIONS, Snapshot, Start
from lepton_ray.search.trial import DONE, INTERRUPTED, Outcome, Trial
from tests.search.test_desk import ONE, TWO, desk, ended
from tests.search.test_policy import ALWAYS, policy


def begun(made: Any, now: float = 0.0, node: str = "") -> Assignment:
    given = made.next_step(now)
    assert isinstance(given, Assignment)
    made.begin(given.trial.id, now, "ray", node=node)
    return given


def test_it_is_taken_up_again_before_anything_new_and_under_its_own_name() -> None:
    seen: list[Outcome] = []
    made = desk(seen=seen)
    made.finish(ended(begun(made)))
    first = begun(made, 1.0, "spot")
    other = begun(made, 1.0)
    made.interrupted(first.trial.id, 3.5, "ray", reason="its node went away", kept=0.5)
    (broken,) = [one for one in seen if one.state == INTERRUPTED]
    assert (broken.node, broken.seconds, broken.lost) == ("spot", 2.5, 0.5)
    assert made.tried() == 1 and made.best() is not None
    again = made.next_step(4.0)
    assert isinstance(again, Assignment) and again.trial == first.trial and again.trial != other.trial
    made.finish(ended(again))
    assert made.tried() == 2
    following = made.next_step(5.0)
    assert isinstance(following, Assignment) and following.trial.id not in (first.trial.id, other.trial.id)


def test_all_of_it_is_lost_where_no_fold_was_kept_and_never_more_than_there_was() -> None:
    for kept, lost in ((None, 2.0), (0.25, 0.25), (99.0, 2.0)):
        seen: list[Outcome] = []
        made = desk(seen=seen)
        given = begun(made, 1.0)
        made.interrupted(given.trial.id, 3.0, "ray", reason="", kept=kept)
        assert seen[0].lost == lost


def test_what_had_not_begun_leaves_no_trace() -> None:
    seen: list[Outcome] = []
    made = desk(seen=seen)
    given = made.next_step(0.0)
    assert isinstance(given, Assignment)
    made.interrupted(given.trial.id, 1.0, "ray", reason="", kept=None)
    again = made.next_step(1.0)
    assert isinstance(again, Assignment) and again.trial == given.trial and not seen


def test_a_trial_that_is_always_interrupted_is_given_up_and_nothing_else_is_kept_from_running() -> None:
    made = desk(trials=3)
    made.finish(ended(begun(made)))
    times: dict[str, int] = {}
    for second in range(20):
        given = made.next_step(float(second))
        if not isinstance(given, Assignment):
            break
        times[given.trial.id] = times.get(given.trial.id, 0) + 1
        made.begin(given.trial.id, float(second))
        made.interrupted(given.trial.id, second + 0.5, "ray", reason="", kept=None)
    assert set(times.values()) == {MOST_INTERRUPTIONS} and len(times) == 3


def test_its_second_spell_says_nothing_about_what_such_a_trial_takes() -> None:
    made = desk(wall=1000.0, seconds=5.0)
    made.finish(ended(begun(made)))
    first = begun(made, 1.0)
    made.interrupted(first.trial.id, 5.0, "ray", reason="", kept=1.0)
    again = begun(made, 5.0)
    before = made._expected_seconds(again.trial)
    made.finish(ended(again, seconds=0.01))
    assert made._expected_seconds(again.trial) == before


@pytest.mark.exam
@given(st.lists(st.booleans(), max_size=12), st.integers(0, 5))
def test_no_promotion_is_begun_twice_at_once(story: list[bool], seed: int) -> None:
    """Whatever is interrupted, of each configuration and rung one trial runs, and each is settled once."""
    from tests.search.test_policy import Play

    play = Play(policy(1, seed=seed))
    for broken in (*story, *[False] * 60):
        if not isinstance(play.ask(), Start):
            break
        if broken:
            play.end(0, None, INTERRUPTED)
        elif len(play.running) > 1:
            play.end(0, 0.5)
        keys = [(one.family, str(one.config), one.rung) for one in play.running]
        assert len(set(keys)) == len(keys)
    settled = [one.trial.id for one in play.outcomes if one.state == DONE]
    assert len(set(settled)) == len(settled)


def test_an_interrupted_promotion_stays_the_promotion_of_its_parent() -> None:
    rung = [Outcome(Trial(f"t00{n}", "trees", {"n": n}, 0), DONE, "ray", 0.0, 1.0, error=0.1 * n) for n in range(3)]
    up = Trial("t003", "trees", {"n": 0}, 1, "t000")
    gone = Outcome(up, INTERRUPTED, "ray", 0.0, 1.0)
    found = policy(1).decide(Snapshot((*rung, gone), ()), ALWAYS)
    assert found == Start(up)
    none_fits = policy(1).decide(Snapshot((*rung, gone), ()), lambda trial: trial.id != up.id)
    assert isinstance(none_fits, Start) and none_fits.trial.parent is None


def test_only_what_a_driver_has_a_place_for_is_given_to_it() -> None:
    made = desk()
    made.finish(ended(begun(made)))
    given = made.next_step(1.0, able=lambda trial: trial.config.get("n") == 7)
    assert isinstance(given, Assignment) and given.trial.config == {"n": 7}


def test_another_machine_is_not_asked_when_it_began() -> None:
    seen: list[Outcome] = []
    made = desk(seen=seen)
    given = begun(made, 3.0, "spot")
    made.finish(Outcome(given.trial, DONE, "ray", -500.0, 1.0, error=0.5))
    assert (seen[0].started, seen[0].node) == (3.0, "spot")


def test_a_lease_can_be_shortened_and_never_lengthened() -> None:
    made = desk()
    given = begun(made)
    made.shorten(given.trial.id, given.lease.until + 5)
    assert made.running()[0].lease.until == given.lease.until
    made.shorten(given.trial.id, 0.5)
    assert made.running()[0].lease.until == 0.5 and made.overdue(0.8, grace=0.1, late=9.0) == [given.trial.id]


def test_what_would_outlive_the_search_is_called_in_once_and_has_a_grace() -> None:
    made = desk(wall=100.0, reserve=10.0)
    made.finish(ended(begun(made)))
    given = begun(made, 80.0)
    assert made.call_in(80.5) == []
    rates = Rates(((0.0, Dollars(96_000)),)).then(81.0, Dollars(192_000))
    made.reprice(Budget.resolve(None, 100.0, Dollars(96_000)).under(rates), workers=4)
    assert made.search_end() < 81.6 < given.lease.until
    assert made.call_in(81.6) == [given.trial.id] and made.running()[0].lease.until == 81.6
    assert made.call_in(81.7) == [] == made.overdue(81.7, grace=0.5, late=9.0)
    assert made.overdue(90.1, grace=0.5, late=9.0) == [given.trial.id]


@pytest.mark.parametrize("scoring", [0.0, 4.0])
def test_a_first_trial_of_its_family_is_called_in_with_time_to_judge_what_it_has_come_to(scoring: float) -> None:
    made = desk(wall=100.0, reserve=10.0, seconds=40.0, scoring=scoring)
    made.finish(ended(begun(made)))  # the constant
    first = begun(made, 30.0)
    assert first.judging == 3.0 + scoring  # the longest that is usual, and what it says itself
    made.reprice(Budget.resolve(None, 90.0, Dollars(96_000)), workers=1)
    end = made.search_end()
    assert made.call_in(end - first.judging - 0.1) == [] and end < first.lease.until
    assert made.call_in(end - first.judging) == [first.trial.id]
    made.finish(ended(first, seconds=1.0))
    second = begun(made, 40.0)
    made.reprice(Budget.resolve(None, second.lease.until + 9.0, Dollars(96_000)), workers=1)
    end = made.search_end()
    assert end < second.lease.until and end - scoring - 0.1 > second.lease.started
    assert made.call_in(end - scoring - 0.1) == [], "what it takes to judge is known now"
    assert made.call_in(end - scoring) == [second.trial.id]


@pytest.mark.parametrize("rungs", [ONE, TWO])
def test_a_node_that_comes_brings_the_end_of_the_search_nearer(rungs: Any) -> None:
    made = desk(wall=100.0, reserve=10.0, rungs=rungs)
    before = Budget.resolve(None, 100.0, Dollars(96_000))
    assert made.search_end() == 90.0
    rates = Rates(((0.0, before.per_hour),)).then(20.0, before.per_hour + before.per_hour)
    made.reprice(before.under(rates), workers=4)
    assert made.search_end() == pytest.approx(55.0 - LETTING_GO_SECONDS, abs=0.1)
