"""A torch module of anybody's, made ready for the loop: what it is called with, what it returns, what is its loss.

It knows no module by name, and nothing about tables, files or Ray. Importing this imports torch.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lepton_ray.errors import UsageError
from lepton_ray.training.stepping import Loss

Says = Literal["logits", "probabilities", "values"]
_LEAST = 1e-7  # of a probability that a logarithm is taken of
_EQUAL = 1e-4  # by which probabilities of a row may miss 1


class Wired(nn.Module):
    """A module that is called with tensors in order and returns scores (n, k), as the loop and a graph want it."""

    def __init__(self, module: nn.Module, names: Sequence[str] = ()) -> None:
        """Take a module; ``names`` of the arguments that the tensors are, where they are not in its own order."""
        super().__init__()
        self.module = module
        self._names = tuple(names)

    def forward(self, *inputs: Tensor) -> Tensor:
        said = self.module(**dict(zip(self._names, inputs, strict=True))) if self._names else self.module(*inputs)
        return scores_of(said, inputs[0].shape[0])


def scores_of(said: Any, rows: int) -> Tensor:
    """Return what a module returned as scores (n, k).

    Raises:
        UsageError: it is no tensor of one or two dimensions, nor has one as its ``logits``.
    """
    found = said if isinstance(said, Tensor) else getattr(said, "logits", None)
    if isinstance(found, Tensor) and found.dim() in (1, 2) and found.shape[0] == rows:
        return found if found.dim() == 2 else found[:, None]
    what = type(said).__name__ if found is None else f"a tensor of shape {tuple(found.shape)}"
    raise UsageError(
        f"The model returns {what} for {rows} rows.",
        "Let its forward return one tensor: a number for each row, or one for each row and class.",
    )


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """What one call has shown.

    Attributes:
        width: how many scores there are for a row.
        sums_to_one: whether the scores of each row are probabilities.
        bounded: whether the module ends in a sigmoid.
        idle: parameters that the scores do not hang on: they are left as they are.
        as_floats: whether whole numbers have to be handed over as floats.
    """

    width: int
    sums_to_one: bool
    bounded: bool
    idle: tuple[str, ...]
    as_floats: bool


def rehearse(module: nn.Module, inputs: tuple[Tensor, ...], names: Sequence[str] = ()) -> Rehearsed:
    """Call a copy of a module with a few rows, forwards and backwards.

    Raises:
        UsageError: it cannot be copied, has nothing to learn, cannot be called so, or returns no scores.
    """
    try:
        wired = Wired(copy.deepcopy(module).cpu(), names)
    except Exception as fault:
        raise UsageError(
            f"The model cannot be copied: {_first(fault)}.", "Give a module without open files."
        ) from fault
    if not any(parameter.requires_grad for parameter in wired.parameters()):
        raise UsageError(f"{type(module).__name__} has no parameter to learn.", "Let some require gradients.")
    rows, as_floats, scores = _called(wired, inputs)
    idle = _idle(wired, scores)
    with torch.no_grad():
        said = wired.eval()(*_copies(rows))
    sums = bool((said >= 0).all() and ((said.sum(1) - 1).abs() < _EQUAL).all())
    ends = [one for one in module.modules() if not any(True for _ in one.children())]
    bounded = bool(ends) and isinstance(ends[-1], nn.Sigmoid)
    return Rehearsed(said.shape[1], said.shape[1] > 1 and sums, bounded, idle, as_floats)


def _called(wired: Wired, inputs: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], bool, Tensor]:
    """Return the rows that it takes, whether they had to be floats, and its scores."""
    whole = any(not one.is_floating_point() for one in inputs)
    faults: list[Exception] = []
    for as_floats in (False, True) if whole else (False,):
        rows = as_floating(inputs) if as_floats else inputs
        try:
            return rows, as_floats, wired.train()(*_copies(rows))
        except UsageError:
            raise
        except Exception as fault:  # a user's forward may raise anything
            faults.append(fault)
    shapes = " and ".join(f"{tuple(one.shape)} {str(one.dtype).removeprefix('torch.')}" for one in inputs)
    raise UsageError(
        f"{type(wired.module).__name__} cannot be called with rows of X_train, {shapes}: {_first(faults[0])}.",
        "Give one array, or a tuple or a dict of arrays, as its forward takes them.",
    ) from faults[0]


def _copies(rows: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The same to be called with: some forwards write into what they are given."""
    return tuple(one.clone() for one in rows)


def as_floating(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(one.to(torch.get_default_dtype()) for one in inputs)


def _idle(wired: Wired, scores: Tensor) -> tuple[str, ...]:
    scores.float().sum().backward()  # type: ignore[no-untyped-call]
    return tuple(name for name, p in wired.named_parameters() if p.requires_grad and p.grad is None)


def freeze(wired: Wired, idle: Sequence[str]) -> None:
    """Leave these parameters as they are: among several workers, one that takes no part would be waited for."""
    for name, parameter in wired.named_parameters():
        if name in idle:
            parameter.requires_grad_(False)


def loss_of(says: Says, width: int) -> Loss:
    """Return the loss for targets that are values, or class codes: one for each row."""
    if says == "values":
        return lambda scores, target: (scores[:, 0] - target) ** 2
    if width > 1:
        return _many if says == "logits" else _many_shares
    return _two if says == "logits" else _two_shares


def _two(scores: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores[:, 0], target.to(scores.dtype), reduction="none")


def _two_shares(scores: Tensor, target: Tensor) -> Tensor:
    shares = scores[:, 0].clamp(_LEAST, 1.0 - _LEAST)
    return F.binary_cross_entropy(shares, target.to(scores.dtype), reduction="none")


def _many(scores: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(scores, target, reduction="none")


def _many_shares(scores: Tensor, target: Tensor) -> Tensor:
    return F.nll_loss(scores.clamp_min(_LEAST).log(), target, reduction="none")


def _first(fault: BaseException) -> str:
    return (str(fault).strip() or type(fault).__name__).splitlines()[0].rstrip(".")
