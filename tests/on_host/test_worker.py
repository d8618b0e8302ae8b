"""One worker process: its tasks' values and faults come back, its hangs are killed, and it is there for the next."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lepton_ray.errors import SearchError
from lepton_ray.money.lease import Lease
from lepton_ray.on_host import processes
from lepton_ray.on_host.worker_client import Outcome, Status, Worker
from tests.examples import one_in

LONG = 60.0


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    monkeypatch.setenv("PYTHONPATH", f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}")
    workers = []

    def make(setup: str = "hostile:setup", **settings: object) -> Worker:
        args = {"pids": str(tmp_path / "pids")}
        worker = Worker.start(setup, args, log=tmp_path / "log", **settings)  # type: ignore[arg-type]
        workers.append(worker)
        return worker

    yield make
    for worker in workers:
        worker.close()


def give(worker: Worker, do: str, seconds: float = LONG) -> Outcome:
    now = time.monotonic()
    worker.submit({"do": do, "say": "ü"}, Lease("t", now, now + seconds))
    outcome = worker.poll(LONG)
    assert outcome is not None
    return outcome


def test_a_task_is_run_warm_and_its_words_go_to_the_log(start, tmp_path: Path) -> None:
    worker = start(preload=["decimal"])
    outcome = give(worker, "nothing")
    assert outcome.status is Status.DONE and outcome.value is not None
    assert outcome.value["said"] == "ü" and outcome.value["pid"] == worker.pid
    assert worker.alive and worker.ready and not worker.busy
    second = give(worker, "nothing")
    assert second.ended - second.started < 0.5
    assert "words that go to the log" in (tmp_path / "log").read_text()
    pid = worker.pid
    worker.close()
    assert not worker.alive and pid not in processes.snapshot()


@pytest.mark.parametrize("do, told", [("raising", "ValueError: two"), ("leaving", "SystemExit: 3"), ("unsayable", "T")])
def test_what_a_task_throws_is_its_own_failure(start, do: str, told: str) -> None:
    worker = start()
    outcome = give(worker, do)
    assert outcome.status is Status.FAILED and outcome.error.startswith(told)
    assert give(worker, "nothing").status is Status.DONE
    assert worker.restarts == 0


@pytest.mark.parametrize("do", ["hoard", pytest.param("hoard_small", marks=pytest.mark.exam)])
def test_endless_allocation_is_that_tasks_failure_and_the_worker_goes_on(start, do: str) -> None:
    worker = start(memory_bytes=64 << 20)
    for _ in range(2):
        outcome = give(worker, do)
        assert outcome.status is Status.FAILED and "64 MiB" in outcome.error
    assert give(worker, "nothing").status is Status.DONE
    assert worker.restarts == 0


@pytest.mark.parametrize("do", one_in(4, ["daemon_and_hang", "stopped", "gil", "deaf"]))
def test_a_task_that_outlives_its_lease_is_killed_with_all_that_it_started(start, do: str, tmp_path: Path) -> None:
    worker = start(grace_seconds=0.1)
    give(worker, "nothing")
    outcome = give(worker, do, seconds=0.3)
    assert outcome.status is Status.KILLED
    assert 0.4 <= outcome.ended - outcome.started < 1.5
    living = {pid for pid, row in processes.snapshot().items() if not row.dead}
    assert not living & {int(pid) for pid in (tmp_path / "pids").read_text().split()}
    assert worker.restarts == 1 and give(worker, "nothing").status is Status.DONE


def test_what_a_task_leaves_behind_ends_with_it(start, tmp_path: Path) -> None:
    worker = start()
    assert give(worker, "daemon").status is Status.DONE
    assert give(worker, "nothing").status is Status.DONE
    left = {int(pid) for pid in (tmp_path / "pids").read_text().split()} - {worker.pid}
    assert len(left) == 1 and not left & set(processes.snapshot())


def test_a_task_that_forks_answers_once(start) -> None:
    worker = start()
    for _ in range(3):
        assert give(worker, "fork").value["pid"] == worker.pid
        assert give(worker, "nothing").value["pid"] == worker.pid


def test_a_task_that_takes_its_worker_down_is_reported_and_the_worker_replaced(start) -> None:
    worker = start()
    outcome = give(worker, "crash")
    assert outcome.status is Status.DIED and "SIGSEGV" in outcome.error
    assert give(worker, "nothing").status is Status.DONE


def test_kill_reports_the_running_task_and_starts_anew(start) -> None:
    worker = start()
    give(worker, "nothing")
    worker.submit({"do": "deaf"}, Lease("t", 0.0, time.monotonic() + LONG))
    assert worker.poll(0.05) is None and worker.busy
    worker.kill()
    outcome = worker.poll(0.0)
    assert outcome is not None and outcome.status is Status.KILLED
    assert worker.alive and give(worker, "nothing").status is Status.DONE


def test_one_task_at_a_time(start) -> None:
    worker = start()
    worker.submit({"do": "deaf"}, Lease("t", 0.0, time.monotonic() + LONG))
    with pytest.raises(RuntimeError):
        worker.submit({"do": "nothing"}, Lease("t", 0.0, time.monotonic() + LONG))


@pytest.mark.parametrize("setup, told", [("hostile:broken", "OSError: no such table"), ("nowhere:at_all", "nowhere")])
def test_a_setup_that_fails_is_said_and_not_tried_for_ever(start, setup: str, told: str) -> None:
    worker = start(setup)
    with pytest.raises(SearchError, match=told):
        worker.poll(LONG)
    assert not worker.alive


def test_a_preload_that_crashes_is_said_and_not_tried_for_ever(start, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "crashing.py").write_text("import os; os.abort()")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{os.environ['PYTHONPATH']}")
    worker = start(preload=["crashing"])
    with pytest.raises(SearchError, match="SIGABRT"):
        worker.poll(LONG)
