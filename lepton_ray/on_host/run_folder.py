"""The folder of one run: what lies in it and how it is written, whole or not at all. It decides nothing.

spec.json  plan.json  profile.json  trials.jsonl  ledger.jsonl  result.json  receipt.json  receipt.txt
report.html  rejected.csv  driver.log  bundle -> bundles/<id>   .work/ (scratch, removed at the end)
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_ray.bundle.files import disk_faults, new_file, point
from lepton_ray.search.trial import Outcome

LEAVINGS = ("ledger.jsonl", "trials.jsonl", "result.json", "receipt.json", "receipt.txt", "rejected.csv", "driver.log")
"""What a run that failed has left and the next one would add to or leave standing; a plan may have been edited."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths and atomic writes under ``path``."""

    path: Path

    @property
    def scratch(self) -> Path:
        return self.path / ".work"

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
        for name in ("oof", "sealed", "predictions"):
            (self.scratch / name).mkdir(parents=True, exist_ok=True)
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
        """Append one line to trials.jsonl, fsynced."""
        path = self.path / "trials.jsonl"
        with disk_faults(path), open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(outcome.to_dict()) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def trials(self) -> list[Outcome]:
        """What trials.jsonl holds; a torn last line is not an outcome."""
        path = self.path / "trials.jsonl"
        if not path.exists():
            return []
        whole = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        return [Outcome.from_dict(json.loads(line)) for line in whole]

    def adopt(self, sealed: Path, bundle_id: str) -> Path:
        """Make a sealed bundle the run's bundle: move it in, swap the link, drop the one before."""
        home = self.path / "bundles" / bundle_id[:12]
        if not home.exists():
            os.rename(sealed, home)
        point(self.bundle, home)
        for other in home.parent.iterdir():
            if other != home:
                shutil.rmtree(other)
        return home

    def clean(self) -> None:
        """Remove the scratch folder."""
        shutil.rmtree(self.scratch, ignore_errors=True)
