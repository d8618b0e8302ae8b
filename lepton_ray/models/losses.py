"""What networks make small, one number for each row. It knows no network. Importing this imports torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _two(scores: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores[:, 0], target, reduction="none")


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "square": lambda scores, target: (scores[:, 0] - target) ** 2,
    "absolute": lambda scores, target: torch.abs(scores[:, 0] - target),
    "two": _two,
    "many": lambda scores, target: F.cross_entropy(scores, target, reduction="none"),
}
"""Of scores (n, outputs) and targets (n,): the first two for values, the others for classes."""
