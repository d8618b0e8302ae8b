"""Processes of a run are found wherever they hide, die whatever they do, and nobody else is touched."""

import os
import secrets
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lepton_ray.on_host import processes

LINGER = "import signal; print(flush=True); signal.pause()"
NOBODY = 2**22 + 1  # no process has this number: only the environment counts
DAEMON = """
import os, sys, time, signal
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
linger = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
os.execve(sys.executable, [sys.executable, "-c", linger], {})
"""


@pytest.fixture
def run_id() -> str:
    return secrets.token_hex(8)


@pytest.fixture(autouse=True)
def adopting() -> Iterator[None]:
    """Orphans of these tests come to the test process, as a supervisor's do to it."""
    processes.become_subreaper()
    yield
    processes._prctl(36, 0)


def python(source: str, **env: str) -> "subprocess.Popen[str]":
    """Start a small Python and wait for its first line."""
    child = subprocess.Popen([sys.executable, "-S", "-c", source], stdout=subprocess.PIPE, text=True, env=env)
    assert child.stdout is not None
    child.first = child.stdout.readline().strip()  # type: ignore[attr-defined]
    return child


def alive(pid: int) -> bool:
    row = processes.snapshot().get(pid)
    return row is not None and not row.dead


def test_the_environment_marks_a_member_and_nobody_else_is_touched(run_id: str) -> None:
    ours = python(LINGER, LEPTON_RUN_ID=run_id)
    other = python(LINGER, LEPTON_RUN_ID=run_id + "0")
    try:
        assert [row.pid for row in processes.members(run_id, NOBODY)] == [ours.pid]
        assert processes.sweep(lambda: processes.members(run_id, NOBODY)) == []
        assert not alive(ours.pid) and alive(other.pid)
    finally:
        other.kill()
        other.wait()
        ours.wait()


def test_a_daemon_that_forked_twice_and_cleared_its_environment_is_found(run_id: str) -> None:
    starter = python(DAEMON, LEPTON_RUN_ID=run_id)
    daemon = int(starter.first)  # type: ignore[attr-defined]
    starter.wait()
    found = [row.pid for row in processes.members(run_id, os.getpid())]
    assert daemon in found
    processes.kill_tree(daemon)
    assert not alive(daemon)


@pytest.mark.parametrize(
    "source",
    [
        "import os, signal; print(flush=True); os.kill(os.getpid(), signal.SIGSTOP)",
        "import ctypes; print(flush=True); ctypes.PyDLL(None).sleep(60)",
        "import signal; [signal.signal(n, signal.SIG_IGN) for n in (2, 15, 1)]; print(flush=True); signal.pause()",
    ],
    ids=["stopped", "gil-held", "deaf"],
)
def test_a_tree_dies_whatever_it_does(source: str) -> None:
    child = python(source)
    assert processes.kill_tree(child.pid) == []
    assert not alive(child.pid)
    child.wait()


def test_a_leader_that_left_its_threads_behind_is_alive() -> None:
    source = """
import ctypes, threading, time
threading.Thread(target=lambda: (print(flush=True), time.sleep(60))).start()
ctypes.CDLL(None).syscall(60, 0)  # exit, of this thread alone
"""
    child = python(source)
    until = time.monotonic() + 5
    while b" Z " not in Path(f"/proc/{child.pid}/stat").read_bytes() and time.monotonic() < until:
        os.sched_yield()
    assert alive(child.pid)
    assert processes.kill_tree(child.pid) == []
    child.wait()


def test_a_forking_family_is_ended(run_id: str) -> None:
    source = """
import os, time
print(flush=True)
for _ in range(6): os.fork()
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork() == 0: time.sleep(0.05); os._exit(0)
    os.wait()
"""
    child = python(source, LEPTON_RUN_ID=run_id)
    assert processes.sweep(lambda: processes.members(run_id, NOBODY), seconds=5) == []
    assert processes.members(run_id, NOBODY) == []
    child.wait()


def test_a_child_dies_with_its_parent() -> None:
    source = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from lepton_ray.on_host import processes
parent = os.getpid()
ready, go = os.pipe()
pid = os.fork()
if pid == 0:
    processes.die_with_parent(parent); os.write(go, b"1")
else:
    os.read(ready, 1); print(pid, flush=True)
import signal; signal.pause()
"""
    parent = python(source)
    child = int(parent.first)  # type: ignore[attr-defined]
    handle = os.pidfd_open(child)
    parent.kill()
    assert select.select([handle], [], [], 5)[0]
    os.close(handle)
    parent.wait()
    processes.reap([child])


@pytest.mark.exam
def test_a_look_at_300_processes_is_fast(run_id: str) -> None:
    source = """
import os, signal
for _ in range(250):
    if os.fork() == 0: signal.pause()
print(flush=True); signal.pause()
"""
    parent = python(source, LEPTON_RUN_ID=run_id)
    try:
        started = time.thread_time()
        assert len(processes.members(run_id, parent.pid)) == 250
        assert time.thread_time() - started < 0.2
    finally:
        started = time.thread_time()
        assert processes.kill_tree(parent.pid, seconds=5) == []
        assert time.thread_time() - started < 1.0
        parent.wait()


def test_own_start_is_that_of_the_process() -> None:
    source = f"""
import sys, time
sys.path[:0] = {sys.path!r}
from lepton_ray.on_host.processes import own_start
print(own_start(), own_start(oldest_seconds=0.0))
"""
    before = time.monotonic()
    child = python(source)
    child.wait()
    from_proc, from_processor = (float(text) for text in child.first.split())  # type: ignore[attr-defined]
    assert before - 0.02 <= from_proc <= time.monotonic()
    assert from_proc - 0.02 <= from_processor <= time.monotonic()


def test_signals_are_harmless_to_a_later_process_with_the_same_number() -> None:
    child = python(LINGER)
    row = processes.snapshot()[child.pid]
    processes._send(replace(row, started=row.started - 1), signal.SIGKILL)
    assert alive(child.pid)
    child.kill()
    child.wait()
