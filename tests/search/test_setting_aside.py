"""What always fails is tried twice, and what fails on more rows alone is tried twice there."""

from lepton_ray.search.policy import Stop
from lepton_ray.search.setting_aside import reasons, set_aside
from lepton_ray.search.trial import BROKEN_OFF, DONE, FAILED, INTERRUPTED, KILLED, PARTIAL, SKIPPED, Outcome, Trial
from tests.search.test_desk import desk, ended, take


def trial(rung: int = 0, family: str = "trees") -> Trial:
    return Trial("t000", family, {}, rung)


def came(state: str, rung: int = 0, family: str = "trees", reason: str = "") -> Outcome:
    error = 0.5 if state in (DONE, PARTIAL) else None
    return Outcome(trial(rung, family), state, "host", 0.0, 1.0, error=error, reason=reason)


def test_a_family_that_always_hangs_is_tried_twice_and_not_once_for_each_of_its_configurations() -> None:
    found = desk(trials=30)
    found.finish(ended(take(found, 0.0)))
    for turn in (1, 2):
        hanging = take(found, float(turn))
        assert hanging.trial.family == "trees"
        found.lost(hanging.trial.id, turn + 0.5, "host", "it outlived its lease and was killed")
    assert isinstance(found.next_step(3.0), Stop)
    assert list(found.set_aside()) == ["trees"]
    assert "outlived its lease" in found.set_aside()["trees"]


def test_once_one_has_failed_another_is_tried_and_none_beside_it() -> None:
    assert not set_aside(trial(), [], [trial(), trial(), trial()]), "nothing is known, and cores are free"
    assert not set_aside(trial(), [came(KILLED)])
    assert set_aside(trial(), [came(KILLED)], [trial()])
    assert not set_aside(trial(), [came(KILLED)], [trial(family="linear")])
    assert set_aside(trial(), [came(FAILED), came(KILLED)])
    assert not set_aside(trial(family="linear"), [came(FAILED), came(KILLED)])


def test_what_has_left_a_model_stays_and_what_was_no_fault_does_not_count() -> None:
    for success in (DONE, PARTIAL):
        assert not set_aside(trial(), [came(KILLED), came(success), came(KILLED), came(KILLED)])
    for state in (SKIPPED, INTERRUPTED, BROKEN_OFF):
        assert not set_aside(trial(), [came(state), came(state), came(state)])
    assert not set_aside(trial(family="constant"), [came(FAILED, family="constant")] * 3)


def test_a_family_that_fails_on_more_rows_alone_stays_where_it_does_not() -> None:
    found = [came(DONE), came(KILLED, 1), came(KILLED, 1), came(DONE)]
    assert set_aside(trial(1), found) and set_aside(trial(2), found) and not set_aside(trial(0), found)
    assert reasons(found) == {}, "it has left models"
    assert not set_aside(trial(1), [came(DONE, 2), *found])


def test_the_reason_is_that_of_the_last() -> None:
    found = [came(FAILED, reason="ValueError: first"), came(FAILED, reason="ValueError: last."), came(DONE, family="x")]
    assert reasons(found) == {"trees": "all that was tried of it failed, the last trial because: ValueError: last."}
    assert reasons(found[:1]) == {}
