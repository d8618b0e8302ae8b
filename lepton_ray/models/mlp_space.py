"""What the network is tried with: defaults, an ordered portfolio, a space to draw from. It knows nothing about torch.

A config's keys:
    hidden, depth: width and number of the inner layers; bend: "selu" or "mish", what lies between them.
    rate, decay: of AdamW; dropout: the share of an inner layer that is left out in a step.
    frequency: how fast the waves of a number are at first; the higher, the more jagged what is learned.
    epochs, batch, patience: by default from the number of rows; patience is in epochs.
    target: "plain" or "log1p", for values.
"""

from __future__ import annotations

import numpy as np

from lepton_ray.models.family import Config
from lepton_ray.table.schema import Problem, Task

_ROWS_TO_SEE, _FEWEST, _MOST = {True: 400_000, False: 200_000}, 12, 64  # values repay more epochs than classes
_FEW = 10_000
_ROWS_PER_FREQUENCY = 10_000  # adult_income (31,224 rows): 0.081 at 0.1, 0.072 at 3; 300 rows are learned by heart at 1

_DEFAULT: Config = {"hidden": 128, "depth": 3, "decay": 0.02, "target": "plain"}
_CLASSES: Config = _DEFAULT | {"bend": "selu", "rate": 0.04}
_VALUES: Config = _DEFAULT | {"bend": "mish", "rate": 0.1}


def settled(config: Config, problem: Problem, n_rows: int) -> Config:
    """Return every key of the config, those that are not given from the defaults for this problem and these rows."""
    values = problem.task is Task.REGRESSION
    settings = (_VALUES if values else _CLASSES) | config
    epochs = settings.setdefault("epochs", int(np.clip(round(_ROWS_TO_SEE[values] / n_rows), _FEWEST, _MOST)))
    settings.setdefault("frequency", float(np.clip(n_rows / _ROWS_PER_FREQUENCY, 0.1, 4.0)))
    settings.setdefault("dropout", 0.0 if values else 0.3 if n_rows < _FEW else 0.1)
    settings.setdefault("batch", next(size for size, rows in _BATCHES if n_rows < rows))
    return {"patience": max(6, epochs // 3)} | settings


_BATCHES = ((256, 20_000), (512, 200_000), (1024, float("inf")))


def portfolio(problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
    """Return the family's default, then three more."""
    chosen: list[Config] = [{}]
    return chosen


def sampled(problem: Problem, rng: np.random.Generator) -> Config:
    """Draw from the space: rates and frequencies on a logarithmic scale."""

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    values = problem.task is Task.REGRESSION
    drawn: Config = {
        "hidden": int(rng.choice([64, 128, 256])),
        "depth": int(rng.integers(2, 5)),
        "rate": log_uniform(0.02, 0.3) if values else log_uniform(0.01, 0.1),
        "decay": log_uniform(1e-3, 0.1),
        "dropout": float(rng.uniform(0.0, 0.2 if values else 0.5)),
        "frequency": log_uniform(0.05, 1.5),
    }
    if values:
        drawn["target"] = "log1p" if rng.random() < 0.3 else "plain"
    return drawn


def network_work(config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
    """Epochs times rows times multiplications for a row, and what a step costs whatever its size."""
    settings = settled(config, problem, n_rows)
    wide, deep = settings["hidden"], settings["depth"]
    row = 4.0 * n_columns * (wide + 16.0) + wide * wide * (deep - 1.0) + wide * problem.n_outputs
    return float(settings["epochs"] * n_rows * (row + 2e6 / settings["batch"]))
