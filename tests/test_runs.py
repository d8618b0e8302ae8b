"""The Python door, walked through as a stranger would: frames and paths in, one Run out, each fault of its own kind."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import lepton_ray
from lepton_ray.errors import (
    BundleError,
    DataError,
    EnvironmentFault,
    Interrupted,
    LeptonError,
    MoneyError,
    UsageError,
)
from lepton_ray.on_host import processes
from lepton_ray.on_host.child import Child, fault_of
from lepton_ray.on_host.supervisor import ECHO_SECONDS
from lepton_ray.report.value import Value
from lepton_ray.runs import Run, Service
from tests.outside import Started, python, until
from tests.sealed import seal

ODD = {"plan": 'kind, of "plan"', "city": "Stadt\x85 é😀", "pay": "a=b:c#"}
"""Names that a comma list, YAML, or a shell would not let through."""
WORTH = dict(true_positive=9, false_positive=-1, true_negative=0, false_negative=-2, decisions_per_year=70)


def table(rows: int = 400) -> pa.Table:
    rng = np.random.default_rng(3)
    pay, plan, city = rng.normal(50, 20, rows), rng.choice(["a", "b", "c"], rows), rng.choice(["Ulm", "Bonn"], rows)
    leaves = pay / 40 + (plan == "a") + rng.normal(0, 0.5, rows) > 1.6
    cells = {ODD["pay"]: pay, ODD["plan"]: plan, ODD["city"]: city, "leaves": np.where(leaves, "yes", "no")}
    return pa.table(cells)


class Notebook:
    """A standard error like that of a notebook: it can be written to, and has no number."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None: ...

    def fileno(self) -> int:
        raise OSError("not a file")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Four runs at once in one folder, each from a thread and of another kind of table, told on a notebook's screen."""
    place, screen = tmp_path_factory.mktemp("walked"), Notebook()
    frame = table().to_pandas()
    frame.to_csv(place / "a table.csv", index=False)
    kinds: dict[str, dict[str, Any]] = {
        "pandas": {"table": frame, "drop": ODD["city"], "types": {ODD["pay"]: "number"}, "budget": 0.0005},
        "polars": {"table": pl.from_arrow(table()), "test": frame.head(150), "deadline": "20s", "seed": np.int64(7)},
        "arrow": {"table": table(), "deadline": 20, "positive": "no", "quiet": True, "value": WORTH},
        "path": {"table": place / "a table.csv", "deadline": "20s", "price": "0.2", "out": "own"},
    }
    for name, options in kinds.items():
        options["families"] = "linear" if name == "arrow" else "constant"

    old, before = sys.stderr, Path.cwd()
    os.chdir(place)
    sys.stderr = screen  # type: ignore[assignment]
    try:
        with ThreadPoolExecutor(4) as pool:
            jobs = {
                name: pool.submit(lambda one: lepton_ray.run(one.pop("table"), target="leaves", **one), options)
                for name, options in kinds.items()
            }
            runs = {name: job.result() for name, job in jobs.items()}
    finally:
        sys.stderr = old
        os.chdir(before)
    return {"runs": runs, "told": screen.text, "place": place}


@pytest.mark.process
def test_a_frame_becomes_a_run(here: Path) -> None:
    run = lepton_ray.run(table(), target="leaves", families="constant", deadline="24s", quiet=True)
    assert run.folder.parent == here / "lepton-runs" and run.folder.name == run.id
    assert run.bundle.predict(table(3).to_pandas()).num_rows == 3 and list(run.leaderboard()["family"]) == ["constant"]
    assert float(run.receipt.total.dollars) == run.result["spent_usd"] and run.report().exists()


@pytest.mark.process
def test_every_kind_of_table_becomes_a_run(walked: dict[str, Any]) -> None:
    runs, place = walked["runs"], walked["place"]
    assert all(run.score >= run.result["baseline_score"] and run.result["metric"] == "roc_auc" for run in runs.values())
    assert max(run.score for run in runs.values()) > 0.75
    home = place / "lepton-runs"
    assert {run.folder for name, run in runs.items() if name != "path"} == {path for path in home.iterdir()}
    assert all(run.folder.name == run.id for name, run in runs.items() if name != "path")
    assert runs["path"].folder == place / "own"
    assert runs["pandas"].result["budget_usd"] == 0.0005
    assert runs["polars"].result["score_how"] == "test_file"


@pytest.mark.process
def test_a_frame_is_named_in_words_and_its_spec_points_at_nothing_that_is_gone(walked: dict[str, Any]) -> None:
    runs, rows = walked["runs"], table().num_rows
    spec = {name: json.loads((run.folder / "spec.json").read_text()) for name, run in runs.items()}
    words = f"of {rows:,} x {table().num_columns}"
    assert spec["pandas"]["table"] == f"a pandas frame {words}" and spec["arrow"]["table"] == f"an Arrow table {words}"
    assert (spec["polars"]["table"], spec["polars"]["test"]) == (f"a polars frame {words}", "a pandas frame of 150 x 4")
    assert "lepton-table-" not in json.dumps(spec)
    assert Value.from_file(spec["arrow"]["value"]) == Value.from_mapping(WORTH)
    page = runs["pandas"].report().read_text(encoding="utf-8")
    assert f"a pandas frame {words}" in page and "Run it again" not in page and "table.parquet" not in page
    assert runs["pandas"].bundle.manifest.facts["source"] == f"a pandas frame {words}"
    assert "Run it again" in runs["path"].report().read_text(encoding="utf-8")


@pytest.mark.process
def test_a_run_answers_with_ordinary_objects(walked: dict[str, Any]) -> None:
    run: Run = walked["runs"]["arrow"]
    frame = table(20).to_pandas()
    answer = run.bundle.predict(frame)
    assert answer.column_names == ["prediction", "probability_yes", "probability_no"]
    assert answer.num_rows == 20 and set(answer["prediction"].to_pylist()) <= {"yes", "no"}
    board = run.leaderboard()
    assert isinstance(board, pd.DataFrame) and set(board["family"]) == {"constant", "linear"}
    assert board["score"].iloc[0] == board["score"].max() and len(board) == run.result["trials"]
    assert float(run.receipt.total.dollars) == run.result["spent_usd"]
    assert run.report().read_text(encoding="utf-8").startswith("<!")
    assert Run.open(run.folder) == Run.open(str(run.folder)) == run


@pytest.mark.process
def test_a_column_of_any_name_can_be_left_out_and_typed(walked: dict[str, Any]) -> None:
    run: Run = walked["runs"]["pandas"]
    assert run.bundle.schema.names == (ODD["pay"], ODD["plan"])
    assert json.loads((run.folder / "spec.json").read_text())["drop"] == [ODD["city"]]


@pytest.mark.process
def test_progress_is_shown_where_a_notebook_shows_it(walked: dict[str, Any]) -> None:
    told = walked["told"]
    assert told.count("rows are held out for the score") + told.count("score comes from") == 3  # one was quiet
    assert "Traceback" not in told


@pytest.mark.process
def test_nothing_is_left_of_the_calls(walked: dict[str, Any]) -> None:
    assert not [path for path in walked["place"].rglob(".work")]
    assert not processes.tree(os.getpid()) or all(
        "lepton" not in Path(f"/proc/{one.pid}/cmdline").read_text() for one in processes.tree(os.getpid())
    )


FAULTS: list[tuple[dict[str, Any], type[LeptonError], str]] = [
    ({"table": "none.csv"}, DataError, "none.csv"),
]
MORE_FAULTS: list[tuple[dict[str, Any], type[LeptonError], str]] = [
    ({"budget": -1}, MoneyError, "is negative"),
    ({"families": "forest"}, UsageError, "no model family 'forest'"),
    ({"out": "/proc/nothing"}, EnvironmentFault, "cannot be written"),
    ({"target": "leave"}, DataError, "no column 'leave'"),
    ({"table": 3}, DataError, "builtins.int is not a table"),
    ({"table": pd.DataFrame({"leaves": []})}, DataError, "no rows"),
    ({"test": "none.csv"}, DataError, "none.csv"),
    ({"budget": 0.000001}, MoneyError, "smallest"),
    ({"deadline": "soon"}, MoneyError, "is not a time"),
    ({"metric": "beauty"}, UsageError, "no metric 'beauty'"),
    ({"types": {"city": "colour"}}, UsageError, "unknown kind 'colour'"),
]


@pytest.mark.parametrize(
    "options, kind, told", [*FAULTS, *(pytest.param(*one, marks=pytest.mark.process) for one in MORE_FAULTS)]
)
def test_a_fault_is_raised_as_its_own_kind(options: dict[str, Any], kind: type[LeptonError], told: str) -> None:
    given = {"table": table(), "target": "leaves", "quiet": True} | options
    with pytest.raises(kind, match=told) as caught:
        lepton_ray.run(given.pop("table"), **given)
    assert caught.value.hint


def test_an_option_that_is_none_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="budgets"):
        lepton_ray.run(table(), target="leaves", budgets=1)  # type: ignore[call-arg]


def test_a_folder_that_holds_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no result"):
        Run.open(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"error": "The table is odd.", "hint": "Mend it."}))
    with pytest.raises(UsageError, match="without a model: The table is odd. Mend it."):
        Run.open(tmp_path)
    with pytest.raises(UsageError, match="has no report"):
        Run(tmp_path, {"run": "r"}).report()
    assert Run(tmp_path, {"run": "r"}).leaderboard().empty
    (tmp_path / "spec.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="spec.json is nested too deeply"):
        _ = Run(tmp_path, {"run": "r"}).bundle


CALLER = """
    import pandas, signal, lepton_ray
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        run = lepton_ray.run(pandas.read_csv({table!r}), target="leaves", deadline="24s", out="run")
        print("run", run.result["stopped_because"], flush=True)
    except BaseException as fault:
        print(type(fault).__name__, fault, flush=True)
"""


@pytest.fixture
def caller(here: Path) -> Iterator[Started]:
    """A Python that calls run, with its first model sealed; it is not meant to come to the run's end."""
    path = here / "table.csv"
    table(2_000).to_pandas().to_csv(path, index=False)
    source = textwrap.dedent(CALLER).format(table=str(path))
    with Started(python("-c", source), TMPDIR=str(here)) as process:
        until(lambda: (here / "run" / "bundle").exists() or not process.lives)
        if not process.lives:
            process.end().promised(False)
        yield process


def ended(folder: Path) -> bool:
    """Whether no process of the run lives any more."""
    run = json.loads((folder / "ledger.jsonl").read_text().splitlines()[0])["run"]
    return not processes.members(run, -1)


@pytest.mark.process
def test_an_interrupt_returns_the_best_so_far(caller: Started, here: Path) -> None:
    caller.send(signal.SIGINT)
    done = caller.end()
    done.promised(done.out == "run you asked to stop\n")
    assert Run.open(here / "run").bundle.problem.target == "leaves"
    assert (here / "run" / "report.html").exists() and (here / "run" / "receipt.txt").exists()
    assert ended(here / "run")


@pytest.mark.process
def test_a_second_interrupt_is_raised_once_the_run_has_ended(caller: Started, here: Path) -> None:
    caller.send(signal.SIGINT)
    until(lambda: (here / "run" / ".work" / "stop").exists() or not caller.lives)
    time.sleep(1.5 * ECHO_SECONDS)  # what follows at once counts as an echo
    began = time.monotonic()
    caller.send(signal.SIGINT)
    done = caller.end()
    assert done.out.split()[0] in ("KeyboardInterrupt", "run") and time.monotonic() - began < 2.5
    assert ended(here / "run")


@pytest.mark.process
def test_a_caller_that_is_killed_leaves_no_run_behind(caller: Started, here: Path) -> None:
    assert list(here.glob("lepton-table-*/table/*.parquet"))
    caller.process.kill()
    caller.end()
    until(lambda: ended(here / "run") and not list(here.glob("lepton-table-*")))
    assert Run.open(here / "run").result["stopped_because"] == "you asked to stop"


def test_an_interrupt_before_any_model_is_an_error() -> None:
    assert isinstance(fault_of(130, "You asked.", default=LeptonError), Interrupted)
    assert type(fault_of(-9, "Gone.", default=LeptonError)) is LeptonError


@pytest.mark.process
def test_a_screen_that_goes_away_does_not_stop_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(Notebook):
        def write(self, text: str) -> int:
            raise ValueError("I/O operation on closed file")

    for screen in (Closed(), None):
        monkeypatch.setattr(sys, "stderr", screen)
        child = Child(["run", "none.csv", "--target", "t", "--json"], "show")
        assert child.wait(30) == 3 and json.loads(child.printed())["exit_code"] == 3


def test_a_child_is_stopped_twice_without_harm() -> None:
    child = Child(["run", "none.csv", "--target", "t"], "keep")
    child.stop()
    other = os.open(os.devnull, os.O_RDONLY)  # would be closed by a stop that closes its number again
    child.stop()
    os.close(other)


@pytest.mark.process
def test_a_bundle_that_cannot_be_served_is_refused_as_its_own_kind(tmp_path: Path) -> None:
    bundle = seal(tmp_path / "churn")
    (bundle.folder / "plan.json").write_text("{}")
    with pytest.raises(BundleError, match="plan.json"):
        Service.start(bundle.folder)


def ray_processes() -> set[int]:
    return {one.pid for one in processes.tree(os.getpid())}


@pytest.mark.ray
@pytest.mark.slow
def test_a_run_beside_a_ray_that_is_open_leaves_it_alone(here: Path) -> None:
    source = f"""
        import os
        os.environ["RAY_AUTH_TOKEN"] = "a" * 64  # else Ray leaves one in the home folder
        import ray, lepton_ray, json
        ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
        node = ray.get_runtime_context().get_node_id()
        @ray.remote
        def twice(x): return 2 * x
        assert ray.get(twice.remote(2)) == 4
        run = lepton_ray.run({str(here / "table.csv")!r}, target="leaves", deadline="60s")
        assert ray.is_initialized() and ray.get_runtime_context().get_node_id() == node
        assert ray.get(twice.remote(21)) == 42
        with run.serve() as service:
            import urllib.request
            print(json.load(urllib.request.urlopen(service.url + "/v2/health/ready")))
            assert ray.get(twice.remote(21)) == 42
        print(sorted(set(run.leaderboard()["driver"])))
        assert ray.get(twice.remote(4)) == 8
        ray.shutdown()
    """
    table(2_000).to_pandas().to_csv(here / "table.csv", index=False)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source)], capture_output=True, text=True, check=False, timeout=150
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "'ready': True" in done.stdout and "'ray'" in done.stdout


@pytest.mark.ray
def test_a_service_answers_and_leaves_nothing(walked: dict[str, Any]) -> None:
    import urllib.error
    import urllib.request

    run: Run = walked["runs"]["pandas"]
    before = ray_processes()
    held: list[Service] = []
    thread = threading.Thread(target=lambda: held.append(run.serve()))  # which ends long before its service
    thread.start()
    thread.join()
    (service,) = held
    body = json.dumps({"rows": [run.bundle.manifest.example]}).encode()
    request = urllib.request.Request(f"{service.url}/predict", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        assert json.load(reply)["bundle"] == run.bundle.id
    with pytest.raises(EnvironmentFault, match="is taken"):
        run.serve(port=int(service.url.rsplit(":", 1)[1]))
    service.stop()
    service.stop()
    assert ray_processes() <= before
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{service.url}/v2/health/ready", timeout=2)
