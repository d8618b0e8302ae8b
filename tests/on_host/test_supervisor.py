"""The wall, examined from outside: the real supervisor, a small driver, a real worker, and trials that will not end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.money.ledger import Ledger
from lepton_ray.on_host import broken, processes
from lepton_ray.on_host.pulse import Pulse
from lepton_ray.on_host.supervisor import ECHO_SECONDS
from tests.on_host import supervised
from tests.on_host.supervised import MARGIN, Run, check_handed_over, check_nothing_is_left
from tests.outside import Done, check_nobody_is_left, text_of, until

HEIR_SECONDS = 5.0
KEYS = (
    "run bundle task metric score score_interval baseline_score believed_score spent_usd budget_usd wall_seconds"
    " deadline_seconds trials stopped_because report endpoint left_out onnx"
).split()
WATCHED = ("daemon_and_hang",)
UNWATCHED = ("gil", "driver stopped")
ENDS = ("fail True", "signal:9 True")
"""A part of them; the others: test_supervisor_more.py."""
ALONE: dict[str, dict[str, Any]] = {
    **{f"unwatched {name}": supervised.UNWATCHED[name] for name in UNWATCHED},
    "never arms": {"arm": False, "seal": False, "end": "sleep", "flags": ("--json", "--deadline", "4s")},
    **{f"watched {name}": supervised.WATCHED[name] for name in WATCHED},
    **{name: supervised.ENDS[name].scenario for name in ENDS},
    "json": {},
    "plain": {"flags": (), "json": False},
    "nothing to do": {"arm": False, "seal": False, "end": "exit:0"},
    "endpoint exit": {"end": "serve-and:exit=0"},
}
"""Scenarios that need nobody: those that wait for their wall come first."""


@pytest.fixture(scope="module", autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[tuple[Run, Done]]]]:
    """All of them, some at a time: they mostly sleep, while the tests that need somebody go on."""
    with supervised.side_by_side(tmp_path_factory.mktemp("alone"), ALONE) as runs:
        yield runs


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(**scenario: Any) -> Run:
        runs.append(Run.start(tmp_path / f"run{len(runs)}", **scenario))
        return runs[-1]

    yield make
    for run in runs:
        run.process.__exit__()


def test_the_supervisor_loads_the_standard_library_alone() -> None:
    source = """
import sys
before = set(sys.modules)
import lepton_ray.__main__, lepton_ray.on_host.supervisor
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(tops - set(sys.stdlib_module_names)))
"""
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run([sys.executable, "-c", source], env=env, capture_output=True, text=True, check=True).stdout
    assert out.split() == ["lepton_ray"]


@pytest.mark.process
@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, *(pytest.param(number, marks=pytest.mark.exam) for number in (signal.SIGTERM, signal.SIGHUP))],
)
def test_the_first_wish_to_stop_lets_the_driver_finish(start, number: signal.Signals) -> None:
    run = start(end="polite")
    run.wait_for("sleeping")
    run.process.send(number)
    result = check_handed_over(run, run.end(), 130)
    assert result["stopped_because"] == "the next cent is not worth it"
    check_nothing_is_left(run)


def test_the_second_wish_ends_a_driver_that_does_not_listen(start) -> None:
    run = start(end=f"signal:{int(signal.SIGSTOP)}", task="nothing")
    run.wait_for("result.json", "trials")
    driver = int(text_of(run.folder / "pids").split()[0])
    until(lambda: "T (stopped)" in text_of(Path(f"/proc/{driver}/status")))
    run.process.send(signal.SIGINT)
    until(lambda: signal.SIGINT in pending(driver))
    time.sleep(1.5 * ECHO_SECONDS)  # what follows at once counts as an echo
    assert run.process.lives
    asked = time.monotonic()
    run.process.send(signal.SIGINT)
    done = run.end()
    assert time.monotonic() - asked < 2
    assert "interrupted twice" in check_handed_over(run, done, 130)["stopped_because"]
    check_nothing_is_left(run)


def pending(pid: int) -> set[int]:
    """The signals that a process has been sent and not taken yet."""
    lines = text_of(Path(f"/proc/{pid}/status")).splitlines()
    (mask,) = (int(line.split()[1], 16) for line in lines if line.startswith("ShdPnd"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


@pytest.mark.process
def test_an_interrupt_without_a_model_says_so(start) -> None:
    run = start(end="sleep", seal=False)
    run.wait_for("sleeping")
    run.process.send(signal.SIGINT)
    done = run.end()
    assert done.code == 130 and done.result["exit_code"] == 130 and "interrupted" in done.result["error"]


@pytest.mark.process
def test_a_supervisor_that_is_killed_leaves_nothing(start) -> None:
    run = start(task="deaf", orphan=True)
    run.wait_for("deaf")
    bystander = subprocess.Popen(  # like Ray's agents: no kin of the driver's any more, and in no hurry to end
        [sys.executable, "-S", "-c", "import signal; signal.pause()"], env={processes.RUN_ID: run.id}
    )
    run.process.process.kill()
    run.process.process.communicate()
    for noted in (run.folder / "pids", run.folder / "titled"):
        check_nobody_is_left(run.id, noted, seconds=3)
    until(lambda: not (run.folder / "scratch").exists())
    assert bystander.wait() == -signal.SIGKILL


@pytest.mark.process
def test_a_parent_that_ends_is_a_wish_to_stop(start) -> None:
    run = start(end="polite", flags=("--json", "--until-eof"), stdin=subprocess.PIPE)
    run.wait_for("sleeping")
    run.process.process.stdin.close()
    run.process.process.stdin = None
    check_handed_over(run, run.end(), 130)


def test_an_endpoint_without_a_run_is_announced_and_ended(start) -> None:
    run = start(arm=False, seal=False, end="service", flags=())
    assert run.process.out.readline() == "http://127.0.0.1:1\n"
    run.process.send(signal.SIGINT)
    done = run.end()
    assert (done.code, done.out) == (0, "")
    assert "The endpoint served for" in done.err and not (run.folder / "scratch").exists()


@pytest.mark.exam
def test_an_endpoint_that_is_stopped_before_it_is_up(start) -> None:
    run = start(arm=False, seal=False, end="service-never", flags=())
    run.wait_for("sleeping")
    run.process.send(signal.SIGINT)
    done = run.end()
    assert (done.code, done.out) == (130, "") and "before the endpoint was up" in done.err
    assert not (run.folder / "scratch").exists()


@pytest.mark.exam
def test_an_endpoint_outlives_the_run_and_its_wall_as_a_stage_of_its_own(start) -> None:
    run = start(end="serve", notes=1)
    result = json.loads(run.process.out.readline())
    assert result["endpoint"] == "http://127.0.0.1:1" and result["wall_seconds"] < run.wall - MARGIN + 0.1
    time.sleep(max(0.0, run.wall + 0.1 - (time.monotonic() - run.process.began)))
    assert run.process.lives
    run.process.send(signal.SIGINT)
    done = run.end()
    assert (done.code, done.out) == (0, "")
    assert "The endpoint served for" in done.err
    receipt = run.file("receipt.json")
    assert receipt["spent_usd"] == result["spent_usd"] and receipt["endpoint"]["seconds"] > 0.5
    check_nothing_is_left(run)


def test_standard_output_holds_one_object_and_the_drivers_words_go_to_standard_error(alone) -> None:
    run, done = alone["json"].result()
    result = check_handed_over(run, done)
    assert list(result)[: len(KEYS)] == KEYS
    assert result["budget_usd"] == 0.002 and result["deadline_seconds"] == run.wall
    assert "the driver speaks on its standard output" in done.err


def test_without_json_there_is_a_plain_summary(alone) -> None:
    _, done = alone["plain"].result()
    assert done.code == 0
    assert "roc_auc 0.8 (0.7 to 0.9)" in done.out and "lepton predict" in done.out
    assert re.search(r"spent +\$0\.0000\d+ of \$0\.002", done.out)


def test_a_driver_that_never_arms_meets_the_provisional_wall(alone) -> None:
    _, done = alone["never arms"].result()
    assert done.code == 4 and 4.0 - MARGIN <= done.seconds <= 4.0
    assert done.result["exit_code"] == 4


@pytest.mark.parametrize("name", ENDS)
def test_a_drivers_end_is_passed_on_in_words(alone, name: str) -> None:
    supervised.check_passed_on(name, *alone[name].result())


def test_a_run_that_had_nothing_to_do_says_nothing(alone) -> None:
    _, done = alone["nothing to do"].result()
    assert (done.code, done.out) == (0, "")


def test_an_endpoint_that_ends_by_itself(alone) -> None:
    supervised.check_its_endpoint_ended(*alone["endpoint exit"].result(), code=0)


@pytest.mark.parametrize("trial", WATCHED)
def test_a_hostile_trial_ends_at_its_lease_and_the_driver_goes_on(alone, trial: str) -> None:
    supervised.check_ended_at_its_lease(trial, *alone[f"watched {trial}"].result())


@pytest.mark.parametrize("trial", UNWATCHED)
def test_at_the_wall_everything_ends_and_the_best_so_far_is_handed_over(alone, trial: str) -> None:
    supervised.check_ended_at_the_wall(*alone[f"unwatched {trial}"].result())


@pytest.mark.exam
def test_a_killed_supervisor_leaves_the_second_of_its_death_and_its_heir_the_folder(start) -> None:
    run = start(end="sleep")
    run.wait_for("sleeping")
    kept = run.folder / ".resume"
    kept.mkdir()
    until(lambda: Pulse.felt(kept / "pulse.json") is not None)
    assert broken.lives(run.folder) and Pulse.felt(kept / "pulse.json").second > 1.0, "a beat promises a second"
    held = time.monotonic()
    run.process.send(signal.SIGKILL)
    died = run.process.end().seconds
    check_nobody_is_left(run.id, run.folder / "pids", seconds=HEIR_SECONDS)
    until(lambda: not broken.lives(run.folder))
    assert Pulse.felt(kept / "pulse.json").second == pytest.approx(died, abs=0.3 + time.monotonic() - held)
    assert not (run.folder / "scratch").exists() and kept.exists()


def test_a_driver_that_died_leaves_books_that_can_be_taken_up(alone) -> None:
    run, done = alone["signal:9 True"].result()
    ledger = Ledger.open(run.folder / "ledger.jsonl")
    assert ledger.closed and broken.can_go_on(ledger) and f"lepton resume {run.id}" in done.result["stopped_because"]
    for ended in ("json", "plain", "unwatched gil", "endpoint exit", "fail True"):
        assert not broken.can_go_on(Ledger.open(alone[ended].result()[0].folder / "ledger.jsonl")), ended
