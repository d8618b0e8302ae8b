"""A torch module of anybody's: rehearsed here, trained under Ray Train, and drawn as a graph of its operations.

It knows nothing about bundles' folders, estimators or who asked. Ray is started where this process has none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from lepton_ray.bundle.graph_file import Graph
from lepton_ray.bundle.tensors import AT_ONCE
from lepton_ray.errors import UsageError
from lepton_ray.on_ray.at_hand import ray_at_hand
from lepton_ray.training.anybody import Rehearsed, rehearse
from lepton_ray.training.state import load_model
from lepton_ray.training.teaching import Part, Recipe, Subject, taught
from lepton_ray.training.telling import Epoch, Outcome

if TYPE_CHECKING:
    from lepton_ray.on_ray.training import Books, Plan
    from lepton_ray.on_ray.training_job import Lesson, Place

FEW_ROWS = 8
"""Rows that a module is rehearsed and traced with."""
_STORE_PER_BYTE = 2


@dataclass(frozen=True, slots=True)
class Learned:
    """What a training came to: how it ended, the best weights by name, and on how many workers and groups."""

    outcome: Outcome
    weights: dict[str, torch.Tensor]
    workers: int
    groups: int


@dataclass(frozen=True, slots=True)
class Build:
    """Makes a worker's lesson; the rows wait in Ray's store, in a list, for Ray to leave the reference alone."""

    subject: Subject
    recipe: Recipe
    rows: list[Any]

    def __call__(self, place: Place) -> Lesson:
        import ray

        from lepton_ray.on_ray.training_job import Lesson

        train, valid = ray.get(self.rows[0])
        made = taught(self.subject, self.recipe, train, valid, rank=place.rank, count=place.count, device=place.device)
        return Lesson(made.model, made.batches, made.loss, made.optimizer, made.judge)


def rehearsed(module: Any, arrays: tuple[NDArray[Any], ...], names: tuple[str, ...]) -> Rehearsed:
    """Call the module with the first few of these rows.

    Raises:
        UsageError: it cannot be called so, or returns no scores.
    """
    return rehearse(module, tuple(torch.from_numpy(np.array(one[:FEW_ROWS])) for one in arrays), names)


def train_network(
    subject: Subject,
    recipe: Recipe,
    rows: tuple[Part, Part | None],
    plan: Plan,
    *,
    cpus: int,
    lease: Callable[[Epoch], bool],
    note: Callable[[str], None],
    books: Callable[[], Books],
) -> Learned:
    """Train on the workers of ``plan``, and return the best there was.

    Args:
        rows: to learn from, and to judge each epoch by.
        cpus: of a Ray that has to be started.
        books: are opened when Ray is up.

    Raises:
        LeptonError: see ``train_on_ray``. UsageError: the module cannot travel to another process.
    """
    with ray_at_hand(cpus, _STORE_PER_BYTE * bytes_of(rows)):
        import ray

        from lepton_ray.on_ray.training import train_on_ray

        build = Build(subject, recipe, [ray.put(rows)])
        check_travels(subject)
        settings = recipe.settings(judged=rows[1] is not None)
        done = train_on_ray(build, settings, plan, lease=lease, note=note, books=books())
        return Learned(done.outcome, done.weights, done.seats.workers, done.groups)


def bytes_of(rows: tuple[Part, Part | None]) -> int:
    return sum(one.nbytes for part in rows if part is not None for one in (*part.inputs, part.target))


def check_travels(subject: Subject) -> None:
    """Refuse a module that Ray cannot send to a worker."""
    from ray import cloudpickle

    try:
        cloudpickle.dumps(subject.module)  # type: ignore[no-untyped-call]
    except Exception as fault:
        raise UsageError(
            f"{type(subject.module).__name__} cannot travel to a worker: {str(fault).splitlines()[0]}",
            "Let it hold no open files, locks or connections.",
        ) from fault


def adopt(module: Any, subject: Subject, weights: dict[str, torch.Tensor]) -> None:
    """Give the user's own module what was learned."""
    mine = subject.wired()
    load_model(mine, weights)
    module.load_state_dict(mine.module.state_dict())


def graph_of(subject: Subject, weights: dict[str, torch.Tensor], arrays: tuple[NDArray[Any], ...]) -> Graph:
    """Draw the module with these weights as a graph.

    Raises:
        UsageError: it cannot be drawn.
    """
    wired = subject.wired().cpu()
    load_model(wired, weights)
    few = tuple(np.resize(one[:FEW_ROWS], (FEW_ROWS, *one.shape[1:])) for one in arrays)
    return Graph.of(wired, subject.tensors(few))


@torch.no_grad()
def scores(subject: Subject, weights: dict[str, torch.Tensor], arrays: tuple[NDArray[Any], ...]) -> NDArray[Any]:
    """What the module with these weights returns for rows: (n, width)."""
    wired = subject.wired().cpu()
    load_model(wired, weights)
    wired.eval()
    parts = range(0, len(arrays[0]), AT_ONCE)
    rows = subject.tensors(arrays)
    return torch.cat([wired(*(one[at : at + AT_ONCE].clone() for one in rows)) for at in parts]).numpy()
