"""The search on Ray Tune, seen from outside: whole runs with a clock beside them, and trials that mean harm."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.on_host import processes
from lepton_ray.training.metrics import METRICS
from tests.cli.lepton import environment
from tests.on_host.rows import columns, write

pytestmark = pytest.mark.ray

HOSTILE = ("Stopped", "Holding", "Hoarding", "Forking")
GONE_SECONDS = 2.0


@dataclass(frozen=True)
class Ended:
    """A run, and what an outside clock says of it."""

    folder: Path
    code: int
    seconds: float
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        (line,) = self.out.splitlines()
        return dict(json.loads(line))

    @property
    def trials(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "trials.jsonl").read_text().splitlines()]


class Started:
    """A run under way on a table of 1,200 rows."""

    def __init__(self, place: Path, *words: str) -> None:
        self.folder, self.pids = place / "run", place / "pids"
        self.temp = Path(tempfile.mkdtemp(prefix="l", dir="/tmp"))  # short: Ray's sockets lie in it
        self.pids.touch()
        self.table = write(place / "table.csv", columns(1200))
        given = [str(self.table), "--target", "left", "--drop", "row,value", "--json"]
        given += [] if "--serve-for" in words else ["--no-serve"]
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lepton_ray", "run", *given, "--out", str(self.folder), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(HOSTILE_PIDS=str(self.pids), TMPDIR=str(self.temp)),
            text=True,
        )

    def wait_for_ray(self) -> None:
        """Wait until a trial has come back from Ray."""
        path = self.folder / "trials.jsonl"
        while not (path.exists() and '"driver": "ray"' in path.read_text()):
            assert self.process.poll() is None, "it ended before a trial came back from Ray"
            time.sleep(0.05)

    def end(self) -> Ended:
        out, err = self.process.communicate(timeout=100)
        return Ended(self.folder, self.process.returncode, time.monotonic() - self.began, out, err)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Started] = []

    def make(*words: str) -> Started:
        place = tmp_path / str(len(started))
        place.mkdir()
        started.append(Started(place, *words))
        return started[-1]

    yield make
    for run in started:
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()
        shutil.rmtree(run.temp, ignore_errors=True)


def check_nobody_is_left(run: str, pids: Path) -> None:
    """No process carries the run's id, and no daemon of it lives, two seconds after its end."""
    daemons = {int(pid) for pid in pids.read_text().split()}

    def left() -> set[int]:
        living = {pid for pid, row in processes.snapshot().items() if not row.dead}
        return {row.pid for row in processes.members(run, -1)} | daemons & living

    until = time.monotonic() + GONE_SECONDS
    while left() and time.monotonic() < until:
        time.sleep(0.05)
    assert not left()


def check_better_than_the_constant(ended: Ended, table: Path) -> None:
    result = ended.result
    bundle = Bundle.load(result["bundle"], trust=tuple(f"tests.hostile:{name}" for name in HOSTILE))
    assert bundle.id == result["bundle_id"] and result["score"] > result["baseline_score"] == 0.5
    frame = pd.read_csv(table)
    told = bundle.predict(frame)
    values = np.column_stack([np.array(told.column(name)) for name in ("probability_no", "probability_yes")])
    assert METRICS["roc_auc"].score((frame["left"] == "yes").to_numpy().astype(int), values) > 0.7


def test_a_whole_run_searches_on_all_cores_and_ends_within_its_wall(start: Any) -> None:
    run = start("--deadline", "40s")
    ended = run.end()
    assert ended.code == 0 and "Traceback" not in ended.err, ended
    check_nobody_is_left(ended.result["run"], run.pids)
    check_better_than_the_constant(ended, run.table)
    assert ended.seconds <= 40 and ended.result["wall_seconds"] <= 40
    assert ended.result["spent_usd"] <= ended.result["budget_usd"]
    drivers = Counter(trial["driver"] for trial in ended.trials)
    assert drivers["host"] >= 2 and drivers["ray"] >= 8, drivers
    assert {trial["state"] for trial in ended.trials} <= {"done", "partial", "skipped"}
    receipt = json.loads((ended.folder / "receipt.json").read_text())
    assert receipt["unexplained"]["seconds"] <= 0.01 * ended.result["wall_seconds"]
    assert not (ended.folder / ".work").exists() and list(run.temp.iterdir()) == []


@pytest.mark.slow
def test_trials_that_mean_harm_cost_their_leases_and_no_more(start: Any) -> None:
    names = ",".join(["linear", *(f"tests.hostile:{name}" for name in HOSTILE)])
    run = start("--deadline", "75s", "--families", names)
    ended = run.end()
    assert ended.code == 0 and "Traceback" not in ended.err, ended
    check_nobody_is_left(ended.result["run"], run.pids)
    check_better_than_the_constant(ended, run.table)
    assert Path(ended.result["report"]).exists(), "what hangs at the end costs the report"
    assert ended.seconds <= 75 and ended.result["spent_usd"] <= ended.result["budget_usd"]
    states = {name: Counter[str]() for name in HOSTILE}
    for trial in ended.trials:
        family = trial["trial"]["family"].removeprefix("tests.hostile:")
        if trial["driver"] == "ray" and family in states and trial["state"] != "skipped":
            states[family][trial["state"]] += 1
    assert set(states["Stopped"]) == set(states["Holding"]) == {"killed"}, states
    assert set(states["Hoarding"]) == {"failed"}, states
    assert states["Forking"]["done"] and run.pids.read_text(), states
    assert Counter(trial["driver"] for trial in ended.trials if trial["state"] == "done")["ray"] >= 4


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_stop_is_heard_on_ray_too(start: Any, number: signal.Signals) -> None:
    run = start("--deadline", "60s")
    run.wait_for_ray()
    asked = time.monotonic()
    os.kill(run.process.pid, number)
    ended = run.end()
    assert ended.code == 130 and time.monotonic() - asked < 15, ended
    check_nobody_is_left(ended.result["run"], run.pids)
    check_better_than_the_constant(ended, run.table)
    assert "asked to stop" in ended.result["stopped_because"] and Path(ended.result["report"]).exists()


@pytest.mark.slow
def test_a_run_ends_with_an_endpoint_that_answers_and_goes_when_its_time_is_over(start: Any) -> None:
    run = start("--serve-for", "4s", "--deadline", "60s")
    assert run.process.stdout is not None
    result = json.loads(run.process.stdout.readline())
    assert time.monotonic() - run.began <= 60 and result["endpoint"].startswith("http://127.0.0.1:")
    row = json.dumps({"age": 70, "city": "Ulm", "height": 170}).encode()
    asked = urllib.request.Request(f"{result['endpoint']}/predict", row, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=5) as answer:
        assert "yes" in answer.read().decode()
    out, err = run.process.communicate(timeout=30)
    assert (run.process.returncode, out) == (0, "") and "The endpoint served for" in err
    check_nobody_is_left(result["run"], run.pids)
    receipt = json.loads((run.folder / "receipt.json").read_text())
    assert receipt["spent_usd"] == result["spent_usd"] and 3 < receipt["endpoint"]["seconds"] < 12
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(asked, timeout=2)
    assert list(run.temp.iterdir()) == []


@pytest.mark.slow
def test_two_runs_at_once_do_not_disturb_each_other(start: Any) -> None:
    both = [start("--deadline", "60s") for _ in range(2)]
    ended = [run.end() for run in both]
    for run, one in zip(both, ended, strict=True):
        assert one.code == 0 and one.seconds <= 60, one
        check_nobody_is_left(one.result["run"], run.pids)
        check_better_than_the_constant(one, run.table)
    assert len({one.result["run"] for one in ended}) == 2
