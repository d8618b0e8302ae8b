"""Lessons for training workers: a small network, its rows in memory or from Ray Data, and workers that come to harm."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from lepton_ray.on_ray.shards import Columns, Shard
from lepton_ray.on_ray.training_job import Lesson, Place
from lepton_ray.training.batches import InMemory, Rows
from tests.training.lessons import cross_entropy, data, network


def adam(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.02, fused=True)


class Eventful:
    """Batches of a worker to whom something happens at the second batch of an epoch, once: a file says that it did."""

    def __init__(self, batches: InMemory, mark: Path, epoch: int, harm: str) -> None:
        self._batches, self._mark, self._epoch, self._harm = batches, mark, epoch, harm

    def __len__(self) -> int:
        return len(self._batches)

    def epoch(self, number: int, first: int = 0) -> Iterator[Rows]:
        for step, rows in enumerate(self._batches.epoch(number, first)):
            if number == self._epoch and step == 1 and not self._mark.exists():
                self._mark.touch()
                if self._harm == "killed":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self._harm == "hangs":
                    time.sleep(600)
                rows = (rows[0], rows[1].float(), rows[2])  # of a type that the loss does not take
            yield rows


class Memory:
    """A lesson with all rows in memory."""

    def __init__(self, mark: Path | None = None, epoch: int = 0, harm: str = "") -> None:
        self._mark, self._epoch, self._harm = mark, epoch, harm

    def __call__(self, place: Place) -> Lesson:
        x, y = data()
        model = network()
        batches = InMemory((x,), y, size=8, seed=1, rank=place.rank, count=place.count)
        harmed = self._mark is not None and place.rank == place.count - 1
        return Lesson(
            model,
            Eventful(batches, self._mark or Path(), self._epoch, self._harm) if harmed else batches,
            cross_entropy,
            adam,
            lambda: float(cross_entropy(model(x), y).mean()),
        )


class Tight(torch.nn.Linear):
    """Has memory for four rows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return super().forward(x)


def tight(place: Place) -> Lesson:
    x, y = data()
    batches = InMemory((x,), y, size=8, seed=1, rank=place.rank, count=place.count)
    return Lesson(Tight(4, 3), batches, cross_entropy, adam)


def read(columns: Columns) -> Rows:
    x = torch.from_numpy(columns["x"].copy())
    return (x,), torch.from_numpy(columns["y"].copy()), torch.ones(len(x))


def streamed(place: Place) -> Lesson:
    """A lesson whose rows Ray Data brings."""
    shard = Shard(place.shard("train"), read, rows=place.rows["train"], size=8, seed=1, mixed=32)
    return Lesson(network(), shard, cross_entropy, adam)


def starved(place: Place) -> Lesson:
    """A lesson whose rows take too long."""
    shard = Shard(place.shard("train"), read, rows=place.rows["train"], size=8, seed=1, wait_seconds=0.5)
    return Lesson(network(), shard, cross_entropy, adam)


def slowly(columns: Columns) -> Columns:
    time.sleep(600)
    return columns
