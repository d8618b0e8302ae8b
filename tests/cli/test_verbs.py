"""One small run through the real command line, from exec to exit; another within this process, and every verb on it."""

import csv
import json
import os
import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import lepton_ray
from lepton_ray import Bundle
from lepton_ray.on_host import processes
from tests.cli.conftest import Inside
from tests.cli.lepton import lepton, started
from tests.on_host.rows import columns, write
from tests.outside import Done, text_of, until

DEADLINE = 24.0
"""Short enough to do without Ray; nobody waits for it."""
TRIALS = 3


@dataclass(frozen=True)
class Run:
    """A run that has ended, in the folder where it was started."""

    place: Path
    table: Path
    done: Done

    @property
    def folder(self) -> Path:
        (found,) = (self.place / "lepton-runs").iterdir()
        return found

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    def file(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


def words_of(place: Path, families: str) -> list[Any]:
    """A run of a table that is written there; it is meant to be asked to stop."""
    table = write(place / "table.csv", columns(1200))
    words = [table, "--target", "left", "--drop", "row,value", "--families", families]
    return [*words, "--spend-it-all", "--deadline", f"{DEADLINE}s", "--no-serve", "--json"]


def learned(place: Path, families: str) -> bool:
    """Whether the run there has carried out some trials, each of the families among them."""
    lines = "".join(text_of(path) for path in place.glob("lepton-runs/*/trials.jsonl"))
    return lines.count("\n") >= TRIALS and all(f'"{family}"' in lines for family in families.split(","))


@pytest.fixture(scope="module")
def runs() -> dict[str, Run]:
    """Those that have been made."""
    return {}


@contextmanager
def asked_to_stop(place: Path, families: str) -> Iterator[None]:
    """The run there, which goes on within this process, is asked to stop as by Ctrl-C once it has learned."""
    over = threading.Event()

    def ask() -> None:
        until(lambda: learned(place, families) or over.is_set())
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    before, asking = signal.signal(signal.SIGINT, signal.SIG_IGN), threading.Thread(target=ask)
    asking.start()
    try:
        yield
    finally:
        over.set()
        asking.join()
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def run(runs: dict[str, Run], tmp_path_factory: pytest.TempPathFactory, inside: Inside) -> Run:
    """One run for all of the tests, within this process."""
    if "inside" not in runs:
        place = tmp_path_factory.mktemp("verbs")
        words = words_of(place, "linear")
        with asked_to_stop(place, "linear"):
            runs["inside"] = Run(place, words[0], inside("run", *words, cwd=place))
        assert runs["inside"].done.code == 0, runs["inside"].done  # it is the supervisor that says 130
    return runs["inside"]


@pytest.mark.process
def test_a_run_under_way_can_be_looked_at_is_not_cleaned_and_finishes_when_asked(tmp_path: Path) -> None:
    words = words_of(tmp_path, "linear,lightgbm")
    with started("run", *words, cwd=tmp_path) as process:
        process.wait_for(lambda: learned(tmp_path, "linear,lightgbm"))
        verbs = {"clean": ("--all", "--dry-run"), "receipt": [path.name for path in tmp_path.glob("lepton-runs/*")]}
        meanwhile = {verb: lepton(verb, *more, cwd=tmp_path, TMPDIR=str(tmp_path)) for verb, more in verbs.items()}
        process.send(signal.SIGINT)
        done = process.end()
    assert done.seconds <= DEADLINE
    done.promised(done.code == 130)  # and did not come to its end before
    assert "nothing to remove" in meanwhile["clean"].out and "first models" in meanwhile["receipt"].out
    run = Run(tmp_path, words[0], done)
    assert "asked to stop" in done.result["stopped_because"] and Path(done.result["report"]).exists()
    assert Bundle.load(run.bundle).id == done.result["bundle_id"]
    assert run.file("receipt.json")["closed"]
    check_it_ends_with_one_object_within_its_wall(run)
    check_it_leaves_its_folder_and_nothing_else(run)


def test_a_run_within_this_process_leaves_the_same(run: Run) -> None:
    run.done.promised("asked to stop" in run.done.result["stopped_because"])
    check_it_ends_with_one_object_within_its_wall(run)
    check_it_leaves_its_folder_and_nothing_else(run)


def check_it_ends_with_one_object_within_its_wall(run: Run) -> None:
    result = run.done.result
    assert "Traceback" not in run.done.err, run.done
    assert list(result)[:16] == [
        *("run", "bundle", "task", "metric", "score", "score_interval", "baseline_score", "believed_score"),
        *(
            "spent_usd",
            "budget_usd",
            "wall_seconds",
            "deadline_seconds",
            "trials",
            "stopped_because",
            "report",
            "endpoint",
        ),
    ]
    assert result["wall_seconds"] <= run.done.seconds + 0.1  # closing is billed ahead
    assert (result["task"], result["metric"], result["endpoint"]) == ("binary", "roc_auc", None)
    low, high = result["score_interval"]
    assert low < result["score"] < high and 0.7 > result["baseline_score"]
    assert abs(result["believed_score"] - result["score"]) < 0.2
    assert "The search itself believed it to be" in (run.folder / "report.html").read_text()
    assert result["trials"] == len((run.folder / "trials.jsonl").read_text().splitlines())
    run.done.promised(result["score"] > 0.7 and result["trials"] >= TRIALS)


def check_it_leaves_its_folder_and_nothing_else(run: Run) -> None:
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
    for words in ("table.csv", "roc_auc", run.done.result["bundle_id"][:12], "constant"):
        assert words in page, words


def test_runs_lists_it(run: Run, inside: Inside) -> None:
    done = inside("runs", "--json", cwd=run.place)
    (listed,) = json.loads(done.out)
    assert done.code == 0 and listed["run"] == run.done.result["run"] and listed["score"] == run.done.result["score"]
    assert "binary" in inside("runs", cwd=run.place).out


def test_runs_where_there_are_none(tmp_path: Path, inside: Inside) -> None:
    assert "no runs" in inside("runs", cwd=tmp_path).out
    assert inside("runs", "--json", cwd=tmp_path).out.strip() == "[]"


def test_trials_are_listed_the_best_first(run: Run, inside: Inside) -> None:
    trials = json.loads(inside("trials", run.folder.name[:12], "--json", cwd=run.place).out)
    judged = [(-trial["trial"]["rung"], trial["error"]) for trial in trials if trial["error"] is not None]
    assert judged == sorted(judged) and len(trials) == run.done.result["trials"]
    assert {trial["driver"] for trial in trials} == {"host"}
    (constant,) = [trial for trial in trials if trial["trial"]["family"] == "constant"]
    assert constant["error"] == judged[-1][1]  # what was stopped at once may be no better
    shown = inside("trials", run.folder, cwd=run.place).out
    assert "constant" in shown and "host" in shown


def test_receipt_is_drawn_from_the_ledger(run: Run, inside: Inside) -> None:
    drawn = inside("receipt", run.folder.name, "--json", cwd=run.place)
    assert json.loads(drawn.out) == run.file("receipt.json")
    told = inside("receipt", run.folder.name, cwd=run.place)
    assert told.out.strip() == (run.folder / "receipt.txt").read_text().strip()


def test_report_says_where_it_is(run: Run, inside: Inside) -> None:
    done = inside("report", run.folder.name, cwd=run.place)
    assert done.code == 0 and (run.place / done.out.strip()).read_text().startswith("<!DOCTYPE html>")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_keeps_order_and_columns(run: Run, tmp_path: Path, inside: Inside) -> None:
    done = inside("predict", run.bundle, run.table, "--out", tmp_path / "p.csv", "--keep", "row,age")
    assert done.code == 0 and "1,200 rows" in done.err
    found, given = rows_of(tmp_path / "p.csv"), rows_of(run.table)
    assert list(found[0]) == ["row", "age", "prediction", "probability_no", "probability_yes"]
    assert [row["row"] for row in found] == [row["row"] for row in given]
    told = Bundle.load(run.bundle).predict(pd.read_csv(run.table)).column("probability_yes").to_pylist()
    assert [float(row["probability_yes"]) for row in found] == told
    same = sum(row["prediction"] == one["left"] for row, one in zip(found, given, strict=True))
    run.done.promised(same > 0.75 * len(given))


def test_predict_writes_parquet(run: Run, tmp_path: Path, inside: Inside) -> None:
    assert inside("predict", run.bundle, run.table, "--out", tmp_path / "p.parquet").code == 0
    found = pq.read_table(tmp_path / "p.parquet")
    assert found.num_rows == 1200 and found.column_names == ["prediction", "probability_no", "probability_yes"]


@pytest.mark.process
def test_refit_makes_a_bundle_of_its_own(run: Run, tmp_path: Path) -> None:
    done = lepton("refit", run.bundle, run.table, "--out", tmp_path / "new")
    assert done.code == 0, done
    made, first = Bundle.load(tmp_path / "new"), Bundle.load(run.bundle)
    assert made.manifest.facts["refit_of"] == first.id and made.plan == first.plan
    assert made.predict(pd.read_csv(run.table)).num_rows == 1200


def test_profile_in_words_and_in_json(run: Run, inside: Inside) -> None:
    shown = inside("profile", run.table, "--target", "left").out
    assert "1,200 rows, 6 columns" in shown and "the target" in shown and "left out" in shown
    facts = json.loads(inside("profile", run.table, "--json").out)
    assert facts["plan"] is None and facts["profile"]["rows"] == 1200


@pytest.mark.process
def test_a_plan_is_written_edited_and_given_back(run: Run, tmp_path: Path, inside: Inside) -> None:
    path = tmp_path / "plan.json"
    assert inside("profile", run.table, "--target", "left", "--plan", path).code == 0
    plan = json.loads(path.read_text())
    for column in plan["columns"]:
        column["use"] = column["name"] in ("age", "city")
    path.write_text(json.dumps(plan))
    words = [run.table, "--target", "left", "--plan", path, "--families", "constant", "--out", tmp_path / "run"]
    done = inside("run", *words, "--no-serve", "--json", "--deadline", "20s")
    assert done.code == 0, done
    assert Bundle.load(tmp_path / "run" / "bundle").schema.names == ("age", "city")


@pytest.mark.process
def test_the_same_spec_and_seed_give_the_same_split_and_plan(run: Run, tmp_path: Path, inside: Inside) -> None:
    words = ["--spec", run.folder / "spec.json", "--families", "constant", "--deadline", "20s"]
    done = inside("run", *words, "--out", tmp_path / "run", "--json", cwd=tmp_path)
    assert done.code == 0 and done.result["baseline_score"] == run.done.result["baseline_score"], done
    assert (tmp_path / "run" / "plan.json").read_bytes() == (run.folder / "plan.json").read_bytes()


@pytest.mark.process
def test_without_json_a_run_says_it_in_lines(run: Run, tmp_path: Path, inside: Inside) -> None:
    words = [run.table, "--target", "left", "--families", "constant", "--deadline", "24s", "--no-serve"]
    done = inside("run", *words, "--out", tmp_path / "run")
    assert done.code == 0, done
    for words in ("score", "bundle", "spent", "time", "stopped", "report", "lepton predict", "lepton serve"):
        assert words in done.out, words
    assert "rows are held out" in done.err and "table.csv: 1,200 rows, 6 columns" in done.err


def test_doctor_looks_at_this_machine(inside: Inside) -> None:
    done = inside("doctor")
    assert "Python" in done.out and "per hour" in done.out and "lightgbm" in done.out
    assert done.code == (0 if "no " not in [line[:3] for line in done.out.splitlines()] else 8)


def test_version_is_the_packages(inside: Inside) -> None:
    assert inside("version").out.strip() == lepton_ray.__version__


def test_clean_takes_what_is_of_no_use_and_leaves_the_rest(run: Run, tmp_path: Path, inside: Inside) -> None:
    finished = tmp_path / "lepton-runs" / "good"
    finished.mkdir(parents=True)
    for name in ("ledger.jsonl", "result.json"):
        (finished / name).write_text((run.folder / name).read_text())
    (finished / ".work").mkdir()
    failed = tmp_path / "lepton-runs" / "failed"
    failed.mkdir()
    (failed / "ledger.jsonl").write_text((run.folder / "ledger.jsonl").read_text())
    (failed / "result.json").write_text("torn {")
    temp, nobody = tmp_path / "temp", 2**22 - 1
    for name in (f"lepton-{nobody:x}-abc", f"lepton-{os.getpid():x}-abc", "lepton-mine", "other"):
        (temp / name).mkdir(parents=True)

    def clean(*words: str) -> str:
        return inside("clean", *words, cwd=tmp_path, temp=temp).out

    expected = {temp / f"lepton-{nobody:x}-abc", Path("lepton-runs/failed"), Path("lepton-runs/good/.work")}
    assert {Path(line.removeprefix("would remove ")) for line in clean("--dry-run").splitlines()} == expected
    assert failed.exists() and (finished / ".work").exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lepton_ray.cli.clean.shutil.rmtree", lambda path, ignore_errors: None)
        assert clean().count("could not remove ") == 3
    assert clean().count("removed ") == 3
    assert not failed.exists() and list(finished.iterdir()) and not (finished / ".work").exists()
    assert len(list(temp.iterdir())) == 3
    assert "nothing to remove" in clean()


@pytest.mark.process
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_stream_that_the_caller_has_closed_is_no_fault(tmp_path: Path, number: int) -> None:
    closed = ("sh", "-c", f'exec "$@" {number}>&-', "sh")
    done = lepton("run", "none.csv", "--target", "left", "--no-serve", "--json", cwd=tmp_path, before=closed)
    assert done.code == 3 and "Traceback" not in done.err
    assert number == 1 or "no file none.csv" in done.result["error"]
