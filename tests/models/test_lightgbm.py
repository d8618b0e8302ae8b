"""What is LightGBM's own: early stopping, the lease, categories, the portfolio's order."""

import numpy as np
import pytest

from lepton_ray.errors import BundleError
from lepton_ray.features.matrix import Matrix
from lepton_ray.models.family import Batch
from lepton_ray.models.lightgbm import LightGBMFamily
from lepton_ray.table.schema import Problem, Task
from tests.examples import one_in

BINARY = Problem("t", Task.BINARY, ("no", "yes"), "roc_auc", "yes")
VALUES = Problem("t", Task.REGRESSION, (), "rmse")


def noise_and_signal(n: int, seed: int = 0) -> tuple[Matrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n, 5))
    return Matrix(dense, names=tuple("abcde")), (dense[:, 0] + rng.normal(0, 2.0, n) > 0).astype(np.int64)


def fitted(X: Matrix, y: np.ndarray, config: dict, problem: Problem = BINARY, **options: object):
    given = {"valid": None, "stop": lambda: False, "seed": 0, "threads": 1} | options
    return LightGBMFamily().fit(Batch(X, y), given.pop("valid"), config, problem=problem, **given)


@pytest.mark.exam
def test_validation_rows_end_the_boosting_at_the_best_round() -> None:
    X, y = noise_and_signal(600)
    valid = Batch(*noise_and_signal(600, 1))
    config = {"rounds": 500, "patience": 20}
    model = fitted(X, y, config, valid=valid)
    assert 1 <= model.rounds < 100
    assert model.booster.num_trees() == model.rounds

    def loss(rounds: int) -> float:
        said = fitted(X, y, {"rounds": rounds}).predict(valid.X)
        return -np.log(said[np.arange(600), valid.y]).mean()

    best = -np.log(model.predict(valid.X)[np.arange(600), valid.y]).mean()
    assert best == pytest.approx(min(loss(rounds) for rounds in range(1, model.rounds + 21)), rel=1e-12)


def test_stop_is_asked_after_every_round() -> None:
    X, y = noise_and_signal(300)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 7

    assert fitted(X, y, {"rounds": 100}, stop=stop).effort == {"rounds": 7}


def test_codes_are_split_as_sets_not_as_an_order() -> None:
    rng = np.random.default_rng(2)
    codes = rng.integers(0, 20, 4000).astype(float)
    y = np.isin(codes, rng.permutation(20)[:10]).astype(np.int64)
    config = {"rounds": 1, "learning_rate": 1.0, "num_leaves": 2, "min_data_per_group": 1, "cat_smooth": 0.0}
    as_set = fitted(Matrix(codes[:, None], names=("c",), categorical=(0,)), y, config)
    as_order = fitted(Matrix(codes[:, None], names=("c",)), y, config)
    accuracy = [(model.predict(Matrix(codes[:, None], names=("c",)))[:, 1] > 0.5) == y for model in (as_set, as_order)]
    assert accuracy[0].mean() == 1.0
    assert accuracy[1].mean() < 0.9


@pytest.mark.parametrize("metric", one_in(4, ["rmse", "mae", "mape", "r2"]))
@pytest.mark.parametrize("target", ["plain", "log1p"])
def test_values_are_learned_for_their_metric(metric: str, target: str) -> None:
    rng = np.random.default_rng(3)
    dense = rng.normal(size=(800, 3))
    y = np.exp(3.0 + dense[:, 0] + rng.normal(0, 0.3, 800))
    X = Matrix(dense, names=tuple("abc"))
    problem = Problem("t", Task.REGRESSION, (), metric)
    said = fitted(X, y, {"target": target}, problem, valid=Batch(X.rows(slice(600, 800)), y[600:])).predict(X)
    assert np.median(np.abs(said - y) / y) < 0.3


def test_the_portfolio_starts_with_the_plain_default_and_depends_on_the_table() -> None:
    family = LightGBMFamily()
    small, large = (family.configs(BINARY, n_rows, 20) for n_rows in (500, 300_000))
    assert small[0]["rounds"] == large[0]["rounds"] == 100
    assert (len(small), len(large)) == (12, 13)
    assert max(config["num_leaves"] for config in large[:2]) > max(config["num_leaves"] for config in small[:4])
    assert small[1]["num_leaves"] < large[1]["num_leaves"]
    assert len({str(sorted(config.items())) for config in small}) == 12
    assert any(config.get("target") == "log1p" for config in family.configs(VALUES, 5000, 20))


def test_a_damaged_model_is_refused(tmp_path) -> None:
    X, y = noise_and_signal(200)
    fitted(X, y, {"rounds": 3}).save(tmp_path)
    (tmp_path / "lightgbm.txt").unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        LightGBMFamily().load(tmp_path)
    (tmp_path / "model.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        LightGBMFamily().load(tmp_path)


@pytest.mark.parametrize("problem", [BINARY, VALUES], ids=["classes", "values"])
def test_one_row_is_enough_whatever_the_bag(problem: Problem) -> None:
    X, y = noise_and_signal(1)
    for config in LightGBMFamily().configs(problem, 100, 5):
        said = fitted(X, y if problem is BINARY else y * 1.5, config | {"rounds": 3}, problem).predict(X)
        assert np.isfinite(said).all() and len(said) == 1


def test_many_classes_of_few_rows_do_not_run_away() -> None:
    rng = np.random.default_rng(0)
    signal, step = rng.normal(size=2880), rng.integers(0, 3, 2880)
    problem = Problem("t", Task.MULTICLASS, tuple(f"k{code:03d}" for code in range(180)), "log_loss")
    X = Matrix(np.column_stack([signal, step]), names=("a", "b"))
    y = np.argsort(np.argsort(signal + (step == 0))) * 180 // 2880
    drawn = [LightGBMFamily().sample(problem, rng) for _ in range(20)]
    every = [*LightGBMFamily().configs(problem, 2400, 2), *drawn]
    assert all(config["lambda_l2"] >= 1.0 and config["rounds"] * 180 <= 20_000 for config in every)
    seen, rest = slice(0, 2400), slice(2400, None)
    said = fitted(X.rows(seen), y[seen], every[0] | {"rounds": 6}, problem).predict(X.rows(rest))
    assert -np.log(said[np.arange(480), y[rest]]).mean() < 3.2  # without the penalty 4.2, of a constant 5.2
