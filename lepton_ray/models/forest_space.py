"""What forests are tried with: a short portfolio and a space to draw from. It knows nothing about growing."""

from __future__ import annotations

import math

import numpy as np

from lepton_ray.models.family import Config
from lepton_ray.table.schema import Problem, Task

_SMALL = 3_000  # rows up to which leaves of one row do no harm
_WIDE = 20  # columns from which trying all of them for each split is dear
_STORED = 200_000_000  # bytes of a forest at most
_SORTED, _CUT = 8_000_000, 40_000_000  # rows x columns tried x levels of a tree that takes half a second: measured

DEFAULTS: Config = {"trees": 200, "min_leaf": 1, "shrink": 5.0, "criterion": "gini", "target": "plain"}


def settings_of(config: Config, problem: Problem) -> Config:
    """Fill in what the config leaves out: values try all columns for a split, classes their square root."""
    tried = "sqrt" if problem.task is not Task.REGRESSION else 1.0
    return DEFAULTS | {"max_features": tried} | config


def columns_tried(max_features: float | str, n_columns: int) -> int:
    share = math.sqrt(n_columns) if isinstance(max_features, str) else n_columns * max_features
    return max(1, min(n_columns, int(share)))


def least_leaf(settings: Config, problem: Problem, rows: int) -> int:
    """Return the least rows of a leaf, more than asked for where the forest would take more than ``_STORED`` bytes."""
    outputs = 2.0 * max(1, len(problem.classes)) + 2.0
    bytes_per_leaf = 2.0 * 9.0 + outputs
    return max(int(settings["min_leaf"]), math.ceil(settings["trees"] * rows * bytes_per_leaf / _STORED))


def portfolio(problem: Problem, n_rows: int, n_columns: int, *, random: bool) -> list[Config]:
    """Return the plain default, then three more; measured on eight tables, see ``LOG.md``."""
    if problem.task is Task.REGRESSION:
        wide = n_columns > _WIDE
        first: Config = {"max_features": 0.4} if wide else {}
        return [
            {"shrink": 1.0, **first},
            {"shrink": 1.0, "max_features": 0.6 if not wide else 0.2, "min_leaf": 2},
            {"shrink": 1.0, "target": "log1p", **first},
            {"shrink": 5.0, "min_leaf": 3, **first},
        ]
    if n_rows <= _SMALL:
        return [
            {"shrink": 2.0},
            {"shrink": 20.0},
            {"shrink": 1.0, "max_features": 0.5, "criterion": "entropy"},
            {"shrink": 10.0, "min_leaf": 4, "max_features": 0.3},
        ]
    return [
        {"shrink": 20.0, "min_leaf": 3, "max_features": 0.5 if random else "sqrt"},
        {"shrink": 5.0, "min_leaf": 1, "max_features": 0.7 if random else 0.3},
        {"shrink": 20.0, "min_leaf": 8, "max_features": 0.8 if random else 0.5, "criterion": "entropy"},
        {"shrink": 50.0, "min_leaf": 2, "max_features": 0.3},
    ]


def sampled(problem: Problem, rng: np.random.Generator) -> Config:
    """Draw from the space: leaves and shrinkage on a logarithmic scale."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    drawn: Config = {
        "max_features": float(rng.uniform(0.1, 1.0)),
        "min_leaf": round(log_uniform(1, 20)),
        "shrink": log_uniform(0.3, 100.0),
    }
    if problem.task is Task.REGRESSION:
        return drawn | {"target": "log1p" if rng.random() < 0.3 else "plain"}
    return drawn | {"criterion": "entropy" if rng.random() < 0.3 else "gini"}


def rows_per_tree(n_rows: int, columns: int, *, random: bool) -> int:
    """Return how many rows a tree is grown on: no more than it can be grown on in about half a second."""
    levels = np.log2(n_rows + 2.0)
    return int(min(n_rows, max(1000.0, (_CUT if random else _SORTED) / (columns * levels))))


def forest_work(config: Config, problem: Problem, n_rows: int, n_columns: int, *, random: bool) -> float:
    """Trees times what one costs: its cells on each level (sorting is dearer than cutting), then judging all rows."""
    settings = settings_of(config, problem)
    tried = columns_tried(settings["max_features"], n_columns)
    levels = np.log2(n_rows / settings["min_leaf"] + 2.0)
    cells = rows_per_tree(n_rows, tried, random=random) * tried * levels
    outputs = 1.0 + len(problem.classes) / 30.0
    return float(settings["trees"] * (cells * outputs * (0.25 if random else 1.0) + 0.5 * n_rows * levels + 40_000.0))
