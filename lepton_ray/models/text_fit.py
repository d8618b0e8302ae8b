"""Fitting a network over tokens on rows that are ready for it. It knows nothing about tables, files or meanings.

Importing this imports torch.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lepton_ray.errors import SearchError
from lepton_ray.models.family import Config, Stop
from lepton_ray.models.goal import Lesson, Test
from lepton_ray.models.losses import LOSSES
from lepton_ray.models.text_network import TextNetwork
from lepton_ray.models.torch_threads import alone
from lepton_ray.training.around import Around
from lepton_ray.training.batches import InMemory
from lepton_ray.training.loop import train
from lepton_ray.training.settings import Settings

_AT_ONCE = 512  # rows that are judged together
Inputs = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Tokens (n, length), and other columns (n, columns)."""


def fit_text(
    lesson: Lesson[Inputs],
    test: Test[Inputs] | None,
    settings: Config,
    *,
    vocabulary: int,
    outputs: int,
    stop: Stop,
    seed: int,
    threads: int,
) -> tuple[TextNetwork, int]:
    """Return the fitted network, and after how many epochs it was best (without a test: all)."""
    tokens, beside = lesson.inputs
    shape = {"vocabulary": vocabulary, "length": tokens.shape[1], "columns": beside.shape[1], "outputs": outputs}
    target = torch.from_numpy(lesson.target.astype(np.int64 if lesson.loss == "many" else np.float32))
    weight = torch.from_numpy(lesson.weight.astype(np.float32))
    with alone(threads, seed):
        network = TextNetwork(settings, **shape)
        outcome = train(
            network,
            InMemory(_tensors(lesson.inputs), target, weight, size=settings["batch"], seed=seed),
            Settings(
                epochs=settings["epochs"],
                schedule="linear",
                warm_up=0.1,
                clip=1.0,
                patience=None if test is None else settings["patience"],
            ),
            lambda told: None,
            loss=LOSSES[lesson.loss],
            optimizer=torch.optim.AdamW(
                network.parameters(), lr=settings["rate"], weight_decay=settings["decay"], fused=True
            ),
            around=Around(judge=None if test is None else _judge(network, test), stop=stop),
        )
    if outcome.ended == "not finite" and not outcome.epochs:
        raise SearchError(outcome.sentence, "Lower the rate of the config.")
    return network.eval(), outcome.best


def _judge(network: TextNetwork, test: Test[Inputs]) -> Callable[[], float]:
    tokens, beside = _tensors(test.inputs)

    def error() -> float:
        starts = range(0, len(tokens), _AT_ONCE)
        pieces = [network(tokens[at : at + _AT_ONCE], beside[at : at + _AT_ONCE]) for at in starts]
        return test.error(torch.cat(pieces).double().numpy())

    return error


def _tensors(inputs: Inputs) -> tuple[Tensor, Tensor]:
    return torch.from_numpy(inputs[0]), torch.from_numpy(inputs[1])
