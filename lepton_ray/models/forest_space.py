"""What forests are tried with: a short portfolio and a space to draw from. It knows nothing about growing."""

from __future__ import annotations

import math

import numpy as np

from lepton_ray.models.family import Config
from lepton_ray.table.schema import Problem, Task

_FEW = 1_500  # rows for each class, up to which leaves of one row do no harm
_MOST = 300  # trees, where the validation rows do not say that fewer are enough
_WIDE = 20  # columns from which trying all of them for each split is dear
_STORED = 300_000_000  # bytes of a forest at most
_SORTED, _CUT = 8_000_000, 40_000_000  # rows x columns tried x levels of a tree that takes half a second: measured

DEFAULTS: Config = {"trees": 100, "min_leaf": 1, "shrink": 5.0, "criterion": "gini", "target": "plain", "power": 1.0}


def settings_of(config: Config, problem: Problem) -> Config:
    """Fill in what the config leaves out: values try all columns for a split, classes their square root."""
    tried = "sqrt" if problem.task is not Task.REGRESSION else 1.0
    return DEFAULTS | {"max_features": tried} | config


def columns_tried(max_features: float | str, n_columns: int) -> int:
    """Return how many columns are tried for a split; every text means their square root."""
    tried = math.isqrt(n_columns) if isinstance(max_features, str) else int(max_features * n_columns)
    return max(1, min(n_columns, tried))


def least_leaf(settings: Config, problem: Problem, rows: int) -> int:
    """Return the least rows of a leaf, more than asked for where the forest would take more than ``_STORED`` bytes."""
    outputs = 2.0 * max(1, len(problem.classes)) + 2.0
    bytes_per_leaf = 2.0 * 9.0 + outputs
    needed = math.ceil(float(settings["trees"]) * rows * bytes_per_leaf / _STORED)
    return max(int(settings["min_leaf"]), needed)


def portfolio(problem: Problem, n_rows: int, n_columns: int, *, random: bool) -> list[Config]:
    """Return the plain default, a hundred trees, then three more, those first that suit the rows, columns, classes."""
    if problem.task is Task.REGRESSION:
        tried: Config = {} if n_columns <= _WIDE else {"max_features": 0.4}
        chosen: list[Config] = [
            {"shrink": 1.0},
            {"shrink": 1.0, "target": "log1p"},
            {"shrink": 5.0, "min_leaf": 2 if random else 3},
            {"shrink": 1.0, "max_features": (0.8 if random else 0.6) if n_columns <= _WIDE else 0.2},
        ]
        chosen = [tried | config for config in chosen]
    elif n_rows <= _FEW * len(problem.classes):
        chosen = [
            {"shrink": 5.0},
            {"shrink": 20.0},
            {"shrink": 1.0, "max_features": 0.5, "criterion": "entropy"},
            {"shrink": 10.0, "max_features": 0.3, "min_leaf": 4},
        ]
    else:
        few: Config = {"trees": 100}  # that leaves can be of one row: what rows that repeat, or nearly, ask for
        chosen = [
            {"shrink": 20.0, "max_features": 0.5 if random else "sqrt", "min_leaf": 3},
            {"shrink": 5.0 if random else 1.0, "max_features": 0.5 if random else 0.3, "criterion": "entropy"} | few,
            {"shrink": 50.0, "max_features": 0.5 if random else 0.3, "min_leaf": 2},
            {"shrink": 20.0, "max_features": 0.8 if random else 0.5, "min_leaf": 8, "criterion": "entropy"},
        ]
    return [chosen[0], *({"trees": _MOST} | config for config in chosen[1:])]


def sampled(problem: Problem, rng: np.random.Generator) -> Config:
    """Draw from the space: leaves and shrinkage on a logarithmic scale."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    drawn: Config = {
        "trees": _MOST,
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
