"""The folder of one run: what lies in it and how it is written, whole or not at all. It decides nothing.

spec.json  plan.json  profile.json  trials.jsonl  ledger.jsonl  result.json  receipt.json  receipt.txt
report.html  model.onnx  rejected.csv  driver.log  bundle -> bundles/<id>   .work/ (scratch, removed at the end)
.resume/ (until the end, for a run that is broken off: pulse.json, begun.jsonl, grounds.json, oof/, predictions/)
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lepton_ray.bundle.files import disk_faults, new_file, point
from lepton_ray.errors import EnvironmentFault, UsageError
from lepton_ray.money.lines import append_line, line_of, whole_lines
from lepton_ray.on_host.fits import SEARCH, bytes_of, home_of
from lepton_ray.search.trial import Outcome, Trial

LEAVINGS = (
    *("ledger.jsonl", "trials.jsonl", "result.json", "receipt.json", "receipt.txt"),
    *("rejected.csv", "driver.log", "model.onnx"),
)
"""What a run that failed has left and the next one would add to or leave standing; a plan may have been edited."""
KEPT = ("oof", "predictions")
"""What trials said of rows: a blend and a report of a run that was broken off need it, too."""
LARGEST_KEPT_BYTES = 2 * 2**30
"""Of what trials said, and of their models: beyond it, what is least likely to be of use is removed."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A trial that a worker had taken up at second ``at``, on this node of the run's."""

    trial: Trial
    driver: str
    at: float
    node: str = ""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and atomic writes under ``path``."""

    path: Path

    @property
    def scratch(self) -> Path:
        return self.path / ".work"

    @property
    def kept(self) -> Path:
        return self.path / ".resume"

    @property
    def pulse(self) -> Path:
        return self.kept / "pulse.json"

    @property
    def ledger(self) -> Path:
        return self.path / "ledger.jsonl"

    @property
    def bundle(self) -> Path:
        return self.path / "bundle"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    def prepare(self) -> None:
        """Make the scratch folder, and take away what a run that failed has left here."""
        if self.ledger.exists():
            for name in LEAVINGS:
                (self.path / name).unlink(missing_ok=True)
            for place in (self.scratch, self.kept):
                shutil.rmtree(place, ignore_errors=True)
        self._furnish()

    def mend(self) -> None:
        """Make the scratch folder anew for a run that goes on, and take away what its killed writers have left."""
        for leaving in (*self.path.glob(".*.tmp"), *self.path.glob("*.new")):
            leaving.unlink(missing_ok=True)
        shutil.rmtree(self.scratch, ignore_errors=True)
        self._furnish()

    def _furnish(self) -> None:
        (self.scratch / "sealed").mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            (self.kept / name).mkdir(parents=True, exist_ok=True)
            if not (self.scratch / name).is_symlink():
                (self.scratch / name).symlink_to(self.kept / name)
        (self.path / "bundles").mkdir(exist_ok=True)

    def write(self, name: str, text: str) -> Path:
        """Write a file whole, or not at all.

        Raises:
            EnvironmentFault: the disk refused.
        """
        target = self.path / name
        with new_file(target) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return target

    def write_json(self, name: str, facts: dict[str, Any]) -> Path:
        return self.write(name, json.dumps(facts, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def log_trial(self, outcome: Outcome) -> None:
        """Append one line to trials.jsonl, synced.

        Raises:
            EnvironmentFault: the disk refused.
        """
        path = self.path / "trials.jsonl"
        with disk_faults(path):
            append_line(path, json.dumps(outcome.to_dict()).encode() + b"\n", create=True)  # an error may be NaN

    def trials(self) -> list[Outcome]:
        """What trials.jsonl holds; a torn line is not an outcome."""
        return [Outcome.from_dict(facts) for facts in whole_lines(self.path / "trials.jsonl")[0]]

    def log_begun(self, begun: Begun) -> None:
        """Note that a trial has begun; not synced, for all that a machine's end may lose with it is its share."""
        path = self.kept / "begun.jsonl"
        with disk_faults(path):
            append_line(path, line_of(asdict(begun)), create=True, synced=False)

    def begun(self) -> list[Begun]:
        """The trials that have begun, whether or not they ended."""
        lines = whole_lines(self.kept / "begun.jsonl")[0]
        return [Begun(**{**facts, "trial": Trial.from_dict(facts["trial"])}) for facts in lines]

    def torn(self) -> int:
        """How many lines of trials.jsonl were torn."""
        return whole_lines(self.path / "trials.jsonl")[1]

    def trim(self, outcomes: Sequence[Outcome], most: int = LARGEST_KEPT_BYTES) -> None:
        """Remove what trials said of rows, and their models, the worst of the lowest rung first, as far as these are
        more than ``most`` bytes."""
        latest = {one.trial.id: one for one in outcomes}  # one that was interrupted has several
        sizes = {name: self._size_of(one) for name, one in latest.items()}
        excess = sum(sizes.values()) - most
        known = [one for name, one in latest.items() if sizes[name]]
        for one in sorted(known, key=lambda one: (one.trial.rung, -(one.error or 0.0), one.trial.id)):
            if excess <= 0:
                return
            self._said_by(one).unlink(missing_ok=True)
            if self._fitted_by(one).exists():
                shutil.rmtree(self._fitted_by(one))
            excess -= sizes[one.trial.id]

    def _said_by(self, outcome: Outcome) -> Path:
        return self.kept / "oof" / f"{outcome.trial.id}.npz"

    def _fitted_by(self, outcome: Outcome) -> Path:
        return home_of(self.scratch, SEARCH, outcome.trial.id)

    def _size_of(self, outcome: Outcome) -> int:
        said = self._said_by(outcome)
        return (said.stat().st_size if said.exists() else 0) + bytes_of(self._fitted_by(outcome))

    def adopt(self, sealed: Path, bundle_id: str) -> Path:
        """Make a sealed bundle the run's bundle: move it in, swap the link, drop the one before."""
        home = self.path / "bundles" / bundle_id[:12]
        if not home.exists():
            os.rename(sealed, home)
        point(self.bundle, home)
        self.drop_others(home)
        return home

    def drop_others(self, home: Path) -> None:
        """Remove every bundle but this."""
        for other in home.parent.iterdir():
            if other != home:
                shutil.rmtree(other)

    def clean(self) -> None:
        """Remove the scratch folder."""
        shutil.rmtree(self.scratch, ignore_errors=True)


@contextmanager
def claimed(place: Path) -> Iterator[RunFolder]:
    """Make the folder of a new run, in which nobody else begins one meanwhile: afterwards its ledger is there.

    Raises:
        UsageError: it holds another run, which has not failed. EnvironmentFault: it cannot be written.
    """
    try:
        place.mkdir(parents=True, exist_ok=True)
        _probe(place / ".probe")
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as fault:
        raise EnvironmentFault(
            f"The output folder {place} cannot be written: {fault.strerror or fault}.",
            "Give a folder that you may write to with --out.",
        ) from None
    try:
        with suppress(OSError):  # a disk without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if (place / "ledger.jsonl").exists() and not _has_failed(place):
            raise UsageError(
                f"The folder {place} already holds a run.",
                "Give another --out, or remove it; lepton resume goes on with one that was broken off.",
            )
        yield RunFolder(place.resolve())
    finally:
        os.close(descriptor)


def _probe(file: Path) -> None:
    """Whether the disk takes anything at all; nothing is left of it, either way."""
    try:
        file.write_bytes(b"\0" * 65536)
    finally:
        file.unlink(missing_ok=True)


def _has_failed(folder: Path) -> bool:
    """Whether the run in this folder has ended without a model: then nothing is lost with it."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(result, dict) and "error" in result and not (folder / "bundle").exists()
