"""What surrounds the loop: who judges, leases, stops, saves and works beside it. It knows nothing about any of them.

Importing this imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from lepton_ray.training.peers import Alone, Peers
from lepton_ray.training.state import State
from lepton_ray.training.telling import Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the loop is handed by those around it, none of which it must have.

    Attributes:
        judge: how wrong the model is now, lower is better; asked after each epoch, the model in evaluation mode and
            without gradients. Among several workers each asks its own and their mean decides.
        lease: asked after each epoch whether the next may begin; all workers must be told the same.
        stop: whether to break off; alone it is asked after each step, among several workers every 16.
        save: is handed every state worth a checkpoint, at once after it was reached.
        resume: a state to go on from, of a run with these settings and as many workers. With another number of workers
            it goes on at the same share of the epoch.
        peers: the other workers.
        device: where the model is.
        pieces: in how many pieces each batch is gone through from the beginning.
        clock: seconds, for speeds.
    """

    judge: Callable[[], float] | None = None
    lease: Callable[[Epoch], bool] | None = None
    stop: Callable[[], bool] | None = None
    save: Callable[[State], None] | None = None
    resume: State | None = None
    peers: Peers = field(default_factory=Alone)
    device: torch.device = torch.device("cpu")
    pieces: int = 1
    clock: Callable[[], float] = time.monotonic
