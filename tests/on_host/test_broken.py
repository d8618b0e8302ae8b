"""Which runs can be taken up, by whom, and what they are billed until then; asked of folders as runs leave them."""

import fcntl
import io
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.errors import LeptonError, UsageError
from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.prices import MachinePrice
from lepton_ray.money.usage import Leg
from lepton_ray.on_host import broken, taking_up
from lepton_ray.on_host.broken import Broken
from lepton_ray.on_host.processes import RUN_ID
from lepton_ray.on_host.pulse import BEAT_SECONDS, Pulse, beat
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.on_host.verdict import BROKEN_OFF

MACHINE = MachinePrice(Dollars(96_000), 2, "a test's machine", "2026-01-01")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(broken, "HEIR_SECONDS", 0.2)
    yield tmp_path / "lepton-runs"


def begun(folder: Path, name: str = "2026-a") -> Ledger:
    """A run in its tenth second."""
    place = folder / name
    place.mkdir(parents=True)
    RunFolder(place).prepare()
    (place / "spec.json").write_text("{}")
    ledger = Ledger.create(place / "ledger.jsonl", name, MACHINE, time.time() - 10)
    ledger.note("budget", Budget.resolve(None, 60.0, MACHINE.per_hour).to_dict())
    ledger.enter("search", 10.0)
    return ledger


def closed(ledger: Ledger, how: str | None) -> None:
    if how is not None:
        ledger.note("ended", how)
    ledger.close(12.0)


@pytest.mark.parametrize("how", ["done", "wall", "asked twice", "failed", "", None])
def test_a_run_that_has_ended_cannot_be_taken_up(home: Path, how: str | None) -> None:
    ledger = begun(home)
    closed(ledger, how)
    with pytest.raises(UsageError, match="come to its end"):
        Broken.of(Path(ledger.path).parent)
    assert broken.last_broken() is None


def test_nor_one_that_served(home: Path) -> None:
    ledger = begun(home)
    ledger.enter("serve", 20.0)
    with pytest.raises(UsageError, match="come to its end"):
        Broken.of(Path(ledger.path).parent)


def test_one_whose_driver_died_can_until_it_has_ended_well(home: Path) -> None:
    ledger = begun(home)
    closed(ledger, BROKEN_OFF)
    beat(RunFolder(Path(ledger.path).parent).pulse, 50.0)
    found = Broken.of(Path(ledger.path).parent)
    assert found.spent_seconds == 12.0, "books that were closed say it exactly"
    ledger.resume(Leg(12.0, time.time()))
    assert broken.can_go_on(Ledger.open(ledger.path))
    closed(ledger, "done")
    assert not broken.can_go_on(Ledger.open(ledger.path))


@pytest.mark.parametrize("name", ["spec.json", "budget"])
def test_one_that_had_not_begun_is_to_be_started_again(home: Path, name: str) -> None:
    ledger = begun(home)
    if name == "budget":
        path = Path(ledger.path)
        path.write_text("".join(line for line in path.read_text().splitlines(True) if "budget" not in line))
    else:
        Path(ledger.path).with_name(name).unlink()
    with pytest.raises(UsageError, match="before it had begun"):
        Broken.of(Path(ledger.path).parent)


def test_a_beat_promises_a_second_and_the_last_is_exact(home: Path) -> None:
    pulse = RunFolder(Path(begun(home).path).parent).pulse
    for second, ahead, billed in ((9.0, BEAT_SECONDS, 10.0), (9.5, BEAT_SECONDS, 10.5), (31.25, 0.0, 31.25)):
        beat(pulse, second, ahead=ahead)
        assert Broken.of(pulse.parent.parent).spent_seconds == billed
    beat(pulse, 1e9)
    assert Broken.of(pulse.parent.parent).spent_seconds == 60.0, "no run is billed beyond its wall"
    pulse.write_text("[" * 100_000)
    assert Pulse.felt(pulse) is None
    pulse.write_text('{"second": ')
    assert Pulse.felt(pulse) is None and Broken.of(pulse.parent.parent).spent_seconds == 10.0


def test_a_pulse_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    beat(tmp_path / "gone" / "pulse.json", 1.0)
    assert Pulse.felt(tmp_path / "gone" / "pulse.json") is None


@pytest.mark.process
def test_a_run_that_is_held_is_under_way_for_everybody_else(home: Path) -> None:
    folder = Path(begun(home).path).parent
    first = broken.take(folder)
    assert first is not None and broken.lives(folder) and broken.broken_off(folder) is None
    with pytest.raises(UsageError, match="still under way"):
        broken.take(folder)
    with pytest.raises(UsageError, match="still under way"):
        taking_up.supervisor_of(["resume", folder.name])
    os.close(first)
    assert not broken.lives(folder) and broken.broken_off(folder) is not None


def test_a_child_that_was_handed_the_hold_keeps_it(home: Path) -> None:
    folder = Path(begun(home).path).parent
    held = broken.take(folder)
    assert held is not None
    os.set_inheritable(held, True)
    with subprocess.Popen(["sleep", "60"], pass_fds=(held,)) as heir:
        os.close(held)
        assert broken.lives(folder)
        heir.kill()
    assert not broken.lives(folder)


@pytest.mark.exam
def test_a_process_that_carries_its_id_keeps_a_run_alive(home: Path) -> None:
    folder = Path(begun(home).path).parent
    with subprocess.Popen(["sleep", "60"], env={**os.environ, RUN_ID: folder.name}) as left:
        with pytest.raises(UsageError, match="still live"):
            broken.take(folder)
        left.kill()
    found = broken.take(folder)
    assert found is not None
    os.close(found)


def test_a_glance_does_not_keep_a_run_from_being_held(home: Path) -> None:
    folder = Path(begun(home).path).parent
    glance = broken.hold(folder)
    assert glance is not None and broken.hold_own(folder) is None
    os.close(glance)
    held = broken.hold_own(folder)
    assert held is not None and broken.lives(folder)
    os.close(held)


def test_a_disk_without_locks_is_no_hindrance(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: Any) -> None:
        raise OSError(95, "not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert broken.take(Path(begun(home).path).parent) is None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_name_the_last_one_is_offered_where_somebody_can_answer(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="No run here was broken off"):
        taking_up.offered(False)
    for number, name in enumerate(("2026-a", "2026-c", "2026-b")):
        path = Path(begun(home, name).path)
        os.utime(path, (1e9 + number, 1e9 + number))
    closed(Ledger.open(home / "2026-c" / "ledger.jsonl"), "done")
    assert broken.last_broken() is not None and broken.last_broken().run_id == "2026-b"
    with pytest.raises(UsageError) as fault:
        taking_up.offered(True)
    assert "2026-b" in fault.value.what and "10s of 1m" in fault.value.what and "resume 2026-b" in fault.value.hint
    monkeypatch.setattr("sys.stdin", Terminal("\nn\n"))
    monkeypatch.setattr("sys.stderr", Terminal())
    assert taking_up.offered(False).run_id == "2026-b"
    with pytest.raises(UsageError, match="Nothing was resumed"):
        taking_up.offered(False)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([], None),
        (["--json"], None),
        (["r", "--json"], "r"),
        (["--port", "8001"], None),
        (["--serve-for", "9s", "r"], "r"),
    ],
)
def test_the_run_is_the_word_that_is_no_option(words: list[str], name: str | None) -> None:
    assert taking_up.named(words) == name


def test_a_run_is_found_by_the_beginning_of_its_id(home: Path) -> None:
    with pytest.raises(LeptonError, match="There is no run '2026'"):
        broken.find("2026")
    for name in ("2026-a", "2026-b"):
        begun(home, name)
    assert broken.find("2026-a") == Path("lepton-runs/2026-a") == broken.find("lepton-runs/2026-a")
    with pytest.raises(UsageError, match="fits 2 runs"):
        broken.find("2026")
