"""What the networks over tokens are tried with: defaults, an ordered portfolio, a space to draw from. Knows no torch.

A config's keys:
    vocabulary, longest: how many tokens are learned, and how many of a text are read, at most.
    width: of a token. hidden: of the dense layer.
    filters: of text_cnn, for each window. blocks, heads: of text_transformer.
    dropout: the share that is left out in a step; blank: the same of tokens.
    rate, decay: of AdamW. epochs, batch, patience: by default from the number of rows; patience is in epochs.
    target: "plain" or "log1p", for values.
"""

from __future__ import annotations

import numpy as np

from lepton_ray.models.family import Config
from lepton_ray.table.schema import Problem

_DEFAULT: Config = {"vocabulary": 8000, "longest": 128, "width": 96, "hidden": 128, "decay": 0.01, "target": "plain"}
_OWN: dict[str, Config] = {
    "text_cnn": {"filters": 96, "dropout": 0.3, "blank": 0.2, "rate": 3e-3},
    "text_transformer": {"blocks": 2, "heads": 4, "dropout": 0.1, "blank": 0.2, "rate": 2e-3},
}
_SEEN, _FEWEST_EPOCHS, _MOST_EPOCHS = 120_000, 4, 24
_FEW = 20_000
_SPEED = 6e10  # multiplications and additions in a second of one core
_TOKEN_BYTES = 4.0


def settled(name: str, config: Config, n_rows: int) -> Config:
    """Return every key of the config, those that are not given from the defaults for these rows."""
    settings = _DEFAULT | _OWN[name] | config
    epochs = settings.setdefault("epochs", int(np.clip(round(_SEEN / n_rows), _FEWEST_EPOCHS, _MOST_EPOCHS)))
    settings.setdefault("patience", max(3, epochs // 4))
    settings.setdefault("batch", 64 if n_rows < _FEW else 256)
    return settings


def portfolio(name: str) -> list[Config]:
    """Return the plain default, and one of about twice its cost."""
    return [{}, {"filters": 192} if name == "text_cnn" else {"width": 192, "rate": 1e-3}]


def sampled(name: str, rng: np.random.Generator) -> Config:
    """Draw from the space: the rate on a logarithmic scale."""
    drawn: Config = {
        "width": int(rng.choice([64, 96, 128])),
        "vocabulary": int(rng.choice([2000, 8000, 16000])),
        "dropout": float(rng.uniform(0.1, 0.5)),
        "blank": float(rng.uniform(0.0, 0.4)),
        "rate": float(np.exp(rng.uniform(np.log(5e-4), np.log(5e-3)))),
    }
    own: Config = {"filters": int(rng.choice([64, 128, 192]))}
    return drawn | (own if name == "text_cnn" else {"blocks": int(rng.integers(1, 4))})


def text_seconds(name: str, config: Config, problem: Problem, n_rows: int, n_columns: int) -> float:
    """Epochs times rows times tokens times what a token takes, forwards and backwards; and the dense layers."""
    settings = settled(name, config, n_rows)
    wide, tokens = settings["width"], min(8.0 + 1.3 * n_columns / _TOKEN_BYTES, settings["longest"])
    each = 9.0 * wide * settings["filters"] if name == "text_cnn" else 8.0 * settings["blocks"] * wide * wide
    row = tokens * (2.0 * each + 50.0 * wide) + 2.0 * settings["hidden"] * (3.0 * wide + problem.n_outputs)
    return float(settings["epochs"] * n_rows * (3.0 * row / _SPEED + 5e-3 / settings["batch"]))
