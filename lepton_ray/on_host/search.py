"""The search with one worker process and no Ray: the first models while Ray boots, or a whole short search.

It asks the same desk as Tune does. It knows nothing about what a trial is.
"""

from collections.abc import Callable

from lepton_ray.on_host.bench import task_of
from lepton_ray.on_host.worker_client import Worker
from lepton_ray.search.desk import Assignment, Desk
from lepton_ray.search.policy import Stop, Wait
from lepton_ray.search.trial import Outcome, Trial

DRIVER = "host"
POLL_SECONDS = 1.0
"""How long the driver waits between two chances to hear a signal."""
SHORT_SECONDS = 1.5
"""What a trial may be expected to take while another driver starts: a network of 4.8 s kept two cores waiting for 3."""


def run(
    desk: Desk,
    worker: Worker,
    clock: Callable[[], float],
    *,
    threads: int,
    hand_over: Callable[[], bool],
    pause: Callable[[float], object] | None = None,
    able: Callable[[Trial], bool] = lambda trial: True,
) -> None:
    """Run trials one after the other until the desk says stop or ``hand_over`` says that another driver is ready.

    A lease begins when the worker is there to use it: its imports, at the start and after a kill, are no trial's.

    Args:
        pause: waits for at most so many seconds for the other driver; with it nothing long is begun that would keep
            the other one waiting. None: all is done here.
    """
    while not hand_over():
        if not worker.ready_within(POLL_SECONDS) and clock() < desk.search_end():
            continue
        within = float("inf") if pause is None else SHORT_SECONDS
        step = desk.next_step(clock(), driver=DRIVER, able=able, within=within)
        if isinstance(step, Wait) and pause is not None:
            pause(POLL_SECONDS)
            continue
        if isinstance(step, Stop | Wait):
            return
        _carry_out(desk, worker, clock, step, threads=threads)


def _carry_out(desk: Desk, worker: Worker, clock: Callable[[], float], step: Assignment, *, threads: int) -> None:
    worker.submit(task_of(step, driver=DRIVER, threads=threads), step.lease)
    ended = None
    while ended is None:
        ended = worker.poll(POLL_SECONDS)
    if ended.value is not None:
        desk.finish(Outcome.from_dict(ended.value))
    else:
        desk.lost(step.trial.id, clock(), DRIVER, ended.error)
