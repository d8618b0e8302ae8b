"""An exponential moving average of a model's parameters (Polyak). It knows nothing about steps or files.

Buffers are not averaged: they belong to whichever parameters the model has. Importing this imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Follows a model; after few updates it follows faster: the decay is at most (1 + n) / (10 + n)."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.updates = 0
        self._names = [name for name, _ in model.named_parameters()]
        self._parameters = [parameter for _, parameter in model.named_parameters()]
        self._held = [parameter.detach().clone() for parameter in self._parameters]
        self._decay = decay

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        share = 1.0 - min(self._decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._held, [p.detach() for p in self._parameters], share)

    def tensors(self) -> dict[str, Tensor]:
        return dict(zip(self._names, self._held, strict=True))

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor], updates: int) -> None:
        self.updates = updates
        for name, held in zip(self._names, self._held, strict=True):
            held.copy_(tensors[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the model be the average, to be judged; afterwards it is what it was, to the last bit."""
        before = [parameter.detach().clone() for parameter in self._parameters]
        self._put(self._held)
        try:
            yield
        finally:
            self._put(before)

    def settle(self) -> None:
        """Let the model be the average from now on."""
        self._put(self._held)

    @torch.no_grad()
    def _put(self, tensors: list[Tensor]) -> None:
        for parameter, tensor in zip(self._parameters, tensors, strict=True):
            parameter.copy_(tensor)
