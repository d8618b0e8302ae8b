"""How many CPUs workers get, with one left for Ray Data, and what is refused before it starts."""

import pytest

from lepton_ray.errors import EnvironmentFault, UsageError
from lepton_ray.on_ray.seats import Free, Seats, planned


@pytest.mark.parametrize(
    ("workers", "nodes", "streams", "cpus"),
    [
        (2, [2.0], False, 1.0),
        (2, [2.0], True, 0.5),
        (2, [8.0], False, 4.0),
        (2, [8.0], True, 3.0),
        (1, [2.0], True, 1.0),
        (3, [4.0, 2.0], False, 2.0),
        (3, [4.0, 2.0], True, 1.0),
        (4, [2.0], False, 0.5),
    ],
)
def test_workers_get_what_can_be(workers: int, nodes: list[float], streams: bool, cpus: float) -> None:
    found = planned(workers, [Free(node) for node in nodes], streams=streams)
    assert found == Seats(workers, cpus) and found.threads == max(1, int(cpus))


@pytest.mark.parametrize(
    ("workers", "nodes", "more"),
    [
        (2, [Free(2.0)], {"streams": True, "cpus": 1.0}),
        (1, [Free(1.0)], {"streams": True}),
        (9, [Free(2.0)], {"streams": False}),
        (1, [], {"streams": False}),
        (1, [Free(8.0)], {"streams": False, "gpus": 1.0}),
        (2, [Free(1.0), Free(1.0)], {"streams": True, "cpus": 1.0}),
    ],
)
def test_what_cannot_be_is_refused(workers: int, nodes: list[Free], more: dict) -> None:
    with pytest.raises(EnvironmentFault, match="cannot start"):
        planned(workers, nodes, **more)


def test_no_workers_are_no_training() -> None:
    with pytest.raises(UsageError):
        planned(0, [Free(2.0)], streams=False)
