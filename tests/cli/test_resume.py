"""Real runs, killed whole at moments that nobody chose, and taken up again: what they had done and paid stays."""

import json
import os
import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host import broken, processes
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.search.trial import BROKEN_OFF, Outcome
from tests.cli.conftest import Inside
from tests.cli.lepton import lepton, started
from tests.on_host.rows import columns, write
from tests.outside import Done, Started, check_nobody_is_left, until

pytestmark = pytest.mark.process
DEADLINE = 15.0
ENOUGH = 9.5
"""Seconds that going on with a small table needs, and a little more."""
KILLS = 3


@dataclass(frozen=True)
class Killed:
    """What a run has left that was killed with all its processes, and the seconds that it lived."""

    place: Path
    folder: Path
    outcomes: list[Outcome]
    lived: float

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(RunFolder(self.folder).ledger)


def killed(place: Path, *words: Any, after: float = 0.0, trials: int = 0) -> Killed:
    """Start a run, and kill every process of it at once when it has lived so long and has ended so many trials."""
    before = set(Path("/tmp").glob("lepton-*"))  # process numbers come round: what others left may bear the same
    with started("run", *words, "--deadline", f"{DEADLINE}s", "--no-serve", "--json", cwd=place) as process:
        until(lambda: len(list(place.glob("lepton-runs/*/ledger.jsonl"))) or not process.lives)
        (folder,) = place.glob("lepton-runs/*")
        process.wait_for(lambda: len(RunFolder(folder).trials()) >= trials)
        time.sleep(max(0.0, process.began + after - time.monotonic()))
        killed_with_it = kill_all(process)
        lived = process.end().seconds
    check_nobody_is_left(folder.name)
    left = {made for pid in killed_with_it for made in Path("/tmp").glob(f"lepton-{pid:x}-*")}
    assert left <= before, left - before
    return Killed(place, folder, RunFolder(folder).trials(), lived)


def kill_all(process: Started) -> set[int]:
    """As if the machine had lost its power: all are stopped before any is killed. Return who that was."""
    seen: set[int] = set()

    def family() -> list[processes.Process]:
        table = processes.snapshot()
        found = [*processes.descendants(process.process.pid, table), table.get(process.process.pid)]
        there = [one for one in found if one is not None and not one.dead]
        seen.update(one.pid for one in there)
        return there

    assert processes.sweep(family, seconds=5.0) == [] or not process.lives
    return seen


def check_went_on(left: Killed, done: Done) -> None:
    """Nothing that had ended is lost, what was paid adds up, and there is a model of use."""
    done.promised(done.code == 0)
    result, run = done.result, RunFolder(left.folder)
    receipt = Receipt.from_ledger(left.ledger)
    assert run.trials()[: len(left.outcomes)] == left.outcomes
    assert len({one.trial.id for one in run.trials()}) == len(run.trials()) == len(receipt.trials)
    assert sum(one.state == BROKEN_OFF for one in run.trials()) <= (os.cpu_count() or 1), "one on each worker"
    first, second = receipt.legs
    assert left.lived - 0.3 <= first.seconds <= left.lived + 1.0, (left.lived, receipt)
    assert second.seconds <= done.seconds + 0.1 and second.down >= 0
    assert receipt.total.dollars == first.dollars + second.dollars == Dollars.parse(result["spent_usd"])
    assert receipt.closed and receipt.held and result["wall_seconds"] <= DEADLINE
    assert Bundle.load(result["bundle"]).id == result["bundle_id"] and Path(result["report"]).exists()
    assert result["run"] == left.folder.name and not (left.folder / ".resume").exists()
    assert result == json.loads((left.folder / "result.json").read_text())


def test_a_run_that_was_killed_goes_on_once(tmp_path: Path, inside: Inside) -> None:
    table = write(tmp_path / "table.csv", columns(1200))
    left = killed(tmp_path, table, "--target", "left", "--drop", "row,value", trials=3)
    shown = json.loads(inside("runs", "--json", cwd=tmp_path).out)
    assert [one["resumable"] for one in shown] == [True]
    assert f"lepton resume {left.folder.name}" in inside("runs", cwd=tmp_path).out
    refused = inside("resume", "--json", cwd=tmp_path)
    assert refused.code == 2 and left.folder.name in refused.result["error"], refused
    with started("resume", left.folder.name[:15], "--json", cwd=tmp_path) as process:
        process.wait_for(lambda: len(left.ledger.legs) == 2)
        twice = inside("resume", left.folder.name, "--json", cwd=tmp_path)
        assert twice.code == 2 and "still under way" in twice.result["error"], twice
        assert "nothing to remove" in lepton("clean", "--dry-run", cwd=tmp_path, TMPDIR=str(tmp_path)).out
        done = process.end()
    check_went_on(left, done)
    again = inside("resume", left.folder.name, "--json", cwd=tmp_path)
    assert again.code == 2 and "come to its end" in again.result["error"], again
    assert json.loads(inside("runs", "--json", cwd=tmp_path).out)[0]["resumable"] is False


def test_a_run_of_which_little_is_left_says_so(tmp_path: Path, inside: Inside) -> None:
    table = write(tmp_path / "table.csv", columns(1200))
    left = killed(tmp_path, table, "--target", "left", "--drop", "row,value", trials=2, after=DEADLINE - 6.0)
    before = RunFolder(left.folder).ledger.read_bytes()
    done = inside("resume", left.folder.name, "--json", cwd=tmp_path)
    assert done.code == 4 and "Of 15s this run has" in done.result["error"], done
    assert str(left.folder / "bundle") in done.result["hint"] and RunFolder(left.folder).ledger.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS))
def test_a_run_killed_at_any_moment_goes_on(tmp_path: Path, number: int) -> None:
    after = random.Random(f"{time.time()} {number}").uniform(1.0, DEADLINE - ENOUGH)
    left = killed(tmp_path, "builtin:breast_cancer", after=after)
    check_went_on(left, lepton("resume", left.folder, "--json", cwd=tmp_path))


@pytest.mark.slow
def test_a_supervisor_killed_alone_is_billed_to_its_last_tenth(tmp_path: Path) -> None:
    with started("run", "builtin:breast_cancer", "--deadline", "15s", "--no-serve", "--json", cwd=tmp_path) as process:
        process.wait_for(lambda: list(tmp_path.glob("lepton-runs/*/trials.jsonl")))
        process.send(signal.SIGKILL)
        lived = process.end().seconds
    (folder,) = tmp_path.glob("lepton-runs/*")
    until(lambda: not broken.lives(folder))
    assert broken.Broken.of(folder).spent_seconds == pytest.approx(lived, abs=0.5)
    check_went_on(
        Killed(tmp_path, folder, RunFolder(folder).trials(), lived), lepton("resume", folder, "--json", cwd=tmp_path)
    )
