"""What a training on Ray is made of, as it travels to workers. It knows nothing about how they run it.

Importing this imports torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from lepton_ray.on_ray.seats import Seats
from lepton_ray.training.batches import Batches
from lepton_ray.training.settings import Settings
from lepton_ray.training.stepping import Loss


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker sits.

    Attributes:
        rank, count: which of how many workers it is.
        rows: of each data set, how many this worker reads at least.
        shard: its part of the data set of that name, a ``ray.data.DataIterator``.
    """

    rank: int
    count: int
    device: torch.device
    rows: dict[str, int]
    shard: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a worker trains, made on it.

    Attributes:
        model: every parameter of it takes part in every step, as DDP wants.
        batches: its own part, of as many batches as every worker's, such as ``InMemory`` or ``Shard``.
        optimizer: makes one for the model once that is on its device.
        judge: see ``training.around``; the mean over the workers decides.
    """

    model: nn.Module
    batches: Batches
    loss: Loss
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    judge: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """All that a worker is given."""

    build: Callable[[Place], Lesson]
    settings: Settings
    seats: Seats
    checkpoints: str
    keep: int
    rows: dict[str, int]
    size: int
    desk: Any
