"""Where a search happens: in this process, in one of its own, or as a guest in a Ray that the caller has open."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_ray import LeptonClassifier
from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_host import in_process
from lepton_ray.on_host.in_process import Limits


@pytest.mark.parametrize(
    ("rows", "seconds", "max_trials", "apart"),
    [
        (1_999, 3600.0, None, False),
        (2_000, 61.0, None, True),
        (2_000, 60.0, None, False),
        (20_000, 60.0, None, False),
        (20_001, 60.0, None, True),
        (20_001, 29.0, None, False),
        (10**6, 3600.0, 2, False),
        (10**6, None, 2, False),
    ],
)
def test_the_border(rows: int, seconds: float | None, max_trials: int | None, apart: bool) -> None:
    budget = None if seconds is None else Budget.resolve(None, seconds, Dollars.parse("0.1"))
    assert Limits(budget, max_trials).apart(rows) is apart


@pytest.fixture
def no_border(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every search with a wall is worth more than this process."""
    for name in ("SMALL_ROWS", "SHORT_SECONDS", "ONE_CORE_ROWS", "ONE_CORE_SECONDS"):
        monkeypatch.setattr(in_process, name, 0)


def table(rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(1).normal(size=(rows, 4))
    X[::9, 2] = np.nan
    return X, np.where(X[:, 0] + np.nan_to_num(X[:, 2]) > 0.3, "?", "nan")


@pytest.mark.ray
def test_a_run_of_its_own(no_border: None, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = table()
    model = LeptonClassifier(deadline="20s").fit(X, y, sample_weight=np.linspace(0.5, 1.5, len(y)))
    assert model.score(X, y) > 0.5 and model.classes_.tolist() == ["?", "nan"]
    assert model.receipt_.held and {stage.stage for stage in model.receipt_.stages} >= {"read", "report"}
    assert len(model.bundle_.plan.schema.columns) == 4 and not model.bundle_.plan.rows.duplicates
    assert not list(tmp_path.iterdir())


GUEST = """
import ray
ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)

from lepton_ray import LeptonClassifier
from lepton_ray.on_host import in_process
from lepton_ray.on_ray import guest
from tests.estimators.test_where import table

class Counter:
    count = 0
    def more(self):
        self.count += 1
        return self.count

for name in ("SMALL_ROWS", "SHORT_SECONDS", "ONE_CORE_ROWS", "ONE_CORE_SECONDS"):
    setattr(in_process, name, 0)
greedy = ray.remote(Counter).options(num_cpus=2).remote()
assert ray.get(greedy.more.remote()) == 1
while guest.is_open():  # a Ray without cores to spare is let alone, as soon as Ray has heard of it
    assert ray.get(greedy.more.remote())
ray.kill(greedy)
counter = ray.remote(Counter).options(num_cpus=0).remote()
assert ray.get(counter.more.remote()) == 1
while not guest.is_open():
    assert ray.get(ray.remote(num_cpus=1)(bool).remote(1))
X, y = table()
model = LeptonClassifier(deadline="30s", families=["linear", "lightgbm"]).fit(X, y)
assert "ray" in set(model.leaderboard_["driver"]) and model.score(X, y) > 0.85, model.leaderboard_
assert ray.is_initialized() and ray.get(counter.more.remote()) == 2, "what the caller has open goes on"
"""


@pytest.mark.ray
def test_a_guest_ends_nothing_and_says_nothing(tmp_path: Path) -> None:
    """In a process of its own: a Ray that was open leaves its token to every later one."""
    root = str(Path(__file__).parents[2])
    around = {**os.environ, "PYTHONPATH": root, "RAY_AUTH_TOKEN": "7" * 64, "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", GUEST], cwd=tmp_path, env=around, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "" and not list(tmp_path.iterdir())
