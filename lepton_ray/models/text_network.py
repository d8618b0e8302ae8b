"""Two networks over tokens in torch: one of convolutions, one of attention. They know nothing about texts or files.

Importing this imports torch.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_WINDOWS = (2, 3, 4)


class Convolutions(nn.Module):
    """Windows of 2, 3 and 4 tokens, the most that each filter finds anywhere (Kim 2014, arXiv:1408.5882).

    Takes embedded tokens (n, length, width) and which are there (n, length); gives (n, 3 x filters).
    """

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.windows = nn.ModuleList(
            nn.Conv1d(config["width"], config["filters"], window, padding=window - 1) for window in _WINDOWS
        )
        self.outputs = len(_WINDOWS) * config["filters"]

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        across = (tokens * there[:, :, None]).transpose(1, 2)
        return torch.cat([F.relu(window(across)).amax(dim=2) for window in self.windows], dim=1)


class Attention(nn.Module):
    """A small transformer encoder (Vaswani et al. 2017, arXiv:1706.03762), each part behind its norm; then the mean.

    Takes embedded tokens (n, length, width) and which are there (n, length); gives (n, width).
    """

    def __init__(self, config: dict[str, Any], length: int) -> None:
        super().__init__()
        self.outputs = config["width"]
        self.places = nn.Parameter(torch.randn(length, self.outputs) * 0.02)
        self.blocks = nn.ModuleList(
            _Block(self.outputs, config["heads"], config["dropout"]) for _ in range(config["blocks"])
        )
        self.norm = nn.LayerNorm(self.outputs)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        tokens = tokens + self.places
        for block in self.blocks:
            tokens = block(tokens, there[:, None, None, :])
        counted = there[:, :, None].to(tokens.dtype)
        mean: Tensor = (self.norm(tokens) * counted).sum(1) / counted.sum(1)
        return mean


class _Block(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asks, self.gathers = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widens, self.narrows = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor, there: Tensor) -> Tensor:
        n, length, width = tokens.shape
        asks, keys, values = (
            part.view(n, length, self.heads, -1).transpose(1, 2)
            for part in self.asks(self.before(tokens)).chunk(3, dim=-1)
        )
        seen = F.scaled_dot_product_attention(asks, keys, values, attn_mask=there)
        gathered = self.gathers(seen.transpose(1, 2).reshape(n, length, width))
        tokens = tokens + F.dropout(gathered, self.dropout, self.training)
        inner = self.narrows(F.gelu(self.widens(self.between(tokens))))
        return tokens + F.dropout(inner, self.dropout, self.training)


class TextNetwork(nn.Module):
    """Scores (n, outputs) of tokens (n, length), 0 where there is none, and other columns (n, columns) beside them.

    What was read of the tokens and the other columns join before a dense layer.
    """

    def __init__(self, config: dict[str, Any], *, vocabulary: int, length: int, columns: int, outputs: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, config["width"])
        nn.init.normal_(self.embedding.weight, std=1.0 / math.sqrt(config["width"]))
        self.reader: Convolutions | Attention
        self.reader = Convolutions(config) if "filters" in config else Attention(config, length)
        self.dense = nn.Linear(self.reader.outputs + columns, config["hidden"])
        self.head = nn.Linear(config["hidden"], outputs)
        self.dropout, self.blank = config["dropout"], config["blank"]

    def forward(self, tokens: Tensor, beside: Tensor) -> Tensor:
        return self.decided(torch.cat([self.read(tokens), beside], dim=1))

    def read(self, tokens: Tensor) -> Tensor:
        """Return what there is in the texts, (n, features)."""
        there = tokens > 0
        if self.training:  # some tokens are not shown, so that no single one is relied on
            there = there & (torch.rand(tokens.shape) >= self.blank)
        there[:, 0] = True  # of an empty text as well
        found: Tensor = self.reader(self.embedding(tokens), there)
        return found

    def decided(self, joined: Tensor) -> Tensor:
        """Return the scores of rows (n, features and other columns)."""
        shown = F.dropout(joined, self.dropout, self.training)
        inner = F.dropout(F.relu(self.dense(shown)), self.dropout, self.training)
        scores: Tensor = self.head(inner)
        return scores
