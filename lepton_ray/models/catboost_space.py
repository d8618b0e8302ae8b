"""What CatBoost is tried with: an ordered portfolio and a space to draw from. It knows nothing about fitting.

``one_hot_max_size`` decides what a category becomes: up to so many levels are split one by one, which is quick and does
well on small tables; for more, statistics of the target are used, with ``max_ctr_complexity`` of them combined, which
costs two to four times as much.
"""

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
_PATIENT: Config = DEFAULT | {"rounds": 2000, "learning_rate": 0.04}
_SHY: Config = _PATIENT | {"depth": 4, "l2_leaf_reg": 10.0}
_DEEP: Config = DEFAULT | {"rounds": 1500, "learning_rate": 0.06, "depth": 8}
_LEVELS: Config = DEFAULT | {"rounds": 1000, "learning_rate": 0.06, "one_hot_max_size": 2, "max_ctr_complexity": 2}


def portfolio(problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
    """Return a quick default, then four more, those first that suit the number of rows and classes."""
    if problem.task is Task.REGRESSION:
        chosen = [DEFAULT, _DEEP, _DEEP | {"target": "log1p"}, _LEVELS, _PATIENT]
    elif n_rows < _SMALL:
        chosen = [DEFAULT, _SHY, _PATIENT, _LEVELS, _DEEP]
    else:
        chosen = [DEFAULT, _PATIENT, _LEVELS, _SHY, _DEEP]
    if len(problem.classes) > _MANY_CLASSES:  # a leaf holds a score for each class
        chosen = [config | {"depth": 4, "border_count": 64} for config in (DEFAULT, _PATIENT, _LEVELS)]
    return [dict(config) for config in chosen]


def sampled(problem: Problem, rng: np.random.Generator) -> Config:
    """Draw from the space: the rate and the penalties on a logarithmic scale, the rest on a plain one."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    rate = log_uniform(0.02, 0.2)
    drawn: Config = {
        "rounds": int(min(3000, 80.0 / rate)),
        "learning_rate": rate,
        "depth": int(rng.integers(4, 9)) if len(problem.classes) <= _MANY_CLASSES else 4,
        "l2_leaf_reg": log_uniform(0.5, 30.0),
        "random_strength": log_uniform(0.1, 10.0),
        "one_hot_max_size": int(rng.choice([2, 10, 50])),
        "max_ctr_complexity": int(rng.integers(1, 3)),
    }
    if problem.task is Task.REGRESSION:
        drawn["target"] = "log1p" if rng.random() < 0.3 else "plain"
    return drawn


def tree_work(config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
    """Rounds (few more than 40 / rate are ever used) times what a round costs: a pass for each level and class."""
    settings = DEFAULT | config
    rounds = min(settings["rounds"], 40.0 / settings["learning_rate"])
    scores = len(problem.classes) if len(problem.classes) > 2 else 1
    statistics = 1.0 if settings["one_hot_max_size"] > 2 else 1.0 + settings["max_ctr_complexity"]
    return float(rounds * (n_rows * (1.0 + n_columns) * settings["depth"] * scores * statistics + 10_000.0))
