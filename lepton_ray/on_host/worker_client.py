"""The driver's side of one worker process: start, give a task, wait, and kill what outlives its lease.

It trusts nothing that a worker says about time: a task's start and end are read from the driver's own clock.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Protocol, Self

from lepton_ray.errors import SearchError
from lepton_ray.money.lease import Lease
from lepton_ray.on_host import processes

_CHUNK = 1 << 16
_USUAL = {"OMP_WAIT_POLICY": "passive", "PYTHONUNBUFFERED": "1"}
"""Threads that wait for each other sleep: on a busy machine spinning ones cost a fit ten times its time (measured).
What is said reaches the log though its process is killed."""


class Status(StrEnum):
    """How a task ended."""

    DONE = "done"
    FAILED = "failed"  # it raised; the worker goes on
    KILLED = "killed"  # it outlived its lease, or the driver wanted it gone
    DIED = "died"  # it took its worker down


@dataclass(frozen=True, slots=True)
class Outcome:
    """A task's end: its value, or one sentence why there is none; times on the driver's clock."""

    task: dict[str, Any]
    status: Status
    value: dict[str, Any] | None
    error: str
    started: float
    ended: float


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """How to start a worker, again and again: ``setup`` is ``module:function``, ``preload`` are modules to import."""

    setup: str
    args: dict[str, Any]
    log: Path
    preload: tuple[str, ...] = ()
    memory_bytes: int | None = None
    grace_seconds: float = 0.5

    def order(self) -> dict[str, Any]:
        """Return the first line that a new worker reads."""
        preload = list(self.preload)
        return {"setup": self.setup, "args": self.args, "preload": preload, "memory_bytes": self.memory_bytes}


class Hand(Protocol):
    """Who carries out one task at a time: a process of its own, or this one."""

    @property
    def busy(self) -> bool: ...

    @property
    def ready(self) -> bool: ...

    def ready_within(self, timeout: float) -> bool: ...

    def fileno(self) -> int: ...

    def submit(self, task: dict[str, Any], lease: Lease) -> None: ...

    def poll(self, timeout: float) -> Outcome | None: ...


@dataclass(frozen=True, slots=True)
class _Task:
    task: dict[str, Any]
    lease: Lease
    started: float


class Worker:
    """One warm process for one task at a time; a new one takes its place when it is killed or dies.

    ``clock`` must be the clock that leases are written in. Its process is forked by a thread of its own that lives
    as long as this object, for the kernel ends a worker together with the thread that started it.
    """

    def __init__(self, plan: WorkerPlan, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._plan = plan
        self._clock = clock
        self._forker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lepton-worker-forker")
        self._task: _Task | None = None
        self._ended: Outcome | None = None
        self._closed = False
        self.restarts = -1
        self._launch()

    @classmethod
    def start(
        cls,
        setup: str,
        setup_args: dict[str, Any],
        *,
        log: Path,
        preload: Sequence[str] = (),
        memory_bytes: int | None = None,
        grace_seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Start a worker whose output goes to ``log``; it imports and sets up while the driver goes on."""
        plan = WorkerPlan(setup, setup_args, log, tuple(preload), memory_bytes, grace_seconds)
        return cls(plan, clock=clock)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether its process lives; one that was killed is alive again at once."""
        return not self._closed and self._process.poll() is None

    @property
    def busy(self) -> bool:
        return self._task is not None or self._ended is not None

    @property
    def ready(self) -> bool:
        """Whether it is set up; news is read by ``poll``."""
        return self._ready

    def ready_within(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds until it is set up; say whether it is.

        Raises SearchError when the worker cannot be set up.
        """
        until = time.monotonic() + timeout
        while not self._ready and not self._closed:
            self._listen()
            if self._ready:
                break
            if self._process.poll() is not None:
                self._bury()
            wait = until - time.monotonic()
            if wait <= 0:
                return False
            self._selector.select(wait)
        return self._ready

    def fileno(self) -> int:
        """What can be read as soon as it says something: ``select`` waits for several workers at once."""
        return self._selector.fileno()

    def submit(self, task: dict[str, Any], lease: Lease) -> None:
        """Give a task to an idle worker; one that is not set up yet takes it as soon as it is."""
        if self._closed or self.busy:
            raise RuntimeError("a worker takes one task at a time, and none after it is closed")
        self._task = _Task(task, lease, self._clock())
        line = json.dumps({"task": task, "lease": asdict(lease)}).encode() + b"\n"
        with suppress(BrokenPipeError):  # a worker that just died is found out by poll
            while line:
                line = line[os.write(self._orders, line) :]

    def poll(self, timeout: float) -> Outcome | None:
        """Wait up to ``timeout`` seconds for the task's end; None when it goes on. Holds the watchdog.

        Raises SearchError when the worker cannot be set up.
        """
        until = time.monotonic() + timeout
        while not self._closed:
            self._listen()
            if self._process.poll() is not None:
                self._bury()
            if self._task is not None and self._overdue() <= 0:
                self._replace(Status.KILLED, "it outlived its lease and was killed")
            if self._ended is not None:
                ended, self._ended = self._ended, None
                return ended
            wait = until - time.monotonic()
            if wait <= 0:
                return None
            self._selector.select(min(wait, max(0.0, self._overdue())))
        return None

    def kill(self) -> None:
        """End the process and all that it started, and start anew; ``poll`` reports a running task as killed."""
        if not self._closed:
            self._replace(Status.KILLED, "it was killed by the driver")

    def close(self) -> None:
        """End the process for good."""
        if not self._closed:
            self._closed = True
            self._end()
            self._forker.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _launch(self) -> None:
        self.restarts += 1
        self._ready = False
        self._tail = b""
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        safely = ["-P"] if sys.flags.safe_path else []
        with open(self._plan.log, "ab") as log:
            start = self._forker.submit(
                subprocess.Popen[bytes],
                [
                    sys.executable,
                    *safely,
                    "-m",
                    "lepton_ray.on_host.worker",
                    str(orders),
                    str(answers),
                    str(os.getpid()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_USUAL | os.environ,
                pass_fds=(orders, answers),
            )
            self._process = start.result()
        os.close(orders)
        os.close(answers)
        os.set_blocking(self._answers, False)
        self._handle = os.pidfd_open(self._process.pid)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._answers, selectors.EVENT_READ)
        self._selector.register(self._handle, selectors.EVENT_READ)
        with suppress(BrokenPipeError):
            os.write(self._orders, json.dumps(self._plan.order()).encode() + b"\n")

    def _end(self) -> None:
        processes.kill_tree(self._process.pid)
        self._process.poll()
        self._selector.close()
        for number in (self._orders, self._answers, self._handle):
            os.close(number)

    def _replace(self, status: Status, error: str) -> None:
        self._finish(status, None, error)
        self._end()
        self._launch()

    def _bury(self) -> None:
        """Replace a process that ended by itself, unless it never came to life."""
        self._listen()
        words = _last_words(self._process.returncode)
        if not self._ready:
            self._refuse(words)
        self._replace(Status.DIED, words)

    def _refuse(self, why: str) -> NoReturn:
        self.close()
        raise SearchError(
            f"The worker for the first models could not be set up: {why}.", f"Its own words are in {self._plan.log}."
        )

    def _finish(self, status: Status, value: dict[str, Any] | None, error: str) -> None:
        if self._task is not None:
            gone = self._task
            self._task = None
            self._ended = Outcome(gone.task, status, value, error, gone.started, self._clock())

    def _overdue(self) -> float:
        """Return the seconds until the watchdog bites."""
        if self._task is None:
            return 3600.0
        return self._task.lease.until + self._plan.grace_seconds - self._clock()

    def _listen(self) -> None:
        """Read what the worker has answered so far."""
        with suppress(BlockingIOError):
            while chunk := os.read(self._answers, _CHUNK):
                self._tail += chunk
            with suppress(KeyError):  # at its end a pipe is readable for ever
                self._selector.unregister(self._answers)
        *lines, self._tail = self._tail.split(b"\n")
        for line in lines:
            try:
                answer = dict(json.loads(line))
            except (TypeError, ValueError, RecursionError):
                continue  # not the worker's words: a task got hold of its pipe
            if "broken" in answer:
                self._refuse(answer["broken"])
            if "ready" in answer:
                self._ready = True
                if self._task is not None:
                    self._task = _Task(self._task.task, self._task.lease, self._clock())
            elif "value" in answer:
                self._finish(Status.DONE, answer["value"], "")
            elif "error" in answer:
                self._finish(Status.FAILED, None, answer["error"])


def _last_words(code: int) -> str:
    if code < 0:
        return f"it took its process down ({signal.Signals(-code).name})"
    return f"it ended its process with exit code {code}"
