"""One line for each request: who, what, how long, and never a value of a row. It knows no HTTP.

Lines are kept for half a second and written together; what a replica writes stays below ``FILES`` files of ``BYTES``.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from lepton_ray.errors import EnvironmentFault

BYTES = 8 << 20
FILES = 3
DELAY = 0.5

log = logging.getLogger("lepton_ray.serving")


class AccessLog:
    """The log of one replica, in a file of its own.

    Args:
        path: the file; older parts lie beside it as ``.1``, ``.2``.
        most: bytes of one file. now: seconds since 1970, which the lines are labelled with.

    Raises:
        EnvironmentFault: the folder cannot be made.
    """

    def __init__(self, path: Path | str, *, most: int = BYTES, now: Callable[[], float] = time.time) -> None:
        self._path, self._most, self._now = Path(path).expanduser(), most, now
        self._lines: list[str] = []
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self._path, "ab", buffering=0, opener=_private)
        except OSError as fault:
            raise EnvironmentFault(
                f"The log {self._path} cannot be written: {fault.strerror}.", "Choose another folder."
            ) from fault

    def add(self, facts: dict[str, object]) -> None:
        """Take in one line; it is on disk half a second later."""
        if not self._lines:
            asyncio.get_running_loop().call_later(DELAY, self.flush)
        self._lines.append(json.dumps({"time": round(self._now(), 3), **facts}))

    def flush(self) -> None:
        """Write what has been taken in, and begin a new file where this one is full. A full disk costs the lines."""
        lines, self._lines = self._lines, []
        try:
            self._file.write("".join(f"{line}\n" for line in lines).encode())
            if self._file.tell() >= self._most:
                self._turn_over()
        except OSError as fault:
            log.error("%d lines of %s are lost: %s", len(lines), self._path, fault.strerror)

    def _turn_over(self) -> None:
        self._file.close()
        for number in range(FILES - 1, 0, -1):
            older = self._part(number - 1)
            if older.exists():
                os.replace(older, self._part(number))
        self._file = open(self._path, "ab", buffering=0, opener=_private)

    def _part(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}") if number else self._path


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
