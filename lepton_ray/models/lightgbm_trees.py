"""A booster's text as arrays: its trees, and what their sums mean. It knows nothing about features or fitting.

LightGBM's own thresholds are doubles, and so are those drawn here. onnxmltools rounds them to float32, after which a
row whose value lies near one takes the other branch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lepton_ray.errors import BundleError
from lepton_ray.features.graph import Wire
from lepton_ray.models.drawing import Branches, two_sided, votes

_BY_CATEGORY, _GAP_LEFT = 1, 2  # bits of a node's decision type
_MISSING_IS_ZERO, _ZERO_IS_MISSING = 0, 1  # the next two bits


@dataclass(frozen=True, slots=True)
class Boosted:
    """All trees of a booster.

    Attributes:
        weights, targets: (leaves,) what each adds, and to which score.
        objective: its name and settings.
    """

    trees: Branches
    weights: NDArray[np.float64]
    targets: NDArray[np.int64]
    n_scores: int
    objective: dict[str, str]

    def draw(self, cells: Wire) -> Wire:
        """Return what ``Booster.predict`` says: probabilities (n, classes), or values (n, 1) on the learned scale."""
        scores = votes(cells, self.trees, self.weights, self.targets, self.n_scores)
        if "multiclass" in self.objective:
            return scores.apply("Softmax", axis=1)
        if "binary" in self.objective:
            return two_sided((scores * float(self.objective["sigmoid"])).apply("Sigmoid"))
        return scores


def boosted(text: str) -> Boosted:
    """Read the text of ``Booster.model_to_string``.

    Raises:
        BundleError: zeros count as missing in it, which ONNX cannot say.
    """
    head, *parts = text.partition("end of trees")[0].split("\nTree=")
    known = _lines(head)
    trees = [_Tree.of(_lines(part)) for part in parts]
    nodes = np.cumsum([0, *(len(tree.feature) for tree in trees)])
    leaves = np.cumsum([0, *(len(tree.weights) for tree in trees)])
    per_round = int(known["num_tree_per_iteration"])

    def ends(side: str) -> NDArray[np.int64]:
        shifted = [
            np.where(getattr(tree, side) < 0, getattr(tree, side) - leaf, getattr(tree, side) + node)
            for tree, node, leaf in zip(trees, nodes, leaves, strict=False)
        ]
        return np.concatenate(shifted).astype(np.int64)

    bare = [len(tree.feature) == 0 for tree in trees]
    branches = Branches(
        np.where(bare, ~leaves[:-1], nodes[:-1]),
        np.concatenate([tree.feature for tree in trees]),
        np.concatenate([tree.threshold for tree in trees]),
        ends("left"),
        ends("right"),
        np.concatenate([tree.missing_left for tree in trees]),
        {place + int(node): of for tree, node in zip(trees, nodes, strict=False) for place, of in tree.members.items()},
    )
    targets = np.repeat(np.arange(len(trees)) % per_round, np.diff(leaves))
    settings = dict(word.partition(":")[::2] for word in known["objective"].split())
    return Boosted(branches, np.concatenate([tree.weights for tree in trees]), targets, per_round, settings)


@dataclass(frozen=True, slots=True)
class _Tree:
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    members: dict[int, NDArray[np.int64]]
    weights: NDArray[np.float64]

    @classmethod
    def of(cls, known: dict[str, str]) -> _Tree:
        weights = np.array(known["leaf_value"].split(), dtype=np.float64)
        if len(weights) == 1:
            none = np.empty(0, np.int64)
            return cls(none, np.empty(0), none, none, np.empty(0, bool), {}, weights)
        feature, left, right, decision = (
            np.array(known[name].split(), dtype=np.int64)
            for name in ("split_feature", "left_child", "right_child", "decision_type")
        )
        threshold = np.array(known["threshold"].split(), dtype=np.float64)
        categorical, missing = (decision & _BY_CATEGORY) > 0, decision >> 2
        if np.any(missing[~categorical] == _ZERO_IS_MISSING):
            raise BundleError("Zeros count as missing in this LightGBM model.", "Train one where they do not.")
        gap_left = np.where(missing == _MISSING_IS_ZERO, threshold >= 0.0, (decision & _GAP_LEFT) > 0)
        members = {}
        if categorical.any():
            ends = np.array(known["cat_boundaries"].split(), dtype=np.int64)
            words = np.array(known["cat_threshold"].split(), dtype="<u4")
            for node in np.flatnonzero(categorical).tolist():
                own = words[ends[int(threshold[node])] : ends[int(threshold[node]) + 1]]
                members[node] = np.flatnonzero(np.unpackbits(own.view(np.uint8), bitorder="little"))
        return cls(feature, threshold, left, right, gap_left & ~categorical, members, weights)


def _lines(block: str) -> dict[str, str]:
    return dict(line.partition("=")[::2] for line in block.splitlines())
