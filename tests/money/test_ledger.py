"""The ledger's books balance to the micro-dollar, and a writer may be killed at any byte."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.errors import EnvironmentFault, MoneyError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.prices import MachinePrice
from lepton_ray.money.usage import Leg, Usage
from tests.examples import examples

MACHINE = MachinePrice(Dollars(97_531), 4, "a test's machine", "2026-01-01")

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # thousands of syncs are waited for on a disk

times = st.floats(min_value=0, max_value=1e5)
events = st.one_of(
    st.tuples(st.just("enter"), st.sampled_from(["read", "search", "refit", "größe"]), times),
    st.tuples(st.just("attribute"), times, times),
    st.tuples(st.just("note"), st.text(max_size=5), st.integers()),
    st.tuples(st.just("close"), times),
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.create(tmp_path / "ledger.jsonl", "r1", MACHINE, 1_800_000_000.25)


def write(ledger: Ledger, event: tuple[Any, ...]) -> None:
    match event:
        case "enter", stage, at:
            ledger.enter(stage, at)
        case "attribute", a, b:
            ledger.attribute(Usage("search", "t1", min(a, b), max(a, b), 1.0, family="linear"))
        case "note", name, value:
            ledger.note(name, value)
        case "close", at:
            ledger.close(at)


def check_books(ledger: Ledger, at: float | None = None) -> float:
    """Billed charges partition the time from 0 and cost exactly rate x wall; returns the wall."""
    billed = [charge for charge in ledger.charges(at) if charge.book == "billed"]
    wall = 0.0
    for charge in billed:
        assert charge.started == wall < charge.ended and charge.dollars >= Dollars(0)
        wall = charge.ended
    assert Dollars.total(one.dollars for one in billed) == Dollars.of_rate(MACHINE.per_hour, wall) == ledger.spent(at)
    return wall


@given(st.lists(events, max_size=12), times)
@examples(60)
def test_stages_partition_time_and_cost_rate_times_wall(history: list[tuple[Any, ...]], at: float) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        ledger = Ledger.create(Path(folder, "l.jsonl"), "r1", MACHINE, 0.0)
        for event in history:
            write(ledger, event)
        wall = check_books(ledger)
        assert check_books(ledger, at) == (wall if ledger.closed else max(wall, at))
        again = Ledger.open(ledger.path)
        assert again.charges() == ledger.charges() and again.notes == ledger.notes
        assert (again.stage, again.closed) == (ledger.stage, ledger.closed)


@given(st.lists(events, min_size=1, max_size=8))
@examples(12)
def test_a_file_cut_at_any_byte_opens_and_invents_no_money(history: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder, "l.jsonl")
        whole = Ledger.create(path, "r1", MACHINE, 0.0)
        first_line = len(path.read_bytes()) - 1
        for event in history:
            write(whole, event)
        data, spent, attributed = path.read_bytes(), whole.spent(), whole.charges()
        for offset in range(len(data) + 1):
            path.write_bytes(data[:offset])
            if offset < first_line:
                with pytest.raises(MoneyError, match="is not a ledger"):
                    Ledger.open(path)
                continue
            cut = Ledger.open(path)
            check_books(cut)
            assert cut.spent() <= spent
            assert {c for c in cut.charges() if c.book == "attributed"} <= set(attributed)


@given(st.data())
@examples(60)
def test_another_process_goes_on_after_a_torn_line(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        path = Path(folder, "l.jsonl")
        driver = Ledger.create(path, "r1", MACHINE, 0.0)
        first_line = len(path.read_bytes()) - 1
        driver.enter("read", 0.25)
        driver.enter("search", 1.5)
        driver.attribute(Usage("search", "größe", 2.0, 3.5, 1.0))
        written = path.read_bytes()
        path.write_bytes(written[: data.draw(st.integers(first_line, len(written)))])
        supervisor = Ledger.open(path)
        supervisor.enter("sealing", 7.0)
        supervisor.close(8.125)
        after = Ledger.open(path)
        assert after.closed and check_books(after) == 8.125 and after.charges() == supervisor.charges()
        assert [c.stage for c in after.charges() if c.book == "billed"][-1] == "sealing"
        assert sum(1 for line in path.read_bytes().split(b"\n") if not _is_event(line)) <= 2  # the torn one, the end


def _is_event(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


WRITER = """
import itertools, sys
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.prices import MachinePrice
ledger = Ledger.create(sys.argv[1], "r1", MachinePrice(Dollars(97_531), 4, "a test's machine", ""), 0.0)
for second in itertools.count(1):
    ledger.enter(f"stage {second}", float(second))
    print(second, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 7, 40])
def test_a_killed_writer_leaves_all_it_had_said(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "l.jsonl"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    for _ in range(lines):
        said = int(writer.stdout.readline())
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    ledger = Ledger.open(path)
    assert ledger.stage is not None and int(ledger.stage.split()[1]) >= said and not ledger.closed
    ledger.close(1e6)
    assert check_books(Ledger.open(path)) == 1e6


def test_the_file_is_plain_lines(ledger: Ledger) -> None:
    ledger.enter("read", 0.5)
    ledger.note("bundle", "ab")
    ledger.attribute(Usage("search", "t1", 0.5, 1.0, 2, family="linear", driver="host", outcome="done"))
    ledger.close(2)
    header, *lines = [json.loads(line) for line in Path(ledger.path).read_text().splitlines()]
    assert header["run"] == "r1" and header["started_iso"] == "2027-01-15T08:00:00Z"
    assert header["machine"] == {
        "per_hour_micros": 97_531,
        "vcpus": 4,
        "source": "a test's machine",
        "as_of": "2026-01-01",
    }
    assert lines[0] == {"enter": "read", "at": 0.5} and lines[1] == {"note": "bundle", "value": "ab"}
    assert lines[2]["attribute"]["what"] == "t1" and lines[3] == {"close": 2.0}


def test_time_before_the_first_stage_and_between_stages_is_unexplained(ledger: Ledger) -> None:
    assert check_books(ledger, 0.5) == 0.5
    ledger.enter("read", 1.0)
    assert ledger.stage == "read" and not ledger.closed
    ledger.close(2.0)
    ledger.enter("exit", 3.0)
    ledger.close(4.0)
    ledger.close(4.5)
    assert ledger.stage is None and ledger.closed
    spans = [(c.stage, c.started, c.ended) for c in ledger.charges(9.0)]
    assert spans == [
        ("unexplained", 0.0, 1.0),
        ("read", 1.0, 2.0),
        ("unexplained", 2.0, 3.0),
        ("exit", 3.0, 4.0),
        ("unexplained", 4.0, 4.5),
    ]


def test_time_never_runs_backwards(ledger: Ledger) -> None:
    ledger.enter("read", 5.0)
    ledger.enter("search", 3.0)
    ledger.attribute(Usage("search", "t1", 5.0, 6.0, 1))
    ledger.close(4.0)
    assert check_books(ledger) == 6.0
    ledger.attribute(Usage("search", "t2", 6.0, 60.0, 1))  # nothing after the close extends it
    ledger.close(7.0)
    assert check_books(ledger) == 7.0


def test_the_endpoint_is_not_part_of_the_run(ledger: Ledger) -> None:
    ledger.enter("search", 0.0)
    ledger.enter("serve", 60.0)
    ledger.close(160.0)
    ledger.close(161.0)
    assert check_books(ledger, 500.0) == 60.0
    endpoint = [c for c in ledger.charges() if c.book == "endpoint"]
    assert [(c.stage, c.started, c.ended) for c in endpoint] == [
        ("serve", 60.0, 160.0),
        ("unexplained", 160.0, 161.0),
    ]
    assert endpoint[0].seconds == 100.0


def test_a_trial_is_attributed_its_share(ledger: Ledger) -> None:
    ledger.attribute(Usage("search", "t1", 10.0, 46.0, 2))
    (charge,) = [c for c in ledger.charges() if c.book == "attributed"]
    assert (charge.stage, charge.what, charge.seconds) == ("search", "t1", 36.0)
    assert charge.dollars == Dollars.of_rate(MACHINE.per_hour, 18.0)


@pytest.mark.parametrize("at", [-1.0, float("nan"), float("inf")])
def test_impossible_times_and_names_are_refused_and_not_written(ledger: Ledger, at: float) -> None:
    before = Path(ledger.path).read_bytes()
    with pytest.raises(ValueError, match="time must be finite"):
        ledger.enter("read", at)
    with pytest.raises(ValueError, match="time must be finite"):
        ledger.close(at)
    with pytest.raises(ValueError, match="ended"):
        ledger.attribute(Usage("search", "t1", 0.0, at, 1))
    with pytest.raises(ValueError, match="cpus"):
        Usage("search", "t1", 0.0, 1.0, at)
    with pytest.raises(ValueError):
        ledger.note("x", float("nan"))
    for name in ("", "unexplained"):
        with pytest.raises(ValueError, match="cannot be called"):
            ledger.enter(name, 1.0)
    assert Path(ledger.path).read_bytes() == before


ODD_LINES = [
    b"",
    b"\xff\xfe",
    b"[" * 100_000,
    b"[]",
    b"7",
    b'{"enter": "x"}',
    b'{"enter": "x", "at": 1e999}',
    b'{"enter": "x", "at": NaN}',
    b'{"enter": "x", "at": []}',
    b'{"close": 1' + b"0" * 400 + b"}",
    b'{"close": -5}',
    b'{"attribute": {"stage": "search"}}',
    b'{"attribute": 7}',
    b'{"note": "x"}',
    b'{"of a later version": true}',
]


@pytest.mark.parametrize("line", ODD_LINES)
def test_odd_lines_are_skipped(ledger: Ledger, line: bytes) -> None:
    ledger.enter("read", 1.0)
    with open(ledger.path, "ab") as file:
        file.write(line + b"\n")
    ledger.close(2.0)
    assert Ledger.open(ledger.path).charges() == ledger.charges()


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"hello\n", b"[]\n", b'{"run": "r"}\n', b'{"run": "r", "started": 1, "machine": 7}\n']
)
def test_what_is_not_a_ledger_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "odd.jsonl"
    path.write_bytes(data)
    with pytest.raises(MoneyError, match="is not a ledger"):
        Ledger.open(path)
    with pytest.raises(MoneyError, match="cannot be read"):
        Ledger.open(tmp_path / "none")


def test_a_ledger_is_never_overwritten_and_leaves_nothing_beside_it(ledger: Ledger) -> None:
    with pytest.raises(MoneyError, match="already"):
        Ledger.create(ledger.path, "r2", MACHINE, 0.0)
    assert os.listdir(Path(ledger.path).parent) == ["ledger.jsonl"]


def test_of_a_ledger_that_could_not_be_written_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("lepton_ray.money.ledger.write_at_once", full)
    with pytest.raises(EnvironmentFault, match="No space left"):
        Ledger.create(tmp_path / "l.jsonl", "r1", MACHINE, 0.0)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_environment_fault(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        Ledger.create(tmp_path / "none" / "l.jsonl", "r1", MACHINE, 0.0)


def test_a_full_disk_is_an_environment_fault(ledger: Ledger) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    ledger.enter("read", 1.0)
    os.remove(ledger.path)
    os.symlink("/dev/full", ledger.path)
    with pytest.raises(EnvironmentFault, match="No space left"):
        ledger.enter("search", 2.0)
    assert ledger.stage == "read"


def test_a_line_that_the_disk_took_half_of_is_a_fault_and_harms_nothing(ledger: Ledger) -> None:
    ledger.enter("read", 1.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (os.path.getsize(ledger.path) + 10, limits[1]))
    try:
        with pytest.raises(EnvironmentFault, match="took only a part"):
            ledger.enter("torn", 2.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    ledger.close(3.0)
    after = Ledger.open(ledger.path)
    assert after.closed and after.charges() == ledger.charges()
    assert [c.stage for c in after.charges()] == ["unexplained", "read"]
    assert b'{"enter": \n{"close"' in Path(ledger.path).read_bytes()


def test_threads_do_not_tear_each_others_lines(ledger: Ledger) -> None:
    def work(name: str) -> None:
        for second in range(20):
            ledger.attribute(Usage("search", name, second, second + 1, 1))

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Ledger.open(ledger.path).charges()) == len(ledger.charges()) == 81


@pytest.fixture(autouse=True)
def children_find_the_package(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    yield


def test_a_cluster_that_changes_is_billed_step_by_step(tmp_path: Path) -> None:
    small, large = (MachinePrice(Dollars.parse(price), 2, "here", "") for price in ("0.36", "0.72"))
    ledger = Ledger.create(tmp_path / "ledger.jsonl", "run", small, 0.0)
    ledger.enter("search", 0.0)
    ledger.attribute(Usage("search", "a", 0.0, 10.0, 1))
    ledger.reprice(large, 10.0)
    ledger.attribute(Usage("search", "b", 10.0, 20.0, 1))
    ledger.close(20.0)
    for book in (ledger, Ledger.open(tmp_path / "ledger.jsonl")):
        assert float(book.spent()) == 0.003 and book.machine == large and len(book.rates.steps) == 2
        assert [float(one.dollars) for one in book.charges() if one.book == "attributed"] == [0.0005, 0.001]


def test_a_run_that_goes_on_is_billed_as_if_nothing_had_been_in_between(ledger: Ledger) -> None:
    ledger.enter("search", 2.0)
    ledger.attribute(Usage("search", "t1", 2.0, 7.0, 1.0))
    ledger.resume(Leg(8.5, 1_800_009_000.0, 8_991.5))
    assert ledger.stage is None and not ledger.closed and ledger.second == 8.5
    ledger.enter("start", 8.5)
    ledger.close(10.0)
    for one in (ledger, Ledger.open(ledger.path)):
        spans = [(charge.stage, charge.started, charge.ended) for charge in one.charges() if charge.book == "billed"]
        assert spans == [("unexplained", 0.0, 2.0), ("search", 2.0, 8.5), ("start", 8.5, 10.0)]
        assert one.spent() == Dollars.of_rate(MACHINE.per_hour, 10.0) and one.attributed == {"t1"}
        assert one.legs == [Leg(0.0, 1_800_000_000.25), Leg(8.5, 1_800_009_000.0, 8_991.5)]


def test_books_that_were_closed_over_a_dead_driver_are_opened_again(ledger: Ledger) -> None:
    ledger.enter("search", 0.0)
    ledger.close(5.0)
    ledger.resume(Leg(5.0, 1_800_000_100.0, 95.0))
    assert not ledger.closed
    ledger.enter("search", 6.0)
    ledger.close(7.0)
    spans = [(charge.stage, charge.started, charge.ended) for charge in ledger.charges()]
    assert spans == [("search", 0.0, 5.0), ("unexplained", 5.0, 6.0), ("search", 6.0, 7.0)]


def test_torn_lines_are_counted(ledger: Ledger) -> None:
    ledger.enter("read", 0.0)
    with open(ledger.path, "ab") as file:
        file.write(b'{"enter": "sea')
    torn = Ledger.open(ledger.path)
    assert torn.torn == 1
    torn.enter("search", 1.0)
    again = Ledger.open(ledger.path)
    assert again.torn == 1 and again.stage == "search"


@pytest.mark.parametrize(
    "leg", [{}, {"started": "x", "down": 1}, {"started": 1, "down": -1}, {"started": 1, "down": 1e999}]
)
def test_a_damaged_resume_changes_nothing(ledger: Ledger, leg: dict[str, Any]) -> None:
    ledger.enter("search", 1.0)
    with open(ledger.path, "a") as file:
        file.write(json.dumps({"resume": leg, "at": 3.0}) + "\n")
    found = Ledger.open(ledger.path)
    assert found.torn == 1 and found.second == 1.0 and found.stage == "search" and len(found.legs) == 1
