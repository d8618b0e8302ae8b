"""A run that dies at any of its writes, or in the middle of one, can be taken up: nothing that was done is lost."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lepton_ray.bundle.files import point
from lepton_ray.bundle.manifest import read_manifest
from lepton_ray.errors import LeptonError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.receipt import Receipt
from lepton_ray.money.usage import Leg
from lepton_ray.on_host.broken import Broken
from lepton_ray.on_host.resuming import mended_bundle, recalled
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.search.trial import BROKEN_OFF, DONE
from tests.on_host.faults import TRIALS, Life, child, origin, sealed, told, trial, writes_of
from tests.sealed import seal

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # hundreds of syncs are waited for on a disk
PARTS = 8
"""The moments are dealt out to so many tests."""


@dataclass(frozen=True)
class Stage:
    """Where runs live and die."""

    place: Path
    bundles: dict[str, Path]

    def live(self, last: int, *, torn: bool = False) -> list[str]:
        shutil.rmtree(self.folder, ignore_errors=True)
        return told(child(lambda done: Life(self.folder, self.bundles, done).live(), last, torn=torn))

    @property
    def folder(self) -> Path:
        return self.place / "run"


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as place:
        Path(place, "table.csv").write_text("a,left\n1,2\n")
        yield Stage(Path(place), sealed(Path(place, "bundles")))


@pytest.fixture(scope="module")
def writes(stage: Stage) -> list[str]:
    return writes_of(lambda done: Life(stage.folder, stage.bundles, done).live())


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.exam) for part in range(1, PARTS))])
def test_a_run_that_dies_at_any_write_goes_on(stage: Stage, writes: list[str], part: int) -> None:
    assert len(writes) > 15 * PARTS and {"write", "fsync", "rename", "replace", "symlink"} <= set(writes)
    for last in range(part, len(writes), PARTS):
        check_goes_on(stage, stage.live(last), f"at write {last}, {writes[last]}")


@pytest.mark.exam
def test_a_run_that_dies_within_a_line_goes_on(stage: Stage, writes: list[str]) -> None:
    lines = [at for at, name in enumerate(writes) if name == "write"]
    assert len(lines) > 12
    torn = sum(check_goes_on(stage, stage.live(last, torn=True), f"within write {last}") for last in lines)
    assert torn > 8, "the torn lines were seen, and dropped"


def check_goes_on(stage: Stage, done: list[str], when: str) -> int:
    """Take the run up as ``lepton resume`` does; return how many lines of its log were torn."""
    left = RunFolder(stage.folder)
    try:
        broken = Broken.of(stage.folder)
    except LeptonError as fault:  # it had not begun, or has ended
        assert "begun" not in done or ("blend-all" in done and "come to its end" in fault.what), (when, fault)
        return 0
    assert "closed" not in done, when
    ledger, ended = Ledger.open(left.ledger), [name for name in done if name.startswith("t")]
    torn = ledger.torn + left.torn()
    left.mend()
    manifest = mended_bundle(left)
    outcomes = recalled(left, ledger, broken.spent_seconds)
    states = {one.trial.id: one.state for one in outcomes}
    assert all(states[name] == DONE for name in ended), when
    assert list(states) == [trial(number).id for number in range(len(states))], when
    assert sum(state == BROKEN_OFF for state in states.values()) <= 1 and len(states) <= len(ended) + 1, when
    assert ledger.attributed == states.keys(), when
    check_bundle(left, manifest and str(manifest.facts["origin"][0]["id"]), done, when)
    check_books(ledger, broken, when)
    assert not [path.name for path in stage.folder.iterdir() if path.name.endswith((".tmp", ".new"))], when
    return torn


def check_bundle(left: RunFolder, name: str | None, done: list[str], when: str) -> None:
    """What is in place is whole, alone, and no worse than what was sealed last."""
    sealed_before = [one for one in done if one.startswith(("t", "blend"))]
    if name is None:
        assert not sealed_before, when
        return
    _, manifest = read_manifest(left.bundle)
    manifest.check_files(left.bundle.resolve())
    assert [path.resolve() for path in (left.path / "bundles").iterdir()] == [left.bundle.resolve()], when
    assert int(name[1:]) + 1 >= min(len(sealed_before), TRIALS), when
    assert "fitted_on" in manifest.facts or "blend-all" not in done, when


def check_books(ledger: Ledger, broken: Broken, when: str) -> None:
    """A second leg is billed on from where the first was broken off, and both add up."""
    ledger.resume(Leg(broken.spent_seconds, broken.at + 100.0, 100.0))
    ledger.enter("start", broken.spent_seconds)
    ledger.close(broken.spent_seconds + 2.0)
    again = Ledger.open(ledger.path)
    receipt = Receipt.from_ledger(again)
    assert again.closed and again.torn == ledger.torn, when
    assert receipt.total.seconds == pytest.approx(broken.spent_seconds + 2.0), when
    assert receipt.total.dollars == Dollars.of_rate(receipt.machine.per_hour, receipt.total.seconds), when
    assert receipt.total.dollars == Dollars.total(leg.dollars for leg in receipt.legs), when
    assert receipt.legs[1].seconds == pytest.approx(2.0) and receipt.legs[1].down == 100.0, when


def test_a_clock_that_is_put_back_does_not_bring_back_an_older_bundle(tmp_path: Path) -> None:
    left = RunFolder(tmp_path)
    left.prepare()
    homes = [tmp_path / "bundles" / name for name in ("before", "after")]
    for home, created in zip(homes, (2e9, 1e9), strict=True):
        seal(home, family_name="constant", facts=origin(trial(0)), created=created)
    point(left.bundle, homes[1])  # and killed before the one before was dropped
    manifest = mended_bundle(left)
    assert manifest is not None and manifest.created == 1e9
    assert list((tmp_path / "bundles").iterdir()) == [homes[1]] and left.bundle.resolve() == homes[1]
    left.bundle.unlink()
    assert mended_bundle(left) is not None and left.bundle.resolve() == homes[1], "what is whole is pointed at again"
