"""How many CPUs each training worker gets, so that Ray Data keeps one of its own; or why a run cannot be.

Two workers of one CPU each, fed by Ray Data on two CPUs, hang without a word in Ray 2.60: the tasks that read find none
free. It knows nothing about Ray beyond what a node has free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lepton_ray.errors import EnvironmentFault, UsageError

_SHARES = (0.5, 0.25)
READING_CPUS = 1.0
"""What Ray Data needs on one node to read at all."""


@dataclass(frozen=True, slots=True)
class Free:
    """What one node has free."""

    cpus: float
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Seats:
    """So many workers of so many CPUs and GPUs each."""

    workers: int
    cpus: float
    gpus: float = 0.0

    @property
    def threads(self) -> int:
        """Threads of torch in each worker."""
        return max(1, int(self.cpus))

    @property
    def resources(self) -> dict[str, float]:
        return {"CPU": self.cpus} | ({"GPU": self.gpus} if self.gpus else {})


def planned(
    workers: int, nodes: Sequence[Free], *, streams: bool, cpus: float | None = None, gpus: float = 0.0
) -> Seats:
    """Return seats for so many workers on these nodes.

    Args:
        streams: whether Ray Data feeds them.
        cpus: for each worker; by default as many as can be, whole ones where that is possible.

    Raises:
        UsageError: there are to be no workers, or workers without CPUs.
        EnvironmentFault: the nodes have not enough free.
    """
    if workers < 1 or (cpus is not None and cpus <= 0):
        raise UsageError(f"Training is to run on {workers} workers of {cpus} CPUs each.", "Give at least one of each.")
    most = int(max((node.cpus for node in nodes), default=0.0))
    for each in (*range(most, 0, -1), *_SHARES) if cpus is None else (cpus,):
        if _fit(Seats(workers, each, gpus), nodes, streams):
            return Seats(workers, float(each), gpus)
    least = _SHARES[-1] if cpus is None else cpus
    needs = f"{workers} workers need {least:g} CPUs{f' and {gpus:g} GPUs' if gpus else ''} each"
    has = " and ".join(f"{n.cpus:g} CPUs{f' and {n.gpus:g} GPUs' if gpus else ''}" for n in nodes) or "nothing"
    raise EnvironmentFault(
        f"Training cannot start: {needs}{', and Ray Data one CPU to read' if streams else ''}, but free are {has}.",
        "Ask for fewer workers or fewer CPUs each, or wait until what runs has ended.",
    )


def _fit(seats: Seats, nodes: Sequence[Free], streams: bool) -> bool:
    """Whether the workers fit, with some node left that Ray Data can read on."""
    for reader in range(len(nodes)) if streams else (-1,):
        room = 0
        for index, node in enumerate(nodes):
            cpus = node.cpus - (READING_CPUS if index == reader else 0.0)
            by_gpu = int(node.gpus / seats.gpus + 1e-9) if seats.gpus else seats.workers
            room += max(0, min(int(cpus / seats.cpus + 1e-9), by_gpu)) if cpus >= 0 else -seats.workers
        if room >= seats.workers:
            return True
    return False
