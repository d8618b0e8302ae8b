"""The torch loop: a function of (model, batches, report). It knows nothing about tables, families, files or Ray.

Whoever calls it owns the model, the optimizer and the data, so the same loop serves a warm worker, which keeps the best
state in memory, and a group of workers, whose ``report`` saves a checkpoint and asks for all of them whether to go on.
Importing this imports torch: only what fits a network does so, and late.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Protocol

import torch
from torch import Tensor, nn

Rows = tuple[tuple[Tensor, ...], Tensor, Tensor]
"""What the model reads (each tensor: rows first), what it should have said, and the weights of the rows."""


class Batches(Protocol):
    """The data, a fresh order for every epoch."""

    def __len__(self) -> int:
        """Return the number of steps in an epoch, at least 1."""
        ...

    def epoch(self, number: int) -> Iterator[Rows]:
        """Return the batches of this epoch; the same number gives the same batches."""
        ...


def train(
    model: nn.Module,
    batches: Batches,
    report: Callable[[int], bool],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: torch.optim.Optimizer,
    schedule: Callable[[float], float],
    epochs: int,
    stop: Callable[[], bool],
) -> None:
    """Fit in place, one optimizer step for each batch, until the epochs, ``report`` or ``stop`` end it.

    Args:
        report: is told the number of the epoch that ended, from 1, also of one that ``stop`` cut short; it may judge,
            keep or save the model, which it finds in evaluation mode, and says whether to go on.
        loss: scores (rows, outputs) and targets to one loss for each row.
        schedule: the share of the whole that is done, 0 to 1, to the factor of every group's learning rate.
        stop: asked after each batch.
    """
    total = epochs * len(batches)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(min(step / total, 1.0)))
    for number in range(1, epochs + 1):
        model.train()
        stopped = False
        for inputs, target, weight in batches.epoch(number):
            optimizer.zero_grad()
            torch.mean(loss(model(*inputs), target) * weight).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            rates.step()
            stopped = stop()
            if stopped:
                break
        model.eval()
        if not report(number) or stopped:
            return


def waves(done: float) -> float:
    """Four waves of the rate, each twice as long as the one before and ending at 0 (coslog4 of arXiv:2407.04491).

    A run that is cut short thus has a settled model from the end of its last wave, at 1/15, 1/5 or 7/15 of the whole.
    """
    return 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * done)))
