"""The torch loop: a function of (model, batches, settings, report). It knows nothing about tables, files or Ray.

Whoever calls it owns the model, the optimizer and the data, so the same loop serves a warm worker, which keeps the best
state in memory, and a group of workers, whose ``save`` writes checkpoints and whose ``lease`` is asked for all of them.
On a CPU the same seed, rows and number of workers give the same bits. Models that are sharded over workers (FSDP2) are
not there yet, and nothing here chooses a batch size or a learning rate.
Importing this imports torch: only what fits a network does so, and late.
"""

from __future__ import annotations

import torch
from torch import nn

from lepton_ray.training.around import Around
from lepton_ray.training.batches import Batches
from lepton_ray.training.course import Course
from lepton_ray.training.settings import Settings
from lepton_ray.training.stepping import Loss
from lepton_ray.training.telling import Outcome, Report


def train(
    model: nn.Module,
    batches: Batches,
    settings: Settings,
    report: Report,
    *,
    loss: Loss,
    optimizer: torch.optim.Optimizer,
    around: Around | None = None,
) -> Outcome:
    """Fit in place until the epochs, the patience, the lease or ``stop`` end it; the model is then the best there was.

    A loss that is not finite takes the model back to the last good state, once at half the learning rate; the second
    time it ends there. A batch that does not fit into memory is gone through in halves.

    Args:
        report: is told of steps, epochs and what was mended; of an epoch also where ``stop`` cut it short.
        loss: scores (rows, outputs) and targets to one loss for each row.
        optimizer: over the model's parameters, each group at its own highest learning rate.

    Raises:
        UsageError: the output does not fit the target, or the precision the device.
        DoesNotFit: a row does not fit into memory; among several workers, a batch does not.
        BundleError: the state to go on from is of another architecture.
    """
    given = around or Around()
    if settings.seed is not None:
        torch.manual_seed(settings.seed + given.peers.rank)
    course = Course(model, batches, settings, report, loss=loss, optimizer=optimizer, around=given)
    ended = course.begin()
    while ended is None:
        stopped = course.run_epoch()
        ended = course.go_back() if stopped is None else course.conclude(stopped)
    return course.end(ended)
