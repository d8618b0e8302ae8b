"""Networks for the verbs, in a module of their own: workers import it."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn


class Pair(nn.Module):
    """Numbers and words by number to one value; a part of it has no say."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.numbers, self.out = nn.Embedding(7, 4), nn.Linear(3, 8), nn.Linear(12, 1)
        self.idle = nn.Linear(2, 2)

    def forward(self, words: Tensor, numbers: Tensor) -> Tensor:
        return self.out(torch.relu(torch.cat([self.numbers(numbers), self.words(words).mean(1)], 1)))[:, 0]


class Branching(nn.Module):
    """Looks at the values to decide what to do."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) if x.sum() > 0 else self.out(-x)


def pair_rows(count: int) -> tuple[dict[str, Any], Any]:
    rng = np.random.default_rng(0)
    numbers, words = rng.normal(size=(count, 3)), rng.integers(0, 7, (count, 5))
    return {"numbers": numbers, "words": words}, 2 * numbers[:, 0] + (words == 3).sum(1)
