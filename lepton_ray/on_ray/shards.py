"""Batches for the loop from a worker's shard of a Ray Data set: read ahead, and never waited for in silence."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lepton_ray.errors import EnvironmentFault
from lepton_ray.training.batches import Rows

Columns = dict[str, NDArray[Any]]
Item = TypeVar("Item")
WAIT_SECONDS = 60.0
_AHEAD = 2
_GLANCE_SECONDS = 0.1


class Shard:
    """One worker's part of the rows, the same number of batches for every worker.

    Rows come in the order of the data set, which is the same for every epoch unless ``mixed`` gives a buffer to draw
    them from. The order is that of an earlier run with as many workers, if the data set keeps its order.
    """

    def __init__(
        self,
        iterator: Any,
        read: Callable[[Columns], Rows],
        *,
        rows: int,
        size: int,
        seed: int,
        mixed: int = 0,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        """Take a ``ray.data.DataIterator`` of at least ``rows`` rows, read in batches of ``size``."""
        self._iterator, self._read = iterator, read
        self._size = max(min(size, rows), 1)
        self._rows, self._seed, self._mixed, self._wait = rows, seed, mixed, wait_seconds

    def __len__(self) -> int:
        return max(self._rows // self._size, 1)

    def epoch(self, number: int, first: int = 0) -> Iterator[Rows]:
        drawn: dict[str, Any] = {}
        if self._mixed:
            seed = int(np.random.default_rng((self._seed, number)).integers(2**31))
            drawn = {"local_shuffle_buffer_size": self._mixed, "local_shuffle_seed": seed}

        def found() -> Iterator[Rows]:
            batches = self._iterator.iter_batches(
                batch_size=self._size, batch_format="numpy", drop_last=True, prefetch_batches=1, **drawn
            )
            for batch in islice(batches, first, None):
                yield self._read(batch)

        return awaited(found, self._wait)


def awaited(produce: Callable[[], Iterator[Item]], seconds: float) -> Iterator[Item]:
    """Yield what is produced, a little ahead, in a thread of its own.

    Raises:
        EnvironmentFault: nothing came for so many seconds; what raised there is raised here.
    """
    ready: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=_AHEAD)
    left = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not left.is_set():
            try:
                ready.put((kind, value), timeout=_GLANCE_SECONDS)
                return True
            except queue.Full:
                continue
        return False

    def fill() -> None:
        try:
            for item in produce():
                if not put("item", item):
                    return
            put("end", None)
        except BaseException as fault:
            put("fault", fault)

    threading.Thread(target=fill, name="batches", daemon=True).start()
    try:
        while True:
            try:
                kind, value = ready.get(timeout=seconds)
            except queue.Empty:
                raise EnvironmentFault(
                    f"No batch came for {seconds:g} seconds: training ends.",
                    "Leave Ray Data a free CPU and memory, or give the rows in memory.",
                ) from None
            if kind == "fault":
                raise value
            if kind == "end":
                return
            yield value
    finally:
        left.set()
