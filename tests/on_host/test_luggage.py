"""A bench whose scratch folder is a copy says what one at home says, and brings home what it leaves."""

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.money.lease import Lease
from lepton_ray.on_host import luggage
from lepton_ray.on_host.luggage import NEEDED, AwayBench, Files, boot_id, flags, is_here, read
from lepton_ray.on_host.out_of_fold import load_folds, path_of, save_folds
from tests.on_host.rows import bench, columns, spec, task, write


class ByHand:
    """A post on one machine."""

    def __init__(self, home: Path, clock: Callable[[], float]) -> None:
        self.home, self.clock = home, clock
        self.brought: list[str] = []

    def now(self) -> float:
        return self.clock()

    def needed(self) -> Files:
        return read(self.home, NEEDED)

    def fetch(self, names: Sequence[str]) -> Files:
        return read(self.home, names)

    def bring(self, files: Files) -> None:
        self.brought += files
        luggage.write(self.home, files)

    def asked(self) -> Sequence[str]:
        return flags(self.home)


@pytest.fixture
def away(tmp_path: Path) -> tuple[Any, AwayBench, ByHand]:
    made, _, here = bench(spec(write(tmp_path / "table.csv", columns(1200)), drop="row,value", out=str(tmp_path / "r")))
    post, copy = ByHand(made.folder.scratch, made.clock), tmp_path / "copy"
    copy.mkdir()
    return here, AwayBench(copy, made.folder.scratch, post), post


def lease(bench: Any, name: str = "t001", seconds: float = 60.0) -> Lease:
    return Lease(name, bench.now(), bench.now() + seconds)


def test_it_says_what_a_bench_at_home_says(away: tuple[Any, AwayBench, ByHand]) -> None:
    here, there, post = away
    assert abs(here.now() - there.now()) < 0.2
    at_home = here.run(task("linear", {"C": 0.5}, name="t000"), lease(here, "t000"))
    outcome = there.run(task("linear", {"C": 0.5}, name="t001"), lease(there))
    assert outcome["fold_errors"] == at_home["fold_errors"] and outcome["state"] == "done"
    assert Path(outcome["bundle"]) == post.home / "sealed" / "t001"
    assert Bundle.load(outcome["bundle"]).model.members[0].family == "linear"
    one, other = (load_folds(path_of(post.home, name)) for name in ("t000", "t001"))
    assert all(np.array_equal(a.prediction, b.prediction) for a, b in zip(one, other, strict=True))
    assert (post.home / "predictions" / "t001.npy").exists()
    assert not (there.scratch / "sealed" / "t001").exists(), "it lies at home now"


@pytest.mark.exam
def test_folds_are_brought_home_one_by_one_and_taken_along_by_the_next(away: tuple[Any, AwayBench, ByHand]) -> None:
    here, there, post = away
    there.run(task("linear", {"C": 0.5}), lease(there))
    assert post.brought.count("oof/t000.npz") == 5
    folds = load_folds(path_of(post.home, "t000"))
    anew = there.run(task("linear", {"C": 0.5}), lease(there))
    assert anew["fits"] == 5, "only what was interrupted goes on from what it has left"
    save_folds(path_of(post.home, "t000"), folds[:3])
    shutil.rmtree(there.scratch / "oof")
    (there.scratch / "oof").mkdir()
    again = there.run(task("linear", {"C": 0.5}, again=True), lease(there))
    assert again["fits"] == 2 and len(again["fold_errors"]) == 5
    up = there.run(task("linear", {"C": 0.5}, name="t005", trial=promoted()), lease(there, "t005"))
    assert up["fits"] == 10 and len(up["fold_errors"]) == 15


def promoted() -> dict[str, Any]:
    return {"id": "t005", "family": "linear", "config": {"C": 0.5}, "rung": 1, "parent": "t000"}


@pytest.mark.process
def test_a_wish_to_stop_is_heard_from_afar(away: tuple[Any, AwayBench, ByHand]) -> None:
    _, there, post = away
    asked = threading.Timer(0.2, (post.home / "stop-t009").touch)
    asked.start()
    given = task("tests.placed:Waiting", name="t009")
    outcome = there.run(given, lease(there, "t009"))
    assert outcome["state"] == "partial" and outcome["seconds"] < 30


def test_whoever_shares_machine_and_folder_is_at_home(tmp_path: Path) -> None:
    assert not is_here(tmp_path, boot_id())
    (tmp_path / "setup.json").touch()
    assert is_here(tmp_path, boot_id()) and not is_here(tmp_path, "another")
