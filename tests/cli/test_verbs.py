"""One small run through the real command line, and every verb on what it left."""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from lepton_ray import Bundle
from lepton_ray.on_host import processes
from tests.cli.lepton import Done, environment, lepton
from tests.on_host.rows import columns, write

DEADLINE = 10.0


@dataclass(frozen=True)
class Run:
    """A run that has ended, in the folder where it was started."""

    place: Path
    done: Done
    seconds: float
    table: Path

    @property
    def folder(self) -> Path:
        (found,) = (self.place / "lepton-runs").iterdir()
        return found

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def file(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def lepton(self, *words: Any) -> Done:
        return lepton(*words, cwd=self.place)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    place = tmp_path_factory.mktemp("verbs")
    table = write(place / "table.csv", columns(1200))
    words = [table, "--target", "left", "--drop", "row,value", "--deadline", f"{DEADLINE}s", "--no-serve", "--json"]
    began = time.monotonic()
    done = lepton("run", *words, cwd=place)
    return Run(place, done, time.monotonic() - began, table)


def test_a_run_ends_with_one_object_within_its_wall(run: Run) -> None:
    result = run.done.result
    assert run.done.code == 0 and "Traceback" not in run.done.err, run.done
    assert list(result)[:15] == [
        *("run", "bundle", "task", "metric", "score", "score_interval", "baseline_score", "spent_usd", "budget_usd"),
        *("wall_seconds", "deadline_seconds", "trials", "stopped_because", "report", "endpoint"),
    ]
    assert run.seconds <= DEADLINE and result["wall_seconds"] <= run.seconds + 0.1  # closing is billed ahead
    assert (result["task"], result["metric"], result["endpoint"]) == ("binary", "roc_auc", None)
    low, high = result["score_interval"]
    assert low < result["score"] < high and result["score"] > 0.7 > result["baseline_score"]
    assert result["trials"] == len((run.folder / "trials.jsonl").read_text().splitlines()) >= 3
    assert result["stopped_because"] and Path(result["report"]).exists()


def test_it_leaves_its_folder_and_nothing_else(run: Run) -> None:
    assert {path.name for path in run.folder.iterdir()} == {
        *("spec.json", "plan.json", "profile.json", "trials.jsonl", "ledger.jsonl", "result.json", "receipt.json"),
        *("receipt.txt", "report.html", "driver.log", "bundle", "bundles"),
    }
    assert [path.name for path in (run.folder / "bundles").iterdir()] == [run.bundle.resolve().name]
    assert processes.members(run.done.result["run"], -1) == []
    assert run.file("result.json") == run.done.result


def test_every_cent_is_in_the_receipt(run: Run) -> None:
    receipt, result = run.file("receipt.json"), run.done.result
    assert receipt["spent_usd"] == result["spent_usd"] <= result["budget_usd"]
    rate = 0.048 * os.cpu_count()
    assert result["spent_usd"] == pytest.approx(rate / 3600 * result["wall_seconds"], abs=1.1e-6)
    text = (run.folder / "receipt.txt").read_text()
    assert result["bundle_id"] in text and "m5.xlarge" in text and "unexplained" in text


def test_the_report_is_one_file_that_needs_no_network(run: Run) -> None:
    page = (run.folder / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page) and "<script src" not in page
    for words in ("table.csv", "roc_auc", run.done.result["bundle_id"][:12], "lightgbm", "constant"):
        assert words in page, words


def test_runs_lists_it(run: Run) -> None:
    done = run.lepton("runs", "--json")
    (listed,) = json.loads(done.out)
    assert done.code == 0 and listed["run"] == run.done.result["run"] and listed["score"] == run.done.result["score"]
    assert "binary" in run.lepton("runs").out


def test_runs_where_there_are_none(tmp_path: Path) -> None:
    assert "no runs" in lepton("runs", cwd=tmp_path).out
    assert lepton("runs", "--json", cwd=tmp_path).out.strip() == "[]"


def test_trials_are_listed_the_best_first(run: Run) -> None:
    trials = json.loads(run.lepton("trials", run.folder.name[:12], "--json").out)
    errors = [trial["error"] for trial in trials if trial["error"] is not None]
    assert errors == sorted(errors) and len(trials) == run.done.result["trials"]
    assert {trial["driver"] for trial in trials} == {"host"}
    assert trials[-1]["trial"]["family"] == "constant"
    shown = run.lepton("trials", run.folder).out
    assert "lightgbm" in shown and "host" in shown


def test_receipt_is_drawn_from_the_ledger(run: Run) -> None:
    assert json.loads(run.lepton("receipt", run.folder.name, "--json").out) == run.file("receipt.json")
    assert run.lepton("receipt", run.folder.name).out.strip() == (run.folder / "receipt.txt").read_text().strip()


def test_report_says_where_it_is(run: Run) -> None:
    done = run.lepton("report", run.folder.name)
    assert done.code == 0 and (run.place / done.out.strip()).read_text().startswith("<!DOCTYPE html>")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_keeps_order_and_columns(run: Run, tmp_path: Path) -> None:
    done = run.lepton("predict", run.bundle, run.table, "--out", tmp_path / "p.csv", "--keep", "row,age")
    assert done.code == 0 and "1,200 rows" in done.err
    found, given = rows_of(tmp_path / "p.csv"), rows_of(run.table)
    assert list(found[0]) == ["row", "age", "prediction", "probability_no", "probability_yes"]
    assert [row["row"] for row in found] == [row["row"] for row in given]
    same = sum(row["prediction"] == one["left"] for row, one in zip(found, given, strict=True))
    assert same > 0.75 * len(given)
    told = Bundle.load(run.bundle).predict(pd.read_csv(run.table)).column("probability_yes").to_pylist()
    assert [float(row["probability_yes"]) for row in found] == told


def test_predict_writes_parquet(run: Run, tmp_path: Path) -> None:
    assert run.lepton("predict", run.bundle, run.table, "--out", tmp_path / "p.parquet").code == 0
    found = pq.read_table(tmp_path / "p.parquet")
    assert found.num_rows == 1200 and found.column_names == ["prediction", "probability_no", "probability_yes"]


def test_refit_makes_a_bundle_of_its_own(run: Run, tmp_path: Path) -> None:
    done = run.lepton("refit", run.bundle, run.table, "--out", tmp_path / "new")
    assert done.code == 0, done
    made, first = Bundle.load(tmp_path / "new"), Bundle.load(run.bundle)
    assert made.manifest.facts["refit_of"] == first.id and made.plan == first.plan
    assert run.lepton("predict", tmp_path / "new", run.table, "--out", tmp_path / "p.csv").code == 0


def test_profile_in_words_and_in_json(run: Run) -> None:
    shown = run.lepton("profile", run.table, "--target", "left").out
    assert "1,200 rows, 6 columns" in shown and "the target" in shown and "left out" in shown
    facts = json.loads(run.lepton("profile", run.table, "--json").out)
    assert facts["plan"] is None and facts["profile"]["rows"] == 1200


def test_a_plan_is_written_edited_and_given_back(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    assert run.lepton("profile", run.table, "--target", "left", "--plan", path).code == 0
    plan = json.loads(path.read_text())
    for column in plan["columns"]:
        column["use"] = column["name"] in ("age", "city")
    path.write_text(json.dumps(plan))
    words = [run.table, "--target", "left", "--plan", path, "--families", "constant", "--out", tmp_path / "run"]
    done = run.lepton("run", *words, "--no-serve", "--json", "--deadline", "15s")
    assert done.code == 0, done
    assert Bundle.load(tmp_path / "run" / "bundle").schema.names == ("age", "city")


def test_the_same_spec_and_seed_give_the_same_split_and_plan(run: Run, tmp_path: Path) -> None:
    words = ["--spec", run.folder / "spec.json", "--families", "constant", "--out", tmp_path / "run"]
    done = lepton("run", *words, cwd=tmp_path)
    assert done.code == 0 and done.result["baseline_score"] == run.done.result["baseline_score"], done
    assert (tmp_path / "run" / "plan.json").read_bytes() == (run.folder / "plan.json").read_bytes()


def test_without_json_a_run_says_it_in_lines(run: Run, tmp_path: Path) -> None:
    words = [run.table, "--target", "left", "--families", "constant", "--deadline", "15s", "--no-serve"]
    done = run.lepton("run", *words, "--out", tmp_path / "run")
    assert done.code == 0
    for words in ("score", "bundle", "spent", "time", "stopped", "report", "lepton predict", "lepton serve"):
        assert words in done.out, words
    assert "rows are held out" in done.err and "table.csv: 1,200 rows, 6 columns" in done.err


def test_doctor_looks_at_this_machine(run: Run) -> None:
    done = run.lepton("doctor")
    assert "Python" in done.out and "per hour" in done.out and "lightgbm" in done.out
    assert done.code == (0 if "no " not in [line[:3] for line in done.out.splitlines()] else 8)


def test_version_is_the_packages(run: Run) -> None:
    import lepton_ray

    assert run.lepton("version").out.strip() == lepton_ray.__version__


@pytest.fixture
def long_run(run: Run, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A run that has half a minute yet, and has sealed its first model."""
    words = [str(run.table), "--target", "left", "--drop", "row,value", "--deadline", "24s", "--no-serve", "--json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lepton_ray", "run", *words],
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until = time.monotonic() + 20
    while not (sealed := list(tmp_path.glob("lepton-runs/*/bundle"))):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.02)
    yield process, sealed[0].parent
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_a_run_under_way_can_be_looked_at_is_not_cleaned_and_finishes_when_asked(
    long_run: tuple[subprocess.Popen[str], Path],
) -> None:
    process, folder = long_run
    place = folder.parents[1]
    assert "nothing to remove" in lepton("clean", "--all", "--dry-run", cwd=place).out
    assert "first models" in lepton("receipt", folder.name, cwd=place).out
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130 and time.monotonic() - asked < 10, err
    result = json.loads(out)
    assert "asked to stop" in result["stopped_because"] and result["score"] is not None
    assert Path(result["report"]).exists() and Bundle.load(result["bundle"]).id == result["bundle_id"]
    assert json.loads((folder / "receipt.json").read_text())["closed"]
    assert processes.members(result["run"], -1) == []


def test_clean_takes_what_is_of_no_use_and_leaves_the_rest(run: Run, tmp_path: Path) -> None:
    finished = tmp_path / "lepton-runs" / "good"
    finished.mkdir(parents=True)
    for name in ("ledger.jsonl", "result.json"):
        (finished / name).write_text((run.folder / name).read_text())
    (finished / ".work").mkdir()
    failed = tmp_path / "lepton-runs" / "failed"
    failed.mkdir()
    (failed / "ledger.jsonl").write_text((run.folder / "ledger.jsonl").read_text())
    (failed / "result.json").write_text("torn {")
    temp = tmp_path / "temp"
    gone = subprocess.run(["true"]).returncode or 2**22 - 1
    for name in (f"lepton-{gone:x}-abc", f"lepton-{__import__('os').getpid():x}-abc", "lepton-mine", "other"):
        (temp / name).mkdir(parents=True)
    done = lepton("clean", "--dry-run", cwd=tmp_path, TMPDIR=str(temp))
    expected = {temp / f"lepton-{gone:x}-abc", Path("lepton-runs/failed"), Path("lepton-runs/good/.work")}
    assert {Path(line.removeprefix("would remove ")) for line in done.out.splitlines()} == expected
    assert failed.exists() and (finished / ".work").exists()
    assert lepton("clean", cwd=tmp_path, TMPDIR=str(temp)).out.count("removed ") == 3
    assert not failed.exists() and list(finished.iterdir()) and not (finished / ".work").exists()
    assert len(list(temp.iterdir())) == 3
    assert "nothing to remove" in lepton("clean", cwd=tmp_path, TMPDIR=str(temp)).out
