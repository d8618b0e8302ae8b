"""Rows for the loop: the contract, and rows that are in memory. It knows nothing about tables, files or Ray.

Importing this imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

Rows = tuple[tuple[Tensor, ...], Tensor, Tensor]
"""What the model reads (each tensor: rows first), what it should have said, and the weights of the rows."""


class Batches(Protocol):
    """The data, a fresh order for every epoch. Of workers, each has its own, and all have equally many batches."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch, at least 1."""
        ...

    def epoch(self, number: int, first: int = 0) -> Iterator[Rows]:
        """Return the batches of this epoch, from 1, but for the ``first`` ones; the same number gives the same."""
        ...


class InMemory:
    """Batches of one size in a new order every epoch; the few rows that fill no batch wait for the next one.

    Every worker holds all rows and takes its part of each step: the order of rows is the same however many workers
    there are, and each row comes at most once in an epoch.
    """

    def __init__(
        self,
        inputs: tuple[Tensor, ...],
        target: Tensor,
        weight: Tensor | None = None,
        *,
        size: int,
        seed: int,
        rank: int = 0,
        count: int = 1,
    ) -> None:
        """Take rows: ``size`` of them for each worker and batch, ``rank`` being one of ``count`` workers."""
        self._inputs, self._target = inputs, target
        self._weight = torch.ones(len(target)) if weight is None else weight
        self._size = max(min(size, len(target) // count), 1)
        self._seed, self._rank, self._count = seed, rank, count

    def __len__(self) -> int:
        return max(len(self._target) // (self._size * self._count), 1)

    def epoch(self, number: int, first: int = 0) -> Iterator[Rows]:
        order = np.random.default_rng((self._seed, number)).permutation(len(self._target))
        for step in range(first, len(self)):
            start = (step * self._count + self._rank) * self._size
            picked = torch.from_numpy(order[start : start + self._size])
            yield tuple(part[picked] for part in self._inputs), self._target[picked], self._weight[picked]
