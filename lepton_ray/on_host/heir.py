"""The heir of a supervisor: a small process that keeps the run's pulse, and does its last duties if it is killed.

The kernel ends a driver whose supervisor dies, but not what the driver has started (Ray's agents stay for a minute,
a daemon for ever), and nobody would remove its folders. The heir listens on a socket to which only the supervisor
speaks: when that ends, it sweeps what carries the run's id or belongs to the driver's session: Ray's processes write
their title over the environment that they were started with. A supervisor that ends in order ends its heir with the
rest. The heir also writes the heartbeat, since it alone may wait for a slow disk; and it shares the supervisor's hold
of the run's folder, so that nobody takes the run up before the last duties are done. It decides nothing.
"""

import json
import os
import signal
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lepton_ray.on_host import handover, processes
from lepton_ray.on_host.pulse import NEXT_SECONDS, beat

SWEEP_SECONDS = 5.0


class Heir:
    """Forked while the supervisor is small and has one thread."""

    def __init__(self, run_id: str) -> None:
        self._mouth, ear = socket.socketpair()
        if os.fork() == 0:
            try:
                _await_death(ear, self._mouth, run_id)
            finally:
                os._exit(0)
        ear.close()

    def note(
        self,
        *,
        folders: Iterable[str] = (),
        session: int | None = None,
        pulse: tuple[str, float] | None = None,
        hold: int | None = None,
    ) -> None:
        """Name folders that are to be removed, and the session whose processes are to be ended.

        Args:
            pulse: the file of the heartbeat, and the run's start on the clock of ``time.monotonic()``.
            hold: the descriptor that holds the run's folder; the heir holds it with its own life.
        """
        said = json.dumps({"folders": list(folders), "session": session, "pulse": pulse}).encode() + b"\n"
        with suppress(OSError):
            socket.send_fds(self._mouth, [said], [] if hold is None else [hold])


def _await_death(ear: socket.socket, mouth: socket.socket, run_id: str) -> None:
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):  # whoever reads them must not wait for the heir
        os.dup2(nothing, descriptor)
    mouth.close()
    notes = _keep_pulse(ear)
    sessions = [note["session"] for note in notes if note["session"] is not None]

    def left() -> list[processes.Process]:
        sitting = [process for leader in sessions for process in processes.session_of(leader)]
        return [*processes.members(run_id, os.getpid()), *sitting]

    processes.sweep(left, seconds=SWEEP_SECONDS)
    handover.remove([name for note in notes for name in note["folders"]], None, time.monotonic() + SWEEP_SECONDS)


def _keep_pulse(ear: socket.socket) -> list[dict[str, Any]]:
    """Beat until the supervisor is gone; return what it has noted. The last beat is the second of its death."""
    heard = b""
    while True:
        pulses = [note["pulse"] for note in _notes(heard) if note["pulse"] is not None]
        for path, started in pulses[-1:]:
            beat(Path(path), time.monotonic() - started)
        ear.settimeout(NEXT_SECONDS if pulses else None)
        with suppress(TimeoutError):
            said, _, _, _ = socket.recv_fds(ear, 1 << 16, 1)  # what it is handed to hold, it holds by having it
            if not said:
                break
            heard += said
    for path, started in pulses[-1:]:
        beat(Path(path), time.monotonic() - started, ahead=0.0)
    return _notes(heard)


def _notes(heard: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in heard[: heard.rfind(b"\n") + 1].splitlines()]
