"""A command under an outside clock: wall from exec to exit, CPU of all that it started, a hard cap. Knows no systems.

Linux only: this process adopts the orphans of what it started, so that none is left and the CPU of each is counted.
"""

import ctypes
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

_PR_SET_CHILD_SUBREAPER = 36
_TICK = os.sysconf("SC_CLK_TCK")
RENAMED_EVERY = 10
"""Looks between two at what a process calls itself."""
Samples = dict[int, list[tuple[float, float]]]
"""Process -> (seconds since the start, CPU seconds so far), ascending."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What a command took.

    Attributes:
        code: of its exit; None where the cap killed it.
        seconds: from just before its exec to its own exit; what outlives it is not waited for, but killed.
        cpu_seconds: user and system, of all that it started: what the kernel has summed up for us, or what was seen of
            each process last, if that is more (a parent that ignores its children's ends, as Ray's does, sums nothing).
        peak_mb: resident, of the largest single process.
        left: processes that outlived it.
        others: what other work on this machine took meanwhile, of all its cores.
        samples: CPU of each process over time; ``commands``: what each last called itself.
        machine: CPU of all that runs on this machine over time, as one process's samples.
    """

    code: int | None
    seconds: float
    cpu_seconds: float
    peak_mb: float
    left: int
    others: float
    samples: Samples
    commands: dict[int, str]
    machine: list[tuple[float, float]]


def keep_to(cores: int) -> None:
    """Let this process and all that it starts have so many cores, and adopt the orphans of what it starts."""
    own = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, own[:cores])
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) was refused")


def timed(
    command: Sequence[str],
    logs: Path,
    *,
    cap: float,
    env: Mapping[str, str],
    every: float = 0.5,
) -> Taken:
    """Run a command to its end or to the cap, whatever comes first, in the folder of its logs.

    Args:
        logs: ``….out`` and ``….err`` beside this name get what it prints.
        every: look at the CPU of its processes so often: one scan of /proc is some milliseconds.
    """
    stop, watched, busy = threading.Event(), _Seen(), _busy_seconds()
    with logs.with_suffix(".out").open("wb") as out, logs.with_suffix(".err").open("wb") as err:
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=logs.parent,
            env=dict(env),
            start_new_session=True,
        )
    watch = threading.Thread(target=_sample, args=(watched, began, every, stop))
    watch.start()
    in_time = _ends_within(process.pid, began + cap)
    seconds = time.monotonic() - began
    if not in_time:
        process.kill()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    stop.set()
    watch.join()
    all_used = [used, *_end_all()]
    seen = sum(points[-1][1] for points in watched.samples.values())
    cpu_seconds = max(seen, sum(one.ru_utime + one.ru_stime for one in all_used))
    others = _busy_seconds() - busy - cpu_seconds
    return Taken(
        code=process.returncode if in_time else None,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_mb=max(one.ru_maxrss for one in all_used) / 1024,
        left=len(all_used) - 1,
        others=max(0.0, others / (seconds * (os.cpu_count() or 1))),
        samples=watched.samples,
        commands=watched.commands,
        machine=[(at, seconds - busy) for at, seconds in watched.machine],
    )


def _ends_within(pid: int, until: float) -> bool:
    handle = os.pidfd_open(pid)
    try:
        return bool(select.select([handle], [], [], max(0.0, until - time.monotonic()))[0])
    finally:
        os.close(handle)


def _end_all() -> list["os.struct_rusage"]:
    """Kill and reap every child, orphans that were adopted included, until there is none."""
    used = []
    while True:
        for child in psutil.Process().children(recursive=True):
            with suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
        try:
            used.append(os.wait4(-1, 0)[2])
        except ChildProcessError:
            return used


def _busy_seconds() -> float:
    """Core seconds of this machine since it started that went to anybody."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal, *_ = (int(word) for word in file.readline().split()[1:])
    return (user + nice + system + irq + softirq + steal) / _TICK


@dataclass(slots=True)
class _Seen:
    samples: Samples = field(default_factory=dict)
    commands: dict[int, str] = field(default_factory=dict)
    machine: list[tuple[float, float]] = field(default_factory=list)


def _sample(seen: _Seen, began: float, every: float, stop: threading.Event) -> None:
    while not stop.wait(every):
        now = time.monotonic() - began
        seen.machine.append((now, _busy_seconds()))
        for pid, seconds in _cpu_of_descendants().items():
            seen.samples.setdefault(pid, []).append((now, seconds))
            if pid not in seen.commands or len(seen.machine) % RENAMED_EVERY == 0:
                seen.commands[pid] = _command(pid) or seen.commands.get(pid, "")


def _command(pid: int) -> str:
    """What a process calls itself; empty once it is dead."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def _cpu_of_descendants() -> dict[int, float]:
    """CPU seconds of every process below this one, without what its children have left to it."""
    children: dict[int, list[int]] = {}
    seconds = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:  # it may have ended since
                words = file.read().rpartition(b")")[2].split()
                children.setdefault(int(words[1]), []).append(int(name))
                seconds[int(name)] = (int(words[11]) + int(words[12])) / _TICK
    found, todo = {}, [os.getpid()]
    while todo:
        below = children.get(todo.pop(), [])
        found.update((pid, seconds[pid]) for pid in below)
        todo += below
    return found
