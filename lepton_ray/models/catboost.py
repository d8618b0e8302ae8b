"""The CatBoost family: boosted symmetric trees with ordered statistics of categories (arXiv:1706.09516). An extra.

It knows nothing about how features are made. CatBoost boosts; after each round it asks ``stop`` through its callback,
and cuts itself at the round that judged the validation rows best. A model is CatBoost's own binary (cbm), a table of
splits and numbers: loading it runs nobody's code.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from catboost import CatBoost, CatBoostError, FeaturesData, Pool
from numpy.typing import NDArray

from lepton_ray.errors import BundleError
from lepton_ray.features.graph import Type, Wire, Wires
from lepton_ray.features.matrix import Floats, Matrix
from lepton_ray.models.catboost_space import DEFAULT, portfolio, sampled, tree_work
from lepton_ray.models.catboost_trees import drawn_scores
from lepton_ray.models.constant import ConstantFamily
from lepton_ray.models.densified import Fullest, fullest
from lepton_ray.models.family import Batch, Config, Model, Stop
from lepton_ray.models.meaning import Meaning
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.models.target import needs_mean, scale_wanted
from lepton_ray.table.schema import Kind, Problem, Task

_TREES = "catboost.cbm"
_OURS = ("rounds", "patience", "target")  # every other key of a config is CatBoost's own
_WORDS = 256  # columns of text that are read
_IN_A_ROUND = 15e6  # rows x columns x scores: about half a second on one core, and only rounds can be interrupted
_LARGEST = float(np.finfo(np.float32).max)
_CODES = np.array([b"missing", *(b"%d" % code for code in range(4096))], dtype=object)
"""A category's code as CatBoost wants it, missing first; looked up, so that one row costs no conversion."""


@dataclass(frozen=True, slots=True)
class CatBoostModel:
    """Trees cut at their best round, what their scores mean, and which columns of text they read."""

    trees: CatBoost
    meaning: Meaning
    words: Fullest
    owners: tuple[str, ...]

    @property
    def effort(self) -> Config:
        return {"rounds": int(self.trees.tree_count_)}

    def predict(self, X: Matrix) -> Floats:
        if not len(X):
            return self.meaning.prediction(np.empty((0, 1)))
        return self.meaning.prediction(_scores(self.trees, Pool(_cells(X, self.words))))

    def draw(self, X: Wires) -> Wire:
        """Only over numbers: of a category CatBoost keeps hashes and statistics, for which ONNX has no words."""
        cells = X.part(range(X.width), self.words.columns)
        assert cells is not None, "CatBoost is not fitted where there is nothing to read"
        rounded = cells.clip(-_LARGEST, _LARGEST).cast(Type.FLOAT).cast(Type.DOUBLE)
        return self.meaning.drawn(drawn_scores(self.trees, rounded))

    def save(self, folder: Path) -> None:
        self.trees.save_model(str(folder / _TREES), format="cbm")
        facts = {"meaning": self.meaning.facts(), "words": self.words.facts(), "owners": list(self.owners)}
        write_model(folder, facts)

    def importances(self) -> dict[str, float] | None:
        shares = dict.fromkeys(self.owners, 0.0)
        for owner, effect in zip(self.owners, self.trees.get_feature_importance().tolist(), strict=True):
            shares[owner] += effect
        total = sum(shares.values())
        return {owner: effect / total for owner, effect in shares.items()} if total > 0 else None


@dataclass(frozen=True, slots=True)
class CatBoostFamily:
    """Boosted symmetric trees; ``rounds`` and ``patience`` are ours, ``target`` is "plain" or "log1p"."""

    name: str = "catboost"
    view: Literal["tree", "linear"] = "tree"
    tasks: frozenset[Task] = frozenset(Task)
    weighted: bool = True
    exports: frozenset[Kind] = frozenset(Kind) - {Kind.CATEGORY}

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
    ) -> Model:
        batch, settings = train.counted(), DEFAULT | config
        words = fullest(batch.X, _WORDS)
        if len(np.unique(batch.y)) == 1 or not _varies(batch.X, words):  # CatBoost refuses both
            return ConstantFamily().fit(batch, None, {}, problem=problem, stop=stop, seed=seed, threads=threads)
        scale = scale_wanted(problem, batch.y, batch.weights(), settings["target"])
        meaning = Meaning.of(batch, problem, scale)
        learned, judged = _pool(batch, words, meaning), meaning.judgeable(valid)
        params = _params(settings, problem, meaning) | {"random_seed": seed, "thread_count": threads}
        params["rsm"] = _share(batch, words, meaning, asked=settings.get("rsm", 1.0))
        trees = CatBoost(params | {"use_best_model": judged is not None})
        judge = None if judged is None else _pool(judged, words, meaning)
        trees.fit(learned, eval_set=judge, callbacks=[_Asking(stop)])
        if scale is not None and scale.log and needs_mean(problem):
            said = _scores(trees, learned)[:, 0]
            meaning = replace(meaning, scale=scale.corrected(np.asarray(batch.y), said, batch.weights()))
        return CatBoostModel(trees, meaning, words, _owners(batch.X, words))

    def load(self, folder: Path) -> Model:
        facts, _ = read_model(folder)
        if "answer" in facts:
            return ConstantFamily().load(folder)
        trees = CatBoost()
        try:
            trees.load_model(str(folder / _TREES), format="cbm")
        except CatBoostError as fault:
            raise BundleError(f"The model in {folder} cannot be read: {fault}.", "Use a complete copy.") from fault
        words = Fullest.from_facts(facts["words"])
        return CatBoostModel(trees, Meaning.from_facts(facts["meaning"]), words, tuple(facts["owners"]))


class _Asking:
    """CatBoost's own way to be interrupted: it calls this after every round and goes on while it says True."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop

    def after_iteration(self, info: Any) -> bool:
        return not self._stop()


def _params(settings: Config, problem: Problem, meaning: Meaning) -> dict[str, Any]:
    fixed: dict[str, Any] = {
        "iterations": settings["rounds"],
        "od_type": "Iter",
        "od_wait": int(settings.get("patience", max(20.0, 5.0 / settings["learning_rate"]))),
        "allow_writing_files": False,
        "logging_level": "Silent",
    }
    if meaning.n_scores > 1:
        fixed |= {"loss_function": "MultiClass", "classes_count": meaning.n_scores}
    elif meaning.scale is None:
        fixed["loss_function"] = "Logloss"
    elif needs_mean(problem):
        fixed["loss_function"] = "RMSE"
    else:
        fixed["loss_function"] = "MAPE" if problem.metric == "mape" and not meaning.scale.log else "MAE"
    return {key: value for key, value in settings.items() if key not in _OURS} | fixed


def _share(batch: Batch, words: Fullest, meaning: Meaning, *, asked: float) -> float:
    """Return the share of the columns that a tree may look at: fewer where a round would take more than a second."""
    columns = batch.X.dense.shape[1] + len(words.columns)
    return float(np.clip(_IN_A_ROUND / (len(batch) * columns * meaning.n_scores), 0.01, asked))


def _pool(batch: Batch, words: Fullest, meaning: Meaning) -> Pool:
    return Pool(_cells(batch.X, words), label=meaning.target(batch.y), weight=batch.weight)


def _scores(trees: CatBoost, rows: Pool) -> Floats:
    """Return (n, outputs); one thread, because a row must not cost the start of a second."""
    said = trees.predict(rows, prediction_type="RawFormulaVal", thread_count=1)
    return np.asarray(said, dtype=np.float64).reshape(rows.num_row(), -1)


def _cells(X: Matrix, words: Fullest) -> FeaturesData:
    """Return numbers and text as float32, NaN where missing, and after them the categories' codes as names."""
    straight = [column for column in range(X.dense.shape[1]) if column not in X.categorical]
    bounded = np.clip(X.dense[:, straight], -_LARGEST, _LARGEST).astype(np.float32)
    numbers = np.ascontiguousarray(np.hstack([bounded, words.of(X)]))
    codes = np.nan_to_num(X.dense[:, X.categorical], nan=-1.0).astype(np.int64) + 1
    levels: NDArray[Any] = _CODES[np.minimum(codes, len(_CODES) - 1)]
    return FeaturesData(numbers if numbers.shape[1] else None, levels if levels.shape[1] else None)


def _varies(X: Matrix, words: Fullest) -> bool:
    """Whether any column that is read has two values, missing being one."""
    bounded = np.clip(X.dense, -_LARGEST, _LARGEST).astype(np.float32)
    cells = np.nan_to_num(np.hstack([bounded, words.of(X)]), nan=-np.inf)
    return bool(np.any(cells != cells[:1]))


def _owners(X: Matrix, words: Fullest) -> tuple[str, ...]:
    straight = [name for column, name in enumerate(X.names) if column not in X.categorical]
    return (*straight, *words.owners, *(X.names[column] for column in X.categorical))
