"""The constant family: class frequencies or the mean, whatever the row. What every other family has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from lepton_ray.features.graph import Wire, Wires
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.family import Batch, Config, Stop
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.table.schema import Kind, Problem, Task


@dataclass(frozen=True, slots=True)
class ConstantModel:
    """The same answer for every row."""

    answer: tuple[float, ...]
    classes: bool

    @property
    def effort(self) -> Config:
        return {}

    def predict(self, X: Matrix) -> Floats:
        if self.classes:
            return np.tile(np.array(self.answer), (len(X), 1))
        return np.full(len(X), self.answer[0])

    def draw(self, X: Wires) -> Wire:
        return X.joined.each_row(np.array(self.answer))

    def save(self, folder: Path) -> None:
        write_model(folder, {"answer": list(self.answer), "classes": self.classes})

    def importances(self) -> dict[str, float] | None:
        return None


@dataclass(frozen=True, slots=True)
class ConstantFamily:
    """Weighted frequencies for classes, the weighted mean for values."""

    name: str = "constant"
    view: Literal["tree", "linear"] = "tree"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = True
    exports: frozenset[Kind] = frozenset(Kind)

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        return [{}]

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        return {}

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        return float(n_rows)

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
    ) -> ConstantModel:
        weight = train.weights()
        if problem.task is Task.REGRESSION:
            return ConstantModel((float(np.sum(train.y * weight) / np.sum(weight)),), classes=False)
        shares = np.bincount(train.y, weight, minlength=len(problem.classes)) / np.sum(weight)
        return ConstantModel(tuple(shares.tolist()), classes=True)

    def load(self, folder: Path) -> ConstantModel:
        facts, _ = read_model(folder)
        return ConstantModel(tuple(facts["answer"]), facts["classes"])
