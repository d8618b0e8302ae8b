"""The Python door: a frame in, a run out, with the same wall and the same faults as on the command line."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import lepton_ray
from lepton_ray.errors import DataError, MoneyError, UsageError
from lepton_ray.runs import Run
from tests.on_host.rows import columns

QUICK: dict[str, Any] = {"target": "left", "quiet": True, "families": ["constant"], "deadline": 20, "drop": ["row"]}


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    found = pd.DataFrame(columns(1200))
    return found.assign(value=found["value"].astype(float))


@pytest.fixture(scope="module")
def made(frame: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, float]:
    began = time.monotonic()
    out = tmp_path_factory.mktemp("door") / "run"
    run = lepton_ray.run(
        frame,
        target="value",
        drop=["row", "left"],
        deadline="10s",
        families=["linear"],
        metric="mae",
        quiet=True,
        out=out,
    )
    return run, time.monotonic() - began


def test_a_frame_in_a_run_out(made: tuple[Run, float], frame: pd.DataFrame) -> None:
    run, seconds = made
    assert seconds < 10.5 and run.result["deadline_seconds"] == 10.0
    assert (run.result["task"], run.result["metric"]) == ("regression", "mae")
    assert run.score == run.result["score"] < run.result["baseline_score"]
    told = run.bundle.predict(frame.head(3))
    assert told.column_names == ["prediction"] and told.num_rows == 3
    assert abs(told.column(0)[0].as_py() - frame["value"][0]) < 10


def test_its_leaderboard_receipt_and_report(made: tuple[Run, float]) -> None:
    run, _ = made
    board = run.leaderboard()
    assert list(board.columns) == [
        *("trial", "family", "rung", "score", "seconds", "driver", "state", "reason", "config")
    ]
    assert board["score"].dropna().is_monotonic_increasing and len(board) == run.result["trials"]
    assert float(run.receipt.total.dollars) == run.result["spent_usd"]
    assert run.report().read_text().startswith("<!DOCTYPE html>")


def test_it_can_be_opened_again(made: tuple[Run, float], tmp_path: Path) -> None:
    run, _ = made
    again = Run.open(run.folder)
    assert again == run and again.id == run.result["run"] and again.bundle.id == run.bundle.id
    with pytest.raises(UsageError, match="holds no result"):
        Run.open(tmp_path)


@pytest.mark.parametrize(
    "options, kind, told",
    [
        ({"target": "lefft"}, DataError, "no column 'lefft'"),
        ({"budget": "-1"}, MoneyError, "The budget '-1' is negative"),
        ({"deadline": "5s"}, MoneyError, "smallest run here needs"),
        ({"metric": "auc"}, UsageError, "no metric 'auc'"),
        ({"metrik": "auc"}, TypeError, "metrik"),
    ],
)
def test_faults_are_those_of_the_command_line(
    frame: pd.DataFrame, tmp_path: Path, options: dict[str, Any], kind: type[Exception], told: str
) -> None:
    with pytest.raises(kind, match=told) as caught:
        lepton_ray.run(frame, **{**QUICK, "out": tmp_path / "run", **options})
    assert type(caught.value) is kind


def test_a_failed_run_says_why_when_it_is_opened(frame: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        lepton_ray.run(frame, **{**QUICK, "target": "lefft", "out": tmp_path / "run"})
    with pytest.raises(UsageError, match="without a model.*lefft"):
        Run.open(tmp_path / "run")


def test_two_at_once_from_other_kinds_of_frame(frame: pd.DataFrame, tmp_path: Path) -> None:
    tables = {"arrow": pa.Table.from_pandas(frame), "polars": pl.from_pandas(frame)}

    def one(name: str) -> Run:
        return lepton_ray.run(tables[name], out=tmp_path / name, **QUICK)

    with ThreadPoolExecutor(2) as pool:
        found = dict(zip(tables, pool.map(one, tables), strict=True))
    plans = {name: json.loads((run.folder / "plan.json").read_text()) for name, run in found.items()}
    assert plans["arrow"] == plans["polars"] and found["arrow"].id != found["polars"].id


def test_names_may_hold_anything_but_a_newline(frame: pd.DataFrame, tmp_path: Path) -> None:
    odd = frame.rename(columns={"left": "left, or: #right?", "age": "a=b"})
    run = lepton_ray.run(
        odd, **{**QUICK, "target": "left, or: #right?", "types": {"a=b": "category"}, "out": tmp_path / "run"}
    )
    assert run.bundle.problem.target == "left, or: #right?"
    assert {column.name: column.kind.value for column in run.bundle.schema.columns}["a=b"] == "category"
