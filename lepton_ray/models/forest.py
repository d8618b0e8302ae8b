"""The forest families: random_forest and extra_trees. They know nothing about how features are made or trees grown.

Predicting needs numpy only; scikit-learn is imported when a forest is grown. What leaves answer is kept as whole
numbers of 16 bits (classes) or 32 (values): their sum over the trees does not depend on its order, so a frame and its
rows agree to the last bit. With ``target`` "log1p" the logarithm decides where to split, while leaves hold the mean on
the target's own scale (of the logarithm where the metric is best at a median): nothing is to be corrected afterwards.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lepton_ray.errors import BundleError
from lepton_ray.features.graph import Wire, Wires
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.drawing import among_all, leaf_sums, two_sided
from lepton_ray.models.family import Batch, Config, Stop
from lepton_ray.models.forest_columns import Columns, learned_columns
from lepton_ray.models.forest_space import columns_tried, forest_work, least_leaf, portfolio, sampled, settings_of
from lepton_ray.models.sharpness import best_power, drawn_sharpened, sharpened
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.models.target import Scale, scale_for
from lepton_ray.models.trees import Trees
from lepton_ray.table.schema import Kind, Problem, Task

_SHARES, _VALUES = 2**16 - 1, 2**32 - 1
_BEST_AT_MEDIAN = ("mae", "mape")
_JUDGES = 4000  # validation rows that say how many trees are enough
_FOR_CLASSES, _FOR_VALUES = 0.002, 0.005  # of the squared error: too little for another tree; ranks gain for longer


@dataclass(frozen=True, slots=True)
class ForestModel:
    """Trees, what their leaves answer, and what that means.

    Attributes:
        leaves: (leaves, outputs) whole numbers from 0 to the largest of their type.
        meaning: what turns the mean of leaves into predictions.
        shares: each feature's share of the gain.
    """

    trees: Trees
    columns: Columns
    leaves: NDArray[Any]
    meaning: Classes | Values
    shares: dict[str, float]

    @property
    def effort(self) -> Config:
        found = {"power": self.meaning.power} if isinstance(self.meaning, Classes) else {}
        return {"trees": len(self.trees), **found}

    def predict(self, X: Matrix) -> Floats:
        sums = np.zeros((len(X), self.leaves.shape[1]), dtype=np.int64)
        for rows, leaf in self.trees.walk(self.columns.cells(X)):
            sums[rows] += self.leaves.take(leaf, axis=0).sum(axis=0, dtype=np.int64)
        return self.meaning.of(sums, len(self.trees))

    def draw(self, X: Wires) -> Wire:
        branches, tree_of = self.trees.branches()
        sums = leaf_sums(self.columns.draw(X), branches, self.leaves, tree_of)
        return self.meaning.drawn(sums, len(self.trees))

    def save(self, folder: Path) -> None:
        facts = {"owners": list(self.columns.owners), "shares": self.shares, **self.meaning.facts()}
        write_model(folder, facts, self.trees.arrays() | self.columns.arrays() | {"leaves": self.leaves})

    def importances(self) -> dict[str, float] | None:
        return dict(self.shares) or None


@dataclass(frozen=True, slots=True)
class Classes:
    """Leaves hold shares: of each class seen in training, or of the second when these are two.

    Their mean is sharpened to ``power``; one row's worth of ``prior`` is mixed in for the ``rows`` seen, so that no
    class is impossible.
    """

    present: tuple[int, ...]
    prior: tuple[float, ...]
    rows: int
    power: float

    def of(self, sums: NDArray[np.int64], n_trees: int) -> Floats:
        shares = self.each(sums / (n_trees * _SHARES))
        shares /= shares.sum(axis=1, keepdims=True)
        said = np.tile(np.array(self.prior) / (self.rows + 1.0), (len(sums), 1))
        said[:, self.present] += sharpened(shares, self.power) * (self.rows / (self.rows + 1.0))
        return said

    def drawn(self, sums: Wire, n_trees: int) -> Wire:
        """Draw ``of``."""
        outputs = sums / float(n_trees * _SHARES)
        shares = two_sided(outputs) if len(self.present) == 2 else outputs
        sharp = among_all(drawn_sharpened(shares / shares.sum(), self.power), self.present, len(self.prior))
        return sharp * (self.rows / (self.rows + 1.0)) + np.array(self.prior) / (self.rows + 1.0)

    def each(self, outputs: Floats) -> Floats:
        """Return a column for each class seen in training."""
        return np.column_stack([1.0 - outputs, outputs]) if len(self.present) == 2 else outputs

    def facts(self) -> dict[str, Any]:
        return {"classes": asdict(self)}


@dataclass(frozen=True, slots=True)
class Values:
    """Leaves hold means from ``low`` to ``high`` on the scale."""

    scale: Scale
    low: float
    high: float

    def of(self, sums: NDArray[np.int64], n_trees: int) -> Floats:
        return self.scale.back(self.low + (self.high - self.low) * (sums[:, 0] / (n_trees * _VALUES)))

    def drawn(self, sums: Wire, n_trees: int) -> Wire:
        """Draw ``of``."""
        return self.scale.drawn_back(sums / float(n_trees * _VALUES) * (self.high - self.low) + self.low)

    def facts(self) -> dict[str, Any]:
        return {"values": asdict(self)}


@dataclass(frozen=True, slots=True)
class ForestFamily:
    """Trees grown apart and averaged.

    ``trees``, ``max_features`` ("sqrt" or a share), ``min_leaf`` and ``criterion`` are scikit-learn's, some by shorter
    names; ``shrink`` draws leaves towards their ancestors, ``target`` is "plain" or "log1p". With ``valid`` there are
    no more trees than are worth it.
    """

    name: Literal["random_forest", "extra_trees"]
    view: Literal["tree", "linear"] = "tree"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = True
    exports: frozenset[Kind] = frozenset(Kind)

    @property
    def _random(self) -> bool:
        return self.name == "extra_trees"

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        return portfolio(problem, n_rows, n_columns, random=self._random)

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        return sampled(problem, rng)

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        return forest_work(config, problem, n_rows, n_columns, random=self._random)

    def fit(
        self,
        train: Batch,
        valid: Batch | None,
        config: Config,
        *,
        problem: Problem,
        stop: Stop,
        seed: int,
        threads: int,
    ) -> ForestModel:
        from lepton_ray.models.forest_growth import Judge, Lesson, Way, grown  # imports scikit-learn

        batch, settings = train.counted(), settings_of(config, problem)
        meaning, learned, kept = _lesson(batch, problem, settings)
        n_classes = len(meaning.present) if isinstance(meaning, Classes) else 0
        columns = learned_columns(batch.X, learned, batch.weights(), n_classes)
        cells = columns.cells(batch.X)
        lesson = Lesson(cells, learned, kept, batch.weights(), n_classes, bool(np.isnan(cells).any()))
        way = Way(
            trees=max(1, int(settings["trees"])),
            random=self._random,
            columns=columns_tried(settings["max_features"], cells.shape[1]),
            least=least_leaf(settings, problem, len(batch)),
            shrink=float(settings["shrink"]),
            criterion=settings["criterion"],
            seed=seed,
        )
        judged = None if valid is None else _some(valid.counted())
        negligible = _FOR_CLASSES if n_classes else _FOR_VALUES
        judge = None
        if judged is not None and len(judged):
            judge = Judge(columns.cells(judged.X), _truth(judged, meaning), judged.weights(), negligible)
        trees = grown(lesson, way, judge, stop=stop, threads=threads)
        if judge is not None and isinstance(meaning, Classes):
            power = best_power(meaning.each(judge.mean()), meaning.each(judge.truth), judge.weight)
            meaning = replace(meaning, power=power)
        answers = np.concatenate([one.answers for one in trees])
        gains = np.sum([one.gains for one in trees], axis=0)
        forest = Trees.of([one.tree for one in trees])
        return ForestModel(forest, columns, _whole(answers, meaning), meaning, _shares(columns.owners, gains))

    def load(self, folder: Path) -> ForestModel:
        facts, arrays = read_model(folder)
        try:
            columns = Columns.from_arrays(arrays, tuple(facts["owners"]))
            trees, leaves = Trees.from_arrays(arrays), arrays["leaves"]
            meaning = _meaning(facts)
        except KeyError as fault:
            raise BundleError(f"The model in {folder} lacks {fault}.", "Use a complete copy of the bundle.") from fault
        if len(leaves) != trees.n_leaves or trees.feature.max() >= max(1, len(columns.owners)):
            raise BundleError(f"The model in {folder} is damaged.", "Use a complete copy of the bundle.")
        return ForestModel(trees, columns, leaves, meaning, facts["shares"])


random_forest = ForestFamily("random_forest")
extra_trees = ForestFamily("extra_trees")


def _lesson(batch: Batch, problem: Problem, settings: Config) -> tuple[Classes | Values, NDArray[Any], Floats]:
    """Return what leaves will mean, what splits are judged by, and what leaves hold the mean of."""
    weight = batch.weights()
    if problem.task is not Task.REGRESSION:
        present, codes = np.unique(batch.y, return_inverse=True)
        prior = np.bincount(batch.y, weight, minlength=len(problem.classes)) + 1.0
        known = tuple(present.tolist()), tuple((prior / prior.sum()).tolist())
        return Classes(*known, rows=len(batch), power=float(settings["power"])), codes, np.empty(0)
    y = np.asarray(batch.y, dtype=np.float64)
    scale = scale_for(y, weight, settings["target"])
    learned = kept = scale.there(y)
    if scale.log and problem.metric not in _BEST_AT_MEDIAN:
        scale = scale_for(y, weight, "plain")
        kept = scale.there(y)
    return Values(scale, float(kept.min()), float(kept.max())), learned, kept


def _some(batch: Batch) -> Batch:
    every = slice(None, None, max(1, -(-len(batch) // _JUDGES)))
    return Batch(batch.X.rows(every), batch.y[every], None if batch.weight is None else batch.weight[every])


def _truth(batch: Batch, meaning: Classes | Values) -> Floats:
    """Return (rows, outputs): what leaves should have said."""
    if isinstance(meaning, Classes):
        told: Floats = (batch.y[:, None] == np.array(meaning.present)).astype(np.float64)
        return told[:, 1:] if told.shape[1] == 2 else told
    y = np.asarray(batch.y, dtype=np.float64)
    return meaning.scale.there(np.maximum(y, 0.0) if meaning.scale.log else y)[:, None]


def _whole(answers: Floats, meaning: Classes | Values) -> NDArray[Any]:
    if isinstance(meaning, Classes):
        return np.rint(np.clip(answers, 0.0, 1.0) * _SHARES).astype(np.uint16)
    span = (meaning.high - meaning.low) or 1.0
    return np.rint(np.clip((answers - meaning.low) / span, 0.0, 1.0) * _VALUES).astype(np.uint32)


def _meaning(facts: dict[str, Any]) -> Classes | Values:
    if "classes" in facts:
        known = facts["classes"]
        return Classes(tuple(known["present"]), tuple(known["prior"]), known["rows"], known["power"])
    known = facts["values"]
    return Values(Scale(**known["scale"]), known["low"], known["high"])


def _shares(owners: tuple[str, ...], gains: Floats) -> dict[str, float]:
    total = float(gains.sum())
    shares: dict[str, float] = {}
    for owner, gain in zip(owners, gains.tolist(), strict=False):  # no columns at all are one cell of zeros
        shares[owner] = shares.get(owner, 0.0) + gain / total if total > 0 else 0.0
    return shares
