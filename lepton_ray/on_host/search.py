"""The search with worker processes and no Ray: the first models while Ray boots, or a whole short search.

It asks the same desk as Tune does. It knows nothing about what a trial is.
"""

import select
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

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
SHORT_SECONDS = 4.0
"""What a trial may be expected to take while another driver starts, beside which it then goes on."""


@dataclass(frozen=True, slots=True)
class InHand:
    """The workers of a search and what each of them carries out."""

    desk: Desk
    crew: Sequence[Hand]
    clock: Callable[[], float]
    busy: dict[int, Assignment] = field(default_factory=dict)

    def hear(self, timeout: float = 0.0) -> None:
        """Wait for so long until a trial ends, or a worker comes to be there, and tell the desk what came of it."""
        if len(self.crew) > 1 and timeout > 0.0:
            heard = [worker for at, worker in enumerate(self.crew) if at in self.busy or not worker.ready]
            select.select(heard, [], [], min(timeout, WATCH_SECONDS))
        for at, given in list(self.busy.items()):
            ended = self.crew[at].poll(0.0 if len(self.crew) > 1 else timeout)
            if ended is None:
                continue
            del self.busy[at]
            if ended.value is not None:
                self.desk.finish(Outcome.from_dict(ended.value))
            else:
                self.desk.lost(given.trial.id, self.clock(), DRIVER, ended.error)

    def wait(self) -> None:
        """Hear all of it out."""
        while self.busy:
            self.hear(POLL_SECONDS)


def run(
    desk: Desk,
    crew: Sequence[Hand],
    clock: Callable[[], float],
    *,
    threads: int,
    hand_over: Callable[[], bool],
    pause: Callable[[float], object] | None = None,
    able: Callable[[Trial], bool] = lambda trial: True,
) -> InHand:
    """Run trials, one on each worker, until the desk says stop or ``hand_over`` says that another driver is ready.

    A lease begins when a worker is there to use it: its imports, at the start and after a kill, are no trial's.

    Args:
        crew: at least one; those that come later than the first are given trials as soon as they are there.
        pause: waits for at most so many seconds for the other driver; with it nothing long is begun. None: all is done
            here.

    Returns:
        What is in hand when another driver that was paused for takes over, to be heard out beside it; else nothing is.
    """
    within = float("inf") if pause is None else SHORT_SECONDS
    hands = InHand(desk, crew, clock)
    leaving = False
    while True:
        leaving = leaving or hand_over()
        if leaving and pause is not None:
            return hands
        step: Assignment | Wait | Stop | None = None
        for at, worker in enumerate(crew):
            if leaving or at in hands.busy or not (worker.ready_within(0.0) or clock() >= desk.search_end()):
                continue
            step = desk.next_step(clock(), driver=DRIVER, able=able, within=within)
            if not isinstance(step, Assignment):
                break
            worker.submit(task_of(step, driver=DRIVER, threads=threads), step.lease)
            hands.busy[at] = step
        if hands.busy:
            leaving = leaving or (isinstance(step, Stop) and pause is None)
            hands.hear(POLL_SECONDS if pause is None else WATCH_SECONDS)
        elif isinstance(step, Wait) and pause is not None:
            pause(POLL_SECONDS)
        elif leaving or step is not None:
            return hands
        else:
            crew[0].ready_within(POLL_SECONDS)
