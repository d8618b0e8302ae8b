"""Where a search happens: in this process, in one of its own, or as a guest in a Ray that the caller has open."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from lepton_ray import LeptonClassifier
from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_host import in_process
from lepton_ray.on_host.in_process import Limits
from lepton_ray.on_ray import guest


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


@pytest.fixture
def open_ray() -> Iterator[Any]:
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.mark.skip(reason="an open ray.init in this process leaves its token to every later Ray: needs its own process")
@pytest.mark.ray
def test_a_guest_ends_nothing(
    no_border: None, open_ray: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Counter:
        def __init__(self) -> None:
            self.count = 0

        def more(self) -> int:
            self.count += 1
            return self.count

    counter = open_ray.remote(Counter).options(num_cpus=0).remote()
    assert open_ray.get(counter.more.remote()) == 1
    assert guest.is_open()
    monkeypatch.setattr("lepton_ray.search.policy.PATIENCE", 6)
    X, y = table()
    model = LeptonClassifier(deadline="30s").fit(X, y)
    assert "ray" in set(model.leaderboard_["driver"]) and model.score(X, y) > 0.85
    assert open_ray.is_initialized() and open_ray.get(counter.more.remote()) == 2
    assert "View detailed results" not in capsys.readouterr().out


@pytest.mark.ray
def test_a_ray_without_cores_to_spare_is_let_alone(open_ray: Any) -> None:
    class Busy:
        def here(self) -> bool:
            return True

    busy = open_ray.remote(Busy).options(num_cpus=2).remote()
    assert open_ray.get(busy.here.remote()) and not guest.is_open()
