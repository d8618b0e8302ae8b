"""One step: batches in, gradients out, the optimizer moved; in pieces where a batch does not fit into memory.

It knows nothing about epochs, schedules or files. Importing this imports torch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from lepton_ray.errors import EnvironmentFault, UsageError
from lepton_ray.training.batches import Rows
from lepton_ray.training.peers import Peers
from lepton_ray.training.settings import Settings

Loss = Callable[[Tensor, Tensor], Tensor]
"""Scores (rows, outputs) and targets to one loss for each row."""


class DoesNotFit(EnvironmentFault):
    """The memory does not hold a batch, or not even a row of it."""


class Stepper:
    """Takes steps; ``pieces`` is the number of parts in which it goes through each batch."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        loss: Loss,
        settings: Settings,
        *,
        peers: Peers,
        device: torch.device,
        pieces: int = 1,
    ) -> None:
        if settings.precision == "fp16" and device.type == "cpu":
            raise UsageError("The precision fp16 needs a GPU, and there is none here.", "Take bf16 or fp32.")
        joined = peers.joined(model)
        self.pieces = pieces
        self._scaled = settings.precision == "fp16"
        self.scaler = torch.amp.GradScaler(device.type, enabled=self._scaled)
        self._called = joined
        if settings.compiled:
            self._called = cast(nn.Module, torch.compile(joined))
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self._optimizer, self._loss, self._peers, self._device = optimizer, loss, peers, device
        self._clip = settings.clip
        self._type = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[settings.precision]
        classes = settings.class_weights
        self._class_weights = None if classes is None else torch.tensor(classes, device=device)

    def step(self, window: Sequence[Rows]) -> Tensor:
        """Move the optimizer by the mean loss of these batches' rows, and return that loss, which is not looked at.

        Raises:
            UsageError: the model's output does not fit the target.
            DoesNotFit: a single row does not fit into memory; among several workers, a piece of a batch does not.
        """
        if self._device.type != "cpu":
            window = [_moved(rows, self._device) for rows in window]
        while True:
            try:
                total = self._gradients(window)
                break
            except (RuntimeError, MemoryError) as fault:
                if not _is_of_memory(fault):
                    raise
                self._halve(window, fault)
        if self._clip is not None:
            self.scaler.unscale_(self._optimizer)
            torch.nn.utils.clip_grad_norm_(self._parameters, self._clip, error_if_nonfinite=False)
        if self._scaled:
            self.scaler.step(self._optimizer)
            self.scaler.update()
        else:
            self._optimizer.step()
        return total

    def _gradients(self, window: Sequence[Rows]) -> Tensor:
        """Leave the gradients of the window's mean loss where they belong; a join with peers comes with the last."""
        self._optimizer.zero_grad()
        if self.pieces == 1 and len(window) == 1:
            return self._backward(window[0], 1.0)
        parts = [part for rows in window for part in _parted(rows, self.pieces)]
        count = sum(len(target) for _, target, _ in parts)
        total = torch.zeros((), device=self._device)
        for number, part in enumerate(parts):
            last = number == len(parts) - 1
            with nullcontext() if last else self._peers.apart(self._called):
                total += self._backward(part, len(part[1]) / count)
        return total

    def _backward(self, rows: Rows, share: float) -> Tensor:
        inputs, target, weight = rows
        with self._products():
            each = self._losses(self._called(*inputs), target)
            if self._class_weights is not None:
                weight = weight * self._class_weights[target]
            loss = torch.mean(each * weight)
        loss = loss if share == 1.0 else loss * share
        (self.scaler.scale(loss) if self._scaled else loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _losses(self, scores: Any, target: Tensor) -> Tensor:
        try:
            each = self._loss(scores, target)
        except (RuntimeError, IndexError, ValueError, TypeError) as fault:
            if _is_of_memory(fault):
                raise
            raise _unfit(scores, target, f" ({str(fault).splitlines()[0].rstrip('.')})") from fault
        if each.dim() != 1 or each.shape[0] != target.shape[0]:
            raise _unfit(scores, target, f": that makes losses of shape {tuple(each.shape)}, not one for each row")
        return each

    def _products(self) -> AbstractContextManager[object]:
        return nullcontext() if self._type is None else torch.autocast(self._device.type, self._type)

    def _halve(self, window: Sequence[Rows], fault: BaseException) -> None:
        """Go through batches in twice as many pieces from now on."""
        self._optimizer.zero_grad()
        rows = max(len(target) for _, target, _ in window)
        if self._peers.count > 1:
            raise DoesNotFit(
                f"A batch of {rows} rows in {self.pieces} pieces does not fit into the memory of worker "
                f"{self._peers.rank}.",
                "Take smaller batches and accumulate them.",
            ) from fault
        if self.pieces >= rows:
            raise DoesNotFit("Not even one row fits into memory.", "Take a smaller model.") from fault
        self.pieces = min(2 * self.pieces, rows)
        if self._device.type == "cuda":
            torch.cuda.empty_cache()


def _parted(rows: Rows, pieces: int) -> list[Rows]:
    """Cut a batch into so many pieces, or one for each row."""
    if pieces == 1:
        return [rows]
    inputs, target, weight = rows
    size = -(-len(target) // pieces)
    cuts = [slice(start, start + size) for start in range(0, len(target), size)]
    return [(tuple(part[cut] for part in inputs), target[cut], weight[cut]) for cut in cuts]


def _moved(rows: Rows, device: torch.device) -> Rows:
    inputs, target, weight = rows
    return (
        tuple(part.to(device, non_blocking=True) for part in inputs),
        target.to(device, non_blocking=True),
        weight.to(device, non_blocking=True),
    )


def _is_of_memory(fault: BaseException) -> bool:
    """Whether torch or Python ran out of memory; torch says so on a CPU by a RuntimeError of its allocator."""
    return isinstance(fault, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(fault)


def _unfit(scores: Any, target: Tensor, why: str) -> UsageError:
    said = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    low, high = (target.min().item(), target.max().item()) if target.numel() else ("none", "none")
    return UsageError(
        f"The model's output of shape {said} does not fit the target of shape {tuple(target.shape)}, type "
        f"{str(target.dtype).removeprefix('torch.')}, from {low} to {high}{why}.",
        "Give the model one output for values and two classes, else one for each class, and a loss that fits it.",
    )
