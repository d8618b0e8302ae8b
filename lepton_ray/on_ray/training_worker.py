"""One training worker: it brings the loop together with its peers, its checkpoints and the desk.

Importing this imports torch and Ray; only workers do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from lepton_ray.errors import LeptonError
from lepton_ray.on_ray.training_desk import Admission
from lepton_ray.on_ray.training_job import Job, Place
from lepton_ray.training.around import Around
from lepton_ray.training.checkpoint import Checkpoints, name_of
from lepton_ray.training.loop import train
from lepton_ray.training.peers import Group
from lepton_ray.training.state import State
from lepton_ray.training.stepping import DoesNotFit
from lepton_ray.training.telling import Epoch, Note, Told


@dataclass(frozen=True, slots=True)
class Line:
    """A worker's line to the desk."""

    desk: Any
    admission: Admission
    rank: int

    def lease(self, epoch: Epoch) -> bool:
        return bool(ray.get(self.desk.ask.remote(self.admission.group, epoch)))

    def report(self, told: Told) -> None:
        if isinstance(told, Note) and self.rank == 0:
            ray.get(self.desk.tell.remote(told.sentence))


def work(config: dict[str, Any]) -> None:
    """Train as one of a group, from the latest checkpoint if there is one; a fault is told at the desk, and raised."""
    job: Job = config["job"]
    rank = ray.train.get_context().get_world_rank()
    context = ray.get_runtime_context()
    admission: Admission = ray.get(job.desk.enter.remote(rank, context.get_node_id(), [context.current_actor]))
    if not admission.group:
        return
    try:
        _train(job, admission, Group())
    except DoesNotFit as fault:
        pieces = 2 * admission.pieces
        ray.get(job.desk.give_up.remote(fault) if pieces > job.size else job.desk.shrink.remote(pieces))
        raise
    except LeptonError as fault:
        ray.get(job.desk.give_up.remote(fault))
        raise


def _train(job: Job, admission: Admission, peers: Group) -> None:
    torch.set_num_threads(job.seats.threads)
    group = int(peers.gathered(torch.tensor([admission.group]))[0])
    line = Line(job.desk, replace(admission, group=group), peers.rank)
    device = ray.train.torch.get_device()
    torch.manual_seed(job.settings.seed or 0)
    lesson = job.build(Place(peers.rank, peers.count, device, job.rows, ray.train.get_dataset_shard))
    lesson.model.to(device)
    checkpoints = Checkpoints.at(job.checkpoints, keep=job.keep)
    around = Around(
        judge=lesson.judge,
        lease=line.lease,
        save=checkpoints.save if peers.rank == 0 else None,
        resume=_agreed(checkpoints, peers),
        peers=peers,
        device=device,
        pieces=admission.pieces,
    )
    outcome = train(
        lesson.model,
        lesson.batches,
        job.settings,
        line.report,
        loss=lesson.loss,
        optimizer=lesson.optimizer(lesson.model),
        around=around,
    )
    checkpoints.close()
    if peers.rank == 0:
        ray.get(job.desk.tell.remote(outcome))


def _agreed(checkpoints: Checkpoints, peers: Group) -> State | None:
    """Return the state that the first worker sees as the latest."""
    mine = checkpoints.latest()
    place = (0, 0) if mine is None else (mine.facts["epoch"], mine.facts["step"])
    epoch, step = peers.gathered(torch.tensor(place))[0].tolist()
    if not epoch:
        return None
    return mine if mine is not None and place == (epoch, step) else checkpoints.load(name_of(epoch, step))
