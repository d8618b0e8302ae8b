"""Runs of the real supervisor over the fake driver, each in a folder of its own, and what must hold of their ends."""

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.outside import ROOT, Done, Started, check_nobody_is_left, python, text_of

HERE = Path(__file__).parent
AT_ONCE = 7
MARGIN = 0.8


@dataclass(frozen=True)
class End:
    """How a driver ends, with or without a sealed bundle, and what becomes of it: the exit code, and words."""

    how: str
    seal: bool
    code: int
    told: str

    @property
    def scenario(self) -> dict[str, Any]:
        return {"end": self.how, "seal": self.seal}


TRIALS = ("stopped", "gil", "deaf", "hoard", "daemon", "daemon_and_hang")
WATCHED = {trial: {"task": trial, "lease": 0.5} for trial in TRIALS} | {"hoard": {"task": "hoard"}}
UNWATCHED: dict[str, dict[str, Any]] = {
    **{trial: {"task": trial, "notes": 2} for trial in ("stopped", "gil", "deaf")},
    "daemon_and_hang": {"task": "daemon_and_hang", "notes": 3},
    "hoard": {"task": "hoard", "end": "sleep", "notes": 2},
    "daemon": {"task": "daemon_and_die", "end": "sleep", "notes": 3},
    "driver stopped": {"end": f"signal:{int(signal.SIGSTOP)}", "notes": 1},
    "driver's daemon": {"end": "daemon", "notes": 2},
}
ENDS = {
    f"{one.how} {one.seal}": one
    for one in (
        End("fail", False, 3, "The table is odd."),
        End("fail", True, 3, "The table is odd."),
        End("exit:2", False, 2, "exit code 2"),
        End("exit:7", True, 7, "exit code 7"),
        End("exit:1", False, 5, "exit code 1"),
        End("exit:1", True, 0, "exit code 1"),
        End("signal:11", False, 5, "SIGSEGV"),
        End("signal:9", True, 0, "SIGKILL"),
        End("done", False, 5, "without a model"),
    )
}


@dataclass(frozen=True)
class Run:
    """A supervised run under way, and its folder."""

    folder: Path
    process: Started

    @classmethod
    def start(
        cls, folder: Path, *, flags: tuple[str, ...] = ("--json",), stdin: int | None = None, **scenario: Any
    ) -> "Run":
        """Start the scenario; its keys are those of the fake driver."""
        folder.mkdir(parents=True)
        (folder / "scenario.json").write_text(json.dumps({"folder": str(folder), **scenario}))
        paths = os.pathsep.join([str(HERE), str(ROOT)])
        command = python(HERE / "launch.py", folder / "scenario.json", *flags)
        return cls(folder, Started(command, stdin=stdin, PYTHONPATH=paths))

    def wait_for(self, name: str, words: str = "") -> None:
        """Wait until the driver has written a file of this name, with these words in it."""
        path = self.folder / name
        self.process.wait_for(lambda: path.exists() and words in text_of(path))

    @property
    def wall(self) -> float:
        """The second at which the wall stands."""
        return float(text_of(self.folder / "wall"))

    @property
    def id(self) -> str:
        return str(json.loads(text_of(self.folder / "ledger.jsonl").splitlines()[0])["run"])

    def file(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / name).read_text()))

    def end(self) -> Done:
        return self.process.end()


@contextmanager
def side_by_side(
    folder: Path, scenarios: Mapping[str, dict[str, Any]]
) -> Iterator[dict[str, Future[tuple[Run, Done]]]]:
    """Runs that need nobody, some at a time in the order given: they mostly sleep, while other tests go on."""

    def whole(name: str) -> tuple[Run, Done]:
        run = Run.start(folder / re.sub(r"\W", "_", name), **scenarios[name])
        with run.process:
            return run, run.end()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        yield {name: pool.submit(whole, name) for name in scenarios}
        pool.shutdown(cancel_futures=True)


def check_nothing_is_left(run: Run) -> None:
    """None of its processes lives, and its scratch folder is gone: at once, for its supervisor has ended."""
    assert text_of(run.folder / "pids")
    check_nobody_is_left(run.id, run.folder / "pids", seconds=0.0)
    assert not (run.folder / "scratch").exists()


def check_handed_over(run: Run, done: Done, code: int = 0) -> dict[str, Any]:
    """The sealed bundle is handed over, and the dollars are rate x wall."""
    assert done.code == code, done
    result = done.result
    assert (Path(result["bundle"])).is_dir() and result["score"] == 0.8
    assert result == run.file("result.json")
    assert result["wall_seconds"] <= done.seconds + 0.1 and result["wall_seconds"] > done.seconds - 1.0
    assert result["spent_usd"] == pytest.approx(0.096 * result["wall_seconds"] / 3600, abs=6e-7)
    receipt = run.file("receipt.json")
    assert receipt["closed"] and receipt["spent_usd"] == result["spent_usd"]
    assert '<section class="receipt">' in text_of(run.folder / "report.html")
    return result


def check_within_its_wall(run: Run, done: Done) -> None:
    """It was ended by its wall: not long before, and never after."""
    assert run.wall - MARGIN <= done.seconds
    done.promised(done.seconds <= run.wall)


def check_passed_on(name: str, run: Run, done: Done) -> None:
    """The driver's end is told in words, with its exit code."""
    end = ENDS[name]
    assert done.code == end.code
    assert end.told in (done.result["error"] if end.code else done.result["stopped_because"])
    assert end.code == 0 or done.result["exit_code"] == end.code
    assert end.seal == ("bundle" in done.result)
    if end.seal and end.code:
        kept = run.file("result.json")
        assert kept["spent_usd"] > 0 and kept["stopped_because"] == done.result["error"]
    assert "Traceback" not in done.err
    check_nothing_is_left(run)


def check_its_endpoint_ended(run: Run, done: Done, code: int) -> None:
    """Its endpoint was announced, and ended by itself, or was killed (code 7)."""
    assert done.code == code
    assert done.result["endpoint"] == "http://127.0.0.1:1"
    assert ("SIGKILL" in done.err) == (code == 7)


def check_ended_at_its_lease(trial: str, run: Run, done: Done) -> None:
    """The trial was ended, and the driver went on."""
    check_nothing_is_left(run)
    result = check_handed_over(run, done)
    assert result["trials"]["status"] == {"hoard": "failed", "daemon": "done"}.get(trial, "killed")
    assert result["stopped_because"] == "the next cent is not worth it"


def check_ended_at_the_wall(run: Run, done: Done) -> None:
    """Everything was ended at the wall, and the best so far handed over."""
    check_nothing_is_left(run)
    result = check_handed_over(run, done)
    check_within_its_wall(run, done)
    assert "deadline was reached and the driver did not finish in time" in result["stopped_because"]
