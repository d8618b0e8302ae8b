"""A process as an outside clock sees it: started, waited for, ended, judged by what it printed and how long it took."""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from lepton_ray.on_host import processes

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 90.0
"""How long anything is waited for before it counts as hanging; no promise of the product is this long."""


def environment(**more: str) -> dict[str, str]:
    """This process's, with the package on the path."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {name: value for name, value in os.environ.items() if not name.startswith("LEPTON")} | {
        "PYTHONPATH": paths,
        **more,
    }


@dataclass(frozen=True)
class Done:
    """What a command printed and returned, the seconds from its start to its end, and what others did meanwhile."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float = 0.0
    others: float = 0.0

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    def promised(self, kept: bool) -> None:
        """Check what was promised; a failure says what share of the cores others had, for whoever looks into it."""
        assert kept, (f"other work took {self.others:.0%} of the cores while this ran", self)


class Started:
    """A command under way; as a context it is killed at the end if it lives."""

    def __init__(
        self, command: Sequence[str], *, cwd: Path | None = None, stdin: int | None = None, **more: str
    ) -> None:
        """Args:
        more: what goes into its environment.
        """
        self.command = tuple(command)
        self.cores, self.began = Cores(), time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            cwd=cwd,
            env=environment(**more),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._handle = os.pidfd_open(self.process.pid)
        self._watch = threading.Thread(target=self._note_end, daemon=True)
        self._watch.start()

    def _note_end(self) -> None:
        """Look at the clock when it ends, and not when somebody asks."""
        select.select([self._handle], [], [])
        self.ended = time.monotonic()
        os.close(self._handle)

    @property
    def out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def lives(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, true: Callable[[], Any]) -> None:
        """Wait until something is true that comes about while it lives."""
        until(lambda: true() or not self.lives)
        assert true(), f"it ended before that: {self.end()}"

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def end(self) -> Done:
        """Wait for its end."""
        out, err = self.process.communicate(timeout=PATIENCE_SECONDS)
        self._watch.join()
        return Done(self.command, self.process.returncode, out, err, self.ended - self.began, self.cores.share())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *fault: object) -> None:
        if self.lives:
            self.process.kill()
            self.process.communicate()


def python(*words: object) -> list[str]:
    """A command for this Python."""
    return [sys.executable, *(str(word) for word in words)]


def until(true: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until something is true."""
    ends = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends, f"not true after {seconds:.0f} s"
        time.sleep(0.005)


def text_of(path: Path) -> str:
    """What a file holds, nothing where there is none."""
    return path.read_text() if path.exists() else ""


def numbers_in(path: Path) -> set[int]:
    """The processes whose numbers were noted in a file."""
    return {int(pid) for pid in text_of(path).split()}


def check_nobody_is_left(run: str, noted: Path | None = None, seconds: float = 2.0) -> None:
    """No process carries the run's id, and none that was noted lives, two seconds after its end."""
    own = set() if noted is None else numbers_in(noted)

    def gone() -> bool:
        living = {pid for pid, row in processes.snapshot().items() if not row.dead}
        return not processes.members(run, -1) and not own & living

    until(gone, seconds)


class Cores:
    """How busy others kept this machine's cores, from when this was made."""

    def __init__(self) -> None:
        self._began, self._before = time.monotonic(), _of_others()

    def share(self) -> float:
        """What others took, of all that there was."""
        return (_of_others() - self._before) / ((time.monotonic() - self._began) * (os.cpu_count() or 1))


def _of_others() -> float:
    """Core seconds since this machine's start that went neither to these tests nor to any process of theirs."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq, steal, *_ = (int(word) for word in file.readline().split()[1:])
    root = os.getppid() if "PYTEST_XDIST_WORKER" in os.environ else os.getpid()
    family = [root, *(process.pid for process in processes.tree(root))]
    return (user + nice + system + irq + softirq + steal - sum(map(_ticks, family))) / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int) -> int:
    """What a process, and its children that have ended, have used."""
    with suppress(OSError):
        return sum(int(word) for word in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:15])
    return 0
