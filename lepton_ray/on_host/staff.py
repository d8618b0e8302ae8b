"""The worker processes of one run: the first at once, others when there is work for them. It knows no trial."""

from collections.abc import Sequence
from dataclasses import dataclass

from lepton_ray.models.registry import FAMILIES
from lepton_ray.money.lease import Lease
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.worker import memory_of_a_trial
from lepton_ray.on_host.worker_client import Worker

FIRST_FAMILIES = ("linear", "lightgbm")
"""Those of the first models, where nobody asked for others: their libraries are imported while the table is read."""
GRACE_SECONDS = 1.5
"""How long after its lease a trial may take to judge and seal what it has, on two busy cores."""
STARTING_SECONDS = 2.0
"""Of a worker: work that takes less follows what goes on in those that are there."""
WARMING_SECONDS = 10.0
POLL_SECONDS = 0.1
MOST = 8
"""That search without Ray; where there are more cores, each has some of them."""


@dataclass(frozen=True, slots=True)
class Staff:
    """Processes that carry out trials and refits, each with ``memory_bytes`` beside what it is made of."""

    course: Course
    memory_bytes: int
    workers: list[Worker]

    @classmethod
    def start(cls, course: Course) -> "Staff":
        """The first worker: it imports what it needs while the driver goes on."""
        staff = cls(course, memory_of_a_trial(course.around.cpus), [])
        staff.of(1)
        return staff

    def of(self, size: int) -> Sequence[Worker]:
        """So many workers at least; those that are not there yet are started, and come when they are ready."""
        asked = self.course.spec.families
        wanted = [name for name in FIRST_FAMILIES if not asked or name in asked]
        for _ in range(size - len(self.workers)):
            worker = Worker.start(
                "lepton_ray.on_host.bench:open_bench",
                {"scratch": str(self.course.folder.scratch)},
                log=self.course.folder.path / "driver.log",
                preload=("lepton_ray.on_host.bench", *(FAMILIES[name].partition(":")[0] for name in wanted)),
                memory_bytes=self.memory_bytes,
                grace_seconds=GRACE_SECONDS,
                clock=self.course.clock,
            )
            self.workers.append(worker)
        return self.workers

    def warm(self, families: Sequence[str]) -> None:
        """Let as many as there are cores, and not more than search without Ray, import what these families need and lay
        out their rows, while nothing else is asked of them: at the end every second of that is missed."""
        for worker in self.of(min(self.course.around.cpus, MOST)):
            now = self.course.clock()
            if not worker.busy:
                task = {"kind": "warm", "families": list(families)}
                worker.submit(task, Lease("warm", now, now + WARMING_SECONDS))

    def free(self) -> None:
        """Wait until none has anything to do."""
        for worker in self.workers:
            while worker.busy and worker.poll(POLL_SECONDS) is None:
                pass

    def for_refits(self, refits: int, seconds: float) -> Sequence[Worker]:
        """As many as there are refits and cores, where these take long enough to wait for a worker's start."""
        self.free()
        return self.of(min(self.course.around.cpus, refits) if seconds > STARTING_SECONDS else 1)
