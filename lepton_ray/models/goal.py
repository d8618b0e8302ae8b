"""What a network is to learn, and how wrong its scores are: meaning, weights, loss and judge. It knows no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.matrix import Floats
from lepton_ray.models.family import Batch
from lepton_ray.models.meaning import Meaning
from lepton_ray.models.target import needs_mean, scale_for
from lepton_ray.table.schema import Problem, Task
from lepton_ray.training.metrics import METRICS

Inputs = TypeVar("Inputs")


@dataclass(frozen=True, slots=True)
class Lesson(Generic[Inputs]):
    """What a network is to learn: inputs, targets (n,) and weights (n,) of mean 1, and the sort of loss.

    ``loss`` is "square" or "absolute" for values, "two" or "many" for classes.
    """

    inputs: Inputs
    target: NDArray[Any]
    weight: Floats
    loss: str


@dataclass(frozen=True, slots=True)
class Test(Generic[Inputs]):
    """What a network is judged by: other rows, and how wrong scores (n, outputs) for them are."""

    inputs: Inputs
    error: Callable[[Floats], float]


def said(meaning: Meaning, found: Floats) -> Floats:
    """Return what scores mean; a value is not followed beyond those of the training rows."""
    return meaning.prediction(found if meaning.scale is None else meaning.scale.within(found))


def meaning_of(batch: Batch, problem: Problem, target: str) -> Meaning:
    """Return what scores will mean that are learned from these rows, values as ``target`` says."""
    if problem.task is not Task.REGRESSION:
        return Meaning.of(batch, problem, None)
    return Meaning(scale_for(np.asarray(batch.y, dtype=np.float64), batch.weights(), target))


def weight_of(batch: Batch, problem: Problem, meaning: Meaning) -> Floats:
    """Return the rows' weights; a relative error is an absolute one of rows that weigh the inverse of their value."""
    if problem.metric != "mape" or meaning.scale is None or meaning.scale.log:
        return batch.weights()
    size = np.abs(np.asarray(batch.y, dtype=np.float64))
    return np.asarray(batch.weights() / np.maximum(size, max(float(np.quantile(size, 0.01)), 1e-9)), dtype=np.float64)


def loss_of(problem: Problem, meaning: Meaning) -> str:
    """Return the name of the loss, see ``losses``."""
    if meaning.scale is not None:
        return "square" if needs_mean(problem) else "absolute"
    return "two" if meaning.n_scores == 1 else "many"


def judge_of(valid: Batch, problem: Problem, meaning: Meaning) -> Callable[[Floats], float]:
    """Return how wrong scores of these rows are; for classes by log_loss whatever the metric, as in LightGBM."""
    metric = METRICS[problem.metric if problem.task is Task.REGRESSION else "log_loss"]
    return lambda found: metric.error(valid.y, said(meaning, found), valid.weight)
