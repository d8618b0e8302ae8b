"""The parts of the benches: the outside clock, what is held out, the scorer, the rule of what is better."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.outside import ROOT, environment

ROWS = 400


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table with dirt in it, as CSV with semicolons and as Parquet."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    y = np.where(rng.random(ROWS) < 0.1, "Yes", "no")
    who = rng.integers(0, 50, ROWS)
    cells = {"id": range(ROWS), "who": who, "twin": who, "dirt": np.where(y == "Yes", " 01.50", "NULL"), "y": y}
    frame = pd.DataFrame(cells)
    frame.loc[:4, "y"] = ""
    frame.to_csv(folder / "dirty.csv", sep=";", index=False)
    pd.DataFrame({"x": rng.random(ROWS), "y": [None, *rng.random(ROWS - 1)]}).to_parquet(folder / "numbers.parquet")
    return folder


def dirty(**more: object):  # type: ignore[no-untyped-def]
    from benching.tables import Table

    return Table("dirty.csv", "y", "binary", ("id",), separator=";", **more)  # type: ignore[arg-type]


def test_held_out_rows_are_a_stratified_fifth_of_raw_cells(data: Path, tmp_path: Path) -> None:
    from benching.tables import hold_out

    held = hold_out(dirty(), data, 0, tmp_path)
    train, test = (pd.read_csv(path, dtype=str, keep_default_na=False) for path in (held.train, held.test))
    assert (len(train), len(test)) == (held.train_rows, len(held.truth)) == (316, 79)
    assert list(test) == ["who", "twin", "dirt"] and list(train) == [*test, "y"]
    assert set(train["dirt"]) == {" 01.50", "NULL"}
    assert abs(np.mean(held.truth == "yes") - np.mean(held.known == "yes")) < 0.02
    before = held.test.read_text()
    assert hold_out(dirty(), data, 0, tmp_path).test.read_text() == before
    assert hold_out(dirty(), data, 1, tmp_path).test.read_text() != before


def test_groups_are_held_out_whole_and_not_shown(data: Path, tmp_path: Path) -> None:
    from benching.tables import hold_out

    held = hold_out(dirty(group="who"), data, 0, tmp_path)
    assert "who" not in held.train.read_text().splitlines()[0]
    train, test = (set(pd.read_csv(path)["twin"]) for path in (held.train, held.test))
    assert train and test and not train & test


def test_rows_without_an_answer_are_nobodys(data: Path, tmp_path: Path) -> None:
    from benching.tables import Table, hold_out

    held = hold_out(Table("numbers.parquet", "y", "regression"), data, 0, tmp_path)
    assert held.train_rows + len(held.truth) == ROWS - 1
    assert pd.read_parquet(held.train).dtypes.tolist() == [np.float64, np.float64]
    assert held.constant == pytest.approx(held.truth.std(), rel=0.1)


@pytest.mark.parametrize("heads", [("no", "Yes"), ("Yes", "no")])
def test_the_scorer_finds_classes_by_name(heads: tuple[str, str], data: Path, tmp_path: Path) -> None:
    from benching.tables import hold_out

    held = hold_out(dirty(), data, 0, tmp_path)
    right = {"no": 1.0 * (held.truth == "no"), "Yes": 1.0 * (held.truth == "yes")}
    said = pd.DataFrame({f"probability_{name}": right[name] for name in heads})
    path = tmp_path / "said.csv"
    said.to_csv(path, index=False)
    assert held.score(path) == 1.0 and held.constant == 0.5
    said.iloc[1:].to_csv(path, index=False)
    with pytest.raises(ValueError, match="78 predictions for 79 rows"):
        held.score(path)
    said.rename(columns=lambda name: name + "?").to_csv(path, index=False)
    with pytest.raises(ValueError, match="is the probability of one of"):
        held.score(path)


def test_log_loss_of_the_constant_is_the_entropy() -> None:
    from benching.tables import Held

    truth = np.array(["a", "a", "b", "c"])
    held = Held(Path(), Path(), 4, truth, truth, "log_loss")
    assert held.constant == pytest.approx(1.5 * np.log(2))


def test_names_of_classes() -> None:
    from benching.tables import canonical

    assert {canonical(name) for name in (1, "1", 1.0, "1.0", " 1 ")} == {"1"}
    assert canonical(True) == canonical("TRUE") == "true" and canonical("<30") == "<30"


def test_better_is_more_than_the_paired_standard_error() -> None:
    from benching.summary import ahead

    assert ahead({0: 0.10, 1: 0.20}, {0: 0.12, 1: 0.23}) == 1
    assert ahead({0: 0.12, 1: 0.23}, {0: 0.10, 1: 0.20}) == 0
    assert ahead({0: 0.10, 1: 0.20}, {0: 0.13, 1: 0.19}) == 0.5
    assert ahead({0: 0.1}, {0: 0.1}) == 0.5 and ahead({0: 0.1}, {1: 0.1}) is None


CLOCKED = """
import json, pathlib, sys, os
sys.path.insert(0, {scripts!r})
from benching import clock
clock.keep_to(1)
took = [clock.timed([sys.executable, "-c", code], pathlib.Path("log"), cap=cap, env=os.environ)
        for code, cap in json.loads({codes!r})]
print(json.dumps([[one.code, one.seconds, one.cpu_seconds, one.left] for one in took]))
"""


@pytest.mark.process
def test_the_clock_counts_orphans_and_kills_at_the_cap(tmp_path: Path) -> None:
    spin, hang = "import time\nwhile time.process_time() < 0.15: pass\n", "import signal; signal.pause()"
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {hang!r}])\n{spin}"
    codes = [[spin + "raise SystemExit(3)", 60], [orphan, 60], [hang, 0.3]]
    program = CLOCKED.format(scripts=str(ROOT / "scripts"), codes=json.dumps(codes))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    failed, left, capped = json.loads(done.stdout)
    assert failed[0] == 3 and failed[2] >= 0.15 and failed[3] == 0
    assert left[0] == 0 and left[3] == 1
    assert capped[0] is None and capped[1] >= 0.3


def test_the_account_of_a_run_has_every_core_second_once() -> None:
    from benching.clock import Taken
    from benching.overhead import account, in_trials, spans_of, stages_of

    ends = {"started": 1.0, "seconds": 4.0, "fit_started": 2.0, "fit_seconds": 2.5, "pid": 7, "error": 0.1}
    killed = {**ends, "started": 5.0, "error": None, "fit_started": None, "fit_seconds": None}
    stages = stages_of([{"run": "x"}, {"enter": "start", "at": 0.0}, {"enter": "search", "at": 1.0}, {"close": 9.5}])
    assert stages == [("start", 0.0, 1.0), ("search", 1.0, 9.5)]
    assert [(span.begin, span.end) for span in spans_of([ends, killed])] == [(1, 2), (2, 4.5), (4.5, 5), (5, 9)]
    busy, half = [(0.0, 0.0), (10.0, 10.0)], [(0.0, 0.0), (10.0, 5.0)]
    names = {7: "ray::TrialActor", 8: "python -m lepton_ray.cli.main run", 9: "…/gcs/gcs_server"}
    took = Taken(0, 10.0, 17.0, 1.0, 0, 0.0, {7: busy, 8: half, 9: [(0.0, 0.0), (10.0, 1.0)]}, names, [])
    found = account(took, [ends, killed], stages, cores=2, wall=12.0)
    assert sum(found.values()) == pytest.approx(1.0, abs=1e-3)
    assert in_trials(found) == found["fit and score"] == pytest.approx(2.5 / 24, abs=1e-4)
    assert found["features of trials"] == pytest.approx(1 / 24, abs=1e-4)
    assert found["trials without a result"] == pytest.approx(4 / 24, abs=1e-4)
    assert found["worker, start"] == pytest.approx(1 / 24, abs=1e-4)
    assert found["before the wall"] == pytest.approx(4 / 24, abs=1e-4)
    other = replace(took, machine=[(0.0, 0.0), (10.0, 19.0)])
    assert account(other, [], stages, cores=2, wall=12.0)["others, search"] == pytest.approx(3 * 0.85 / 24, abs=1e-4)
