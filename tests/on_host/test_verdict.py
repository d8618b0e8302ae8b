"""What a run's end means, for every way of ending: a table."""

import pytest

from lepton_ray.on_host.messages import Done, Failed, Form, Service, Serving, Wall, decode, encode
from lepton_ray.on_host.supervisor import State, _provisional
from lepton_ray.on_host.verdict import Ending, Why, binding, judge, judge_service

WALL = Wall("r", "/f", 10.0, 96_000, 270, 60.0)


@pytest.mark.parametrize(
    "ending, sealed, asked, code, told",
    [
        (Ending(Why.DONE), True, False, 0, None),
        (Ending(Why.DONE), True, True, 130, None),
        (Ending(Why.DONE), False, False, 5, "without a model"),
        (Ending(Why.SERVING), True, False, 0, None),
        (Ending(Why.WALL), True, False, 0, "the budget was reached"),
        (Ending(Why.WALL), True, True, 130, "the budget was reached"),
        (Ending(Why.WALL), False, False, 4, "The budget ended after 10s"),
        (Ending(Why.WALL), False, True, 130, "interrupted"),
        (Ending(Why.DIED, -9), True, False, 0, "SIGKILL"),
        (Ending(Why.DIED, -9), False, False, 5, "SIGKILL"),
        (Ending(Why.DIED, -2), False, True, 130, "interrupted"),
        (Ending(Why.DIED, 130), True, True, 130, "exit code 130"),
        (Ending(Why.DIED, 2), False, False, 2, "exit code 2"),
        (Ending(Why.DIED, 8), True, False, 8, "exit code 8"),
        (Ending(Why.DIED, 1), True, False, 0, "exit code 1"),
        (Ending(Why.DIED, 0), True, False, 0, None),
        (Ending(Why.ASKED_TWICE), True, True, 130, "interrupted twice"),
        (Ending(Why.ASKED_TWICE), False, True, 130, "interrupted"),
        (Ending(Why.FAILED, None, Failed("Odd.", "Mend.", 3)), True, False, 3, "Odd."),
        (Ending(Why.FAILED, None, Failed("Full.", "Free.", 8)), True, False, 8, "Free. Then lepton resume /f goes on."),
        (Ending(Why.FAILED, None, Failed("Full.", "Free.", 8)), False, True, 8, "Full. Free."),
    ],
)
def test_a_runs_end(ending: Ending, sealed: bool, asked: bool, code: int, told: str | None) -> None:
    verdict = judge(ending, sealed=sealed, asked=asked, wall=WALL)
    assert verdict.exit_code == code
    assert (verdict.fault is None) == (sealed and code in (0, 130))
    words = str(verdict.fault) if verdict.fault else verdict.stopped_because
    assert words is None if told is None else told in (words or "")


@pytest.mark.parametrize(
    "ending, up, asked, code",
    [
        (Ending(Why.DIED, 0), True, False, 0),
        (Ending(Why.DIED, -15), True, True, 0),
        (Ending(Why.DIED, -9), True, False, 7),
        (Ending(Why.WALL), True, True, 0),
        (Ending(Why.FAILED, None, Failed("Port.", "", 8)), True, False, 8),
        (Ending(Why.FAILED, None, Failed("You asked to stop.", "", 130)), True, True, 0),
        (Ending(Why.FAILED, None, Failed("You asked to stop.", "", 130)), False, True, 130),
        (Ending(Why.ASKED_TWICE), False, True, 130),
        (Ending(Why.WALL), False, False, 7),
        (Ending(Why.DIED, 0), False, False, 7),
        (Ending(Why.DIED, -9), False, False, 7),
    ],
)
def test_an_endpoints_end(ending: Ending, up: bool, asked: bool, code: int) -> None:
    verdict = judge_service(ending, up=up, asked=asked)
    assert verdict.exit_code == code and (verdict.fault is None) == (code == 0)


def test_the_binding_limit() -> None:
    assert binding(WALL) == "budget"
    assert binding(Wall("r", "/f", 60.0, 96_000, 10**6, 60.0)) == "deadline"


@pytest.mark.parametrize(
    "message", [WALL, Form(True), Failed("a", "b", 3), Service(5, ("/t",)), Serving("http://x"), Done()]
)
def test_messages_survive_the_pipe(message: object) -> None:
    assert decode(encode(message)) == message  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [b"", b"7", b"[]", b"{}", b'{"wall": {}}', b'{"other": {}}', b'{"done": 3}', b"\xff", b'{"wall": {}, "done": {}}']
    + [encode(WALL).replace(b"10.0", seconds) for seconds in (b"0", b"-1", b"Infinity", b"NaN", b'"10"')]
    + [pytest.param(b"[" * 100_000, id="[…")],
)
def test_what_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not a message"):
        decode(line)


def test_a_wall_that_stands_moves_but_never_beyond_where_it_was_first() -> None:
    state = State(started=100.0, json=False)
    assert state.kill_at == pytest.approx(119.2)
    state.hear(Wall("r", "/f", 50.0, 1))
    assert state.kill_at == pytest.approx(100 + 50 - 1.5)
    state.hear(Wall("r", "/f", 500.0, 1, temp=("/tmp/x",)))
    assert state.kill_at == pytest.approx(148.5) and state.wall is not None and state.wall.temp == ("/tmp/x",)
    state.hear(Wall("r", "/f", 20.0, 1))
    assert state.kill_at == pytest.approx(119.2)
    state.hear(Wall("r", "/f", 40.0, 1))
    assert state.kill_at == pytest.approx(100 + 40 - 1.2)
    state.hear(Wall("r", "/f", 20.0, 1))
    assert state.ending(119.1) is None and state.ending(119.2) == Ending(Why.WALL)


def test_a_signal_sent_twice_at_once_is_one_wish() -> None:
    state = State(started=0.0, json=False)
    assert state.ask(15, 1.0) and not state.ask(15, 1.05) and state.asked == 1
    assert not state.ask(1, 2.0) and state.asked == 1
    assert not state.ask(15, 3.0) and state.asked == 2 and state.ending(3.0) == Ending(Why.ASKED_TWICE)


@pytest.mark.parametrize(
    "argv, seconds",
    [
        (["run", "t.csv"], 20.0),
        (["run", "t.csv", "--deadline", "5m"], 20.0),
        (["run", "t.csv", "--deadline", "15s"], 15.0),
        (["run", "t.csv", "--deadline=9"], 9.0),
        (["run", "t.csv", "--deadline", "soon"], 20.0),
        (["run", "t.csv", "--deadline", "0.1s"], 1.6),
        (["run", "t.csv", "--deadline"], 20.0),
        (["serve", "bundle"], 150.0),
    ],
)
def test_a_deadline_on_the_command_line_counts_before_the_driver_speaks(argv: list[str], seconds: float) -> None:
    assert _provisional(argv) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("ending", "goes_on"),
    [
        (Ending(Why.DIED, -9), True),
        (Ending(Why.DIED, 1), True),
        (Ending(Why.DIED, 0), False),
        (Ending(Why.DIED, 3), False),
        (Ending(Why.DONE), False),
        (Ending(Why.WALL), False),
        (Ending(Why.ASKED_TWICE), False),
        (Ending(Why.FAILED, None, Failed("No space left.", "", 8)), True),
        (Ending(Why.FAILED, None, Failed("No such column.", "", 3)), False),
    ],
)
def test_only_what_did_not_come_to_its_end_can_be_taken_up(ending: Ending, goes_on: bool) -> None:
    assert ending.broken_off is goes_on
