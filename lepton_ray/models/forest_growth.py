"""Growing a forest tree by tree with scikit-learn's trees. It knows nothing about tables, configs or files.

``stop`` is asked after every tree (after one per thread where there are several); a tree takes at most about a second,
because the rows of each are bounded by what it costs to sort them. Not scikit-learn's own forest: that one cannot be
stopped, keeps every tree whole (five times the memory), and its leaves hold the bare shares of their few rows.

A leaf's answer is drawn towards its ancestors' (hierarchical shrinkage, Agarwal et al. 2022, arXiv:2202.00858): on
telco_churn AUC 0.837 against 0.819 and log_loss 0.43 against 0.52 without, and no probability of a class is 0.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from lepton_ray.features.matrix import Floats
from lepton_ray.models.family import Stop
from lepton_ray.models.forest_space import rows_per_tree
from lepton_ray.models.trees import Cells, Places, Tree, by_level, float32_below


@dataclass(frozen=True, slots=True)
class Lesson:
    """What there is to learn.

    Attributes:
        y: (rows,) class codes, all below ``n_classes`` and each there; or values, where that is 0.
        kept: (rows,) what leaves hold the mean of; for values only.
        gaps: whether any cell is missing.
    """

    cells: Cells
    y: NDArray[Any]
    kept: Floats
    weight: Floats
    n_classes: int
    gaps: bool


@dataclass(frozen=True, slots=True)
class Way:
    """How trees are grown.

    Attributes:
        random: cuts drawn at random on all rows (extra trees), instead of the best ones on rows drawn with return.
        columns: how many are tried for each split.
        least: rows of a leaf.
        shrink: how many rows' worth of its parent's answer each node's answer holds.
    """

    trees: int
    random: bool
    columns: int
    least: int
    shrink: float
    criterion: str
    seed: int


@dataclass(frozen=True, slots=True)
class Grown:
    """A tree, the answers of its leaves (leaves, outputs), and each column's gain; two classes have one output."""

    tree: Tree
    answers: Floats
    gains: Floats


class Judge:
    """Says when more trees are not worth it: their error is that of endlessly many plus (spread among trees) / trees.

    That holds for squared error and the Brier score of trees drawn alike, so the spread over the validation rows
    tells what is still to gain (Probst and Boulesteix 2018, arXiv:1705.05654), without waiting for a flat curve.
    """

    LEAST = 20  # trees

    def __init__(self, cells: Cells, truth: Floats, weight: Floats, negligible: float) -> None:
        """Take validation rows, and the share of the error that is not worth more trees.

        Args:
            truth: (rows, outputs) on the scale of the answers.
        """
        self.cells, self.truth, self.weight = cells, truth, weight
        self._negligible, self._share = negligible, weight[:, None] / np.sum(weight)
        self._sum, self._squares, self._trees = np.zeros_like(truth), np.zeros_like(truth), 0

    def add(self, answers: Floats) -> None:
        self._sum += answers
        self._squares += answers * answers
        self._trees += 1

    def mean(self) -> Floats:
        return self._sum / self._trees

    def satisfied(self) -> bool:
        n = self._trees
        if n < self.LEAST or n % 5:
            return False
        mean = self.mean()
        spread = np.sum(self._share * np.maximum(self._squares / n - mean * mean, 0.0)) / (n - 1)
        return bool(spread <= self._negligible * np.sum(self._share * (self.truth - mean) ** 2))


def grown(lesson: Lesson, way: Way, judge: Judge | None, *, stop: Stop, threads: int) -> list[Grown]:
    """Grow until the trees are there, the judge is satisfied or ``stop`` says so; at least one tree.

    The trees depend on the seed only, not on the threads.
    """
    done: list[Grown] = []
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # many classes are no fault
        while len(done) < way.trees and not (done and stop()):
            wave = range(len(done), min(way.trees, len(done) + threads))
            for one, said in pool.map(partial(_tree, lesson, way, None if judge is None else judge.cells), wave):
                done.append(one)
                if judge is not None and said is not None:
                    judge.add(said)
                    if judge.satisfied():
                        return done
    return done


def _tree(lesson: Lesson, way: Way, judged: Cells | None, number: int) -> tuple[Grown, Floats | None]:
    """Grow one tree; return it, and its answers for the rows to judge by."""
    rng = np.random.default_rng((way.seed, number))
    rows, weight = _drawn(lesson, way, rng)
    cells, y = lesson.cells[rows], lesson.y[rows]
    settings = {
        "splitter": "random" if way.random else "best",
        "max_features": way.columns,
        "min_samples_leaf": way.least,
        "random_state": int(rng.integers(2**31)),
    }
    if lesson.n_classes:
        grower = DecisionTreeClassifier(criterion=way.criterion, **settings)
    else:
        grower = DecisionTreeRegressor(**settings)
    with config_context(skip_parameter_validation=True, assume_finite=not lesson.gaps):
        fitted = grower.fit(cells, y, sample_weight=weight, check_input=lesson.gaps).tree_
    gains = fitted.compute_feature_importances(normalize=False)
    if lesson.n_classes:
        means = np.zeros((fitted.node_count, lesson.n_classes))
        means[:, grower.classes_] = fitted.value[:, 0, :]
        means = means[:, 1:] if lesson.n_classes == 2 else means
    elif lesson.kept is lesson.y:
        means = fitted.value[:, 0, :]
    else:
        means = _means(fitted, cells, lesson.kept[rows], weight)
    left, right = fitted.children_left, fitted.children_right
    levels = by_level(left, right)
    answers = shrunk(means, fitted.weighted_n_node_samples, levels, left, right, strength=way.shrink)
    said = None if judged is None else answers[fitted.apply(judged)]
    order = np.concatenate(levels)
    leaf = left[order] < 0
    tree = Tree(
        np.where(leaf, -1, fitted.feature[order]).astype(np.int32),
        float32_below(fitted.threshold[order]),
        ~leaf & (fitted.missing_go_to_left[order] == 0),
    )
    return Grown(tree, answers[order[leaf]], gains), said


def _drawn(lesson: Lesson, way: Way, rng: np.random.Generator) -> tuple[Places | slice, Floats]:
    """Return the rows of a tree and their weights, which add up to about the weight of all rows.

    A row of weight 2 is drawn twice as often, as two such rows would be.
    """
    n = len(lesson.y)
    most = rows_per_tree(n, way.columns, random=way.random)
    if way.random:
        if most == n:
            return slice(None), lesson.weight
        rows = np.sort(rng.choice(n, most, replace=False))
        return rows, lesson.weight[rows]
    ends = np.cumsum(lesson.weight)
    drawn = np.searchsorted(ends, rng.random(most) * ends[-1], side="right")
    times = np.bincount(np.minimum(drawn, n - 1), minlength=n)
    rows = np.flatnonzero(times)
    return rows, times[rows] * (ends[-1] / n)


def _means(fitted: Any, cells: Cells, kept: Floats, weight: Floats) -> Floats:
    """Return (nodes, 1): the mean of other values than those that the tree was grown for, over each node's rows."""
    leaf = fitted.apply(cells)
    sums = np.bincount(leaf, weight * kept, minlength=fitted.node_count)
    for level in reversed(by_level(fitted.children_left, fitted.children_right)):
        inner = level[fitted.children_left[level] >= 0]
        sums[inner] = sums[fitted.children_left[inner]] + sums[fitted.children_right[inner]]
    return np.asarray(sums / fitted.weighted_n_node_samples)[:, None]


def shrunk(
    means: Floats, weight: Floats, levels: list[Places], left: Places, right: Places, *, strength: float
) -> Floats:
    """Return each node's answer: its parent's plus a part of its own difference, the smaller the fewer rows it has."""
    answers = means.copy()
    for level in levels:
        parent = level[left[level] >= 0]
        for child in (left[parent], right[parent]):
            step = (means[child] - means[parent]) / (1.0 + strength / weight[parent])[:, None]
            answers[child] = answers[parent] + step
    return answers
