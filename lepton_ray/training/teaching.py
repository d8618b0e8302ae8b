"""What a module of anybody's is taught with: its rows, its recipe, and all that the loop is handed of them.

It knows nothing about tables, files or Ray. Importing this imports torch.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lepton_ray.training.anybody import Says, Wired, as_floating, freeze, loss_of
from lepton_ray.training.batches import InMemory
from lepton_ray.training.settings import Settings
from lepton_ray.training.stepping import Loss

_AT_ONCE = 1024  # rows that are judged together


@dataclass(frozen=True, slots=True)
class Part:
    """Rows: what the module reads, each array rows first, and values (float32) or class codes (int64)."""

    inputs: tuple[NDArray[Any], ...]
    target: NDArray[Any]

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, picked: NDArray[np.int64]) -> Part:
        return Part(tuple(one[picked] for one in self.inputs), self.target[picked])


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is to learn.

    Attributes:
        module: as it was given; every use begins with a copy of it.
        names: of the arguments that the inputs are, see ``Wired``.
        says, width: what its scores mean, and how many there are for a row.
        idle: parameters that take no part.
        as_floats: whether whole numbers are handed over as floats.
    """

    module: nn.Module
    names: tuple[str, ...]
    says: Says
    width: int
    idle: tuple[str, ...] = ()
    as_floats: bool = False

    def wired(self) -> Wired:
        """Return a copy that is ready to learn."""
        wired = Wired(copy.deepcopy(self.module), self.names)
        freeze(wired, self.idle)
        return wired

    def tensors(self, arrays: tuple[NDArray[Any], ...]) -> tuple[Tensor, ...]:
        """Return inputs as they are handed over; their memory is shared where it can be."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # rows in Ray's store cannot be written to, and nobody does
            found = tuple(torch.from_numpy(np.ascontiguousarray(one)) for one in arrays)
        return as_floating(found) if self.as_floats else found


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How it learns.

    Attributes:
        batch_size: rows of a step, of all workers together.
        rate, decay: of AdamW; the rate is the highest, it rises over the first steps and falls as a cosine.
        patience: epochs without a better judgement after which it ends.
    """

    epochs: int
    batch_size: int
    rate: float = 1e-3
    decay: float = 0.01
    patience: int | None = None
    seed: int = 0

    def settings(self, judged: bool) -> Settings:
        patience = self.patience if judged else None
        return Settings(
            epochs=self.epochs, clip=1.0, schedule="cosine", warm_up=0.05, patience=patience, seed=self.seed
        )


@dataclass(frozen=True, slots=True)
class Taught:
    """What the loop is handed."""

    model: Wired
    batches: InMemory
    loss: Loss
    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    judge: Callable[[], float] | None


def taught(
    subject: Subject,
    recipe: Recipe,
    train: Part,
    valid: Part | None,
    *,
    rank: int = 0,
    count: int = 1,
    device: torch.device | None = None,
) -> Taught:
    """Return all of it for one of so many workers, who share each batch and each judgement."""
    place = device or torch.device("cpu")
    model, loss = subject.wired().to(place), loss_of(subject.says, subject.width)
    size = max(1, recipe.batch_size // count)
    target = torch.from_numpy(np.array(train.target))
    batches = InMemory(subject.tensors(train.inputs), target, size=size, seed=recipe.seed, rank=rank, count=count)
    judge = None if valid is None else _judge(subject, model, loss, _shared(valid, rank, count), place)
    return Taught(model, batches, loss, lambda wired: _adam(wired, recipe), judge)


def _adam(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return torch.optim.AdamW(learning, lr=recipe.rate, weight_decay=recipe.decay, fused=True)


def _shared(valid: Part, rank: int, count: int) -> Part:
    """A worker's part of the rows that judge; all of them where there are fewer than workers."""
    return valid if len(valid) < count else valid.rows(np.arange(rank, len(valid), count))


def _judge(subject: Subject, model: Wired, loss: Loss, valid: Part, device: torch.device) -> Callable[[], float]:
    inputs, target = subject.tensors(valid.inputs), torch.from_numpy(np.array(valid.target))

    def judge() -> float:
        total = 0.0
        for start in range(0, len(valid), _AT_ONCE):
            rows = tuple(one[start : start + _AT_ONCE].to(device, copy=True) for one in inputs)
            total += float(loss(model(*rows), target[start : start + _AT_ONCE].to(device)).sum())
        return total / len(valid)

    return judge
