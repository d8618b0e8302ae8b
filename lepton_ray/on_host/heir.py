"""The heir of a supervisor: a small process that does its last duties if it is killed. It decides nothing.

The kernel ends a driver whose supervisor dies, but not what the driver has started (Ray's agents stay for a minute,
a daemon for ever), and nobody would remove its folders. The heir reads from a pipe that only the supervisor writes to:
when that ends, it sweeps what carries the run's id. A supervisor that ends in order ends its heir with all the rest.
"""

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

    def note(self, folders: Iterable[str]) -> None:
        """Name folders that are to be removed at the end."""
        with suppress(OSError):
            os.write(self._writing, "".join(f"{folder}\0" for folder in folders).encode())


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
    processes.sweep(lambda: processes.members(run_id, os.getpid()), seconds=SWEEP_SECONDS)
    folders = [name.decode() for name in noted.split(b"\0") if name]
    handover.remove(folders, None, time.monotonic() + SWEEP_SECONDS)
