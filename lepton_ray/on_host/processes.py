"""The processes of one run: found in /proc, frozen, killed, reaped. It knows nothing about trials or money.

A process belongs to a run when it descends from the run's supervisor or carries the run's id in its environment.
The supervisor is a subreaper, so an orphan that forked twice and cleared its environment descends from it still.
"""

import ctypes
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

RUN_ID = "LEPTON_RUN_ID"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Process:
    """One row of /proc; ``started`` (ticks since boot) tells it from a later process with the same number."""

    pid: int
    parent: int
    session: int
    started: int
    dead: bool


def snapshot() -> dict[int, Process]:
    """Read every process of this machine."""
    rows = (_read(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {row.pid: row for row in rows if row is not None}


def descendants(root: int, table: dict[int, Process]) -> list[Process]:
    """Return the children of ``root`` in ``table``, their children, and so on."""
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    ahead = list(children.get(root, ()))
    while ahead:
        process = ahead.pop()
        found.append(process)
        ahead.extend(children.get(process.pid, ()))
    return found


def tree(root: int) -> list[Process]:
    """Return the living descendants of ``root``."""
    return [process for process in descendants(root, snapshot()) if not process.dead]


def members(run_id: str, root: int) -> list[Process]:
    """Return the living processes of a run: descendants of ``root``, and all that carry its id, with theirs."""
    table = snapshot()
    found = {process.pid: process for process in descendants(root, table)}
    mark = f"{RUN_ID}={run_id}".encode()
    for process in table.values():
        if process.pid not in found and process.pid not in (root, os.getpid()) and _carries(process.pid, mark):
            found |= {row.pid: row for row in [process, *descendants(process.pid, table)]}
    return [process for process in found.values() if not process.dead and process.pid != os.getpid()]


def session_of(leader: int) -> list[Process]:
    """Return the living processes of the session that ``leader`` has begun, also once it is dead itself."""
    return [process for process in snapshot().values() if process.session == leader and not process.dead]


def sweep(find: Callable[[], list[Process]], *, seconds: float = 1.0) -> list[Process]:
    """Kill all that ``find`` returns until it returns nothing; return what is left when ``seconds`` are over.

    Everything is stopped before anything is killed, so that nobody sees a death and forks in answer.
    """
    until = time.monotonic() + seconds
    while doomed := _freeze(find, until):
        for process in doomed:
            _send(process, signal.SIGKILL)
        for process in doomed:
            _await_death(process, until)
        reap(process.pid for process in doomed)
        if time.monotonic() >= until:
            return find()
    return []


def kill_tree(pid: int, *, seconds: float = 1.0) -> list[Process]:
    """Kill one process with all its descendants, also a stopped one; return what is left after ``seconds``."""

    def find() -> list[Process]:
        table = snapshot()
        family = [*descendants(pid, table), *([table[pid]] if pid in table else [])]
        return [process for process in family if not process.dead]

    return sweep(find, seconds=seconds)


def reap(pids: Iterable[int]) -> None:
    """Collect those of ``pids`` that are dead children of this process."""
    for pid in pids:
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def become_subreaper() -> None:
    """Adopt every orphan among this process's descendants from now on."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process when its parent dies; at once if the parent is no longer ``parent``.

    The kernel watches the parent's *thread* that forked: it must live as long as the child should.
    """
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def like_this(module: str) -> list[str]:
    """The command that runs a module in a Python like this one, which finds modules where this one does."""
    safely = [] if os.getcwd() in sys.path or "" in sys.path else ["-P"]
    return [sys.executable, *safely, "-m", module]


def own_start(*, oldest_seconds: float = 5.0) -> float:
    """Return when this process started, on the clock of ``time.monotonic()``.

    A start long ago is that of a shell script that became this process by ``exec``, or is not to be known;
    then the processor time used so far stands for the age.
    """
    age = -1.0
    with suppress(OSError, AttributeError):
        row = _read(os.getpid())
        if row is not None:
            age = time.clock_gettime(time.CLOCK_BOOTTIME) - row.started / os.sysconf("SC_CLK_TCK")
    return time.monotonic() - (age if 0 <= age <= oldest_seconds else time.process_time())


def _read(pid: int) -> Process | None:
    """Read /proc/PID/stat; None when the process is gone. A dead leader with living threads is not dead."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read()
    except OSError:
        return None
    fields = text[text.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    dead = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    return Process(pid, int(fields[1]), int(fields[3]), int(fields[19]), dead)


def _carries(pid: int, mark: bytes) -> bool:
    """Say whether the environment that ``pid`` was started with holds ``mark``; another user's is not read."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.getuid():
            return False
        with open(f"/proc/{pid}/environ", "rb", buffering=0) as file:
            return mark in file.read().split(b"\0")
    except OSError:
        return False


def _freeze(find: Callable[[], list[Process]], until: float) -> list[Process]:
    """Stop all that ``find`` returns, again and again, until a look finds nobody new."""
    frozen: dict[int, Process] = {}
    while fresh := [process for process in find() if frozen.get(process.pid) != process]:
        for process in fresh:
            _send(process, signal.SIGSTOP)
            frozen[process.pid] = process
        if time.monotonic() >= until:
            break
    return list(frozen.values())


def _send(process: Process, number: signal.Signals) -> None:
    """Signal exactly this process: by a handle, so that a later one with its number is never hit."""
    with suppress(OSError):
        handle = os.pidfd_open(process.pid)
        try:
            now = _read(process.pid)
            if now is not None and now.started == process.started:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def _await_death(process: Process, until: float) -> None:
    """Wait until the process is dead or the time is over."""
    with suppress(OSError):
        handle = os.pidfd_open(process.pid)
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            now = _read(process.pid)
            if now is not None and now.started == process.started:
                poll.poll(max(0.0, until - time.monotonic()) * 1000)
        finally:
            os.close(handle)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
