"""The policy as Serve asks it, without a Serve: what it is told, what it answers, and what it writes on the board."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from ray.serve.config import AutoscalingConfig

from lepton_ray.errors import MoneyError, UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_ray import board, scaling
from lepton_ray.on_ray.application import DEFAULT_REPLICAS, scaling_of
from lepton_ray.on_ray.scaling import Policy, autoscaling_config, reported, seen_in
from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.guarding import Guarding
from lepton_ray.serving.recent import Beat
from lepton_ray.serving.standing import Scale
from lepton_ray.serving.terms import Scaling, Terms

pytestmark = pytest.mark.ray

DIME = Dollars.parse("0.10")
BUSY = Beat(rate=50, done=50, busy=1.0, waiting=6, p50=0.02, p99=0.2, answered=200)


def asked(beats: list[Beat | None], wanted: int, queued: float = 0.0, nodes: str = "abcdef") -> Any:
    """What Serve hands to a policy."""
    names = [f"r{number}" for number in range(len(beats))]
    raw: dict[str, dict[str, list[Any]]] = {"running": {name: [] for name in names}}
    for name, node, beat in zip(names, nodes, beats, strict=False):
        for key, value in reported(beat, node * 40).items() if beat else ():
            raw.setdefault(key, {})[name] = [SimpleNamespace(value=-1.0), SimpleNamespace(value=value)]
    return SimpleNamespace(
        app_name="lepton",
        running_replicas=names,
        target_num_replicas=wanted,
        raw_metrics=raw,
        total_queued_requests=queued,
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """What the controller logs, also in a process that has started Serve before, which keeps its log to itself."""
    logger = logging.getLogger("ray.serve")
    monkeypatch.setattr(logger, "propagate", True)
    caplog.set_level(logging.INFO, "ray.serve")
    return caplog


class Wall:
    """A board and a clock that stand still."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before: Scale | None = None) -> None:
        self.said: list[Scale] = []
        self.now = 50.0
        monkeypatch.setattr(board, "read", lambda application: before)
        monkeypatch.setattr(board, "write", lambda application, scale: self.said.append(scale))
        monkeypatch.setattr(scaling, "time", SimpleNamespace(monotonic=lambda: self.now))

    def ask(self, policy: Policy, seconds: float, beats: list[Beat | None], wanted: int) -> list[int]:
        """The decisions of so many seconds, five a second, obeyed at once in what is wanted."""
        decided = []
        for _ in range(round(5 * seconds)):
            wanted, state = policy(asked(beats, wanted))
            assert state == {}
            decided.append(wanted)
            self.now += 0.2
        return decided


def policy_of(terms: Terms, fleet: Fleet) -> Policy:
    return Policy(**Scaling(terms, fleet).plain())


def test_what_replicas_report_is_read_back_and_silent_ones_count() -> None:
    seen = seen_in(asked([BUSY, None], 2, queued=3.0), 7.0)
    assert (seen.running, seen.wanted, seen.queued, seen.busy, seen.rate, seen.p99) == (2, 2, 9.0, 1.0, 50, 0.2)
    assert seen.nodes == 1 and seen_in(asked([BUSY, BUSY], 2), 0.0).nodes == 2
    assert seen_in(asked([BUSY, BUSY], 2, nodes="aa"), 0.0).nodes == 1
    assert seen_in(asked([], 0, queued=1.0), 0.0).queued == 1.0


def test_serve_takes_the_configuration_and_adds_no_delay_of_its_own() -> None:
    terms = Terms(0.05, DIME, 2, 8)
    config = AutoscalingConfig(**autoscaling_config(Scaling(terms, Fleet(DIME, 4))))
    assert (config.min_replicas, config.initial_replicas, config.max_replicas) == (2, None, 8)
    assert (config.upscale_delay_s, config.downscale_delay_s, config.downscale_to_zero_delay_s) == (0, 0, 0)
    assert config.policy.policy_function == scaling.PATH and config.policy.policy_kwargs["terms"]["p99"] == 0.05
    assert AutoscalingConfig(**autoscaling_config(Scaling(Terms(least=0, idle=9.0), Fleet()))).initial_replicas == 1


def test_a_queue_is_answered_written_and_said_once(
    monkeypatch: pytest.MonkeyPatch, told: pytest.LogCaptureFixture
) -> None:
    wall = Wall(monkeypatch)
    policy = policy_of(Terms(p99=0.1, cap=Dollars.parse("0.20"), most=8), Fleet(DIME, 1))
    decided = wall.ask(policy, 10, [BUSY], 1)
    assert decided[0] == 1 and decided[-1] == 2
    assert wall.ask(policy, 10, [BUSY, BUSY], 2)[-1] == 2
    last = wall.said[-1]
    assert (last.running, last.wanted, last.bound) == (2, 2, "cap") and "pays for 2 replicas" in last.reason
    assert last.per_hour == Dollars.parse("0.20") and len(wall.said) <= 9
    assert told.text.count("the cap on dollars binds") == 1
    wall.ask(policy, 40, [Beat(), Beat()], 2)
    assert told.text.count("nothing binds any more") == 1 and wall.said[-1].bound == ""


def test_what_runs_is_billed_and_a_new_deployment_goes_on_counting(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall(monkeypatch, Scale(1, 1, spent=Dollars.parse("0.50")))
    policy = policy_of(Terms(most=4), Fleet(Dollars.parse("3.60"), 1))  # a tenth of a cent a second
    wall.ask(policy, 100, [Beat()], 1)
    assert float(wall.said[-1].spent) == pytest.approx(0.60, abs=0.006)
    wall.ask(policy, 100, [Beat(), Beat()], 2)
    assert float(wall.said[-1].spent) == pytest.approx(0.80, abs=0.012)


def test_the_time_of_waking_in_which_serve_does_not_ask_is_billed(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall(monkeypatch)
    policy = policy_of(Terms(least=0, most=2, idle=600.0), Fleet(Dollars.parse("3.60"), 1))
    wall.ask(policy, 50, [], 0)
    assert not wall.said[-1].spent and not wall.said[-1].per_hour
    wall.now += 100.0
    wall.ask(policy, 50, [Beat()], 1)
    assert float(wall.said[-1].spent) == pytest.approx(0.15, abs=0.006)


def test_without_a_board_it_decides_on_and_says_so(
    monkeypatch: pytest.MonkeyPatch, told: pytest.LogCaptureFixture
) -> None:
    wall = Wall(monkeypatch)

    def away(application: str, scale: Scale) -> None:
        raise ConnectionError

    monkeypatch.setattr(board, "write", away)
    policy = policy_of(Terms(p99=0.1, most=4), Fleet(DIME, 1))
    assert wall.ask(policy, 10, [BUSY], 1)[-1] == 2
    assert "was not written: ConnectionError" in told.text


def test_replicas_on_more_machines_than_they_need_are_billed_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = Wall(monkeypatch)
    wall.ask(policy_of(Terms(most=4), Fleet(DIME, 2)), 1, [Beat(), Beat()], 2)
    assert wall.said[-1].per_hour == Dollars.parse("0.20")


def test_who_watches_is_told_each_change_after_the_first_word(monkeypatch: pytest.MonkeyPatch) -> None:
    words: list[Any] = [
        None,
        Scale(1, 1),
        RuntimeError("away"),
        Scale(1, 2),
        Scale(2, 2),
        Scale(2, 2, "cap"),
        Scale(2, 2),
    ]
    told: list[Scale] = []

    def read(application: str) -> Scale | None:
        word = words.pop(0)
        if isinstance(word, Exception):
            raise word
        return word  # type: ignore[no-any-return]

    monkeypatch.setattr(board, "read", read)
    board.follow("lepton", told.append, pause=lambda seconds: None, reads=6)
    assert told == [Scale(1, 2), Scale(2, 2, "cap")]


def test_a_scale_travels_and_reads_as_a_line() -> None:
    scale = Scale(1, 2, "cap", "3 requests wait", DIME, Dollars(7))
    assert Scale.from_plain(scale.plain()) == scale and Scale.from_plain(Scale(0, 0).plain()) == Scale(0, 0)
    assert str(scale) == "1 replica, 2 wanted, $0.10 per hour: 3 requests wait"


def test_the_arguments_in_the_yaml_are_the_options_of_the_command_line() -> None:
    args = {"p99": "50ms", "max_usd_per_hour": 100, "max_replicas": 3, "scale_to_zero_after": "10m", "price": 40}
    found = scaling_of({**args, "replicas_per_node": 2, "bundle": "b", "name": "m"}, Guarding())
    assert found == Scaling(Terms(0.05, Dollars.parse(100), 0, 3, 600.0), Fleet(Dollars.parse(40), 2))
    assert scaling_of({}, Guarding()) == Scaling(Terms(most=DEFAULT_REPLICAS), Fleet())
    with pytest.raises(UsageError, match="replicas_per_node is 0"):
        scaling_of({"replicas_per_node": 0}, Guarding())
    with pytest.raises(MoneyError, match="needs the price of a machine"):
        scaling_of({"max_usd_per_hour": 1}, Guarding())
