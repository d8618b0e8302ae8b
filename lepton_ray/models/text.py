"""The text families: text_cnn and text_transformer, networks over the tokens of texts, with other columns beside them.

Both learn their tokens from the rows that they learn from. Of several text columns the texts follow one another.
``tokens`` says how texts are cut, ``text_network`` what the networks are made of, ``text_fit`` how they are fitted;
this knows nothing about how features are made. Rows are evaluated in blocks of one shape: a frame and its rows agree to
the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.chain import View
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.features.text import without_grams
from lepton_ray.models.blocks import by_blocks
from lepton_ray.models.constant import ConstantFamily
from lepton_ray.models.densified import Fullest, fullest
from lepton_ray.models.family import Batch, Config, Model, Stop
from lepton_ray.models.goal import Lesson, Test, judge_of, loss_of, meaning_of, said, weight_of
from lepton_ray.models.meaning import Meaning
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.models.target import needs_mean
from lepton_ray.models.text_space import portfolio, sampled, settled, text_seconds
from lepton_ray.table.schema import Kind, Problem, Task

_LEVELS = 256  # of the other columns' categories
_ROWS = 8  # whose texts are read together: a request of one row takes as long as these


@dataclass(frozen=True)
class TextModel:
    """A fitted network as arrays, how it reads rows, and what its scores mean.

    Attributes:
        tokenizer: as the library writes it; ``length``: how many tokens of a row are read.
        levels: which sparse columns lie beside the tokens, after the dense ones.
        config: what the network is made of.
        epochs: after how many it was best.
    """

    tokenizer: str
    length: int
    levels: Fullest
    config: Config
    arrays: Mapping[str, NDArray[np.float32]]
    meaning: Meaning
    epochs: int

    @property
    def effort(self) -> Config:
        return {"epochs": self.epochs}

    def predict(self, X: Matrix) -> Floats:
        return said(self.meaning, self.scores(X))

    def scores(self, X: Matrix) -> Floats:
        """Return (n, outputs): one for values and for two classes, else one for each class that was present."""
        import torch

        from lepton_ray.models.tokens import texts_of
        from lepton_ray.models.torch_threads import torch_threads

        def read(rows: Floats) -> Floats:
            found: Floats = self._network.read(torch.from_numpy(rows.astype(np.int64))).double().numpy()
            return found

        def decided(rows: Floats) -> Floats:
            found: Floats = self._network.decided(torch.from_numpy(rows.astype(np.float32))).double().numpy()
            return found

        numbers = self._tokens.numbers(texts_of(X)).astype(np.float64)
        with torch_threads(1), torch.inference_mode():
            seen = by_blocks(read, numbers, at_once=_ROWS)
            return by_blocks(decided, np.hstack([seen, beside_of(X, self.levels)]))

    def save(self, folder: Path) -> None:
        facts = {
            "length": self.length,
            "levels": self.levels.facts(),
            "config": self.config,
            "meaning": self.meaning.facts(),
            "epochs": self.epochs,
        }
        write_model(folder, facts, dict(self.arrays))
        (folder / "tokenizer.json").write_text(self.tokenizer, encoding="utf-8")

    def importances(self) -> dict[str, float] | None:
        return None

    @cached_property
    def _tokens(self) -> Any:
        from lepton_ray.models.tokens import Tokens

        return Tokens.from_json(self.tokenizer, self.length)

    @cached_property
    def _network(self) -> Any:
        import torch

        from lepton_ray.models.text_network import TextNetwork

        vocabulary, joined = len(self.arrays["embedding.weight"]), self.arrays["dense.weight"].shape[1]
        with torch.device("meta"):
            network = TextNetwork(self.config, vocabulary=vocabulary, length=self.length, columns=0, outputs=1)
            network.dense = torch.nn.Linear(joined, self.config["hidden"])
            network.head = torch.nn.Linear(self.config["hidden"], len(self.arrays["head.bias"]))
        state = {name: torch.from_numpy(np.array(array)) for name, array in self.arrays.items()}
        network.load_state_dict(state, assign=True)
        return network.eval()


@dataclass(frozen=True, slots=True)
class TextFamily:
    """A network over tokens; ``text_space`` lists the keys of a config."""

    name: Literal["text_cnn", "text_transformer"]
    view: View = "text"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = True
    exports: frozenset[Kind] = frozenset()
    pace: float = 1.0

    def configs(self, problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
        return portfolio(self.name)

    def sample(self, problem: Problem, rng: np.random.Generator) -> Config:
        return sampled(self.name, rng)

    def work(self, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
        """Seconds."""
        return text_seconds(self.name, config, problem, n_rows, n_columns)

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
        from lepton_ray.models.text_fit import fit_text  # imports torch
        from lepton_ray.models.tokens import Tokens, texts_of

        batch = train.counted()
        if len(np.unique(batch.y)) == 1:
            return ConstantFamily().fit(batch, None, {}, problem=problem, stop=stop, seed=seed, threads=threads)
        settings = settled(self.name, config, len(batch))
        texts, levels = texts_of(batch.X), fullest(without_grams(batch.X), _LEVELS)
        tokens = Tokens.learned(texts, most=settings["vocabulary"], longest=settings["longest"])
        meaning = meaning_of(batch, problem, settings["target"])
        judged, weight = meaning.judgeable(valid), weight_of(batch, problem, meaning)
        test = None
        if judged is not None:
            inputs = tokens.numbers(texts_of(judged.X)), beside_of(judged.X, levels)
            test = Test(inputs, judge_of(judged, problem, meaning))
        inputs = tokens.numbers(texts), beside_of(batch.X, levels)
        lesson = Lesson(inputs, meaning.target(batch.y), weight / weight.mean(), loss_of(problem, meaning))
        how: dict[str, Any] = {"stop": stop, "seed": seed, "threads": threads}
        network, epochs = fit_text(lesson, test, settings, vocabulary=len(tokens), outputs=meaning.n_scores, **how)
        arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        model = TextModel(tokens.to_json(), tokens.length, levels, settings, arrays, meaning, epochs)
        if meaning.scale is None or not meaning.scale.log or not needs_mean(problem):
            return model
        scale = meaning.scale.corrected(np.asarray(batch.y), model.scores(batch.X)[:, 0], batch.weights())
        return replace(model, meaning=replace(meaning, scale=scale))

    def load(self, folder: Path) -> Model:
        facts, arrays = read_model(folder)
        if "answer" in facts:
            return ConstantFamily().load(folder)
        tokenizer = (folder / "tokenizer.json").read_text(encoding="utf-8")
        levels, meaning = Fullest.from_facts(facts["levels"]), Meaning.from_facts(facts["meaning"])
        return TextModel(tokenizer, facts["length"], levels, facts["config"], arrays, meaning, facts["epochs"])


text_cnn = TextFamily("text_cnn")
text_transformer = TextFamily("text_transformer")


def beside_of(X: Matrix, levels: Fullest) -> NDArray[np.float32]:
    """Return the other columns (n, columns): dense ones, then these levels."""
    return np.hstack([X.dense.astype(np.float32), levels.of(without_grams(X))])
