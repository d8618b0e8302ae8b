"""What is the forests' own: their trees in arrays, ordered categories, shrunk leaves, sharpened shares, the lease."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.tree import DecisionTreeRegressor

from lepton_ray.errors import BundleError
from lepton_ray.features.matrix import Matrix
from lepton_ray.models import forest_space
from lepton_ray.models.family import Batch
from lepton_ray.models.forest import ForestFamily, extra_trees, random_forest
from lepton_ray.models.forest_columns import learned_columns
from lepton_ray.models.forest_growth import shrunk
from lepton_ray.models.forest_space import least_leaf, rows_per_tree, settings_of
from lepton_ray.models.sharpness import best_power, sharpened
from lepton_ray.models.trees import Tree, Trees, by_level, float32_below
from lepton_ray.table.schema import Problem, Task
from tests.examples import one_in

BINARY = Problem("t", Task.BINARY, ("no", "yes"), "roc_auc", "yes")
FAMILIES = pytest.mark.parametrize("family", one_in(2, [random_forest, extra_trees]), ids=lambda family: family.name)


def rows(n: int, seed: int = 0) -> tuple[Matrix, np.ndarray]:
    rng = np.random.default_rng(seed)
    dense = rng.normal(size=(n, 5))
    y = (dense[:, 0] + dense[:, 1] + rng.normal(0, 1.0, n) > 0).astype(np.int64)
    dense[rng.random((n, 5)) < 0.1] = np.nan
    return Matrix(dense, names=tuple("abcde")), y


def fitted(family: ForestFamily, X: Matrix, y: np.ndarray, config: dict, problem: Problem = BINARY, **options: object):
    given = {"valid": None, "stop": lambda: False, "seed": 0, "threads": 1} | options
    return family.fit(Batch(X, y), given.pop("valid"), config, problem=problem, **given)


@pytest.mark.parametrize("splitter", ["best", "random"])
@pytest.mark.parametrize("gaps", [True, False])
def test_rows_end_in_the_leaves_of_scikit_learn(splitter: str, gaps: bool) -> None:
    rng = np.random.default_rng(1)
    cells = rng.normal(size=(600, 4)).astype(np.float32)
    cells[:, 3] = 1.0  # told apart by its gaps only: a threshold of infinity
    more = np.concatenate([cells, rng.normal(size=(200, 4)).astype(np.float32)])
    if gaps:
        cells[rng.random(cells.shape) < 0.2] = np.nan
        more[rng.random(more.shape) < 0.2] = np.nan
    y = np.nan_to_num(cells).sum(axis=1) + np.isnan(cells[:, 3])
    grown = [DecisionTreeRegressor(splitter=splitter, random_state=seed).fit(cells, y).tree_ for seed in range(3)]
    trees, values = [], []
    for tree in grown:
        order = np.concatenate(by_level(tree.children_left, tree.children_right))
        leaf = tree.children_left[order] < 0
        feature = np.where(leaf, -1, tree.feature[order]).astype(np.int32)
        trees.append(Tree(feature, float32_below(tree.threshold[order]), tree.missing_go_to_left[order] == 0))
        values.append(tree.value[order[leaf], 0, 0])
    walked = np.zeros((3, len(more)))
    for part, leaf in Trees.of(trees).walk(more):
        walked[:, part] = np.concatenate(values)[leaf]
    assert np.array_equal(walked, [tree.predict(more)[:, 0] for tree in grown])


def test_a_threshold_in_float32_keeps_every_float32_on_its_side() -> None:
    rng = np.random.default_rng(2)
    thresholds = np.concatenate([rng.normal(size=1000), [0.1, np.inf, -0.1, 1e30]])
    near = thresholds.astype(np.float32)
    for x in (near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))):
        kept = np.isfinite(x)
        assert np.array_equal((x <= thresholds)[kept], (x <= float32_below(thresholds))[kept])


@pytest.mark.parametrize("feature", [[0, -1], [-1, -1, 0], [0, 0, -1], []])
def test_arrays_that_are_no_trees_are_refused(feature: list[int]) -> None:
    n = len(feature)
    arrays = {"feature": np.array(feature, np.int32), "threshold": np.zeros(n, np.float32)}
    with pytest.raises(BundleError, match="damaged"):
        Trees.from_arrays(arrays | {"missing_right": np.zeros(n, np.uint8), "sizes": np.array([n], np.int32)})


def test_a_leaf_is_drawn_towards_its_ancestors() -> None:
    left, right = np.array([1, -1, 3, -1, -1]), np.array([2, -1, 4, -1, -1])
    means, weight = np.array([[0.5], [0.25], [0.75], [0.0], [1.0]]), np.array([8.0, 4.0, 4.0, 1.0, 3.0])
    levels = by_level(left, right)
    assert np.array_equal(shrunk(means, weight, levels, left, right, strength=0.0), means)
    told = shrunk(means, weight, levels, left, right, strength=4.0)[:, 0]
    inner = 0.5 + 0.25 / 1.5
    assert told == pytest.approx([0.5, 0.5 - 0.25 / 1.5, inner, inner - 0.75 / 2.0, inner + 0.25 / 2.0])


@FAMILIES
@pytest.mark.parametrize("task", [Task.BINARY, Task.MULTICLASS])
def test_many_levels_without_an_order_are_told_apart(family: ForestFamily, task: Task) -> None:
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 300, 6000).astype(float)
    kinds = rng.integers(0, 2 if task is Task.BINARY else 3, 300)
    y = np.where(rng.random(6000) < 0.9, kinds[codes.astype(int)], 0)
    problem = Problem("t", task, ("a", "b", "c")[: kinds.max() + 1], "log_loss")
    config = {"trees": 10, "min_leaf": 100}
    as_codes = Matrix(codes[:, None], names=("c",), categorical=(0,))
    as_number = Matrix(codes[:, None], names=("c",))
    hits = [
        (np.argmax(fitted(family, X, y, config, problem).predict(X), axis=1) == y).mean() for X in (as_codes, as_number)
    ]
    assert hits[0] > 0.8
    assert hits[0] > hits[1] + 0.15


def test_a_level_that_training_lacked_is_in_the_middle_and_a_rare_one_near_it() -> None:
    codes = np.repeat([0.0, 1.0, 3.0], [100, 100, 1])
    y = np.repeat([0.0, 10.0, 10.0], [100, 100, 1])
    X = Matrix(np.concatenate([codes, [2.0, 9.0, np.nan]])[:, None], names=("c",), categorical=(0,))
    seen = X.rows(slice(0, 201))
    cells = learned_columns(seen, y, np.ones(201), 0).cells(X)[:, 0]
    low, high, rare, lacking, unknown, missing = cells[[0, 100, 200, 201, 202, 203]]
    assert low < 0.0 < rare < high / 2.0
    assert lacking == unknown == 0.0
    assert np.isnan(missing)


def test_the_power_of_shares_is_found_and_few_rows_do_not_move_it() -> None:
    rng = np.random.default_rng(4)
    honest = rng.dirichlet(np.full(4, 0.5), 4000)
    truth = np.array([rng.multinomial(1, p) for p in honest]).astype(np.float64)
    cautious = sharpened(honest, 1.0 / 2.5)
    assert best_power(cautious, truth, np.ones(4000)) == pytest.approx(2.5, rel=0.1)
    assert best_power(honest, truth, np.ones(4000)) == pytest.approx(1.0, abs=0.1)
    assert best_power(cautious[:4], truth[:4], np.ones(4)) < 1.5
    whole = sharpened(cautious, 2.5)
    assert whole == pytest.approx(honest, abs=1e-6)
    assert np.array_equal(sharpened(cautious[17:18], 2.5)[0], whole[17])


@FAMILIES
def test_stop_is_asked_after_every_tree_and_what_has_grown_is_kept(family: ForestFamily) -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 7

    X, y = rows(300)
    cut = fitted(family, X, y, {"trees": 50}, stop=stop)
    assert cut.effort["trees"] == 7
    assert np.array_equal(cut.predict(X), fitted(family, X, y, {"trees": 7}).predict(X))


@pytest.mark.exam
@FAMILIES
def test_threads_do_not_change_the_forest(family: ForestFamily) -> None:
    X, y = rows(400)
    valid = Batch(*rows(300, 1))
    one, two = (fitted(family, X, y, {"trees": 300}, valid=valid, threads=threads) for threads in (1, 3))
    assert one.effort == two.effort
    assert np.array_equal(one.predict(X), two.predict(X))


@pytest.mark.exam
def test_there_are_no_more_trees_than_are_worth_it() -> None:
    (X, y), valid = rows(800), Batch(*rows(800, 1))
    calm, wild = (
        fitted(random_forest, X, y, {"trees": 300, **config}, valid=valid).effort["trees"]
        for config in ({"min_leaf": 60, "shrink": 50.0}, {"min_leaf": 1, "shrink": 0.1})
    )
    assert calm < wild


@FAMILIES
@pytest.mark.parametrize(("metric", "centre"), [("rmse", np.mean), ("mae", np.median)])
def test_a_logarithm_comes_back_where_the_metric_is_best(family: ForestFamily, metric: str, centre) -> None:
    y = np.random.default_rng(5).lognormal(3.0, 1.0, 4000)
    X = Matrix(np.random.default_rng(6).normal(size=(4000, 1)), names=("noise",))
    problem = Problem("t", Task.REGRESSION, (), metric)
    said = fitted(family, X, y, {"target": "log1p", "min_leaf": 500, "trees": 20}, problem).predict(X)
    assert np.mean(said) == pytest.approx(centre(y), rel=0.06)


@pytest.mark.exam
def test_no_certainty_comes_out_of_few_rows() -> None:
    X, y = rows(60)
    said = fitted(random_forest, X, y, {"shrink": 1.0}).predict(X)
    assert 0.0 < said.min() < said.max() < 1.0
    three = Problem("t", Task.MULTICLASS, ("a", "b", "c"), "log_loss")
    assert 0.0 < fitted(extra_trees, X, y, {}, three).predict(X)[:, 2].max() < 0.01


def test_rows_of_a_tree_and_size_of_a_forest_are_bounded() -> None:
    assert rows_per_tree(50_000, 7, random=False) == 50_000
    assert rows_per_tree(50_000, 50, random=False) < 20_000
    assert rows_per_tree(10_000_000, 100, random=True) >= 1000
    values = Problem("t", Task.REGRESSION, (), "rmse")
    for problem in (BINARY, values, Problem("t", Task.MULTICLASS, tuple(map(str, range(100))), "log_loss")):
        settings = settings_of({"trees": 300}, problem)
        leaves = 300 * 1_000_000 / least_leaf(settings, problem, 1_000_000)
        assert leaves * 2 * (len(problem.classes) or 2) <= forest_space._STORED
    assert least_leaf(settings_of({"min_leaf": 5}, BINARY), BINARY, 100) == 5


@pytest.mark.process
def test_a_model_is_loaded_and_asked_without_scikit_learn(tmp_path: Path) -> None:
    X, y = rows(200)
    fitted(extra_trees, X, y, {"trees": 5}).save(tmp_path)
    code = f"""
import sys, numpy as np
from pathlib import Path
from lepton_ray.features.matrix import Matrix
from lepton_ray.models.registry import family
model = family("extra_trees").load(Path({str(tmp_path)!r}))
print(model.predict(Matrix(np.zeros((1, 5)), names=tuple("abcde"))).shape, "sklearn" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1, 2) False"


def test_a_damaged_model_is_refused(tmp_path: Path) -> None:
    X, y = rows(200)
    model = fitted(random_forest, X, y, {"trees": 3})
    model.save(tmp_path)
    facts = (tmp_path / "model.json").read_text()
    (tmp_path / "model.json").write_text(facts.replace('"owners"', '"others"'))
    with pytest.raises(BundleError, match="lacks 'owners'"):
        random_forest.load(tmp_path)
    (tmp_path / "model.json").write_text(facts)
    (tmp_path / "model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BundleError, match="cannot be read"):
        random_forest.load(tmp_path)
