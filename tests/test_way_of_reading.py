"""Which way a table is read: in memory, through Ray, or not at all, said in a sentence."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.csv as pv
import pytest

from lepton_ray import pipeline
from lepton_ray.errors import EnvironmentFault, MoneyError
from lepton_ray.on_host.course import Course, Progress, begin
from lepton_ray.on_host.preparation import open_table, prepare
from lepton_ray.on_ray.session import Session, short_temp_dir
from lepton_ray.pipeline import Hands, prepare_table
from lepton_ray.spec import RunSpec, Surroundings
from tests.on_host.test_preparation_blocks import same, table


class Silent:
    """A screen that shows nothing."""

    def say(self, sentence: str) -> None: ...

    def watch(self, look: Callable[[], Progress | None]) -> None: ...

    def close(self) -> None: ...


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Course]:
    """A run of 60 s over a table that counts as large."""
    monkeypatch.setattr(pipeline, "LARGE_BYTES", 100_000)
    pv.write_csv(table(5_000), tmp_path / "t.csv")
    options = {"table": str(tmp_path / "t.csv"), "target": "churn", "deadline": "60s", "out": str(tmp_path / "run")}
    around = Surroundings(time.monotonic(), f"test-{os.getpid()}", None, cpus=2, vcpus=2)
    course = begin(RunSpec.from_options(options), around, Silent())
    course.meter.enter("read")
    yield course


def hands(session: Session | None) -> Hands:
    """No worker is needed to read a table."""
    return Hands(None, session, None)  # type: ignore[arg-type]


@pytest.mark.exam
def test_without_ray_a_large_table_that_fits_is_read_in_memory(course: Course) -> None:
    same(prepare(course.spec), prepare_table(course, hands(None), open_table(course.spec.table)))


def test_a_wall_that_comes_before_the_table_is_read_is_refused(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "BYTES_PER_SECOND", 3_000)
    monkeypatch.setattr(pipeline, "RAY_BYTES_PER_SECOND", 3_000)
    with pytest.raises(MoneyError, match="60s|60 s|1m") as caught:
        prepare_table(course, hands(None), open_table(course.spec.table))
    assert "--deadline" in caught.value.hint


def test_a_table_that_does_not_fit_needs_ray(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "MEMORY_PER_BYTE", 1e9)
    with pytest.raises(EnvironmentFault, match="t.csv takes about .* GiB of memory"):
        prepare_table(course, hands(None), open_table(course.spec.table))


def test_more_columns_than_can_be_looked_at_are_refused(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "LARGE_BYTES", 2**30)
    monkeypatch.setattr(pipeline, "COLUMN_SECONDS", 58.0 / len(open_table(course.spec.table).names))
    with pytest.raises(MoneyError, match="the smallest run here needs 1m") as caught:
        prepare_table(course, hands(None), open_table(course.spec.table))
    assert "--deadline" in caught.value.hint


@pytest.mark.ray
def test_a_large_table_in_pieces_is_read_through_ray(course: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lepton_ray.table.source.Source.pieces.__defaults__", (100_000,))
    session = Session(short_temp_dir(), cpus=2, object_store_bytes=0)
    try:
        through_ray = prepare_table(course, hands(session), open_table(course.spec.table))
        assert session.owned
    finally:
        session.stop()
    assert course.meter.ledger.stage == "read"
    same(prepare(course.spec), through_ray)
