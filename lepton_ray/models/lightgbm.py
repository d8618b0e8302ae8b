"""The LightGBM family: boosted trees. It knows nothing about how features are made, and imports no scikit-learn itself.

The boosting loop is ours: after each round it judges the validation rows on the target's own scale, asks ``stop``, and
keeps the best round. A model is LightGBM's own text, so loading it runs nobody's code.

More than one thread needs a process started with ``OMP_WAIT_POLICY=PASSIVE``: OpenMP's threads otherwise spin while
they wait, and with two of them on two cores that others use too a round took 0.28 s instead of 0.01 s (measured).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightgbm as lgb
import numpy as np
from scipy import sparse

from lepton_ray.errors import BundleError
from lepton_ray.features.graph import Wire, Wires
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.family import Batch, Config, Stop
from lepton_ray.models.lightgbm_space import portfolio, sampled, tree_work
from lepton_ray.models.lightgbm_trees import boosted
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.models.target import Scale, scale_for
from lepton_ray.table.schema import Kind, Problem, Task
from lepton_ray.training.metrics import METRICS

_TEXT = "lightgbm.txt"
_OURS = ("rounds", "patience", "target")  # every other key of a config is LightGBM's own
_NARROW = 100  # columns up to which histograms row by row are quicker (15 to 20 % on tables of 15 to 50 columns)
_MANY = 1000  # rows from which a prediction is worth more than one thread


@dataclass(frozen=True, slots=True)
class LightGBMModel:
    """A booster cut at its best round, and the names of what it reads."""

    booster: lgb.Booster
    rounds: int
    scale: Scale | None
    owners: tuple[str, ...]

    @property
    def effort(self) -> Config:
        return {"rounds": self.rounds}

    def predict(self, X: Matrix) -> Floats:
        if not len(X):
            return self._empty()
        threads = 1 if len(X) < _MANY else 0
        said = np.asarray(self.booster.predict(_cells(X), num_threads=threads), dtype=np.float64)
        if self.scale is not None:
            return self.scale.back(said)
        return said if said.ndim == 2 else np.column_stack([1.0 - said, said])

    def _empty(self) -> Floats:
        outputs = max(self.booster.num_model_per_iteration(), 2)
        return np.empty(0) if self.scale is not None else np.empty((0, outputs))

    def draw(self, X: Wires) -> Wire:
        said = boosted(self.booster.model_to_string()).draw(X.joined)
        return said if self.scale is None else self.scale.drawn_back(said)

    def save(self, folder: Path) -> None:
        (folder / _TEXT).write_text(self.booster.model_to_string(), encoding="utf-8")
        scale = None if self.scale is None else self.scale.to_dict()
        write_model(folder, {"rounds": self.rounds, "scale": scale, "owners": list(self.owners)})

    def importances(self) -> dict[str, float] | None:
        gains = self.booster.feature_importance("gain")
        total = float(gains.sum()) or 1.0
        shares = dict.fromkeys(self.owners, 0.0)
        for owner, gain in zip(self.owners, gains.tolist(), strict=True):
            shares[owner] += gain / total
        return shares


@dataclass(frozen=True, slots=True)
class LightGBMFamily:
    """Boosted trees; ``rounds`` and ``patience`` are ours, ``target`` is "plain" or "log1p", the rest is LightGBM's."""

    name: str = "lightgbm"
    view: Literal["tree", "linear"] = "tree"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = True
    exports: frozenset[Kind] = frozenset(Kind)

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        return portfolio(problem, n_rows, n_columns)

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        return sampled(problem, rng)

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        return tree_work(config, problem, n_rows, n_columns)

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
    ) -> LightGBMModel:
        batch = train.counted()
        scale = _scale(batch, problem, config)
        params = _params(config, problem, scale, seed=seed, threads=threads)
        params["force_row_wise" if batch.X.width <= _NARROW else "force_col_wise"] = (
            True  # one order of sums: one model
        )
        if len(batch) * params.get("bagging_fraction", 1.0) < 1.0:
            params["bagging_freq"] = 0  # LightGBM refuses a bag of no row
        data = _dataset(batch, scale, params, None)
        booster = lgb.Booster(params, data)
        judged = None if valid is None else valid.counted()
        if judged is not None and len(judged):
            booster.add_valid(_dataset(judged, scale, params, data), "valid")
        judge = None if judged is None or not len(judged) else _judge(judged, problem, scale)
        rounds = _boosted(booster, judge, config, stop)
        kept = lgb.Booster(model_str=booster.model_to_string(num_iteration=rounds))
        if scale is not None and scale.log and _needs_mean(problem):
            said = np.asarray(kept.predict(_cells(batch.X), num_threads=threads))
            scale = scale.corrected(np.asarray(batch.y), said, batch.weights())
        return LightGBMModel(kept, rounds, scale, _owners(batch.X))

    def load(self, folder: Path) -> LightGBMModel:
        facts, _ = read_model(folder)
        try:
            booster = lgb.Booster(model_str=(folder / _TEXT).read_text(encoding="utf-8"))
        except (OSError, ValueError, lgb.basic.LightGBMError) as fault:
            raise BundleError(f"The model in {folder} cannot be read: {fault}.", "Use a complete copy.") from fault
        scale = None if facts["scale"] is None else Scale(**facts["scale"])
        return LightGBMModel(booster, facts["rounds"], scale, tuple(facts["owners"]))


def _boosted(booster: lgb.Booster, judge: Callable[..., Any] | None, config: Config, stop: Stop) -> int:
    """Boost until the rounds, the patience or ``stop`` end it; return the best number of rounds."""
    most = int(config.get("rounds", 100))
    patience = int(config.get("patience", max(20.0, 5.0 / config.get("learning_rate", 0.1))))
    best, least = 1, float("inf")
    for done in range(1, most + 1):
        finished = booster.update()
        if judge is None:
            best = done
        else:
            error = float(booster.eval_valid(feval=judge)[0][2])
            if error < least:
                best, least = done, error
        if finished or stop() or done - best >= patience:
            break
    return best


def _judge(valid: Batch, problem: Problem, scale: Scale | None) -> Callable[..., tuple[str, float, bool]]:
    """Return LightGBM's kind of evaluation function, turned so that lower is better.

    For classes it is log_loss whatever the metric: on five tables, stopping by AUC gave no better AUC (german_credit
    0.763 against 0.778) and much worse probabilities.
    """
    metric = METRICS[problem.metric if problem.task is Task.REGRESSION else "log_loss"]

    def judge(said: Floats, _: lgb.Dataset) -> tuple[str, float, bool]:
        if scale is not None:
            prediction = scale.back(said)
        else:
            prediction = said if said.ndim == 2 else np.column_stack([1.0 - said, said])
        error = metric.error(valid.y, prediction, valid.weight)
        return metric.name, error if np.isfinite(error) else 0.0, False

    return judge


def _needs_mean(problem: Problem) -> bool:
    """Whether the metric is best at the mean; MAE and MAPE are best at a median, which a logarithm leaves alone."""
    return problem.metric not in ("mae", "mape")


def _scale(batch: Batch, problem: Problem, config: Config) -> Scale | None:
    if problem.task is not Task.REGRESSION:
        return None
    target = config.get("target", "plain")
    if problem.metric == "mape" and target == "plain":
        return Scale(False, 0.0, 1.0, 0.0, 0.0)  # relative errors need the target's own zero
    return scale_for(np.asarray(batch.y, dtype=np.float64), batch.weights(), target)


def _params(config: Config, problem: Problem, scale: Scale | None, *, seed: int, threads: int) -> dict[str, Any]:
    fixed: dict[str, Any] = {
        "verbosity": -1,
        "deterministic": True,
        "num_threads": threads,
        "seed": seed,
        "metric": "None",
    }
    if problem.task is Task.BINARY:
        fixed["objective"] = "binary"
    elif problem.task is Task.MULTICLASS:
        fixed |= {"objective": "multiclass", "num_class": len(problem.classes)}
    elif _needs_mean(problem):
        fixed["objective"] = "regression"
    else:
        fixed["objective"] = "mape" if problem.metric == "mape" and scale and not scale.log else "regression_l1"
    return {key: value for key, value in config.items() if key not in _OURS} | fixed


def _dataset(batch: Batch, scale: Scale | None, params: dict[str, Any], reference: lgb.Dataset | None) -> lgb.Dataset:
    label = batch.y if scale is None else scale.there(np.asarray(batch.y, dtype=np.float64))
    return lgb.Dataset(
        _cells(batch.X),
        label,
        reference=reference,
        weight=batch.weight,
        categorical_feature=list(batch.X.categorical),
        params=params,
    )


def _cells(X: Matrix) -> Floats | sparse.csr_matrix:
    """Return one matrix; beside a sparse part the dense one keeps its NaN and drops its zeros, which mean the same."""
    if X.sparse is None or not X.sparse.shape[1]:
        return X.dense
    if not X.dense.shape[1]:
        return X.sparse
    return sparse.csr_matrix(sparse.hstack([sparse.csr_matrix(X.dense), X.sparse], format="csr"))


def _owners(X: Matrix) -> tuple[str, ...]:
    return (*X.names, *(name for name, width in X.groups for _ in range(width)))
