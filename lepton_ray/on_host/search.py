"""The search with worker processes and no Ray: the first models while Ray boots, or a whole short search.

It asks the same desk as Tune does. It knows nothing about what a trial is.
"""

import select
from collections.abc import Callable, Sequence

from lepton_ray.on_host.bench import task_of
from lepton_ray.on_host.worker_client import Hand
from lepton_ray.search.desk import Assignment, Desk
from lepton_ray.search.policy import Stop, Wait
from lepton_ray.search.trial import Outcome, Trial

DRIVER = "host"
POLL_SECONDS = 1.0
"""How long the driver waits between two chances to hear a signal."""
WATCH_SECONDS = 0.1
"""The same where it waits for several workers, whose watchdog it is."""
SHORT_SECONDS = 1.5
"""What a trial may be expected to take while another driver starts: a network of 4.8 s kept two cores waiting for 3."""


def run(
    desk: Desk,
    crew: Sequence[Hand],
    clock: Callable[[], float],
    *,
    threads: int,
    hand_over: Callable[[], bool],
    pause: Callable[[float], object] | None = None,
    able: Callable[[Trial], bool] = lambda trial: True,
) -> None:
    """Run trials, one on each worker, until the desk says stop or ``hand_over`` says that another driver is ready.

    A lease begins when a worker is there to use it: its imports, at the start and after a kill, are no trial's.

    Args:
        crew: at least one; those that come later than the first are given trials as soon as they are there.
        pause: waits for at most so many seconds for the other driver; with it nothing long is begun that would keep
            the other one waiting. None: all is done here.
    """
    within = float("inf") if pause is None else SHORT_SECONDS
    busy: dict[int, Assignment] = {}
    leaving = False
    while True:
        leaving = leaving or hand_over()
        step: Assignment | Wait | Stop | None = None
        for at, worker in enumerate(crew):
            if leaving or at in busy or not (worker.ready_within(0.0) or clock() >= desk.search_end()):
                continue
            step = desk.next_step(clock(), driver=DRIVER, able=able, within=within)
            if not isinstance(step, Assignment):
                break
            worker.submit(task_of(step, driver=DRIVER, threads=threads), step.lease)
            busy[at] = step
        if busy:
            leaving = leaving or isinstance(step, Stop)
            _hear(desk, crew, busy, clock)
        elif isinstance(step, Wait) and pause is not None:
            pause(POLL_SECONDS)
        elif leaving or step is not None:
            return
        else:
            crew[0].ready_within(POLL_SECONDS)


def _hear(desk: Desk, crew: Sequence[Hand], busy: dict[int, Assignment], clock: Callable[[], float]) -> None:
    """Wait until a trial ends, or a worker comes to be there, and tell the desk what came of it."""
    if len(crew) > 1:
        heard = [worker for at, worker in enumerate(crew) if at in busy or not worker.ready]
        select.select(heard, [], [], WATCH_SECONDS)
    for at, given in list(busy.items()):
        ended = crew[at].poll(0.0 if len(crew) > 1 else POLL_SECONDS)
        if ended is None:
            continue
        del busy[at]
        if ended.value is not None:
            desk.finish(Outcome.from_dict(ended.value))
        else:
            desk.lost(given.trial.id, clock(), DRIVER, ended.error)
