"""The search on Ray Tune, seen from outside: whole runs with a clock beside them, and trials that mean harm."""

import json
import shutil
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.training.metrics import METRICS
from tests.cli.lepton import started
from tests.on_host.rows import columns, write
from tests.outside import Cores, Done, check_nobody_is_left, text_of

pytestmark = pytest.mark.ray

WITH_RAY = 60
"""Seconds that are enough for a search to be worth Ray's start."""
HOSTILE = ("Stopped", "Holding", "Hoarding", "Forking")


class Run:
    """A run under way on a table of 1,200 rows."""

    def __init__(self, place: Path, *words: str) -> None:
        self.folder, self.pids = place / "run", place / "pids"
        self.temp = Path(tempfile.mkdtemp(prefix="l", dir="/tmp"))  # short: Ray's sockets lie in it
        self.pids.touch()
        self.table = write(place / "table.csv", columns(1200))
        given = [self.table, "--target", "left", "--drop", "row,value", "--json", "--out", self.folder]
        given += [] if "--serve-for" in words else ["--no-serve"]
        own = {"HOSTILE_PIDS": str(self.pids), "TMPDIR": str(self.temp)}
        self.process = started("run", *given, *words, **own)

    @property
    def trials(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in text_of(self.folder / "trials.jsonl").splitlines()]

    def end(self) -> Done:
        return self.process.end()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    runs: list[Run] = []

    def make(*words: str) -> Run:
        place = tmp_path / str(len(runs))
        place.mkdir()
        runs.append(Run(place, *words))
        return runs[-1]

    yield make
    for run in runs:
        run.process.__exit__()
        shutil.rmtree(run.temp, ignore_errors=True)


def check_better_than_the_constant(done: Done, table: Path) -> None:
    result = done.result
    bundle = Bundle.load(result["bundle"], trust=tuple(f"tests.hostile:{name}" for name in HOSTILE))
    assert bundle.id == result["bundle_id"] and result["score"] > result["baseline_score"] == 0.5
    frame = pd.read_csv(table)
    told = bundle.predict(frame)
    values = np.column_stack([np.array(told.column(name)) for name in ("probability_no", "probability_yes")])
    assert METRICS["roc_auc"].score((frame["left"] == "yes").to_numpy().astype(int), values) > 0.7


def test_a_whole_run_searches_on_all_cores_and_ends_within_its_wall(start: Any) -> None:
    run = start("--deadline", f"{WITH_RAY}s")
    done = run.end()
    assert done.seconds <= WITH_RAY
    done.promised(done.code == 0)
    assert "Traceback" not in done.err, done
    check_nobody_is_left(done.result["run"], run.pids)
    check_better_than_the_constant(done, run.table)
    assert done.result["wall_seconds"] <= WITH_RAY and done.result["spent_usd"] <= done.result["budget_usd"]
    drivers = Counter(trial["driver"] for trial in run.trials)
    done.promised(drivers["host"] >= 2 and drivers["ray"] >= 8)
    assert {trial["state"] for trial in run.trials} <= {"done", "partial", "skipped"}
    receipt = json.loads((run.folder / "receipt.json").read_text())
    assert receipt["unexplained"]["seconds"] <= 0.01 * done.result["wall_seconds"]
    assert not (run.folder / ".work").exists() and list(run.temp.iterdir()) == []


@pytest.mark.slow
def test_trials_that_mean_harm_cost_their_leases_and_no_more(start: Any) -> None:
    names = ",".join(["linear", *(f"tests.hostile:{name}" for name in HOSTILE)])
    run = start("--deadline", "75s", "--families", names)
    done = run.end()
    assert done.seconds <= 75
    done.promised(done.code == 0)
    assert "Traceback" not in done.err, done
    check_nobody_is_left(done.result["run"], run.pids)
    check_better_than_the_constant(done, run.table)
    assert Path(done.result["report"]).exists(), "what hangs at the end costs the report"
    assert done.result["spent_usd"] <= done.result["budget_usd"]
    states = {name: Counter[str]() for name in HOSTILE}
    for trial in run.trials:
        family = trial["trial"]["family"].removeprefix("tests.hostile:")
        if trial["driver"] == "ray" and family in states and trial["state"] != "skipped":
            states[family][trial["state"]] += 1
    done.promised(all(states.values()))
    assert set(states["Stopped"]) == set(states["Holding"]) == {"killed"}, states
    assert set(states["Hoarding"]) == {"failed"}, states
    assert states["Forking"]["done"] and run.pids.read_text(), states
    done.promised(Counter(trial["driver"] for trial in run.trials if trial["state"] == "done")["ray"] >= 4)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_wish_to_stop_is_heard_on_ray_too(start: Any, number: signal.Signals) -> None:
    run = start("--deadline", f"{WITH_RAY}s")
    run.process.wait_for(lambda: any(trial["driver"] == "ray" for trial in run.trials))
    asked = time.monotonic()
    run.process.send(number)
    done = run.end()
    done.promised(time.monotonic() - asked < 15)
    assert done.code == 130, done
    check_nobody_is_left(done.result["run"], run.pids)
    check_better_than_the_constant(done, run.table)
    assert "asked to stop" in done.result["stopped_because"] and Path(done.result["report"]).exists()


@pytest.mark.slow
def test_a_run_ends_with_an_endpoint_that_answers_and_goes_when_its_time_is_over(start: Any) -> None:
    run = start("--serve-for", "4s", "--deadline", "60s")
    result = json.loads(run.process.out.readline())
    assert time.monotonic() - run.process.began <= 60 and result["endpoint"].startswith("http://127.0.0.1:")
    row = json.dumps({"age": 70, "city": "Ulm", "height": 170}).encode()
    asked = urllib.request.Request(f"{result['endpoint']}/predict", row, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=5) as answer:
        assert "yes" in answer.read().decode()
    done = run.end()
    assert (done.code, done.out) == (0, "") and "The endpoint served for" in done.err
    check_nobody_is_left(result["run"], run.pids)
    receipt = json.loads((run.folder / "receipt.json").read_text())
    assert receipt["spent_usd"] == result["spent_usd"] and 3 < receipt["endpoint"]["seconds"] < 12
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(asked, timeout=2)
    assert list(run.temp.iterdir()) == []


@pytest.mark.slow
def test_two_runs_at_once_do_not_disturb_each_other(start: Any) -> None:
    cores = Cores()
    both = [start("--deadline", f"{WITH_RAY}s") for _ in range(2)]
    ends = [run.end() for run in both]
    ends = [replace(done, others=cores.share()) for done in ends]  # the other run is no stranger
    for run, done in zip(both, ends, strict=True):
        assert done.seconds <= WITH_RAY
        done.promised(done.code == 0)
        check_nobody_is_left(done.result["run"], run.pids)
        check_better_than_the_constant(done, run.table)
    assert len({done.result["run"] for done in ends}) == 2
