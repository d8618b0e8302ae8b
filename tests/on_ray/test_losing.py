"""A Ray that dies, hangs or crashes under a search: it is given up, what was in hand goes on elsewhere."""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.errors import EnvironmentFault
from lepton_ray.on_host import processes
from lepton_ray.on_ray.losing import STILL_SECONDS, Watch, crash_of, end_actors
from lepton_ray.search.desk import Assignment, Desk
from lepton_ray.search.trial import DONE, INTERRUPTED, Outcome
from tests.cli.lepton import started
from tests.on_host.rows import columns, course, spec, write
from tests.outside import check_nobody_is_left, text_of, until
from tests.search.test_desk import desk as desk_of


def test_a_ray_is_lost_where_nothing_begins_any_more_or_a_process_of_it_ended() -> None:
    watch = Watch(lambda: None, 0.0)
    assert watch.lost(STILL_SECONDS - 1, 0, idle=True) is None
    assert watch.lost(STILL_SECONDS, 1, idle=True) is None, "something has come about"
    assert watch.lost(2 * STILL_SECONDS - 1, 1, idle=False) is None, "something is in hand"
    assert watch.lost(3 * STILL_SECONDS - 2, 1, idle=True) is None
    assert "nothing has begun" in str(watch.lost(3 * STILL_SECONDS - 1, 1, idle=True))
    assert Watch(lambda: "its raylet ended", 0.0).lost(0.0, 0, idle=False) == "its raylet ended"
    assert crash_of(OSError(28, "No space left")) == "Tune ended with OSError: [Errno 28] No space left"


def test_actors_are_ended_without_ray_and_nothing_else_is() -> None:
    def named(name: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(["bash", "-c", f"exec -a {name} sleep 600"])

    actor, stopped, other = named("ray::TrialActor.train"), named("ray::TrialActor"), named("ray::ServeReplica")
    try:
        both = [actor.pid, stopped.pid]
        until(lambda: all(Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"ray::") for pid in both))
        os.kill(stopped.pid, signal.SIGSTOP)
        assert end_actors(os.getpid()) == []
        living = {process.pid for process in processes.tree(os.getpid())}
        assert other.pid in living and not living & set(both)
    finally:
        for process in (actor, stopped, other):
            process.kill()
            process.wait()


class Crashing:
    """A Tuner that dies with one trial in hand and another one waiting for an actor."""

    fault: Exception = OSError(28, "No space left on device")

    def __init__(self, desk: Desk, searcher: Any) -> None:
        self.desk, self.searcher = desk, searcher

    def fit(self) -> None:
        for name in ("a", "b"):
            assert self.searcher.suggest(name)
        self.desk.begin(self.searcher.trial_of("a"), 2.0, "ray")
        raise self.fault


@pytest.mark.ray
def test_where_tune_crashes_another_driver_goes_on_and_hears_nothing_more_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lepton_ray.on_ray import search as ray_search

    made = course(spec(write(tmp_path / "table.csv", columns(60)), out=str(tmp_path / "run"), families="linear"))
    seen: list[Outcome] = []
    desk, searchers = desk_of(seen=seen), []
    first = desk.next_step(0.0, driver="host")
    assert isinstance(first, Assignment)
    desk.finish(Outcome(first.trial, DONE, "host", 0.0, 0.1, 0.5, 0.5, (0.5,), bundle="sealed"))

    def crashing(desk: Desk, clock: Any, searcher: Any, *given: Any, **more: Any) -> Any:
        searchers.append(searcher)
        return Crashing(desk, searcher)

    monkeypatch.setattr(ray_search, "tuner_of", crashing)
    crew = ray_search.Crew(made, desk, wishes={name: made.wish("linear") for name in ("constant", "trees")})
    given: dict[str, Any] = {"scratch": made.folder.scratch, "clock": lambda: 3.0, "memory_bytes": 0}
    lost = ray_search.run(desk, crew, **given, asked_to_stop=threading.Event())
    assert lost == "Tune ended with OSError: [Errno 28] No space left on device"
    assert not desk.running() and [one.state for one in seen] == [DONE, INTERRUPTED]
    again = desk.next_step(4.0, driver="host")
    assert isinstance(again, Assignment) and again.again and again.trial == seen[1].trial
    said = replace(seen[0], trial=again.trial).to_dict()
    searchers[0].on_trial_complete("a", {"outcome": said})
    searchers[0].on_trial_complete("b", error=True)
    assert searchers[0].suggest("c") == "FINISHED" and len(seen) == 2 and len(desk.running()) == 1
    monkeypatch.setattr(Crashing, "fault", EnvironmentFault("The log cannot be written.", "Free some space."))
    with pytest.raises(EnvironmentFault, match="log cannot be written"):
        ray_search.run(desk, crew, **given, asked_to_stop=threading.Event())


@pytest.fixture
def temp() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="l", dir="/tmp"))  # short: Ray's sockets lie in it
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("doomed", ["raylet", "gcs_server"])
def test_a_run_whose_ray_is_killed_goes_on_without_it(tmp_path: Path, temp: Path, doomed: str) -> None:
    table, folder = write(tmp_path / "table.csv", columns(1200)), tmp_path / "run"
    words = [table, "--target", "left", "--drop", "row,value", "--json", "--out", folder, "--no-serve"]
    with started("run", *words, "--spend-it-all", "--deadline", "60s", TMPDIR=str(temp)) as process:
        process.wait_for(lambda: '"driver": "ray"' in text_of(folder / "trials.jsonl"))
        before = text_of(folder / "trials.jsonl").count("\n")
        ended = [
            one.pid
            for one in processes.tree(process.process.pid)
            if f"/{doomed} " in Path(f"/proc/{one.pid}/cmdline").read_text().replace("\0", " ")
        ]
        for pid in ended:
            os.kill(pid, signal.SIGKILL)
        done = process.end()
    assert ended and done.code == 0 and done.seconds <= 60, done
    assert "Ray was lost" in done.err and "Traceback" not in done.err
    after = text_of(folder / "trials.jsonl").splitlines()[before:]
    done.promised(sum('"driver": "host"' in line for line in after) > 5)
    assert Path(done.result["report"]).exists() and done.result["score"] > done.result["baseline_score"]
    check_nobody_is_left(done.result["run"])
    assert list(temp.iterdir()) == []
