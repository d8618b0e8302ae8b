"""The contract of a model family. It knows nothing about any particular family, about search or about Ray."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.chain import View
from lepton_ray.features.graph import Wire, Wires
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.table.schema import Kind, Problem, Task

Config = dict[str, Any]  # JSON values only
Stop = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows to learn from or to judge by: class codes (int64) or values (float64), and their weights of 0 or more."""

    X: Matrix
    y: NDArray[Any]
    weight: Floats | None = None

    def __len__(self) -> int:
        return len(self.y)

    def counted(self) -> Batch:
        """Return the rows that weigh something, so that a weight of 0 is exactly an absent row."""
        if self.weight is None or bool(np.all(self.weight > 0)):
            return self
        kept = self.weight > 0
        return Batch(self.X.rows(kept), self.y[kept], self.weight[kept])

    def weights(self) -> Floats:
        return np.ones(len(self)) if self.weight is None else np.asarray(self.weight, dtype=np.float64)


@runtime_checkable
class Model(Protocol):
    """Something fitted. Its predictions for a row do not depend on the other rows, to the last bit."""

    @property
    def effort(self) -> Config:
        """What fitting found out about how long to fit: merged into the config for a refit without ``valid``."""
        ...

    def predict(self, X: Matrix) -> Floats:
        """Return probabilities (n, classes) in the order of ``problem.classes``, or values (n,)."""
        ...

    def save(self, folder: Path) -> None:
        """Write text, JSON and safetensors into an existing folder: nothing that needs unpickling."""
        ...

    def importances(self) -> dict[str, float] | None:
        """Return each feature's share of the model's effect (they sum to 1), or None where that is not known."""
        ...


@runtime_checkable
class Drawable(Protocol):
    """A model that can say ``predict`` as nodes of ONNX."""

    def draw(self, X: Wires) -> Wire:
        """Return probabilities (n, classes) or values (n, 1), doubles: what ``predict`` says, to about 1e-5."""
        ...


@runtime_checkable
class Family(Protocol):
    """A way to fit models. Stateless: everything about a fit is in the arguments.

    Attributes:
        view: how it wants its rows, see ``features.chain.for_schema``.
        tasks: what it can learn.
        weighted: whether it obeys row weights; where not, it is left out of a search with them.
        exports: over columns of which kinds its models can be drawn as ONNX (they are ``Drawable``); none: not at all.
        wish: optional, a ``models.wish.Wish``: what a node needs to carry out its trials.
        pace: optional, about how many seconds a step of its work takes on one core: its forecast, where no trial of it
            has been recorded.
        scoring: optional, ``(n_rows, n_columns) -> float``: about how many seconds it takes to predict so many rows
            that it has not seen, where that is long.
    """

    name: str
    view: View
    tasks: frozenset[Task]
    weighted: bool
    exports: frozenset[Kind]

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        """Return configurations to try, good ones first; the first is the family's plain default."""
        ...

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        """Draw a configuration from the family's search space for this problem."""
        ...

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        """Return about how many steps fitting and judging take, above 0; only ratios within the family matter.

        A text counts for as many columns as it has bytes.
        """
        ...

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
        """Fit, asking ``stop`` at least about every second; once it says so, return the best so far, usable always.

        Args:
            train: at least one row that weighs something; classes of the problem may be missing in it.
            valid: rows to decide by when to stop; never learned from. None on a refit.
            config: keys that are not given take the family's default.
        """
        ...

    def load(self, folder: Path) -> Model:
        """Read what ``Model.save`` wrote; the predictions are the same bits."""
        ...
