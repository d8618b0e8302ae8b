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
    """Draw the scores (n, outputs) of rows (n, numbers) whose cells are float32 numbers, as doubles.

    A tree of depth d is d questions, the last asked first; its nodes are laid out as a heap.
    """
    with tempfile.TemporaryDirectory(prefix="lepton-catboost-") as place:
        trees.save_model(str(Path(place, "trees.json")), format="json")
        known: dict[str, Any] = json.loads(Path(place, "trees.json").read_text(encoding="utf-8"))
    factor, start = known["scale_and_bias"]
    to_right = {
        one["feature_index"]: one["nan_value_treatment"] == "AsTrue" for one in known["features_info"]["float_features"]
    }
    feature, threshold, left, right, roots, leaves = [], [], [], [], [], []
    first_node = first_leaf = 0
    for tree in known["oblivious_trees"]:
        splits = (tree["splits"] or [])[::-1]
        inner, answers = 2 ** len(splits) - 1, 2 ** len(splits)
        child = 2 * np.arange(inner) + 1
        for side, ends in ((left, child), (right, child + 1)):
            side.append(np.where(ends < inner, ends + first_node, ~(ends - inner + first_leaf)))
        for level, split in enumerate(splits):
            feature.append(np.full(2**level, split["float_feature_index"]))
            threshold.append(np.full(2**level, split["border"]))
        roots.append(first_node if inner else ~first_leaf)
        leaves.append(np.reshape(tree["leaf_values"], (answers, -1)))
        first_node, first_leaf = first_node + inner, first_leaf + answers
    asked = np.concatenate([np.empty(0, np.int64), *feature])
    branches = Branches(
        np.array(roots),
        asked,
        np.concatenate([np.empty(0), *threshold]),
        np.concatenate(left),
        np.concatenate(right),
        ~np.array([to_right[one] for one in asked.tolist()], dtype=bool),
        {},
    )
    tree_of = np.repeat(np.arange(len(leaves)), [len(answers) for answers in leaves])
    return leaf_sums(cells, branches, np.concatenate(leaves), tree_of) * float(factor) + np.array(start, np.float64)
