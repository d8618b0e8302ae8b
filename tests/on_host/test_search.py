"""The search on several workers: what runs side by side, who comes late, and how it ends."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from lepton_ray.money.lease import Lease
from lepton_ray.on_host import search
from lepton_ray.on_host.worker_client import Outcome as Ended
from lepton_ray.on_host.worker_client import Status
from lepton_ray.search.desk import Assignment, Desk
from lepton_ray.search.trial import DONE, KILLED, Outcome, Trial
from tests.search.test_desk import desk


@dataclass
class Hand:
    """A worker whose trials end once ``over`` says so; it can be waited for, as a process's pipe can."""

    over: Callable[[], bool]
    ready: bool = True
    dies: bool = False
    given: tuple[dict[str, Any], Lease] | None = None
    done: list[str] = field(default_factory=list)
    pipe: tuple[int, int] = field(default_factory=os.pipe)

    def fileno(self) -> int:
        return self.pipe[0]

    def ready_within(self, timeout: float) -> bool:
        return self.ready

    def submit(self, task: dict[str, Any], lease: Lease) -> None:
        assert self.given is None
        self.given = task, lease
        os.write(self.pipe[1], b".")  # there is always something to look at, so that no test waits

    def poll(self, timeout: float) -> Ended | None:
        if self.given is None or not self.over():
            return None
        (task, lease), self.given = self.given, None
        os.read(self.pipe[0], 1)
        trial = Trial.from_dict(task["trial"])
        self.done.append(trial.id)
        if self.dies:
            return Ended(task, Status.DIED, None, "it took its process down", lease.started, lease.started + 1.0)
        outcome = Outcome(trial, DONE, "host", lease.started, 1.0, error=0.5, score=0.5, fold_errors=(0.5,) * 5)
        return Ended(task, Status.DONE, outcome.to_dict(), "", lease.started, lease.started + 1.0)


@pytest.fixture
def hands() -> Iterator[list[Hand]]:
    made: list[Hand] = []
    yield made
    for hand in made:
        os.close(hand.pipe[0])
        os.close(hand.pipe[1])


def run(found: Desk, crew: list[Hand], hand_over: Callable[[], bool] = lambda: False) -> None:
    search.run(found, crew, lambda: 1.0, threads=1, hand_over=hand_over)  # type: ignore[arg-type]


def with_a_model(**options: Any) -> Desk:
    """A desk that knows a model: before, nothing is begun beside the first trial."""
    found = desk(**options)
    first = found.next_step(0.0)
    found.finish(Outcome(first.trial, DONE, "host", 0.0, 0.1, error=0.9, score=0.9, bundle="there"))  # type: ignore[union-attr]
    return found


def test_two_workers_carry_out_two_trials_at_once_and_every_trial_once(hands: list[Hand]) -> None:
    together = lambda: all(hand.given is not None for hand in hands)  # noqa: E731
    found, left = with_a_model(trials=6), lambda: not any(len(hand.done) for hand in hands) and not together()
    hands += [Hand(lambda: not left()), Hand(lambda: not left())]
    run(found, hands)
    told = [outcome.trial.id for outcome in found.outcomes()]
    assert len(told) == len(set(told)) == 7, "the constant and six"
    assert sorted([*hands[0].done, *hands[1].done]) == sorted(told[1:])
    assert all(hand.done for hand in hands)


def test_a_worker_that_comes_late_is_given_trials_then(hands: list[Hand]) -> None:
    def first_is_over() -> bool:
        hands[1].ready = len(hands[0].done) >= 1
        return True

    hands += [Hand(first_is_over), Hand(lambda: True, ready=False)]
    run(with_a_model(trials=6), hands)
    assert len(hands[0].done) >= 2 and len(hands[1].done) >= 1


def test_what_runs_is_heard_out_when_another_driver_takes_over(hands: list[Hand]) -> None:
    hands += [Hand(lambda: True), Hand(lambda: True)]
    found = with_a_model(trials=30)
    run(found, hands, lambda: all(hand.given is not None for hand in hands) or len(found.outcomes()) > 1)
    assert sum(len(hand.done) for hand in hands) == 2 and not found.running()
    assert found.view(1.0).stopped_because is None


def test_another_driver_that_was_waited_for_begins_beside_what_is_in_hand(hands: list[Hand]) -> None:
    ends: list[bool] = []
    hands.append(Hand(lambda: bool(ends)))
    found = with_a_model(trials=30)
    how: dict[str, Any] = {"threads": 1, "hand_over": lambda: hands[0].given is not None, "pause": lambda seconds: None}
    begun = search.run(found, hands, lambda: 1.0, **how)  # type: ignore[arg-type]
    name = found.running()[0].trial.id
    begun.hear()
    assert [given.trial.id for given in begun.busy.values()] == [name] and len(found.outcomes()) == 1
    other = found.next_step(1.0, driver="ray")
    assert isinstance(other, Assignment) and other.trial.id != name
    ends.append(True)
    begun.wait()
    assert not begun.busy and found.outcomes()[-1].trial.id == name
    assert [given.trial.id for given in found.running()] == [other.trial.id]


def test_what_runs_is_heard_out_when_the_search_is_stopped(hands: list[Hand]) -> None:
    found = with_a_model(trials=30)

    def stop() -> bool:
        if all(hand.given is not None for hand in hands):
            found.stop("enough")
        return True

    hands += [Hand(stop), Hand(stop)]
    run(found, hands)
    assert sum(len(hand.done) for hand in hands) == 2 and not found.running()


def test_a_worker_that_dies_leaves_the_others_at_work(hands: list[Hand]) -> None:
    hands += [Hand(lambda: True), Hand(lambda: True, dies=True)]
    found = with_a_model(trials=6)
    run(found, hands)
    states = [outcome.state for outcome in found.outcomes()]
    assert states.count(KILLED) == len(hands[1].done) > 0 and states.count(DONE) == 1 + len(hands[0].done)
