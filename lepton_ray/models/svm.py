"""The SVM family: support vector machines with a Gaussian kernel. It knows nothing about how features are made.

The kernel is Nyström's (Williams and Seeger 2001): likeness to at most so many landmarks, so that time and memory grow
linearly with the rows and a fit can be interrupted, which scikit-learn's SVC cannot; with as many landmarks as rows it
is the kernel itself. What near means is learned first (``relevance.py``). Probabilities are Platt's, from scores of
rows left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from lepton_ray.features.graph import Wire, Wires
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.drawing import among_all
from lepton_ray.models.family import Batch, Config, Stop
from lepton_ray.models.nearness import Lens, Points, shares_of
from lepton_ray.models.relevance import Kernel, distinct, learned_factors, learning_work, targets_of
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.models.svm_fit import Bend, Machine, Odds, hinge, insensitive, left_out, machine_of, odds_of, on_the_way
from lepton_ray.models.target import Scale, scale_for
from lepton_ray.models.threads import one_thread
from lepton_ray.table.schema import Kind, Problem, Task
from lepton_ray.training.metrics import METRICS

Judge = Callable[[Machine], float]  # lower is better
_DEFAULTS: Config = {
    "rows": 20_000,
    "landmarks": 500,
    "rounds": 3,
    "gain": 0.005,
    "stretch": 1.0,
    "epsilon": 0.02,
    "target": "plain",
}
_FIRST = {Task.BINARY: -1.5, Task.MULTICLASS: -1.0, Task.REGRESSION: 0.0}  # log10 of C where the way starts
_UNTRIED = {Task.BINARY: -0.5, Task.MULTICLASS: 1.0, Task.REGRESSION: 1.0}  # where there are no rows to choose it by
_JUDGED = 4000  # validation rows that choose
_CAP = 0.1  # deviations; where the loss turns linear for metrics that are best at a median
_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class SVMModel:
    """Landmarks and what likeness to each of them says.

    Attributes:
        says: (landmarks, k); k is 1 for values and for two classes, else the number of classes seen in training.
        present: the classes seen in training, by code; the others get probability 0. Empty for values.
        odds: how scores become probabilities; None for values. scale: how they become values; None for classes.
    """

    lens: Lens
    kernel: Kernel
    says: Floats
    bias: Floats
    log10_C: float
    present: tuple[int, ...]
    n_classes: int
    odds: Odds | None
    scale: Scale | None
    shares: dict[str, float] | None

    @property
    def effort(self) -> Config:
        return {"log10_C": self.log10_C}

    def predict(self, X: Matrix) -> Floats:
        k = max(len(self.present), 1)
        said = np.empty((len(X), k))
        with one_thread():
            for place, block in self.lens.blocks(X):
                scores = self.kernel.likeness(block) @ self.says + self.bias
                said[place] = self._meant(scores)[: place.stop - place.start]
        if self.scale is not None:
            return said[:, 0]
        shares = np.zeros((len(X), self.n_classes))
        shares[:, self.present] = said
        return shares

    def _meant(self, scores: Floats) -> Floats:
        if self.scale is not None:
            return self.scale.back(scores)
        return np.ones_like(scores) if self.odds is None else self.odds.probabilities(scores)

    def draw(self, X: Wires) -> Wire:
        scores = self.kernel.draw(self.lens.draw(X)) @ self.says + self.bias
        if self.scale is not None:
            return self.scale.drawn_back(scores)
        if self.odds is None:
            return scores.each_row(np.eye(self.n_classes)[self.present[0]])
        return among_all(self.odds.draw(scores), self.present, self.n_classes)

    def save(self, folder: Path) -> None:
        facts = {
            "width": self.kernel.width,
            "log10_C": self.log10_C,
            "present": list(self.present),
            "n_classes": self.n_classes,
            "slope": None if self.odds is None else self.odds.slope,
            "scale": None if self.scale is None else self.scale.to_dict(),
            "shares": self.shares,
        }
        arrays = {"factors": self.lens.factors, "says": self.says, "bias": self.bias}
        if self.odds is not None:
            arrays["offsets"] = self.odds.offsets
        write_model(folder, facts, arrays | self.kernel.landmarks.to_arrays())

    def importances(self) -> dict[str, float] | None:
        return None if self.shares is None else dict(self.shares)


@dataclass(frozen=True, slots=True)
class SVMFamily:
    """Support vector machines.

    Config: ``rows`` (to learn from, at most), ``landmarks``, ``rounds`` (of learning the space; 0: all columns count
    evenly) and ``gain`` (see ``learned_factors``), ``stretch`` (of the kernel's width, the median distance),
    ``epsilon`` (in deviations), ``target`` ("plain" or "log1p"). Where ``log10_C`` is not given, it is chosen on the
    validation rows.
    """

    name: str = "svm"
    view: Literal["tree", "linear"] = "linear"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = True
    exports: frozenset[Kind] = frozenset(Kind)

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        if problem.task is Task.REGRESSION:
            near: Config = {"landmarks": 1000, "stretch": 0.5}
            return [{"rounds": 3}, near | {"target": "log1p"}, near | {"gain": -0.05}]
        return [{"rounds": 3}, {"rounds": 0, "stretch": 2.0}, {"rounds": 2, "gain": -0.05, "stretch": 0.7}]

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        drawn: Config = {
            "rounds": int(rng.integers(0, 5)),
            "stretch": float(np.exp(rng.uniform(np.log(0.25), np.log(4.0)))),
            "landmarks": int(rng.choice([250, 500, 1000])),
        }
        if problem.task is Task.REGRESSION:
            drawn["target"] = "log1p" if rng.random() < 0.3 else "plain"
        return drawn

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        settings = _DEFAULTS | config
        used = min(n_rows, settings["rows"])
        landmarks, outputs = min(n_rows, settings["landmarks"]), problem.n_outputs
        way = 1.0 if "log10_C" in settings else 5.0
        compared = (used + 0.25 * n_rows) * landmarks * (20.0 + n_columns + landmarks)
        solved = used * landmarks * (way * 200.0 * outputs + landmarks * min(outputs, 8)) + 10.0 * landmarks**3
        learned = learning_work(n_rows, n_columns, settings["rounds"])
        return float(1e7 + 0.08 * (compared + solved) + learned + 20.0 * n_rows * n_columns)  # nanoseconds

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
    ) -> SVMModel:
        settings = _DEFAULTS | config
        batch = first_rows(distinct(train.counted(), seed), settings["rows"])
        with one_thread():
            targets = targets_of(batch, problem, settings["target"])
            factors = learned_factors(
                batch.X, targets, batch.weights(), rounds=settings["rounds"], gain=settings["gain"], stop=stop
            )
            space = _Space.of(Lens(factors), batch, settings)
            if problem.task is Task.REGRESSION:
                return _fit_values(space, batch, valid, settings, problem=problem, stop=stop)
            return _fit_classes(space, batch, valid, settings, problem=problem, stop=stop)

    def load(self, folder: Path) -> SVMModel:
        facts, arrays = read_model(folder)
        return SVMModel(
            Lens(arrays["factors"]),
            Kernel(Points.from_arrays(arrays), facts["width"]),
            arrays["says"],
            arrays["bias"],
            facts["log10_C"],
            tuple(facts["present"]),
            facts["n_classes"],
            None if facts["slope"] is None else Odds(facts["slope"], arrays["offsets"]),
            None if facts["scale"] is None else Scale(**facts["scale"]),
            facts["shares"],
        )


@dataclass(frozen=True, slots=True)
class _Space:
    """What rows become before a machine reads them; ``whitening`` is turned so that features have little in common."""

    lens: Lens
    kernel: Kernel
    whitening: Floats
    shares: dict[str, float] | None

    @classmethod
    def of(cls, lens: Lens, batch: Batch, settings: Config) -> _Space:
        landmarks = lens.see(batch.X.rows(slice(0, settings["landmarks"])))
        kernel = Kernel.of(landmarks, settings["stretch"])
        whitening = kernel.whitening()
        some = kernel.likeness(lens.see(batch.X.rows(slice(0, _AT_ONCE)))) @ whitening
        return cls(lens, kernel, whitening @ linalg.eigh(some.T @ some)[1], shares_of(batch.X, lens.factors))

    def features(self, X: Matrix, stop: Stop = lambda: False) -> Floats:
        """Return Nyström's features of the rows, or of the first of them where ``stop`` says so."""
        done: list[Floats] = []
        for start in range(0, max(len(X), 1), _AT_ONCE):
            if done and stop():
                break
            done.append(self.kernel.likeness(self.lens.see(X.rows(slice(start, start + _AT_ONCE)))) @ self.whitening)
        return np.concatenate(done)


def first_rows(batch: Batch, most: int) -> Batch:
    """Return the batch cut to its first rows."""
    few = slice(0, most)
    return Batch(batch.X.rows(few), batch.y[few], None if batch.weight is None else batch.weight[few])


def _fit_classes(
    space: _Space, batch: Batch, valid: Batch | None, settings: Config, *, problem: Problem, stop: Stop
) -> SVMModel:
    present, y = np.unique(batch.y, return_inverse=True)
    seen, n_classes = tuple(int(code) for code in present), len(problem.classes)
    if len(seen) == 1:
        says = np.zeros((len(space.kernel.landmarks), 1))
        return SVMModel(space.lens, space.kernel, says, np.zeros(1), 0.0, seen, n_classes, None, None, space.shares)
    F = space.features(batch.X, stop)
    y, weight = y[: len(F)], batch.weights()[: len(F)]
    codes = np.arange(len(seen)) if len(seen) > 2 else np.ones(1)
    bend = hinge(np.where(y[:, None] == codes, 1.0, -1.0), weight)
    judge = None if valid is None else _judge_of_classes(space, valid, present)
    machine = _solved(F, weight, bend, settings, task=problem.task, judge=judge, stop=stop)
    odds = odds_of(left_out(F, machine, bend), y, weight)
    says = space.whitening @ machine.weights
    return SVMModel(
        space.lens, space.kernel, says, machine.bias, machine.log10_C, seen, n_classes, odds, None, space.shares
    )


def _fit_values(
    space: _Space, batch: Batch, valid: Batch | None, settings: Config, *, problem: Problem, stop: Stop
) -> SVMModel:
    F = space.features(batch.X, stop)
    y, weight = np.asarray(batch.y[: len(F)], dtype=np.float64), batch.weights()[: len(F)]
    scale = scale_for(y, weight, settings["target"])
    at_median = problem.metric in ("mae", "mape")
    cap = _CAP if at_median else math.inf
    bend = insensitive(scale.there(y), weight, epsilon=settings["epsilon"], cap=cap)
    judge = None if valid is None else _judge_of_values(space, valid, problem, scale)
    machine = _solved(F, weight, bend, settings, task=problem.task, judge=judge, stop=stop)
    if scale.log and not at_median:
        scale = scale.corrected(y, left_out(F, machine, bend)[:, 0], weight)
    says = space.whitening @ machine.weights
    return SVMModel(space.lens, space.kernel, says, machine.bias, machine.log10_C, (), 0, None, scale, space.shares)


def _solved(
    F: Floats, weight: Floats, bend: Bend, settings: Config, *, task: Task, judge: Judge | None, stop: Stop
) -> Machine:
    _, slope, _ = bend(np.zeros((len(F), 1)))  # as many outputs as it has columns
    given = settings.get("log10_C", _UNTRIED[task] if judge is None else None)
    start = Machine(np.zeros((F.shape[1], slope.shape[1])), np.zeros(slope.shape[1]), _FIRST[task])
    if given is not None or judge is None:
        return machine_of(F, bend, weight, log10_C=given or 0.0, start=start, stop=stop)
    return on_the_way(F, bend, weight, start=start, error=judge, stop=stop)


def _judge_of_classes(space: _Space, valid: Batch, present: NDArray[np.int64]) -> Judge | None:
    """Return the log loss at the best slope and offsets: how well the scores of validation rows tell classes apart."""
    known = _some_of(valid, np.isin(valid.y, present))
    if not len(known):
        return None
    F, y, weight = space.features(known.X), np.searchsorted(present, known.y), known.weights()

    def judge(machine: Machine) -> float:
        scores = machine.scores(F)
        told = odds_of(scores, y, weight).probabilities(scores)
        return METRICS["log_loss"].error(y, told, weight)

    return judge


def _judge_of_values(space: _Space, valid: Batch, problem: Problem, scale: Scale) -> Judge | None:
    known = _some_of(valid, np.isfinite(valid.y))
    if not len(known):
        return None
    F = space.features(known.X)
    metric = METRICS[problem.metric]
    return lambda machine: metric.error(known.y, scale.back(machine.scores(F)[:, 0]), known.weight)


def _some_of(valid: Batch, known: NDArray[np.bool_]) -> Batch:
    """Return some validation rows, evenly spread, of those that are known and weigh something."""
    rows = np.flatnonzero(known & (valid.weights() > 0.0))
    rows = rows[:: max(1, -(-len(rows) // _JUDGED))]
    return Batch(valid.X.rows(rows), valid.y[rows], None if valid.weight is None else valid.weight[rows])
