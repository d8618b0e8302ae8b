"""The wall, examined from outside: the real supervisor, a small driver, a real worker, and trials that will not end."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.on_host import processes

LAUNCH = str(Path(__file__).with_name("launch.py"))
WALL = 5.0
MARGIN = 0.8
GONE = processes.Process(0, 0, 0, 0, dead=True)


@dataclass(frozen=True)
class Ended:
    """What an outside process saw of a run."""

    folder: Path
    code: int
    seconds: float
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


class Started:
    """A supervised run that is under way."""

    def __init__(self, folder: Path, scenario: dict[str, Any]) -> None:
        self.folder = folder
        flags = scenario.pop("flags", ["--json"])
        stdin = scenario.pop("stdin", None)
        folder.mkdir(parents=True)
        path = folder / "scenario.json"
        path.write_text(json.dumps({"folder": str(folder), "wall": WALL, **scenario}))
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, LAUNCH, str(path), *flags],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": f"{Path(LAUNCH).parent}:{os.environ.get('PYTHONPATH', '')}"},
        )

    def wait_for(self, name: str, words: str = "") -> None:
        """Wait until the driver has written a file of this name, with these words in it."""
        until = time.monotonic() + 10
        while not ((self.folder / name).exists() and words in (self.folder / name).read_text()):
            assert self.process.poll() is None and time.monotonic() < until
            time.sleep(0.005)

    def end(self) -> Ended:
        out, err = self.process.communicate(timeout=30)
        return Ended(self.folder, self.process.returncode, time.monotonic() - self.began, out, err)


def check_nothing_is_left(ended: Ended) -> None:
    living = {pid for pid, row in processes.snapshot().items() if not row.dead}
    noted = {int(pid) for pid in (ended.folder / "pids").read_text().split()}
    assert noted and not noted & living
    run = json.loads((ended.folder / "ledger.jsonl").read_text().splitlines()[0])["run"]
    assert processes.members(run, -1) == []
    assert not (ended.folder / "scratch").exists()


def check_handed_over(ended: Ended, code: int = 0) -> dict[str, Any]:
    """The sealed bundle is handed over, and the dollars are rate x wall."""
    assert ended.code == code, ended.err
    result = ended.result
    assert (Path(result["bundle"])).is_dir() and result["score"] == 0.8
    assert result == json.loads((ended.folder / "result.json").read_text())
    assert result["wall_seconds"] <= ended.seconds + 0.1 and result["wall_seconds"] > ended.seconds - 1.0
    assert result["spent_usd"] == pytest.approx(0.096 * result["wall_seconds"] / 3600, abs=6e-7)
    receipt = json.loads((ended.folder / "receipt.json").read_text())
    assert receipt["closed"] and receipt["spent_usd"] == result["spent_usd"]
    assert '<section class="receipt">' in (ended.folder / "report.html").read_text()
    return result


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Started]]:
    runs: list[Started] = []

    def make(**scenario: Any) -> Started:
        runs.append(Started(tmp_path / f"run{len(runs)}", scenario))
        return runs[-1]

    yield make
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()


TRIALS = ["stopped", "gil", "deaf", "hoard", "daemon", "daemon_and_hang"]
WATCHED = {trial: {"task": trial, "lease": 0.5} for trial in TRIALS} | {"hoard": {"task": "hoard"}}
UNWATCHED = {trial: {"task": trial} for trial in ["stopped", "gil", "deaf", "daemon_and_hang"]} | {
    "hoard": {"task": "hoard", "end": "sleep"},
    "daemon": {"task": "daemon_and_die", "end": "sleep"},
    "driver stopped": {"end": f"signal:{int(signal.SIGSTOP)}"},
    "driver's daemon": {"end": "daemon"},
}


@pytest.fixture(scope="module", autouse=True)
def batches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Ended]]]:
    """All hostile runs, seven at a time: they mostly sleep until their wall, while the other tests go on."""
    folder = tmp_path_factory.mktemp("hostile")
    named = {f"unwatched {name}": scenario for name, scenario in UNWATCHED.items()}
    named |= {f"watched {name}": scenario for name, scenario in WATCHED.items()}
    with ThreadPoolExecutor(7) as pool:
        yield {name: pool.submit(lambda n, s: Started(folder / n, s).end(), name, one) for name, one in named.items()}


def test_standard_output_holds_one_object_and_the_drivers_words_go_to_standard_error(start) -> None:
    ended = start().end()
    result = check_handed_over(ended)
    assert (
        list(result)[:15]
        == (
            "run bundle task metric score score_interval baseline_score spent_usd budget_usd wall_seconds"
            " deadline_seconds trials stopped_because report endpoint"
        ).split()
    )
    assert result["budget_usd"] == 0.002 and result["deadline_seconds"] == WALL
    assert "the driver speaks on its standard output" in ended.err


def test_without_json_there_is_a_plain_summary(start) -> None:
    ended = start(flags=[], json=False).end()
    assert ended.code == 0
    assert "roc_auc 0.8 (0.7 to 0.9)" in ended.out and "lepton predict" in ended.out
    assert re.search(r"spent +\$0\.0000\d+ of \$0\.002", ended.out)


def test_no_model_before_the_wall_is_a_matter_of_money(start) -> None:
    ended = start(seal=False, end="sleep", wall=2.0).end()
    assert ended.code == 4 and ended.seconds <= 2.0
    assert ended.result.keys() == {"error", "hint", "exit_code"} and ended.result["exit_code"] == 4
    assert "deadline ended after 2s" in ended.result["error"]
    check_nothing_is_left(ended)
    assert json.loads((ended.folder / "receipt.json").read_text())["closed"]


def test_a_driver_that_never_arms_meets_the_provisional_wall(start) -> None:
    ended = start(arm=False, seal=False, end="sleep", flags=["--json", "--deadline", "2s"]).end()
    assert ended.code == 4 and 1.0 < ended.seconds <= 2.0
    assert ended.result["exit_code"] == 4


@pytest.mark.parametrize(
    "end, seal, code, told",
    [
        ("fail", False, 3, "The table is odd."),
        ("fail", True, 3, "The table is odd."),
        ("exit:2", False, 2, "exit code 2"),
        ("exit:7", True, 7, "exit code 7"),
        ("exit:1", False, 5, "exit code 1"),
        ("exit:1", True, 0, "exit code 1"),
        ("signal:11", False, 5, "SIGSEGV"),
        ("signal:9", True, 0, "SIGKILL"),
        ("done", False, 5, "without a model"),
    ],
)
def test_a_drivers_end_is_passed_on_in_words(start, end: str, seal: bool, code: int, told: str) -> None:
    ended = start(end=end, seal=seal).end()
    assert ended.code == code
    assert told in (ended.result["error"] if code else ended.result["stopped_because"])
    assert code == 0 or ended.result["exit_code"] == code
    assert seal == ("bundle" in ended.result)
    assert "Traceback" not in ended.err
    check_nothing_is_left(ended)


def test_a_run_that_had_nothing_to_do_says_nothing(start) -> None:
    ended = start(arm=False, seal=False, end="exit:0").end()
    assert (ended.code, ended.out) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_wish_to_stop_lets_the_driver_finish(start, number: signal.Signals) -> None:
    run = start(end="polite", wall=20.0)
    run.wait_for("sleeping")
    run.process.send_signal(number)
    ended = run.end()
    result = check_handed_over(ended, 130)
    assert result["stopped_because"] == "the next cent is not worth it"
    assert ended.seconds < 5
    check_nothing_is_left(ended)


def test_the_second_wish_ends_a_driver_that_does_not_listen(start) -> None:
    run = start(end=f"signal:{int(signal.SIGSTOP)}", wall=20.0, task="nothing")
    run.wait_for("result.json", "trials")
    run.process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    assert run.process.poll() is None
    asked = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    ended = run.end()
    assert time.monotonic() - asked < 2
    assert "interrupted twice" in check_handed_over(ended, 130)["stopped_because"]
    check_nothing_is_left(ended)


def test_an_interrupt_without_a_model_says_so(start) -> None:
    run = start(end="sleep", seal=False, wall=20.0)
    run.wait_for("sleeping")
    run.process.send_signal(signal.SIGINT)
    ended = run.end()
    assert ended.code == 130 and ended.result["exit_code"] == 130 and "interrupted" in ended.result["error"]


def test_a_supervisor_that_is_killed_leaves_nothing(start) -> None:
    run = start(task="deaf", wall=20.0, orphan=True)
    run.wait_for("deaf")
    bystander = subprocess.Popen(  # like Ray's agents: no kin of the driver's any more, and in no hurry to end
        [sys.executable, "-S", "-c", "import signal; signal.pause()"],
        env={processes.RUN_ID: json.loads((run.folder / "ledger.jsonl").read_text().splitlines()[0])["run"]},
    )
    titled = int((run.folder / "titled").read_text())
    run.process.kill()
    run.process.communicate(timeout=5)
    noted = {int(pid) for pid in (run.folder / "pids").read_text().split()}
    until = time.monotonic() + 3
    while any(not row.dead and row.pid in noted for row in processes.snapshot().values()):
        assert time.monotonic() < until
        time.sleep(0.01)
    while (run.folder / "scratch").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert bystander.wait(timeout=3) == -signal.SIGKILL
    while not processes.snapshot().get(titled, GONE).dead:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_parent_that_ends_is_a_wish_to_stop(start) -> None:
    run = start(end="polite", wall=20.0, flags=["--json", "--until-eof"], stdin=subprocess.PIPE)
    run.wait_for("sleeping")
    run.process.stdin.close()
    run.process.stdin = None
    check_handed_over(run.end(), 130)


def test_an_endpoint_without_a_run_is_announced_and_ended(start) -> None:
    run = start(arm=False, seal=False, end="service", flags=[])
    assert run.process.stdout.readline() == "http://127.0.0.1:1\n"
    run.process.send_signal(signal.SIGINT)
    ended = run.end()
    assert (ended.code, ended.out) == (0, "")
    assert "The endpoint served for" in ended.err and not (ended.folder / "scratch").exists()


def test_an_endpoint_that_is_stopped_before_it_is_up(start) -> None:
    run = start(arm=False, seal=False, end="service-never", flags=[])
    run.wait_for("sleeping")
    run.process.send_signal(signal.SIGINT)
    ended = run.end()
    assert (ended.code, ended.out) == (130, "") and "before the endpoint was up" in ended.err
    assert not (ended.folder / "scratch").exists()


def test_an_endpoint_outlives_the_run_and_its_wall_as_a_stage_of_its_own(start) -> None:
    run = start(end="serve", wall=2.0)
    line = run.process.stdout.readline()
    result = json.loads(line)
    assert result["endpoint"] == "http://127.0.0.1:1" and result["wall_seconds"] < 2.0 - MARGIN + 0.1
    time.sleep(max(0.0, 2.2 - (time.monotonic() - run.began)))
    assert run.process.poll() is None
    run.process.send_signal(signal.SIGINT)
    ended = run.end()
    assert (ended.code, ended.out) == (0, "")
    assert "The endpoint served for" in ended.err
    receipt = json.loads((ended.folder / "receipt.json").read_text())
    assert receipt["spent_usd"] == result["spent_usd"] and receipt["endpoint"]["seconds"] > 1.0
    check_nothing_is_left(ended)


@pytest.mark.parametrize("end, code", [("serve-and:exit=0", 0), ("serve-and:signal=9", 7)])
def test_an_endpoint_that_ends_by_itself(start, end: str, code: int) -> None:
    ended = start(end=end).end()
    assert ended.code == code
    assert ended.result["endpoint"] == "http://127.0.0.1:1"
    assert ("SIGKILL" in ended.err) == (code == 7)


def test_the_supervisor_loads_the_standard_library_alone() -> None:
    source = """
import sys
from importlib.metadata import packages_distributions
before = set(sys.modules)
import lepton_ray.__main__, lepton_ray.on_host.supervisor
tops = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(tops - set(sys.stdlib_module_names)))
"""
    env = {"PYTHONPATH": os.pathsep.join(sys.path)}
    out = subprocess.run([sys.executable, "-c", source], env=env, capture_output=True, text=True, check=True).stdout
    assert out.split() == ["lepton_ray"]


@pytest.mark.parametrize("trial", TRIALS)
def test_a_hostile_trial_ends_at_its_lease_and_the_driver_goes_on(batches, trial: str) -> None:
    ended = batches[f"watched {trial}"].result()
    check_nothing_is_left(ended)
    result = check_handed_over(ended)
    assert ended.seconds <= WALL
    expected = {"hoard": "failed", "daemon": "done"}.get(trial, "killed")
    assert result["trials"]["status"] == expected
    assert result["stopped_because"] == "the next cent is not worth it"


@pytest.mark.parametrize("trial", list(UNWATCHED))
def test_at_the_wall_everything_ends_and_the_best_so_far_is_handed_over(batches, trial: str) -> None:
    ended = batches[f"unwatched {trial}"].result()
    check_nothing_is_left(ended)
    result = check_handed_over(ended)
    assert WALL - MARGIN <= ended.seconds <= WALL
    assert "deadline was reached and the driver did not finish in time" in result["stopped_because"]
