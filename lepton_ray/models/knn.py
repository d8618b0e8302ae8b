"""The k-NN family: the nearest rows vote, exactly and by brute force. It knows nothing about how features are made.

What near means is learned first (``relevance.py``). The number of reference rows is bounded, so both fitting and
predicting are. It cannot obey weights: a row that counts twice is not two neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.graph import Type, Wire, Wires, beside, where
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.family import Batch, Config, Stop
from lepton_ray.models.nearness import Lens, Points, shares_of
from lepton_ray.models.relevance import learned_factors, learning_work, targets_of
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.models.threads import one_thread
from lepton_ray.table.schema import Kind, Problem, Task
from lepton_ray.training.metrics import METRICS

_DEFAULTS: Config = {"rows": 20_000, "rounds": 2, "weighting": "distance", "target": "plain"} | {
    "k": 20,
    "smoothing": 1.0,
}
_KS, _SMOOTHINGS = (2, 3, 5, 7, 10, 14, 20, 28, 40, 57, 80, 113, 160, 226), (0.03, 0.1, 0.3, 1.0)
_JUDGED = 2000  # validation rows that choose
_LEAST_VOTE = 1e-3
_GAIN = -0.05  # a round of learning the space may even cost a little: columns of no use harm k-NN more than its judge

Votes = tuple[Floats, NDArray[np.int64]]  # squared distances, nearest first, and places among the points: (n, k + 1)


@dataclass(frozen=True, slots=True)
class KNNModel:
    """Reference rows with their answers.

    Attributes:
        answers: (points,) class codes or values.
        prior: each class's share in training, to which ``smoothing`` votes are given. Empty for values.
        even: whether near and far neighbours vote alike.
    """

    lens: Lens
    points: Points
    answers: Floats
    prior: Floats
    k: int
    smoothing: float
    even: bool
    shares: dict[str, float] | None

    @property
    def effort(self) -> Config:
        return {"k": self.k, "smoothing": self.smoothing}

    def predict(self, X: Matrix) -> Floats:
        said = np.empty((len(X), max(len(self.prior), 1)))
        with one_thread():
            for place, votes in _nearest(self.lens, self.points, X, self.k):
                said[place] = self.said(votes, self.k, self.smoothing)
        return said if len(self.prior) else said[:, 0]

    def said(self, votes: Votes, k: int, smoothing: float) -> Floats:
        """Return the smoothed shares of the classes (n, classes), or the mean of the answers (n, 1)."""
        weight, neighbours = _weights(votes[0], k, even=self.even), self.answers[votes[1][:, :k]]
        total = weight.sum(axis=1)
        if not len(self.prior):
            return np.asarray((weight * neighbours).sum(axis=1) / total)[:, None]
        counts = [(weight * (neighbours == code)).sum(axis=1) for code in range(len(self.prior))]
        shares: Floats = (np.column_stack(counts) + smoothing * self.prior) / (total + smoothing)[:, None]
        return shares

    def draw(self, X: Wires) -> Wire:
        k, most = min(self.k, len(self.points)), min(self.k + 1, len(self.points))
        near, places = self.points.drawn_nearest(self.lens.draw(X), most)
        weight = _drawn_weights(near, k, most, even=self.even)
        neighbours = near.graph.add("Gather", self.answers, places.columns(range(k)))
        total = weight.sum()
        if not len(self.prior):
            return (weight * neighbours).sum() / total
        counts = [(weight * neighbours.equals(float(c)).cast(Type.DOUBLE)).sum() for c in range(len(self.prior))]
        return (beside(counts) + self.smoothing * self.prior) / (total + self.smoothing)

    def save(self, folder: Path) -> None:
        facts = {
            "k": self.k,
            "smoothing": self.smoothing,
            "even": self.even,
            "shares": self.shares,
        }
        own = {"factors": self.lens.factors, "answers": self.answers, "prior": self.prior}
        write_model(folder, facts, own | self.points.to_arrays())

    def importances(self) -> dict[str, float] | None:
        return None if self.shares is None else dict(self.shares)


@dataclass(frozen=True, slots=True)
class KNNFamily:
    """k-NN with a learned space.

    Config: ``rows`` (reference rows at most), ``rounds`` (of learning the space; 0: all columns count evenly),
    ``weighting`` ("distance" or "even"), ``target`` ("plain" or "log1p": the values by which the space is learned; what
    is averaged are always the values themselves). Where ``k`` is not given, it and ``smoothing`` are chosen on the
    validation rows.
    """

    name: str = "knn"
    view: Literal["tree", "linear"] = "linear"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = False
    exports: frozenset[Kind] = frozenset(Kind)

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        if problem.task is Task.REGRESSION:
            return [{"rounds": 2}, {"rounds": 3}, {"rounds": 2, "target": "log1p"}]
        return [{"rounds": 2}, {"rounds": 0}, {"rounds": 1, "weighting": "even"}]

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        drawn: Config = {
            "rounds": int(rng.integers(0, 5)),
            "weighting": str(rng.choice(["distance", "even"])),
            "rows": int(rng.choice([5_000, 20_000, 50_000])),
        }
        if problem.task is Task.REGRESSION:
            drawn["target"] = "log1p" if rng.random() < 0.3 else "plain"
        return drawn

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        settings = _DEFAULTS | config
        compared = 0.25 * n_rows * min(n_rows, settings["rows"]) * (9.0 + 0.3 * n_columns)
        learned = learning_work(n_rows, n_columns, settings["rounds"])
        return float(1e7 + compared + learned + 20.0 * n_rows * n_columns)  # nanoseconds

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
    ) -> KNNModel:
        settings = _DEFAULTS | config
        batch = train.counted()
        order = np.random.default_rng(seed).permutation(len(batch))[: settings["rows"]]
        batch = Batch(batch.X.rows(order), batch.y[order])
        with one_thread():
            targets = targets_of(batch, problem, settings["target"])
            factors = learned_factors(
                batch.X, targets, batch.weights(), rounds=settings["rounds"], gain=_GAIN, stop=stop
            )
            lens = Lens(factors, single=True)
            model = KNNModel(
                lens,
                Points.of(lens.see(batch.X)),
                np.asarray(batch.y, dtype=np.float64),
                np.bincount(batch.y, minlength=len(problem.classes)) / len(batch) if problem.classes else np.empty(0),
                k=settings["k"],
                smoothing=settings["smoothing"],
                even=settings["weighting"] == "even",
                shares=shares_of(batch.X, factors),
            )
            judged = None if valid is None else valid.counted()
            if judged is None or not len(judged) or "k" in config:
                return model
            return _chosen(model, judged, problem, stop, seed)

    def load(self, folder: Path) -> KNNModel:
        facts, arrays = read_model(folder)
        lens = Lens(arrays["factors"], single=True)
        return KNNModel(lens, Points.from_arrays(arrays), arrays["answers"], arrays["prior"], **facts)


def _nearest(lens: Lens, points: Points, X: Matrix, k: int) -> Iterator[tuple[slice, Votes]]:
    """Give, block by block, where the rows are and their k + 1 nearest points (all points where there are fewer)."""
    most = min(k + 1, len(points))
    for place, block in lens.blocks(X):
        yield place, points.nearest(block, place.stop - place.start, most)


def _weights(squares: Floats, k: int, *, even: bool) -> Floats:
    """Return the votes of the k nearest, falling with the square of the distance to nearly 0 at the next one."""
    if even:
        return np.ones_like(squares[:, :k])
    edge = squares[:, min(k, squares.shape[1] - 1), None]
    share = np.divide(squares[:, :k], edge, out=np.zeros_like(squares[:, :k]), where=edge > 0.0)
    return np.maximum(1.0 - share, _LEAST_VOTE)


def _drawn_weights(squares: Wire, k: int, most: int, *, even: bool) -> Wire:
    nearest = squares.columns(range(k))
    if even:
        return nearest * 0.0 + 1.0
    edge = squares.columns([most - 1])
    shares = nearest / where(edge > 0.0, edge, 1.0)  # where the edge is 0, so are all before it
    return (1.0 - shares).apply("Max", _LEAST_VOTE)


def _chosen(model: KNNModel, judged: Batch, problem: Problem, stop: Stop, seed: int) -> KNNModel:
    """Return the model with the k and smoothing of the least error; on ``stop``, judged by the rows seen till then.

    For classes it is log_loss whatever the metric, as in the other families.
    """
    picked = np.sort(np.random.default_rng(seed).permutation(len(judged))[:_JUDGED])
    X, y, weight = judged.X.rows(picked), judged.y[picked], judged.weights()[picked]
    near: list[Votes] = []
    for _, votes in _nearest(model.lens, model.points, X, _KS[-1]):
        if stop():
            break
        near.append(votes)
    if not near:
        return model
    squares, places = (np.concatenate(part) for part in zip(*near, strict=True))
    y, weight = y[: len(squares)], weight[: len(squares)]
    metric = METRICS["log_loss" if problem.classes else problem.metric]
    best, least = model, float("inf")
    for k in (k for k in _KS if k <= len(model.points)):
        for smoothing in _SMOOTHINGS if problem.classes else (model.smoothing,):
            said = model.said((squares, places), k, smoothing)
            error = metric.error(y, said if problem.classes else said[:, 0], weight)
            if error < least:
                best, least = replace(model, k=k, smoothing=smoothing), error
    return best
