"""What is CatBoost's own: early stopping, the lease, categories, silence, and how long a round may take."""

from pathlib import Path

import numpy as np
import pytest

from lepton_ray.errors import BundleError
from lepton_ray.features.matrix import Matrix
from lepton_ray.models.family import Batch
from lepton_ray.table.schema import Problem, Task

pytest.importorskip("catboost", reason="needs the extra [catboost]")

from lepton_ray.models.catboost import CatBoostFamily, CatBoostModel  # noqa: E402

BINARY = Problem("t", Task.BINARY, ("no", "yes"), "roc_auc", "yes")
VALUES = Problem("t", Task.REGRESSION, (), "rmse")


def noise_and_signal(n: int, seed: int = 0) -> tuple[Matrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n, 5))
    return Matrix(dense, names=tuple("abcde")), (dense[:, 0] + rng.normal(0, 2.0, n) > 0).astype(np.int64)


def fitted(X: Matrix, y: np.ndarray, config: dict, problem: Problem = BINARY, **options: object) -> CatBoostModel:
    given = {"valid": None, "stop": lambda: False, "seed": 0, "threads": 1} | options
    model = CatBoostFamily().fit(Batch(X, y), given.pop("valid"), config, problem=problem, **given)
    assert isinstance(model, CatBoostModel)
    return model


def test_validation_rows_end_the_boosting_at_the_best_round() -> None:
    X, y = noise_and_signal(600)
    valid = Batch(*noise_and_signal(600, 1))
    asked: list[int] = []
    model = fitted(X, y, {"rounds": 500, "patience": 20}, valid=valid, stop=lambda: bool(asked.append(1)))
    rounds = model.effort["rounds"]
    assert 1 < rounds < 100
    assert len(asked) == rounds + 20
    stages = [1.0 / (1.0 + np.exp(-said)) for said in model.trees.staged_predict(valid.X.dense.astype(np.float32))]
    losses = [-np.log(np.where(valid.y == 1, stage, 1.0 - stage)).mean() for stage in stages]
    assert losses[-1] == min(losses)
    assert model.predict(valid.X)[:, 1] == pytest.approx(stages[-1], abs=1e-12)


@pytest.mark.parametrize("valid", [None, Batch(*noise_and_signal(200, 1))])
def test_stop_is_asked_after_every_round(valid: Batch | None) -> None:
    X, y = noise_and_signal(300)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 7

    rounds = fitted(X, y, {"rounds": 100}, stop=stop, valid=valid).effort["rounds"]
    assert len(asked) == 7
    assert rounds == 7 if valid is None else 1 <= rounds <= 7


@pytest.mark.parametrize("one_hot", [2, 50])
def test_codes_have_no_order(one_hot: int) -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 20, 4000).astype(float)
    y = np.isin(codes, rng.permutation(20)[:10]).astype(np.int64)
    X = Matrix(codes[:, None], names=("c",), categorical=(0,))
    said = fitted(X, y, {"rounds": 60, "one_hot_max_size": one_hot}).predict(X)[:, 1]
    assert np.array_equal(said > 0.5, y == 1)


@pytest.mark.parametrize("metric", ["rmse", "mae", "mape", "r2"])
@pytest.mark.parametrize("target", ["plain", "log1p"])
def test_values_are_learned_for_their_metric(metric: str, target: str) -> None:
    rng = np.random.default_rng(3)
    dense = rng.normal(size=(800, 3))
    y = np.exp(3.0 + dense[:, 0] + rng.normal(0, 0.3, 800))
    X = Matrix(dense, names=tuple("abc"))
    problem = Problem("t", Task.REGRESSION, (), metric)
    said = fitted(X, y, {"target": target}, problem, valid=Batch(X.rows(slice(600, 800)), y[600:])).predict(X)
    assert np.median(np.abs(said - y) / y) < 0.3


def test_nothing_is_printed_and_no_file_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    X, y = noise_and_signal(300)
    y[:100] = 2  # and a class of three that is not there
    problem = Problem("t", Task.MULTICLASS, ("a", "b", "c", "d"), "log_loss")
    fitted(X, y, {"rounds": 5}, problem, valid=Batch(X, np.where(y == 2, 3, y))).predict(X)
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_a_round_looks_at_fewer_columns_where_it_would_take_too_long() -> None:
    rng = np.random.default_rng(0)
    X, y = Matrix(rng.normal(size=(2000, 200)), names=tuple(map(str, range(200)))), rng.integers(0, 90, 2000)
    problem = Problem("t", Task.MULTICLASS, tuple(f"class {code:02}" for code in range(90)), "log_loss")
    share = fitted(X, y, {"rounds": 1, "depth": 2}, problem).trees.get_all_params()["rsm"]
    assert share == pytest.approx(15e6 / (2000 * 200 * 90))


def test_the_portfolio_starts_with_a_quick_default_and_depends_on_the_table() -> None:
    family = CatBoostFamily()
    small, large = (family.configs(BINARY, n_rows, 20) for n_rows in (500, 300_000))
    assert small[0] == large[0] == min(small, key=lambda config: family.work(config, BINARY, 500, 20))
    assert small[1]["depth"] < large[1]["depth"]
    assert any(config["target"] == "log1p" for config in family.configs(VALUES, 5000, 20))


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    X, y = noise_and_signal(200)
    fitted(X, y, {"rounds": 3}).save(tmp_path)
    (tmp_path / "catboost.cbm").write_bytes(b"CBM1 and then nothing")
    with pytest.raises(BundleError, match="cannot be read"):
        CatBoostFamily().load(tmp_path)
    (tmp_path / "catboost.cbm").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        CatBoostFamily().load(tmp_path)
