"""A bench on another machine than the run's: what it needs is sent there, what its trials leave is sent back.

Its scratch folder is a copy of the run's, and its clock is set by the run's when it starts. It knows no Ray: whoever
carries the files between the two is a ``Post``.
"""

import os
import shutil
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from lepton_ray.bundle.files import disk_faults
from lepton_ray.errors import EnvironmentFault
from lepton_ray.money.lease import Lease
from lepton_ray.on_host.bench import Bench
from lepton_ray.on_host.fits import SEARCH, home_of
from lepton_ray.on_host.out_of_fold import path_of
from lepton_ray.search.evaluation import Fold
from lepton_ray.search.trial import Trial

Files = Mapping[str, bytes]
"""What files hold, by their paths within the scratch folder."""

NEEDED = ("setup.json", "plan.json", "dev.arrow", "dev.npz", "held.arrow", "held.npz")
FOLDERS = ("oof", "predictions", "sealed")
ASK_SECONDS = 1.0
"""Between two looks whether a trial was asked to end."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Post(Protocol):
    """Between a scratch folder and its copy elsewhere; each call waits until it is done.

    Raises:
        EnvironmentFault: nobody answers at home.
    """

    def now(self) -> float: ...

    def needed(self) -> Files: ...

    def fetch(self, names: Sequence[str]) -> Files: ...

    def bring(self, files: Files) -> None: ...

    def asked(self) -> Sequence[str]: ...


def boot_id() -> str:
    """What tells this machine, since it was started, from every other."""
    return BOOT_ID.read_text().strip()


def is_here(scratch: Path, boot: str) -> bool:
    """Whether this process is on the machine, and sees the folder, of the run that began under this boot."""
    return boot == boot_id() and (scratch / "setup.json").exists()


def read(scratch: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Those of the files that are there."""
    return {name: (scratch / name).read_bytes() for name in names if (scratch / name).is_file()}


def write(scratch: Path, files: Files) -> None:
    """Write each file whole, or not at all.

    Raises:
        EnvironmentFault: the disk refused.
    """
    for name, data in files.items():
        target = scratch / name
        with disk_faults(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.{os.getpid()}.part")
            part.write_bytes(data)
            os.replace(part, target)


def flags(scratch: Path) -> list[str]:
    """The files by which the run, or a trial, is asked to end."""
    return sorted(path.name for path in scratch.glob("stop*"))


class AwayBench(Bench):
    """A bench whose scratch folder is a copy; what a trial leaves is brought back before its outcome is told."""

    def __init__(self, copy: Path, home: Path, post: Post) -> None:
        """Args:
        copy: an empty folder on this machine; home: the scratch folder on the run's.
        """
        write(copy, post.needed())
        for name in FOLDERS:
            (copy / name).mkdir(exist_ok=True)
        self._base, self._post = home, post
        asked = time.monotonic()
        self._ahead = post.now() - (asked + time.monotonic()) / 2
        super().__init__(copy)

    def now(self) -> float:
        return time.monotonic() + self._ahead

    def run(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """See ``Bench.run``."""
        trial = Trial.from_dict(task["trial"])
        names = ([trial.id] if task["again"] else []) + ([trial.parent] if trial.parent else [])
        kept = [str(path_of(Path(), name)) for name in names]
        write(self.scratch, self._post.fetch([name for name in kept if not (self.scratch / name).exists()]))
        ended = threading.Event()
        listener = threading.Thread(target=self._listen, args=(ended,), name="asked-to-end", daemon=True)
        listener.start()
        try:
            outcome = super().run(task, lease)
        finally:
            ended.set()
            listener.join()
        return self._delivered(trial, outcome)

    def _listen(self, ended: threading.Event) -> None:
        """Be asked to end as a bench at home is: by a file. While nobody answers nobody asks."""
        while not ended.wait(ASK_SECONDS):
            with suppress(EnvironmentFault):
                asked = self._post.asked()
                for name in set(flags(self.scratch)) - set(asked):
                    (self.scratch / name).unlink(missing_ok=True)
                for name in asked:
                    (self.scratch / name).touch()

    def _keep(self, trial: Trial, folds: Sequence[Fold]) -> None:
        super()._keep(trial, folds)
        self._post.bring(read(self.scratch, [str(path_of(Path(), trial.id))]))

    def _delivered(self, trial: Trial, outcome: dict[str, Any]) -> dict[str, Any]:
        sealed, model = Path("sealed", trial.id), home_of(Path(), SEARCH, trial.id)
        for folder in (sealed, model):
            there = [path.relative_to(self.scratch) for path in (self.scratch / folder).rglob("*") if path.is_file()]
            self._post.bring(read(self.scratch, map(str, there)))
            shutil.rmtree(self.scratch / folder, ignore_errors=True)
        self._post.bring(read(self.scratch, [f"predictions/{trial.id}.npy"]))
        if outcome["bundle"] is not None:
            outcome["bundle"] = str(self._base / sealed)
        return outcome
