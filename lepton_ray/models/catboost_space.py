"""What CatBoost is tried with: an ordered portfolio and a space to draw from. It knows nothing about fitting."""

from __future__ import annotations

import numpy as np

from lepton_ray.models.family import Config
from lepton_ray.table.schema import Problem, Task

_SMALL, _MANY_CLASSES = 3_000, 10

DEFAULT: Config = {
    "rounds": 500,
    "learning_rate": 0.1,
    "depth": 6,
    "one_hot_max_size": 10,
    "max_ctr_complexity": 1,
    "target": "plain",
}


def portfolio(problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
    return [dict(DEFAULT)]


def sampled(problem: Problem, rng: np.random.Generator) -> Config:
    """Draw from the space: the rate and the penalties on a logarithmic scale, the rest on a plain one."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    rate = log_uniform(0.02, 0.2)
    drawn: Config = {
        "rounds": int(min(3000, 80.0 / rate)),
        "learning_rate": rate,
        "depth": int(rng.integers(4, 9)),
        "l2_leaf_reg": log_uniform(0.5, 30.0),
        "random_strength": log_uniform(0.1, 10.0),
        "one_hot_max_size": int(rng.choice([2, 10, 50])),
        "max_ctr_complexity": int(rng.integers(1, 3)),
    }
    if problem.task is Task.REGRESSION:
        drawn["target"] = "log1p" if rng.random() < 0.3 else "plain"
    return drawn


def tree_work(config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
    """Rounds times what a round costs: a pass over rows and columns for each level, leaves for each class."""
    settings = DEFAULT | config
    rounds = min(settings["rounds"], 40.0 / settings["learning_rate"])
    classes = len(problem.classes) if len(problem.classes) > 2 else 1
    return float(rounds * classes * (n_rows * (1.0 + n_columns) * settings["depth"]))
