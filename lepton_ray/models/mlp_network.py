"""The network in torch, to be fitted. It knows nothing about rows, files or what the scores mean.

Importing this imports torch; ``mlp.py`` does so when it fits and not before. A fitted network is handed over as arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

WAVES, MIXED, EMBEDDED = 16, 3, 8
_FACTORS = {"weight": 1.0, "bias": 0.1, "front": 6.0, "wave": 0.1, "levels": 1.0}
"""What each sort of parameter makes of the learning rate (arXiv:2407.04491, table of RealMLP-TD)."""


class Layer(nn.Module):
    """A linear layer whose weights are of size 1 and divided by the root of the width: one rate fits every width."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(width, outputs))
        self.bias = nn.Parameter(torch.randn(outputs) * 0.5)
        self.share = 1.0 / math.sqrt(max(width, 1))

    def forward(self, rows: Tensor) -> Tensor:
        return torch.addmm(self.bias, rows, self.weight * self.share)


class Network(nn.Module):
    """Numbers through periodic embeddings, categories through tables, all of it through fully connected layers.

    A number z becomes z and three mixtures of 16 waves cos(2 pi f z + p), all learned (Gorishniy et al. 2022,
    arXiv:2203.05556, in the form of Holzmueller et al. 2024, arXiv:2407.04491, from where the rest comes as well).

    Args:
        shape: how many numbers, plain inputs and categories.
        levels: rows of the embedding table that the categories share.
    """

    def __init__(
        self, shape: tuple[int, int, int], levels: int, outputs: int, *, hidden: Sequence[int], config: dict[str, Any]
    ) -> None:
        super().__init__()
        numbers, plain, categories = shape
        self.wave_rates = nn.Parameter(torch.randn(numbers, WAVES) * config["frequency"])
        self.wave_starts = nn.Parameter((torch.rand(numbers, WAVES) * 2.0 - 1.0) * math.pi)
        self.wave_mixes = nn.Parameter(torch.randn(numbers, WAVES, MIXED) / math.sqrt(WAVES))
        self.wave_shifts = nn.Parameter(torch.zeros(numbers, MIXED))
        self.levels = nn.Parameter(torch.randn(levels, EMBEDDED))
        widths = [numbers * (1 + MIXED) + plain + categories * EMBEDDED, *hidden]
        self.front = nn.Parameter(torch.ones(widths[0]))
        self.layers = nn.ModuleList(Layer(a, b) for a, b in zip(widths, [*hidden, outputs], strict=True))
        self.dropout, self.bend = config["dropout"], {"selu": F.selu, "mish": F.mish}[config["bend"]]

    def forward(self, numbers: Tensor, plain: Tensor, codes: Tensor) -> Tensor:
        """Return scores (n, outputs) of numbers (n, d), plain (n, p) and places in the table (n, c)."""
        waves = torch.cos(2.0 * math.pi * numbers[:, :, None] * self.wave_rates + self.wave_starts)
        mixed = torch.einsum("ndm,dmk->ndk", waves, self.wave_mixes) + self.wave_shifts
        known = F.embedding(codes, self.levels)
        rows = torch.cat([numbers, mixed.flatten(1), plain, known.flatten(1)], dim=1) * self.front
        *inner, last = self.layers
        for layer in inner:
            rows = F.dropout(self.bend(layer(rows)), self.dropout, self.training)
        scores: Tensor = last(rows)
        return scores

    def groups(self, rate: float, decay: float) -> list[dict[str, Any]]:
        """Return the parameters for an optimizer, each sort with its own rate; biases do not decay."""
        named: dict[str, list[nn.Parameter]] = {sort: [] for sort in _FACTORS}
        for name, parameter in self.named_parameters():
            named[name.rpartition(".")[2].partition("_")[0]].append(parameter)
        return [
            {"params": named[sort], "lr": rate * factor, "weight_decay": 0.0 if sort == "bias" else decay}
            for sort, factor in _FACTORS.items()
        ]

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return what predicting needs, factors multiplied out."""
        found = {
            "wave_rates": self.wave_rates * (2.0 * math.pi),
            "wave_starts": self.wave_starts,
            "wave_mixes": self.wave_mixes,
            "wave_shifts": self.wave_shifts,
            "levels": self.levels,
        }
        for index, layer in enumerate(self.layers):
            assert isinstance(layer, Layer)
            scaled = layer.weight * layer.share
            found |= {f"weight_{index}": scaled if index else self.front[:, None] * scaled, f"bias_{index}": layer.bias}
        return {name: tensor.detach().numpy().copy() for name, tensor in found.items()}
