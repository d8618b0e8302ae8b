"""A search as a guest in a Ray that the caller has open: it uses the free cores there and ends nothing.

A Ray of several machines is not used: what the others cost nobody has asked. A run joins one with ``--address``.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lepton_ray.on_host.course import Course
from lepton_ray.on_host.worker import memory_of_a_trial
from lepton_ray.on_ray.session import quiet_tune
from lepton_ray.search.desk import Desk

FEWEST_CPUS = 2
"""Free cores from which it is worth while: one core is what the caller's process has by itself."""


def is_open() -> bool:
    """Whether this process is connected to a Ray of this one machine that has cores to spare."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return False
    alive = [node for node in ray.nodes() if node["Alive"]]
    return len(alive) == 1 and ray.available_resources().get("CPU", 0.0) >= FEWEST_CPUS


def search(course: Course, desk: Desk) -> None:
    """Go on with the search on the open Ray until the desk says stop."""
    from lepton_ray.on_ray import search as ray_search

    memory = memory_of_a_trial(course.around.cpus)
    with quiet_tune(), _same_logging("ray.tune"):
        ray_search.run(
            desk,
            ray_search.crew_of(course, desk),
            scratch=course.folder.scratch,
            clock=course.clock,
            memory_bytes=memory,
            asked_to_stop=threading.Event(),
        )


@contextmanager
def _same_logging(name: str) -> Iterator[None]:
    """Leave a logger as it was."""
    level = logging.getLogger(name).level
    try:
        yield
    finally:
        logging.getLogger(name).setLevel(level)
