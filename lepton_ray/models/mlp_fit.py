"""Fitting the network on rows that are ready for it. It knows nothing about tables, files or what the scores mean.

Importing this imports torch; ``mlp.py`` does so when it fits and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lepton_ray.features.matrix import Floats
from lepton_ray.models.family import Config, Stop
from lepton_ray.models.mlp_network import Network
from lepton_ray.models.mlp_rows import Inputs
from lepton_ray.training.loop import Rows, train, waves

_AT_ONCE = 4096  # rows that are judged together


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the network is to learn: inputs, targets (n,) and weights (n,) of mean 1, and the sort of loss.

    ``loss`` is "square" or "absolute" for values, "two" or "many" for classes.
    """

    inputs: Inputs
    target: NDArray[Any]
    weight: Floats
    loss: str


@dataclass(frozen=True, slots=True)
class Test:
    """What the network is judged by: other rows, and how wrong scores (n, outputs) for them are."""

    inputs: Inputs
    error: Callable[[Floats], float]


def fit_network(
    lesson: Lesson,
    test: Test | None,
    settings: Config,
    *,
    levels: int,
    outputs: int,
    stop: Stop,
    seed: int,
    threads: int,
) -> tuple[dict[str, NDArray[np.float32]], int]:
    """Return the fitted network as arrays, and after how many epochs it was best (without a test: all)."""
    with _alone(threads, seed):
        shape = (lesson.inputs.numbers.shape[1], lesson.inputs.plain.shape[1], lesson.inputs.codes.shape[1])
        hidden = [settings["hidden"]] * settings["depth"]
        network = Network(shape, levels, outputs, hidden=hidden, config=settings)
        keeper = _Keeper(network, test, settings["patience"])
        train(
            network,
            _Shuffled(lesson, settings["batch"], seed),
            keeper.report,
            loss=_LOSSES[lesson.loss],
            optimizer=torch.optim.AdamW(
                network.groups(settings["rate"], settings["decay"]), betas=(0.9, 0.95), fused=True
            ),
            schedule=waves,
            epochs=settings["epochs"],
            stop=stop,
        )
        keeper.restore()
        return network.arrays(), keeper.best


@contextmanager
def _alone(threads: int, seed: int) -> Iterator[None]:
    """Use this many threads and random numbers of one's own; afterwards torch is as it was."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(threads, 1))
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)


class _Shuffled:
    """Batches of one size in a new order every epoch; the few rows that fill no batch wait for the next one."""

    def __init__(self, lesson: Lesson, size: int, seed: int) -> None:
        self._inputs = _tensors(lesson.inputs)
        self._target = torch.from_numpy(lesson.target.astype(np.int64 if lesson.loss == "many" else np.float32))
        self._weight = torch.from_numpy(lesson.weight.astype(np.float32))
        self._size, self._seed = size, seed

    def __len__(self) -> int:
        return max(len(self._target) // self._size, 1)

    def epoch(self, number: int) -> Iterator[Rows]:
        order = np.random.default_rng((self._seed, number)).permutation(len(self._target))
        for step in range(len(self)):
            picked = torch.from_numpy(order[step * self._size : (step + 1) * self._size])
            yield tuple(part[picked] for part in self._inputs), self._target[picked], self._weight[picked]


class _Keeper:
    """Judges the network after each epoch, keeps its best state, and ends the fit when patience does."""

    def __init__(self, network: Network, test: Test | None, patience: int) -> None:
        self.best = 0
        self._network, self._test, self._patience = network, test, patience
        self._inputs = None if test is None else _tensors(test.inputs)
        self._least, self._state = float("inf"), network.state_dict()

    def report(self, number: int) -> bool:
        if self._test is None or self._inputs is None:
            self.best = number
            return True
        error = self._test.error(_scores(self._network, self._inputs))
        if error < self._least or not self.best:
            self.best, self._least = number, error
            self._state = {name: tensor.clone() for name, tensor in self._network.state_dict().items()}
        return number - self.best < self._patience

    def restore(self) -> None:
        self._network.load_state_dict(self._state)


def _tensors(inputs: Inputs) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(part) for part in (inputs.numbers, inputs.plain, inputs.codes))


@torch.no_grad()
def _scores(network: Network, inputs: tuple[Tensor, ...]) -> Floats:
    starts = range(0, len(inputs[0]), _AT_ONCE)
    pieces = [network(*(part[start : start + _AT_ONCE] for part in inputs)) for start in starts]
    return np.asarray(torch.cat(pieces).numpy(), dtype=np.float64)


def _two(scores: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(scores[:, 0], target, reduction="none")


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "square": lambda scores, target: (scores[:, 0] - target) ** 2,
    "absolute": lambda scores, target: torch.abs(scores[:, 0] - target),
    "two": _two,
    "many": lambda scores, target: F.cross_entropy(scores, target, reduction="none"),
}
