"""Those who train one model together: what each must know of the others. It knows nothing about Ray.

``Alone`` is one process. ``Group`` is data parallel (DDP) over a process group of torch that somebody has brought up,
gloo on CPUs; every member must call the same methods in the same order. Models that are sharded over the members
(FSDP2) are not there yet. Importing this imports torch.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


class Peers(Protocol):
    """The workers of one model.

    Attributes:
        rank, count: which of them this is, from 0, and how many they are.
    """

    @property
    def rank(self) -> int: ...

    @property
    def count(self) -> int: ...

    def joined(self, model: nn.Module) -> nn.Module:
        """Return the model as it is called in training, so that gradients are the mean over all."""
        ...

    def apart(self, model: nn.Module) -> AbstractContextManager[object]:
        """Return a context in which gradients of a joined model stay here, to be added to."""
        ...

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over all, equal to the last bit everywhere."""
        ...

    def gathered(self, values: Tensor) -> list[Tensor]:
        """Return everybody's tensor, of one shape, by rank."""
        ...


class Alone:
    """One worker."""

    rank = 0
    count = 1

    def joined(self, model: nn.Module) -> nn.Module:
        return model

    def apart(self, model: nn.Module) -> AbstractContextManager[object]:
        return nullcontext()

    def mean(self, values: Tensor) -> Tensor:
        return values

    def gathered(self, values: Tensor) -> list[Tensor]:
        return [values]


class Group:
    """The members of torch's default process group."""

    def __init__(self) -> None:
        self.rank, self.count = dist.get_rank(), dist.get_world_size()
        self._place = torch.device("cuda") if dist.get_backend() == "nccl" else torch.device("cpu")

    def joined(self, model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model) if self.count > 1 else model

    def apart(self, model: nn.Module) -> AbstractContextManager[object]:
        quiet = getattr(model, "no_sync", None)
        return nullcontext() if quiet is None else quiet()

    def mean(self, values: Tensor) -> Tensor:
        if self.count == 1:
            return values
        total = values.to(self._place, copy=True)
        dist.all_reduce(total)
        return (total / self.count).to(values.device)

    def gathered(self, values: Tensor) -> list[Tensor]:
        if self.count == 1:
            return [values]
        mine = values.to(self._place)
        everybody = [torch.empty_like(mine) for _ in range(self.count)]
        dist.all_gather(everybody, mine)
        return [one.to(values.device) for one in everybody]
