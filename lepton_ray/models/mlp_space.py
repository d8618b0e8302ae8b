"""What the network is tried with: defaults, an ordered portfolio, a space to draw from. It knows nothing about torch.

A config's keys:
    hidden, depth: width and number of the inner layers; bend: "selu" or "mish", what lies between them.
    rate, decay: of AdamW; dropout: the share of an inner layer that is left out in a step.
    frequency: how fast the waves of a number are at first; the faster, the more jagged what is learned.
    epochs, batch, patience: by default from the number of rows; patience is in epochs.
    target: "plain" or "log1p", for values.
"""

from __future__ import annotations

import numpy as np

from lepton_ray.models.family import Config
from lepton_ray.table.schema import Problem, Task

_FEW = 10_000  # rows under which classes need more dropout than data
_MOST_EPOCHS = 64
_BATCHES = ((256, 20_000), (512, 200_000), (1024, float("inf")))

_DEFAULT: Config = {"hidden": 64, "depth": 2, "decay": 0.02, "target": "plain"}
_CLASSES: Config = _DEFAULT | {"bend": "selu", "rate": 0.04}
_VALUES: Config = _DEFAULT | {"bend": "mish", "rate": 0.1, "dropout": 0.0}


def settled(config: Config, problem: Problem, n_rows: int) -> Config:
    """Return every key of the config, those that are not given from the defaults for this problem and these rows.

    Values repay more epochs than classes. A few epochs are run to the end, that of the rate's last wave: diamonds, cut
    off in it by a patience of 8, had an rmse of 596 instead of 546. The more rows, the faster the waves of a number may
    be: adult_income (31,224 rows) has an error of 0.081 at 0.1 and of 0.071 at 6; 300 rows are learned by heart at 1.
    """
    if problem.task is Task.REGRESSION:
        settings = _VALUES | config
        epochs = settings.setdefault("epochs", int(np.clip(round(400_000 / n_rows), 16, _MOST_EPOCHS)))
        settings.setdefault("patience", max(24, epochs // 2))
        settings.setdefault("frequency", float(np.clip(n_rows / 10_000, 0.1, 4.0)))
    else:
        settings = _CLASSES | config
        epochs = settings.setdefault("epochs", int(np.clip(round(200_000 / n_rows), 12, _MOST_EPOCHS)))
        settings.setdefault("patience", max(16, epochs // 3))
        settings.setdefault("frequency", float(np.clip(n_rows / 5_000, 0.1, 8.0)))
        settings.setdefault("dropout", 0.3 if n_rows < _FEW else 0.1)
    settings.setdefault("batch", next(size for size, rows in _BATCHES if n_rows < rows))
    return settings


def portfolio(problem: Problem, n_rows: int, n_columns: int) -> list[Config]:
    """Return the family's light default, one of twice its cost, one for such a table, one of about eight times."""
    middle: Config = {"hidden": 128, "depth": 3}
    heavy: Config = {"hidden": 256, "depth": 3, "epochs": 2 * settled({}, problem, n_rows)["epochs"]}
    if problem.task is Task.REGRESSION:
        return [{}, middle, {"target": "log1p"}, heavy]
    return [{}, middle, middle | ({"dropout": 0.5, "decay": 0.06} if n_rows < _FEW else {"frequency": 16.0}), heavy]


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
        "frequency": log_uniform(0.05, 3.0 if values else 10.0),
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
