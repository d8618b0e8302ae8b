"""What several families draw alike: odds, classes that training lacked, ensembles of trees. It knows no family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.graph import ML, Type, Wire, beside

_AT_MOST, _MEMBER = 0, 6  # ONNX's numbers for two ways to branch
_SUM, _PLAIN = 1, 0


@dataclass(frozen=True, slots=True)
class Branches:
    """The inner nodes of many trees; those and the leaves are counted through all of them.

    Attributes:
        roots: (trees,) the first node of each.
        feature, threshold: (nodes,) a value up to the threshold goes left.
        left, right: (nodes,) the next node, or ``~leaf``. So may a root be.
        missing_left: (nodes,) bool, where NaN goes.
        members: for nodes where these values go left and all others right, in order of the nodes.
    """

    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    threshold: NDArray[np.float64]
    left: NDArray[np.int64]
    right: NDArray[np.int64]
    missing_left: NDArray[np.bool_]
    members: dict[int, NDArray[np.int64]]

    @classmethod
    def of(cls, trees: Sequence[Branches]) -> Branches:
        """Put single trees, at least one, after one another; a tree of n nodes has n + 1 leaves."""
        nodes = np.cumsum([0, *(len(tree.feature) for tree in trees)])[:-1].tolist()

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([getattr(tree, name) for tree in trees])

        def moved(name: str) -> NDArray[np.int64]:
            ends = (getattr(tree, name) for tree in trees)
            after = enumerate(zip(ends, nodes, strict=True))
            return np.concatenate([np.where(end < 0, end - (node + tree), end + node) for tree, (end, node) in after])

        pairs = zip(trees, nodes, strict=True)
        members = {node + place: values for tree, node in pairs for place, values in tree.members.items()}
        return cls(
            moved("roots"),
            joined("feature"),
            joined("threshold"),
            moved("left"),
            moved("right"),
            joined("missing_left"),
            members,
        )

    def rooted(self) -> Branches:
        """Return the same with a node before every leaf that is a whole tree: ONNX knows no tree without nodes."""
        bare = np.flatnonzero(self.roots < 0)
        if not len(bare):
            return self
        roots, leaves = self.roots.copy(), self.roots[bare]
        roots[bare] = len(self.feature) + np.arange(len(bare))
        zeros, flags = np.zeros(len(bare)), np.zeros(len(bare), bool)
        return Branches(
            roots,
            np.append(self.feature, zeros.astype(np.int64)),
            np.append(self.threshold, zeros),
            np.append(self.left, leaves),
            np.append(self.right, leaves),
            np.append(self.missing_left, flags),
            self.members,
        )


def votes(
    cells: Wire, trees: Branches, weights: NDArray[np.float64], targets: NDArray[np.int64], n_targets: int
) -> Wire:
    """Return (n, targets): the sums of the weights of the leaves that rows come to.

    Args:
        cells: (n, columns) doubles.
        weights, targets: (leaves,).
    """
    trees = trees.rooted()
    modes = np.full(len(trees.feature), _AT_MOST, dtype=np.uint8)
    modes[list(trees.members)] = _MEMBER
    more: dict[str, Any] = {}
    if trees.members:
        apart = (np.append(values.astype(np.float64), np.nan) for values in trees.members.values())
        more["membership_values"] = np.concatenate(list(apart))
    sides = (("true", trees.left), ("false", trees.right))
    for side, ends in sides:
        more[f"nodes_{side}nodeids"] = np.where(ends < 0, ~ends, ends).tolist()
        more[f"nodes_{side}leafs"] = (ends < 0).astype(np.int64).tolist()
    return cells.apply(
        "TreeEnsemble",
        domain=ML,
        aggregate_function=_SUM,
        post_transform=_PLAIN,
        n_targets=n_targets,
        tree_roots=trees.roots.tolist(),
        nodes_featureids=trees.feature.tolist(),
        nodes_splits=trees.threshold,
        nodes_modes=modes,
        nodes_missing_value_tracks_true=trees.missing_left.astype(np.int64).tolist(),
        leaf_targetids=targets.tolist(),
        leaf_weights=weights.astype(np.float64),
        **more,
    )


def leaf_sums(cells: Wire, trees: Branches, leaves: NDArray[Any], tree_of: NDArray[np.int64]) -> Wire:
    """Return (n, outputs): the sums over the trees of what their leaves (leaves, outputs) answer, whole numbers exact.

    An operator's leaf has one answer only. Where there are more, it answers its number, by which they are looked up.

    Args:
        tree_of: (leaves,) the tree of each.
    """
    outputs = leaves.shape[1]
    if outputs == 1:
        return votes(cells, trees, leaves[:, 0].astype(np.float64), np.zeros(len(leaves), np.int64), 1)
    numbers = votes(cells, trees, np.arange(len(leaves), dtype=np.float64), tree_of, len(trees.roots))
    answers = cells.graph.add("Gather", leaves, numbers.cast(Type.INT64), axis=0)
    if leaves.dtype.kind == "u":
        answers = answers.cast(Type.INT32)
    return answers.sum(keep=False).cast(Type.DOUBLE)


def two_sided(positive: Wire) -> Wire:
    """Return the probabilities (n, 2) of both classes from that of the second."""
    return beside([1.0 - positive, positive])


def softmax(scores: Wire, n_scores: int) -> Wire:
    """Return the odds of the scores (n, classes), or of a single one (n, 1) against 0, as shares (n, classes)."""
    return (beside([scores * 0.0, scores]) if n_scores == 1 else scores).apply("Softmax", axis=1)


def among_all(shares: Wire, present: Sequence[int], n_classes: int) -> Wire:
    """Return (n, classes of the problem) from the shares of those that are present."""
    if len(present) == n_classes:
        return shares
    return shares @ np.eye(n_classes)[list(present)]
