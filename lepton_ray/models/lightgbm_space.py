"""What LightGBM is tried with: an ordered portfolio and a space to draw from. It knows nothing about fitting."""

from __future__ import annotations

import math

import numpy as np

from lepton_ray.models.family import Config
from lepton_ray.table.schema import Problem, Task

_SMALL, _LARGE, _MANY_CLASSES = 3_000, 30_000, 10

_LEAST_L2 = 1.0
"""With many classes a leaf holds few rows of each and boosting without a penalty runs away: with 180 classes of 13 rows
the log loss fell to 2.15 in two rounds and was 5.79 after ten; with this penalty it falls for as long."""
_MOST_TREES = 20_000
"""A round costs a tree for each class: 730 rounds of 180 classes took longer to write and read than to grow."""

_DEFAULT: Config = {"rounds": 100, "learning_rate": 0.1, "num_leaves": 31}
_PATIENT: Config = {"rounds": 2000, "learning_rate": 0.04, "num_leaves": 31, "feature_fraction": 0.7} | {
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
}
_SHY: Config = _PATIENT | {"num_leaves": 8, "min_data_in_leaf": 30, "feature_fraction": 0.5, "lambda_l2": 10.0}
_STUMPS: Config = _PATIENT | {"num_leaves": 4, "learning_rate": 0.08, "feature_fraction": 0.4}
_WIDE: Config = _PATIENT | {"num_leaves": 127, "min_data_in_leaf": 50, "lambda_l2": 3.0}
_QUICK: Config = {"rounds": 600, "learning_rate": 0.1, "num_leaves": 255, "feature_fraction": 0.5}
_HUGE: Config = _PATIENT | {"num_leaves": 400, "min_data_in_leaf": 30, "learning_rate": 0.06, "max_bin": 511}
_RANDOM: Config = _PATIENT | {"extra_trees": True, "num_leaves": 63, "feature_fraction": 0.9, "min_data_in_leaf": 5}
_RANDOM_SHY: Config = _RANDOM | {"num_leaves": 12, "lambda_l2": 5.0, "min_data_in_leaf": 15}
_LEVELS: Config = _PATIENT | {"cat_smooth": 60.0, "cat_l2": 40.0, "min_data_per_group": 30, "num_leaves": 47}
_SPARSE: Config = _PATIENT | {"lambda_l1": 2.0, "feature_fraction": 0.3, "num_leaves": 24, "learning_rate": 0.03}
_SLOW: Config = _PATIENT | {"rounds": 5000, "learning_rate": 0.015, "num_leaves": 20, "feature_fraction": 0.5}
_LEAFY: Config = _PATIENT | {"num_leaves": 63, "min_data_in_leaf": 5, "feature_fraction": 0.5, "bagging_fraction": 0.6}

_BY_SIZE = {
    "small": (_SHY, _PATIENT, _RANDOM_SHY, _STUMPS, _LEVELS, _SLOW, _SPARSE, _RANDOM, _LEAFY, _WIDE, _HUGE),
    "middle": (_PATIENT, _SHY, _LEVELS, _RANDOM, _SPARSE, _STUMPS, _WIDE, _SLOW, _RANDOM_SHY, _LEAFY, _HUGE),
    "large": (_QUICK, _PATIENT, _WIDE, _LEVELS, _HUGE, _RANDOM, _SPARSE, _LEAFY, _SLOW, _SHY, _STUMPS, _RANDOM_SHY),
}


def portfolio(problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
    """Return LightGBM's plain default, then eleven more, those first that suit the number of rows and classes."""
    size = "small" if n_rows < _SMALL else "large" if n_rows > _LARGE else "middle"
    chosen = [_DEFAULT, *_BY_SIZE[size]]
    if problem.task is Task.REGRESSION:
        chosen.insert(2, chosen[1] | {"target": "log1p"})
    if len(problem.classes) > _MANY_CLASSES:
        small = [{"num_leaves": min(config["num_leaves"], 31), "max_bin": 127} for config in chosen]
        chosen = [_for_many(problem, config | less) for config, less in zip(chosen, small, strict=True)]
    fewest = max(1, min(20, n_rows // 40))
    return [{"min_data_in_leaf": fewest} | config if n_rows < 800 else dict(config) for config in chosen]


def sampled(problem: Problem, rng: np.random.Generator) -> Config:
    """Draw from the space: rates, leaves and penalties on a logarithmic scale, fractions on a plain one."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    rate = log_uniform(0.01, 0.2)
    drawn: Config = {
        "rounds": int(min(5000, 80.0 / rate)),
        "learning_rate": rate,
        "num_leaves": round(log_uniform(4, 400)),
        "min_data_in_leaf": round(log_uniform(2, 200)),
        "feature_fraction": float(rng.uniform(0.3, 1.0)),
        "bagging_fraction": float(rng.uniform(0.5, 1.0)),
        "bagging_freq": 1,
        "lambda_l1": log_uniform(1e-3, 10.0),
        "lambda_l2": log_uniform(1e-3, 30.0),
        "cat_smooth": log_uniform(1.0, 100.0),
        "cat_l2": log_uniform(1.0, 100.0),
        "extra_trees": bool(rng.random() < 0.3),
    }
    if problem.task is Task.REGRESSION:
        drawn["target"] = "log1p" if rng.random() < 0.3 else "plain"
    return _for_many(problem, drawn) if len(problem.classes) > _MANY_CLASSES else drawn


def _for_many(problem: Problem, config: Config) -> Config:
    """The configuration made fit for many classes: with a penalty, and in fewer rounds."""
    most = max(30, _MOST_TREES // len(problem.classes))
    l2 = max(config.get("lambda_l2", 0.0), _LEAST_L2)
    return config | {"lambda_l2": l2, "rounds": min(config["rounds"], most)}


def tree_work(config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
    """Rounds (few more than 12 / rate are ever used) times what a round costs: a pass per level, a tree per class."""
    settings = _DEFAULT | config
    rounds = min(settings["rounds"], 12.0 / settings["learning_rate"])
    trees = len(problem.classes) if len(problem.classes) > 2 else 1
    leaves = min(settings["num_leaves"], max(2.0, n_rows / settings.get("min_data_in_leaf", 20)))
    levels = math.log2(leaves) + 1.0
    columns = 1.0 + n_columns * settings.get("feature_fraction", 1.0)
    return float(rounds * trees * (n_rows * columns * levels / 10.0 + 250.0 * leaves))
