"""The linear family: logistic regression for classes, ridge for values. It knows nothing about how features are made.

Fitted by our own L-BFGS instead of scikit-learn's: it asks ``stop`` before every evaluation, keeps the best point,
warns nobody, and needs no import of scikit-learn. BLAS keeps to one thread: its own spin when other processes want the
cores (measured: 10 s with two, 3.9 s with one); ours, for the sparse products, sleep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.graph import Wire, Wires
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.blocks import by_blocks
from lepton_ray.models.drawing import among_all, softmax
from lepton_ray.models.family import Batch, Config, Stop
from lepton_ray.models.linear_fit import Design, descend, design, logistic_loss, softmax_loss, solve_ridge, squared_loss
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.models.target import Scale, scale_for
from lepton_ray.models.threads import one_thread
from lepton_ray.table.schema import Kind, Problem, Task

_DEFAULTS: Config = {"C": 1.0, "target": "plain", "iterations": 300}
_EXACT = 2000  # columns up to which ridge is solved by its normal equations


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Weights, a bias, and what the scores mean.

    Attributes:
        weights: (width, k); k is 1 for values and for two classes, else the number of classes seen in training.
        present: the classes seen in training, by code; the others get probability 0. Empty for values.
        scale: how values come back from scores; None for classes.
        shares: each feature's share of the effect.
    """

    weights: Floats
    bias: Floats
    present: tuple[int, ...]
    n_classes: int
    scale: Scale | None
    shares: dict[str, float]

    @property
    def effort(self) -> Config:
        return {}

    def predict(self, X: Matrix) -> Floats:
        d = X.dense.shape[1]
        scores = by_blocks(lambda rows: rows @ self.weights[:d], X.dense)
        if X.sparse is not None:
            scores += X.sparse @ self.weights[d:]  # row by row in scipy, so its bits need no padding
        scores += self.bias
        if self.scale is not None:
            return self.scale.back(scores[:, 0])
        said = np.zeros((len(X), self.n_classes))
        said[:, self.present] = by_blocks(_probabilities, scores) if len(self.present) > 1 else 1.0
        return said

    def draw(self, X: Wires) -> Wire:
        if self.scale is None and len(self.present) == 1:
            return X.joined.each_row(np.eye(self.n_classes)[self.present[0]])
        scores = X.joined @ self.weights + self.bias
        if self.scale is not None:
            return self.scale.drawn_back(scores)
        return among_all(softmax(scores, self.weights.shape[1]), self.present, self.n_classes)

    def save(self, folder: Path) -> None:
        facts = {
            "present": list(self.present),
            "n_classes": self.n_classes,
            "scale": None if self.scale is None else self.scale.to_dict(),
            "shares": self.shares,
        }
        write_model(folder, facts, {"weights": self.weights, "bias": self.bias})

    def importances(self) -> dict[str, float] | None:
        return dict(self.shares)


@dataclass(frozen=True, slots=True)
class LinearFamily:
    """One penalty strength ``C`` for both tasks; ``target`` "log1p" learns the logarithm of values of 0 or more."""

    name: str = "linear"
    view: Literal["tree", "linear"] = "linear"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = True
    exports: frozenset[Kind] = frozenset(Kind)

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        strengths: list[Config] = [{"C": strength} for strength in (1.0, 0.1, 10.0, 0.01)]
        if problem.task is Task.REGRESSION:
            return [strengths[0], {"C": 1.0, "target": "log1p"}, *strengths[1:]]
        return strengths

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        drawn: Config = {"C": float(np.exp(rng.uniform(np.log(1e-3), np.log(1e2))))}
        if problem.task is Task.REGRESSION:
            drawn["target"] = "log1p" if rng.random() < 0.3 else "plain"
        return drawn

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        strength = {**_DEFAULTS, **config}["C"]  # a weak penalty descends longer
        return float(n_rows * n_columns * problem.n_outputs) * max(0.1, 1.0 + 0.25 * math.log10(strength))

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
    ) -> LinearModel:
        settings = _DEFAULTS | config
        how = {"strength": settings["C"], "most": settings["iterations"]}
        batch = train.counted()
        with one_thread(), design(batch.X, threads) as rows:
            if problem.task is Task.REGRESSION:
                return _fit_values(batch, rows, stop, settings["target"], how)
            return _fit_classes(batch, rows, stop, len(problem.classes), how)

    def load(self, folder: Path) -> LinearModel:
        facts, arrays = read_model(folder)
        scale = None if facts["scale"] is None else Scale(**facts["scale"])
        present = tuple(facts["present"])
        return LinearModel(arrays["weights"], arrays["bias"], present, facts["n_classes"], scale, facts["shares"])


def _fit_classes(batch: Batch, rows: Design, stop: Stop, n_classes: int, how: Config) -> LinearModel:
    weight = batch.weights()
    present, y = np.unique(batch.y, return_inverse=True)
    seen = tuple(int(code) for code in present)
    if len(present) == 1:
        return LinearModel(np.zeros((rows.width, 1)), np.zeros(1), seen, n_classes, None, {})
    log_share = np.log(np.bincount(y, weight) / np.sum(weight))
    two = len(present) == 2
    loss = logistic_loss(y, weight) if two else softmax_loss(y, weight)
    bias = log_share[1:] - log_share[:1] if two else log_share
    weights, bias = descend(rows, loss, bias, scale=float(np.sum(weight)), stop=stop, **how)
    return LinearModel(weights, bias, seen, n_classes, None, _shares(batch.X, weights))


def _fit_values(batch: Batch, rows: Design, stop: Stop, target: str, how: Config) -> LinearModel:
    weight = batch.weights()
    scale = scale_for(np.asarray(batch.y, dtype=np.float64), weight, target)
    z = scale.there(np.asarray(batch.y, dtype=np.float64))
    if stop():
        weights, bias = np.zeros((rows.width, 1)), np.zeros(1)
    elif rows.width <= _EXACT:
        weights, bias = solve_ridge(rows, z, weight, strength=how["strength"])
    else:
        loss, total = squared_loss(z, weight), float(np.sum(weight))
        weights, bias = descend(rows, loss, np.zeros(1), scale=total, stop=stop, **how)
    scale = scale.corrected(np.asarray(batch.y), (rows.times(weights) + bias)[:, 0], weight)
    return LinearModel(weights, bias, (), 0, scale, _shares(batch.X, weights))


def _probabilities(scores: Floats) -> Floats:
    if scores.shape[1] == 1:
        scores = np.hstack([np.zeros_like(scores), scores])
    odds = np.exp(scores - scores.max(axis=1, keepdims=True))
    shares: Floats = odds / odds.sum(axis=1, keepdims=True)
    return shares


def _shares(X: Matrix, weights: Floats) -> dict[str, float]:
    """Return each feature's deviation times its weights, as a share of the whole; the cells of a group are added."""
    spread: NDArray[np.float64] = X.dense.std(axis=0)
    if X.sparse is not None:
        mean = np.asarray(X.sparse.mean(axis=0)).ravel()
        square = np.asarray(X.sparse.multiply(X.sparse).mean(axis=0)).ravel()
        spread = np.concatenate([spread, np.sqrt(np.maximum(square - mean * mean, 0.0))])
    effects = spread * np.sqrt(np.sum(weights * weights, axis=1))
    owners = [*X.names, *(name for name, width in X.groups for _ in range(width))]
    total = float(effects.sum()) or 1.0
    shares: dict[str, float] = {}
    for owner, effect in zip(owners, effects.tolist(), strict=True):
        shares[owner] = shares.get(owner, 0.0) + effect / total
    return shares
