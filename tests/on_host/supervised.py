"""Runs of the real supervisor over the fake driver, each in a folder of its own, and what must hold of their ends."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.outside import ROOT, Done, Started, check_nobody_is_left, python, text_of

HERE = Path(__file__).parent
MARGIN = 0.8
JSON = ("--json",)


@dataclass(frozen=True)
class Run:
    """A supervised run under way, and its folder."""

    folder: Path
    process: Started

    @classmethod
    def start(
        cls, folder: Path, *, flags: tuple[str, ...] = ("--json",), stdin: int | None = None, **scenario: Any
    ) -> "Run":
        """Start the scenario; its keys are those of the fake driver."""
        folder.mkdir(parents=True)
        (folder / "scenario.json").write_text(json.dumps({"folder": str(folder), **scenario}))
        paths = os.pathsep.join([str(HERE), str(ROOT)])
        command = python(HERE / "launch.py", folder / "scenario.json", *flags)
        return cls(folder, Started(command, stdin=stdin, PYTHONPATH=paths))

    def wait_for(self, name: str, words: str = "") -> None:
        """Wait until the driver has written a file of this name, with these words in it."""
        path = self.folder / name
        self.process.wait_for(lambda: path.exists() and words in text_of(path))

    @property
    def wall(self) -> float:
        """The second at which the wall stands."""
        return float(text_of(self.folder / "wall"))

    @property
    def id(self) -> str:
        return str(json.loads(text_of(self.folder / "ledger.jsonl").splitlines()[0])["run"])

    def file(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.folder / name).read_text()))

    def end(self) -> Done:
        return self.process.end()


def check_nothing_is_left(run: Run) -> None:
    """None of its processes lives, and its scratch folder is gone: at once, for its supervisor has ended."""
    assert text_of(run.folder / "pids")
    check_nobody_is_left(run.id, run.folder / "pids", seconds=0.0)
    assert not (run.folder / "scratch").exists()


def check_handed_over(run: Run, done: Done, code: int = 0) -> dict[str, Any]:
    """The sealed bundle is handed over, and the dollars are rate x wall."""
    assert done.code == code, done
    result = done.result
    assert (Path(result["bundle"])).is_dir() and result["score"] == 0.8
    assert result == run.file("result.json")
    assert result["wall_seconds"] <= done.seconds + 0.1 and result["wall_seconds"] > done.seconds - 1.0
    assert result["spent_usd"] == pytest.approx(0.096 * result["wall_seconds"] / 3600, abs=6e-7)
    receipt = run.file("receipt.json")
    assert receipt["closed"] and receipt["spent_usd"] == result["spent_usd"]
    assert '<section class="receipt">' in text_of(run.folder / "report.html")
    return result


def check_within_its_wall(run: Run, done: Done) -> None:
    """It was ended by its wall: not long before, and never after."""
    assert run.wall - MARGIN <= done.seconds
    done.promised(done.seconds <= run.wall)
