"""The command line as a child of this process: started, heard, asked to stop, ended. It knows no verb.

The child's standard input is a pipe that nobody writes to: when this process ends, however it ends, the pipe does,
and the child takes that for a wish to stop. So nothing that was started here outlives its caller for long.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Any, Literal

from lepton_ray import errors
from lepton_ray.errors import LeptonError
from lepton_ray.on_host import processes

STOP_SECONDS = 20.0
_KINDS: dict[int, type[LeptonError]] = {
    kind.exit_code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LeptonError)
}


class Child:
    """One process of ``lepton``, in a session of its own: Ctrl-C reaches it through ``ask`` alone."""

    def __init__(self, words: Sequence[str], speech: Literal["show", "keep", "drop"]) -> None:
        """Start ``lepton`` with these words.

        Args:
            speech: what becomes of its standard error: shown on ``sys.stderr``, which need not be a file, as in a
                notebook; kept for ``said``; or dropped.
        """
        self._kept = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") if speech == "keep" else None
        screen = sys.stderr if speech == "show" else None
        own = screen is not None and _is_descriptor_two(screen)
        hold, self._rope = os.pipe()  # bare numbers: no forgotten reference closes them
        try:
            self.process = subprocess.Popen(
                [*processes.like_this("lepton_ray"), *words, "--until-eof"],
                stdin=hold,
                stdout=subprocess.PIPE,
                stderr=self._kept or (None if own else subprocess.PIPE if screen else subprocess.DEVNULL),
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except BaseException:
            self._let_go()
            raise
        finally:
            os.close(hold)
        self._pump = threading.Thread(target=_show, args=(self.process.stderr, screen), daemon=True)
        if self.process.stderr is not None:
            self._pump.start()

    def line(self) -> str:
        """The next line of its standard output, empty at its end."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def printed(self) -> str:
        """All that is left of its standard output."""
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            return stream.read()

    def said(self) -> str:
        """The last line of its standard error, where that was kept."""
        if self._kept is None:
            return ""
        self._kept.seek(0)
        lines = [line.strip() for line in self._kept if line.strip()]
        return lines[-1] if lines else ""

    def ask(self) -> None:
        """Ask it to stop, as Ctrl-C does."""
        self.process.send_signal(signal.SIGINT)

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit code, once it has ended."""
        code = self.process.wait(timeout)
        if self._pump.ident is not None:
            self._pump.join(STOP_SECONDS)
        self._let_go()
        return code

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """End it, and all that belongs to it; once more is no fault."""
        self._let_go()
        try:
            self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.wait()

    def _let_go(self) -> None:
        rope, self._rope = self._rope, -1
        if rope >= 0:
            os.close(rope)


def fault_of(exit_code: int, what: str, hint: str = "", *, default: type[LeptonError]) -> LeptonError:
    """The error that the command line's exit code stands for."""
    return _KINDS.get(exit_code, default)(what, hint)


def _is_descriptor_two(screen: Any) -> bool:
    try:
        return bool(screen.fileno() == 2)
    except (AttributeError, OSError, ValueError):
        return False


def _show(pipe: IO[str], screen: Any) -> None:
    """Pass on line by line; a screen that has gone away does not stop the child."""
    for line in pipe:
        with suppress(Exception):
            screen.write(line)
            screen.flush()
