"""What is the network's own: torch and numpy agree, the best epoch is kept, the lease, how rows are read."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from lepton_ray.features.matrix import Matrix
from lepton_ray.models.family import Batch
from lepton_ray.models.mlp import MLPFamily, MLPModel
from lepton_ray.models.mlp_forward import scores
from lepton_ray.models.mlp_rows import reading_of
from lepton_ray.table.schema import Problem, Task

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

BINARY = Problem("t", Task.BINARY, ("no", "yes"), "roc_auc", "yes")
VALUES = Problem("t", Task.REGRESSION, (), "rmse")


def rows(n: int, seed: int = 0) -> tuple[Matrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    dense = np.column_stack([rng.normal(size=(n, 2)), rng.integers(0, 5, n)])
    dense[rng.random(n) < 0.1, 1] = np.nan
    cells = sparse.random(n, 3, density=0.3, random_state=seed, format="csr", dtype=np.float32)
    X = Matrix(dense, cells, ("a", "b", "c"), (2,), (("w", 3),))
    return X, (dense[:, 0] + (dense[:, 2] == 1) + rng.normal(0, 0.5, n) > 0).astype(np.int64)


def fitted(X: Matrix, y: np.ndarray, config: dict, problem: Problem = BINARY, **options: object) -> MLPModel:
    given = {"valid": None, "stop": lambda: False, "seed": 0, "threads": 1} | options
    model = MLPFamily().fit(Batch(X, y), given.pop("valid"), config, problem=problem, **given)
    assert isinstance(model, MLPModel)
    return model


@pytest.mark.parametrize("bend", ["selu", "mish"])
def test_numpy_says_what_torch_says(bend: str) -> None:
    from lepton_ray.models.mlp_network import Network

    X, _ = rows(100)
    inputs = reading_of(X).inputs(X)
    config = {"bend": bend, "dropout": 0.5, "frequency": 1.0}
    torch.manual_seed(0)
    network = Network((2, 4, 1), 7, 3, hidden=[16, 16], config=config).eval()
    with torch.no_grad():
        by_torch = network(*(torch.from_numpy(part) for part in (inputs.numbers, inputs.plain, inputs.codes))).numpy()
    assert np.allclose(scores(network.arrays(), bend, inputs), by_torch, atol=1e-5)


def test_a_model_predicts_without_torch(tmp_path: Path) -> None:
    X, y = rows(100)
    model = fitted(X, y, {"epochs": 2})
    model.save(tmp_path)
    np.save(tmp_path / "dense.npy", X.dense)
    code = (
        "import sys, json, numpy as np; from pathlib import Path; from lepton_ray.models.registry import family\n"
        "from lepton_ray.features.matrix import Matrix; from scipy import sparse\n"
        "place = Path(sys.argv[1]); model = family('mlp', fits=False).load(place)\n"
        "X = Matrix(np.load(place / 'dense.npy'), sparse.csr_matrix((100, 3)), ('a', 'b', 'c'), (2,), (('w', 3),))\n"
        "print(json.dumps(['torch' in sys.modules, model.predict(X).tolist()]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    loaded, said = json.loads(done.stdout)
    assert not loaded
    blank = Matrix(X.dense, sparse.csr_matrix((100, 3)), X.names, X.categorical, X.groups)
    assert np.array_equal(model.predict(blank), said)


def test_the_epoch_that_judged_best_is_kept() -> None:
    X, y = rows(300)
    later, truth = rows(300, 1)
    model = fitted(X, y, {"epochs": 40, "patience": 40, "dropout": 0.0}, valid=Batch(later, truth))
    assert 1 <= model.epochs < 40

    def loss(said: np.ndarray) -> float:
        return float(-np.log(said[np.arange(300), truth]).mean())

    unjudged = fitted(X, y, {"epochs": 40, "dropout": 0.0})
    assert loss(model.predict(later)) < loss(unjudged.predict(later))


def test_stop_is_asked_within_an_epoch() -> None:
    X, y = rows(400)
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 7

    assert fitted(X, y, {"epochs": 50, "batch": 100}, stop=stop).effort == {"epochs": 2}
    assert len(asked) == 7


def test_torch_is_left_as_it_was_found() -> None:
    X, y = rows(60)
    torch.manual_seed(5)
    threads, expected = torch.get_num_threads(), torch.rand(3)
    torch.manual_seed(5)
    fitted(X, y, {"epochs": 1}, threads=threads + 1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_numbers_are_read_by_their_rank_and_gaps_are_flagged() -> None:
    dense = np.column_stack([np.exp(np.linspace(0.0, 9.0, 200)), np.repeat([1.0, 2.0], 100)])
    dense[0, 1] = np.nan
    X = Matrix(dense, names=("a", "b"))
    inputs = reading_of(X).inputs(X)
    assert np.all(np.diff(inputs.numbers[:, 0]) > 0)
    assert inputs.numbers[:, 0].std() == pytest.approx(1.0, abs=0.05)
    assert len(np.unique(inputs.numbers[1:, 1])) == 2
    assert inputs.numbers[0, 1] == 0.0
    assert inputs.plain[:, 0].tolist() == [1.0] + [0.0] * 199
    beyond = reading_of(X).inputs(Matrix(np.array([[-1e300, 1e300]]), names=("a", "b")))
    assert np.abs(beyond.numbers).max() < 4.0


def test_a_code_never_seen_and_a_missing_one_have_places_of_their_own() -> None:
    X = Matrix(np.array([[0.0, 1.0], [2.0, np.nan]]), names=("a", "b"), categorical=(0, 1))
    reading = reading_of(X)
    assert reading.tables == (5, 4)
    look = Matrix(np.array([[0.0, 1.0], [9.0, np.nan], [np.nan, 9.0]]), names=("a", "b"), categorical=(0, 1))
    assert reading.inputs(look).codes.tolist() == [[1, 7], [0, 8], [4, 5]]


def test_values_are_not_followed_beyond_the_training_rows() -> None:
    x = np.linspace(0.0, 1.0, 200)[:, None]
    model = fitted(Matrix(x, names=("a",)), 100.0 + x[:, 0], {"epochs": 20}, VALUES)
    said = model.predict(Matrix(np.array([[-1e9], [1e9]]), names=("a",)))
    assert np.all((said >= 100.0) & (said <= 101.0))


@pytest.mark.parametrize("metric", ["rmse", "mae", "mape", "r2"])
@pytest.mark.parametrize("target", ["plain", "log1p"])
def test_values_are_learned_for_their_metric(metric: str, target: str) -> None:
    rng = np.random.default_rng(3)
    dense = rng.normal(size=(800, 3))
    y = np.exp(3.0 + dense[:, 0] + rng.normal(0, 0.3, 800))
    X = Matrix(dense, names=tuple("abc"))
    problem = Problem("t", Task.REGRESSION, (), metric)
    config = {"target": target, "epochs": 30}
    said = fitted(X, y, config, problem, valid=Batch(X.rows(slice(600, 800)), y[600:])).predict(X)
    assert np.median(np.abs(said - y) / y) < 0.35


def test_the_portfolio_starts_with_the_plain_default_and_depends_on_the_table() -> None:
    family = MLPFamily()
    small, large = (family.configs(BINARY, n_rows, 20) for n_rows in (500, 300_000))
    assert small[0] == large[0] == {}
    assert small != large
    assert any(config.get("target") == "log1p" for config in family.configs(VALUES, 5000, 20))
    assert np.all(np.diff([family.work(large[place], BINARY, 300_000, 20) for place in (0, 1, 3)]) > 0)
