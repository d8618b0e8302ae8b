"""A transformer over the columns of a table, in torch: FT-Transformer (Gorishniy et al. 2021, arXiv:2106.11959).

Each column becomes a token, and attention lets columns look at each other; the answer is read off one more token. It is
a network for the loop and no family yet: no search tries it, no bundle holds it, nothing reads rows for it.
It knows nothing about rows, files or what the scores mean. Importing this imports torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lepton_ray.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large the network is, the paper's default unless said; about 0.3 million parameters for each block.

    Attributes:
        width: of a token, a multiple of ``heads``.
        inner: the width within a block, in widths.
        drop_attention, drop_inner: the shares that are left out there while training.
    """

    blocks: int = 3
    width: int = 192
    heads: int = 8
    inner: float = 4 / 3
    drop_attention: float = 0.2
    drop_inner: float = 0.1

    def __post_init__(self) -> None:
        if min(self.blocks, self.width, self.heads) < 1 or self.width % self.heads:
            raise UsageError(
                f"A transformer of {self.blocks} blocks cannot be {self.width} wide with {self.heads} heads.",
                "Make the width a multiple of the heads.",
            )


class Tokens(nn.Module):
    """Rows to tokens: a number times a vector of its column, a category's own vector, each plus the column's bias."""

    def __init__(self, numbers: int, levels: tuple[int, ...], width: int) -> None:
        super().__init__()
        edge = 1.0 / math.sqrt(width)
        self.directions = nn.Parameter(torch.empty(numbers, width).uniform_(-edge, edge))
        self.levels = nn.Parameter(torch.empty(sum(levels), width).uniform_(-edge, edge))
        self.bias = nn.Parameter(torch.empty(numbers + len(levels), width).uniform_(-edge, edge))
        self.answer = nn.Parameter(torch.empty(1, width).uniform_(-edge, edge))
        starts = torch.tensor([0, *levels[:-1]]).cumsum(0) if levels else torch.zeros(0, dtype=torch.int64)
        self.register_buffer("starts", starts, persistent=False)
        self.starts: Tensor

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        columns = torch.cat(
            [numbers[:, :, None] * self.directions, F.embedding(codes + self.starts, self.levels)], dim=1
        )
        return torch.cat([self.answer.expand(len(columns), 1, -1), columns + self.bias], dim=1)


class Block(nn.Module):
    """Attention, then two layers with a gate (ReGLU), each behind its norm and beside its input."""

    def __init__(self, size: Size, *, first: bool) -> None:
        super().__init__()
        inner = int(size.width * size.inner)
        self.before: nn.Module = nn.Identity() if first else nn.LayerNorm(size.width)  # none in the first: the paper's
        self.asks = nn.Linear(size.width, 3 * size.width)
        self.gathers = nn.Linear(size.width, size.width)
        self.between = nn.LayerNorm(size.width)
        self.widens = nn.Linear(size.width, 2 * inner)
        self.narrows = nn.Linear(inner, size.width)
        self._size = size

    def forward(self, tokens: Tensor, *, answer_only: bool) -> Tensor:
        """Return (n, tokens, width); only the first token of each row where ``answer_only``."""
        n, count, width = tokens.shape
        asks, keys, values = (
            part.view(n, count, self._size.heads, -1).transpose(1, 2)
            for part in self.asks(self.before(tokens)).chunk(3, dim=-1)
        )
        if answer_only:
            asks, tokens, count = asks[:, :, :1], tokens[:, :1], 1
        dropped = self._size.drop_attention if self.training else 0.0
        seen = F.scaled_dot_product_attention(asks, keys, values, dropout_p=dropped)
        tokens = tokens + self.gathers(seen.transpose(1, 2).reshape(n, count, width))
        value, gate = self.widens(self.between(tokens)).chunk(2, dim=-1)
        inner = F.dropout(value * F.relu(gate), self._size.drop_inner, self.training)
        found: Tensor = tokens + self.narrows(inner)
        return found


class ColumnTransformer(nn.Module):
    """Scores (n, outputs) of numbers (n, d), already scaled, and codes (n, c), from 0 in each column."""

    def __init__(self, numbers: int, levels: tuple[int, ...], outputs: int, size: Size | None = None) -> None:
        """Take the number of number columns, and how many codes each category has, those never seen included."""
        super().__init__()
        if not (numbers or levels):
            raise UsageError("A transformer over columns was given none.", "Give it a number or a category.")
        size = size or Size()
        self.tokens = Tokens(numbers, levels, size.width)
        self.blocks = nn.ModuleList(Block(size, first=number == 0) for number in range(size.blocks))
        self.norm = nn.LayerNorm(size.width)
        self.head = nn.Linear(size.width, outputs)

    def forward(self, numbers: Tensor, codes: Tensor) -> Tensor:
        tokens = self.tokens(numbers, codes)
        for number, block in enumerate(self.blocks, 1):
            tokens = block(tokens, answer_only=number == len(self.blocks))
        scores: Tensor = self.head(F.relu(self.norm(tokens[:, 0])))
        return scores

    def groups(self, rate: float = 1e-4, decay: float = 1e-5) -> list[dict[str, Any]]:
        """Return the parameters for AdamW, by default at the paper's rate; tokens, norms and biases do not decay."""
        spared = {id(p) for module in self.modules() if isinstance(module, nn.LayerNorm) for p in module.parameters()}
        spared |= {id(p) for p in self.tokens.parameters()}
        spared |= {id(p) for name, p in self.named_parameters() if name.endswith("bias")}
        kept = [p for p in self.parameters() if id(p) not in spared]
        rest = [p for p in self.parameters() if id(p) in spared]
        return [
            {"params": kept, "lr": rate, "weight_decay": decay},
            {"params": rest, "lr": rate, "weight_decay": 0.0},
        ]
