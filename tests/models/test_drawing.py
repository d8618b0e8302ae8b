"""Trees drawn as ONNX, where they are not as usual: bare leaves, sets of categories, gaps that are zeros."""

from pathlib import Path

import lightgbm as lgb
import numpy as np
import pytest

from lepton_ray.bundle.onnx_file import write_onnx
from lepton_ray.errors import BundleError
from lepton_ray.features.graph import Graph, Type, Wire
from lepton_ray.models.drawing import Branches, leaf_sums
from lepton_ray.models.lightgbm_trees import boosted

pytest.importorskip("onnx", reason="needs the extra [onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")


def ran(graph: Graph, answer: Wire, outputs: int, cells: np.ndarray, path: Path) -> np.ndarray:
    write_onnx(path, graph, {"said": (answer, Type.DOUBLE, outputs)})
    return np.asarray(onnxruntime.InferenceSession(path).run(None, {"cells": cells})[0])


def check_booster(params: dict, cells: np.ndarray, y: np.ndarray, rows: np.ndarray, path: Path) -> lgb.Booster:
    fixed = {"verbosity": -1, "num_threads": 1, "min_data_in_leaf": 2, "seed": 1}
    categorical = params.pop("categorical", [])
    booster = lgb.train(fixed | params, lgb.Dataset(cells, y, categorical_feature=categorical), 20)
    graph = Graph()
    answer = boosted(booster.model_to_string()).draw(graph.input("cells", Type.DOUBLE, cells.shape[1]))
    expected = np.asarray(booster.predict(rows, num_threads=1))
    if "binary" in params.get("objective", ""):
        expected = np.column_stack([1.0 - expected, expected])
    expected = expected.reshape(len(rows), -1)
    np.testing.assert_allclose(ran(graph, answer, expected.shape[1], rows, path), expected, rtol=1e-12, atol=1e-14)
    return booster


def test_sets_of_many_categories(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = np.column_stack([rng.integers(0, 300, 3000), rng.integers(0, 40, 3000)]).astype(float)
    codes[rng.random(codes.shape) < 0.05] = np.nan
    effect = rng.normal(size=(300, 2))
    y = np.nan_to_num(effect[np.nan_to_num(codes[:, 0]).astype(int), 0]) + rng.normal(0, 0.1, 3000)
    params = {"objective": "regression", "categorical": [0, 1], "max_cat_threshold": 200, "cat_smooth": 1.0}
    rows = np.vstack([codes, [[np.nan, np.nan], [1000.0, 77.0], [301.0, 0.0]]])
    booster = check_booster(params, codes, y, rows, tmp_path / "sets.onnx")
    assert max(len(of) for of in boosted(booster.model_to_string()).trees.members.values()) > 32


@pytest.mark.parametrize("gaps", [False, True])
def test_gaps_go_where_lightgbm_lets_them(gaps: bool, tmp_path: Path) -> None:
    """Where training had no gaps, LightGBM takes a gap for 0."""
    rng = np.random.default_rng(1)
    cells = rng.normal(size=(500, 3))
    cells[:, 2] -= 5.0
    if gaps:
        cells[rng.random(cells.shape) < 0.2] = np.nan
    y = (np.nan_to_num(cells).sum(axis=1) > -5).astype(int)
    rows = cells.copy()
    rows[rng.random(cells.shape) < 0.3] = np.nan
    check_booster({"objective": "binary"}, cells, y, rows, tmp_path / "gaps.onnx")


def test_trees_that_are_one_leaf(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    cells = rng.normal(size=(60, 1))
    y = rng.integers(0, 3, 60)
    params = {"objective": "multiclass", "num_class": 3, "min_gain_to_split": 1e6}
    booster = check_booster(params, cells, y, cells, tmp_path / "bare.onnx")
    assert (boosted(booster.model_to_string()).trees.roots < 0).all()


def test_zeros_that_are_gaps_are_refused() -> None:
    rng = np.random.default_rng(3)
    cells = rng.integers(0, 3, (200, 2)).astype(float)
    data = lgb.Dataset(cells, cells.sum(axis=1), params={"zero_as_missing": True, "verbosity": -1})
    booster = lgb.train({"verbosity": -1, "zero_as_missing": True, "min_data_in_leaf": 2}, data, 2)
    with pytest.raises(BundleError, match="Zeros count as missing"):
        boosted(booster.model_to_string())


@pytest.mark.parametrize("outputs", [1, 3])
def test_sums_of_whole_numbers_are_exact(outputs: int, tmp_path: Path) -> None:
    """A tree of two nodes, then a bare leaf."""
    trees = Branches(
        roots=np.array([0, ~3]),
        feature=np.array([0, 1]),
        threshold=np.array([0.5, -1.0]),
        left=np.array([~0, ~1]),
        right=np.array([1, ~2]),
        missing_left=np.array([True, False]),
        members={},
    )
    leaves = np.arange(4 * outputs, dtype=np.uint32).reshape(4, outputs) + np.uint32(2**31 - 100)
    cells = np.array([[0.5, 0.0], [0.6, -1.0], [0.6, -0.9], [np.nan, 9.0], [1.0, np.nan]])
    graph = Graph()
    if outputs > 1:
        leaves = (leaves % 60_000).astype(np.uint16)
    answer = leaf_sums(graph.input("cells", Type.DOUBLE, 2), trees, leaves, np.array([0, 0, 0, 1]))
    expected = leaves[[0, 1, 2, 0, 2]].astype(np.int64) + leaves[3].astype(np.int64)
    assert np.array_equal(ran(graph, answer, outputs, cells, tmp_path / "sums.onnx"), expected)
