"""Runs that were broken off: found, told from those that ended or still live, and held. Standard library and money.

A run is held by a lock on its ledger for as long as its supervisor, or the supervisor's heir, lives. One that nobody
holds and whose books are open, or were closed over a driver that died, was broken off and can be taken up again.
"""

import fcntl
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lepton_ray.errors import LeptonError, UsageError
from lepton_ray.money.budget import Budget
from lepton_ray.money.duration import duration_text
from lepton_ray.money.ledger import Ledger
from lepton_ray.on_host import processes
from lepton_ray.on_host.pulse import Pulse
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.on_host.verdict import BROKEN_OFF
from lepton_ray.table.place import RUNS_FOLDER

HEIR_SECONDS = 3.0
"""How long the last duties of a supervisor that was killed are waited for."""
POLL_SECONDS = 0.05
GLANCES, GLANCE_SECONDS = 20, 0.001


@dataclass(frozen=True, slots=True)
class Broken:
    """A run that was broken off.

    Attributes:
        spent_seconds: that it is billed for until then, the second in which it was broken off whole.
        at: when it was broken off, in seconds since 1970.
        wall_seconds: all that it may be billed for.
    """

    folder: Path
    run_id: str
    spent_seconds: float
    at: float
    wall_seconds: float

    @classmethod
    def of(cls, folder: Path) -> "Broken":
        """What a run that nobody holds has left.

        Raises:
            UsageError: it has come to its end, or had not begun. MoneyError: it has no ledger.
        """
        ledger = Ledger.open(RunFolder(folder).ledger)
        if not can_go_on(ledger):
            raise UsageError(
                f"The run {ledger.run_id} has come to its end, and nothing of it is left to do.",
                "To search on from its model: lepton run TABLE --target COLUMN --warm-start BUNDLE.",
            )
        noted = ledger.notes.get("budget")
        if noted is None or not (folder / "spec.json").exists():
            raise UsageError(f"The run {ledger.run_id} was broken off before it had begun.", "Start it again.")
        spent, at = ledger.second, os.stat(ledger.path).st_mtime
        pulse = None if ledger.closed else Pulse.felt(RunFolder(folder).pulse)
        if pulse is not None and pulse.second > spent:
            spent, at = pulse.second, pulse.at
        alone = ledger.rates.then(spent, ledger.machine.per_hour)  # what it held beside its machine is held no longer
        wall = Budget.from_dict(noted, ledger.machine.per_hour).under(alone).wall_seconds
        return cls(folder, ledger.run_id, min(spent, wall), at, wall)

    @property
    def sentence(self) -> str:
        """How far it had come."""
        return f"broken off after {duration_text(self.spent_seconds)} of {duration_text(self.wall_seconds)}"


def can_go_on(ledger: Ledger) -> bool:
    """Whether a run, if nobody holds it, was broken off: its books are open, or were closed over one that died."""
    return not ledger.served and (not ledger.closed or ledger.notes.get("ended") == BROKEN_OFF)


def run_folders() -> list[Path]:
    """Every folder under lepton-runs that holds a ledger, in order of name."""
    home = Path(RUNS_FOLDER)
    return sorted(path.parent for path in home.glob("*/ledger.jsonl")) if home.exists() else []


def find(run: str) -> Path:
    """The folder of a run: by its path, its id, or the beginning of it.

    Raises:
        UsageError: none or several fit.
    """
    if (Path(run) / "ledger.jsonl").exists():
        return Path(run)
    fitting = [folder for folder in run_folders() if folder.name.startswith(run)]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(
            f"'{run}' fits {len(fitting)} runs.", f"Write more of it: {', '.join(f.name for f in fitting[:4])}."
        )
    raise UsageError(f"There is no run '{run}' under {RUNS_FOLDER}/ here.", "See lepton runs, or give its folder.")


def last_broken() -> Broken | None:
    """The run under lepton-runs that was broken off last."""
    found = [broken for folder in run_folders() if (broken := broken_off(folder)) is not None]
    return max(found, key=lambda broken: broken.at, default=None)


def broken_off(folder: Path) -> Broken | None:
    """What a run has left, if it was broken off and nobody holds it."""
    with suppress(LeptonError, OSError):  # it has ended; or one folder that cannot be read must not hide the others
        found = Broken.of(folder)
        return None if lives(folder) else found
    return None


def lives(folder: Path) -> bool:
    """Whether a run is under way: somebody holds its folder, or a process carries its id."""
    try:
        descriptor = hold(folder)
    except UsageError:
        return True
    if descriptor is not None:
        os.close(descriptor)
    return bool(processes.members(Ledger.open(RunFolder(folder).ledger).run_id, -1))


def take(folder: Path) -> int | None:
    """Hold a run that is to be taken up, once the heir of its last supervisor is done.

    Raises:
        UsageError: it is still under way.
    """
    until = time.monotonic() + HEIR_SECONDS
    while True:
        late = time.monotonic() >= until
        try:
            descriptor = hold(folder)
            run = Ledger.open(RunFolder(folder).ledger).run_id
            if not processes.members(run, -1):
                return descriptor
            if descriptor is not None:
                os.close(descriptor)
            if late:
                raise UsageError(f"Processes of the run {run} still live.", "Wait for its end, or end it.")
        except UsageError:
            if late:
                raise
        time.sleep(POLL_SECONDS)


def hold_own(folder: Path) -> int | None:
    """Hold a run that this process has just begun: who looks whether it lives holds it for a moment, and nobody for
    longer."""
    for _ in range(GLANCES):
        with suppress(UsageError):
            return hold(folder)
        time.sleep(GLANCE_SECONDS)
    return None


def hold(folder: Path) -> int | None:
    """Lock a run's ledger for as long as the descriptor that is returned is open, here or in a child.

    None where there is no ledger yet, or on a disk without locks.

    Raises:
        UsageError: another process holds it.
    """
    try:
        descriptor = os.open(RunFolder(folder).ledger, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise UsageError(f"The run in {folder} is still under way.", "Wait for its end, or end it.") from None
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
