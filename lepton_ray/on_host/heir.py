"""The heir of a supervisor: a small process that does its last duties if it is killed. It decides nothing.

The kernel ends a driver whose supervisor dies, but not what the driver has started (Ray's agents stay for a minute,
a daemon for ever), and nobody would remove its folders. The heir reads from a pipe that only the supervisor writes to:
when that ends, it sweeps what carries the run's id or belongs to the driver's session: Ray's processes write their
title over the environment that they were started with. A supervisor that ends in order ends its heir with the rest.
"""

import json
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress

from lepton_ray.on_host import handover, processes

SWEEP_SECONDS = 5.0


class Heir:
    """Forked while the supervisor is small and has one thread."""

    def __init__(self, run_id: str) -> None:
        reading, self._writing = os.pipe()
        if os.fork() == 0:
            try:
                _await_death(reading, self._writing, run_id)
            finally:
                os._exit(0)
        os.close(reading)

    def note(self, *, folders: Iterable[str] = (), session: int | None = None) -> None:
        """Name folders that are to be removed, and the session whose processes are to be ended."""
        with suppress(OSError):
            os.write(self._writing, json.dumps({"folders": list(folders), "session": session}).encode() + b"\n")


def _await_death(reading: int, writing: int, run_id: str) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # whoever reads them must not wait for the heir
        os.dup2(nothing, descriptor)
    os.close(writing)
    noted = b""
    while said := os.read(reading, 1 << 16):
        noted += said
    notes = [json.loads(line) for line in noted.splitlines()]
    sessions = [note["session"] for note in notes if note["session"] is not None]

    def left() -> list[processes.Process]:
        sitting = [process for leader in sessions for process in processes.session_of(leader)]
        return [*processes.members(run_id, os.getpid()), *sitting]

    processes.sweep(left, seconds=SWEEP_SECONDS)
    handover.remove([name for note in notes for name in note["folders"]], None, time.monotonic() + SWEEP_SECONDS)
