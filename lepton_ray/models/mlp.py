"""The MLP family: a network for tables, fitted by torch (an extra), evaluated by numpy: serving needs no torch.

It knows nothing about how features are made. ``mlp_rows`` says how it reads rows, ``mlp_network`` and ``mlp_forward``
what it is made of, ``mlp_fit`` how it is fitted. Rows are evaluated in blocks of one shape: a frame and its rows agree
to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from lepton_ray.features.graph import Wire, Wires
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.blocks import by_blocks
from lepton_ray.models.constant import ConstantFamily
from lepton_ray.models.family import Batch, Config, Model, Stop
from lepton_ray.models.goal import Lesson, Test, judge_of, loss_of, meaning_of, said, weight_of
from lepton_ray.models.meaning import Meaning
from lepton_ray.models.mlp_forward import Arrays, drawn_scores, effects, scores
from lepton_ray.models.mlp_rows import Inputs, Reading, reading_of
from lepton_ray.models.mlp_space import network_work, portfolio, sampled, settled
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.models.target import needs_mean
from lepton_ray.models.threads import one_thread
from lepton_ray.table.schema import Kind, Problem, Task

_TO_SEE_SHARES = 4096  # rows


@dataclass(frozen=True, slots=True)
class MLPModel:
    """A fitted network as arrays, how it reads rows, and what its scores mean.

    Attributes:
        bend: what lies between its layers, "selu" or "mish".
        epochs: after how many it was best.
        shares: each feature's share of what moves the first layer.
    """

    reading: Reading
    arrays: Arrays
    bend: str
    meaning: Meaning
    epochs: int
    shares: dict[str, float]

    @property
    def effort(self) -> Config:
        return {"epochs": self.epochs}

    def predict(self, X: Matrix) -> Floats:
        return said(self.meaning, self.scores(self.reading.inputs(X)))

    def scores(self, inputs: Inputs) -> Floats:
        """Return (n, outputs): one for values and for two classes, else one for each class that was present.

        BLAS keeps to one thread: two of them, spinning on busy cores, took 1.5 s for 4,490 rows instead of 0.09 s.
        """
        with one_thread():
            return self._scores(inputs)

    def _scores(self, inputs: Inputs) -> Floats:
        return by_blocks(lambda rows: scores(self.arrays, self.bend, self.reading.unpacked(rows)), inputs.packed())

    def draw(self, X: Wires) -> Wire:
        found = drawn_scores(self.arrays, self.bend, *self.reading.draw(X))
        return self.meaning.drawn(found if self.meaning.scale is None else self.meaning.scale.drawn_within(found))

    def save(self, folder: Path) -> None:
        facts = {
            "reading": self.reading.facts(),
            "bend": self.bend,
            "meaning": self.meaning.facts(),
            "epochs": self.epochs,
            "shares": self.shares,
        }
        write_model(folder, facts, {**self.arrays, "knots": self.reading.knots, "places": self.reading.places})

    def importances(self) -> dict[str, float] | None:
        return dict(self.shares) or None


@dataclass(frozen=True, slots=True)
class MLPFamily:
    """A multilayer perceptron with numeric embeddings; ``mlp_space`` lists the keys of a config."""

    name: str = "mlp"
    view: Literal["tree", "linear"] = "tree"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = True
    exports: frozenset[Kind] = frozenset(Kind)

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        return portfolio(problem, n_rows, n_columns)

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        return sampled(problem, rng)

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        return network_work(config, problem, n_rows, n_columns)

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
    ) -> Model:
        from lepton_ray.models.mlp_fit import fit_network  # imports torch

        batch = train.counted()
        if len(np.unique(batch.y)) == 1:
            return ConstantFamily().fit(batch, None, {}, problem=problem, stop=stop, seed=seed, threads=threads)
        settings = settled(config, problem, len(batch))
        reading, meaning = reading_of(batch.X), meaning_of(batch, problem, settings["target"])
        inputs, judged = reading.inputs(batch.X), meaning.judgeable(valid)
        weight, loss = weight_of(batch, problem, meaning), loss_of(problem, meaning)
        test = None if judged is None else Test(reading.inputs(judged.X), judge_of(judged, problem, meaning))
        arrays, epochs = fit_network(
            Lesson(inputs, meaning.target(batch.y), weight / weight.mean(), loss),
            test,
            settings,
            levels=sum(reading.tables),
            outputs=meaning.n_scores,
            stop=stop,
            seed=seed,
            threads=threads,
        )
        shares = _shares(reading, arrays, reading.inputs(batch.X.rows(slice(0, _TO_SEE_SHARES))), batch.X.names)
        model = MLPModel(reading, arrays, settings["bend"], meaning, epochs, shares)
        if meaning.scale is None or not meaning.scale.log or not needs_mean(problem):
            return model
        found = model.scores(inputs)[:, 0]
        scale = meaning.scale.corrected(np.asarray(batch.y), found, batch.weights())
        return replace(model, meaning=replace(meaning, scale=scale))

    def load(self, folder: Path) -> Model:
        facts, arrays = read_model(folder)
        if "answer" in facts:
            return ConstantFamily().load(folder)
        reading = Reading.from_facts(facts["reading"], arrays.pop("knots"), arrays.pop("places"))
        meaning = Meaning.from_facts(facts["meaning"])
        return MLPModel(reading, arrays, facts["bend"], meaning, facts["epochs"], facts["shares"])


def _shares(reading: Reading, arrays: Arrays, inputs: Inputs, names: tuple[str, ...]) -> dict[str, float]:
    parts = inputs.numbers.shape[1], inputs.plain.shape[1], inputs.codes.shape[1]
    moved = effects(arrays, inputs, parts)
    total = float(moved.sum())
    shares: dict[str, float] = {}
    for owner, effect in zip(reading.owners(names), moved.tolist(), strict=True):
        shares[owner] = shares.get(owner, 0.0) + (effect / total if total > 0 else 0.0)
    return shares if total > 0 else {}
