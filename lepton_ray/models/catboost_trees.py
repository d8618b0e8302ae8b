"""CatBoost's symmetric trees over numbers as arrays, from its own JSON. It knows nothing about features or fitting.

Its own ONNX holds leaves as float32 and, for classes, probabilities of those seen in training only; the JSON holds
doubles and plain scores, which mean here what they mean in ``predict``.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from catboost import CatBoost

from lepton_ray.features.graph import Wire
from lepton_ray.models.drawing import Branches, leaf_sums


def drawn_scores(trees: CatBoost, cells: Wire) -> Wire:
    """Draw the scores (n, outputs) of rows (n, numbers) whose cells are float32 numbers, as doubles."""
    with tempfile.TemporaryDirectory(prefix="lepton-catboost-") as place:
        trees.save_model(str(Path(place, "trees.json")), format="json")
        known: dict[str, Any] = json.loads(Path(place, "trees.json").read_text(encoding="utf-8"))
    numbers, (factor, start) = known["features_info"]["float_features"], known["scale_and_bias"]
    gap_left = {one["feature_index"]: one["nan_value_treatment"] != "AsTrue" for one in numbers}
    grown = [_tree(tree["splits"] or [], gap_left) for tree in known["oblivious_trees"]]
    answers = [
        np.reshape(tree["leaf_values"], (len(one.feature) + 1, -1))
        for tree, one in zip(known["oblivious_trees"], grown, strict=True)
    ]
    tree_of = np.repeat(np.arange(len(answers)), [len(one) for one in answers])
    sums = leaf_sums(cells, Branches.of(grown), np.concatenate(answers), tree_of)
    return sums * float(factor) + np.array(start, dtype=np.float64)


def _tree(splits: list[dict[str, Any]], gap_left: dict[int, bool]) -> Branches:
    """Return a tree that asks one question on each level, the last of these first; its nodes are laid out as a heap."""
    asked = [split for level, split in enumerate(splits[::-1]) for _ in range(2**level)]
    feature = np.array([split["float_feature_index"] for split in asked], dtype=np.int64)
    inner = len(asked)
    child = 2 * np.arange(inner, dtype=np.int64) + 1
    left, right = (np.where(end < inner, end, ~(end - inner)) for end in (child, child + 1))
    return Branches(
        np.array([0 if inner else ~0]),
        feature,
        np.array([split["border"] for split in asked], dtype=np.float64),
        left,
        right,
        np.array([gap_left[column] for column in feature.tolist()], dtype=bool),
        {},
    )
