"""Fitting the network on rows that are ready for it. It knows nothing about tables, files or what the scores mean.

Importing this imports torch; ``mlp.py`` does so when it fits and not before.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lepton_ray.errors import SearchError
from lepton_ray.features.matrix import Floats
from lepton_ray.models.family import Config, Stop
from lepton_ray.models.goal import Lesson, Test
from lepton_ray.models.losses import LOSSES
from lepton_ray.models.mlp_network import Network
from lepton_ray.models.mlp_rows import Inputs
from lepton_ray.models.torch_threads import alone
from lepton_ray.training.around import Around
from lepton_ray.training.batches import InMemory
from lepton_ray.training.loop import train
from lepton_ray.training.settings import Settings

_AT_ONCE = 4096  # rows that are judged together


def fit_network(
    lesson: Lesson[Inputs],
    test: Test[Inputs] | None,
    settings: Config,
    *,
    levels: int,
    outputs: int,
    stop: Stop,
    seed: int,
    threads: int,
) -> tuple[dict[str, NDArray[np.float32]], int]:
    """Return the fitted network as arrays, and after how many epochs it was best (without a test: all)."""
    with alone(threads, seed):
        shape = (lesson.inputs.numbers.shape[1], lesson.inputs.plain.shape[1], lesson.inputs.codes.shape[1])
        hidden = [settings["hidden"]] * settings["depth"]
        network = Network(shape, levels, outputs, hidden=hidden, config=settings)
        outcome = train(
            network,
            _batches(lesson, settings["batch"], seed),
            Settings(
                epochs=settings["epochs"], schedule="waves", patience=None if test is None else settings["patience"]
            ),
            lambda told: None,
            loss=LOSSES[lesson.loss],
            optimizer=torch.optim.AdamW(
                network.groups(settings["rate"], settings["decay"]), betas=(0.9, 0.95), fused=True
            ),
            around=Around(judge=None if test is None else _judge(network, test), stop=stop),
        )
        if outcome.ended == "not finite" and not outcome.epochs:
            raise SearchError(outcome.sentence, "Lower the rate of the config.")
        return network.arrays(), outcome.best


def _batches(lesson: Lesson[Inputs], size: int, seed: int) -> InMemory:
    target = torch.from_numpy(lesson.target.astype(np.int64 if lesson.loss == "many" else np.float32))
    weight = torch.from_numpy(lesson.weight.astype(np.float32))
    return InMemory(_tensors(lesson.inputs), target, weight, size=size, seed=seed)


def _judge(network: Network, test: Test[Inputs]) -> Callable[[], float]:
    inputs = _tensors(test.inputs)
    return lambda: test.error(_scores(network, inputs))


def _tensors(inputs: Inputs) -> tuple[Tensor, ...]:
    return tuple(torch.from_numpy(part) for part in (inputs.numbers, inputs.plain, inputs.codes))


def _scores(network: Network, inputs: tuple[Tensor, ...]) -> Floats:
    starts = range(0, len(inputs[0]), _AT_ONCE)
    pieces = [network(*(part[start : start + _AT_ONCE] for part in inputs)) for start in starts]
    return np.asarray(torch.cat(pieces).numpy(), dtype=np.float64)
