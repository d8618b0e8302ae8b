"""One of two workers of a process group without Ray; it is run in a process of its own."""

from pathlib import Path

import torch
import torch.distributed as dist

from lepton_ray.training.around import Around
from lepton_ray.training.batches import InMemory
from lepton_ray.training.loop import train
from lepton_ray.training.peers import Alone, Group, Peers
from lepton_ray.training.settings import Settings
from lepton_ray.training.telling import Steps
from tests.training.lessons import cross_entropy, data


def losses(peers: Peers, size: int, *, accumulate: int = 1, stop_at: int = 0) -> list[float]:
    """Train a linear model, which begins as other numbers on every worker, and return what was told."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, told = torch.nn.Linear(4, 3), []
    with torch.no_grad():
        model.weight += peers.rank
    asked = iter(range(1, 99))
    x, y = data()
    outcome = train(
        model,
        InMemory((x,), y, size=size, seed=1, rank=peers.rank, count=peers.count),
        Settings(epochs=2, accumulate=accumulate, clip=1.0),
        lambda word: told.extend(word.losses) if isinstance(word, Steps) else None,
        loss=cross_entropy,
        optimizer=torch.optim.AdamW(model.parameters(), lr=0.02),
        around=Around(peers=peers, stop=lambda: peers.rank == 1 and next(asked) == stop_at),
    )
    return [*told, float(outcome.ended == "stop"), *model.weight.detach().flatten().tolist()]


def one_of_two(rank: int, folder: Path, accumulate: int, stop_at: int) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = losses(Group(), 4, accumulate=accumulate, stop_at=stop_at)
    (folder / str(rank)).write_text(" ".join(value.hex() for value in found))
    dist.destroy_process_group()


def alone(size: int) -> list[float]:
    return losses(Alone(), size)
