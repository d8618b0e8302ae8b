"""One run under way: its spec, its money, its folder, its clock. It knows nothing about tables, trials or Ray."""

import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from lepton_ray.errors import MoneyError
from lepton_ray.models.registry import family as family_named
from lepton_ray.models.wish import Wish, wish_of
from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import duration_text
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.lives import Hired
from lepton_ray.money.meter import Meter
from lepton_ray.money.prices import MachinePrice
from lepton_ray.money.rates import Rates
from lepton_ray.on_host import messages
from lepton_ray.on_host.lending import lent_name
from lepton_ray.on_host.messages import margin_seconds
from lepton_ray.on_host.run_folder import RunFolder, claimed
from lepton_ray.on_host.warm import Warm
from lepton_ray.report.value import Value
from lepton_ray.search.places import HOST, Place
from lepton_ray.search.priors import Priors
from lepton_ray.spec import RunSpec, Surroundings
from lepton_ray.table.place import BUILTIN

SLACK_SECONDS = 0.4
"""Kept beside the supervisor's own margin for ending every process and writing the receipt."""
REPORT_SECONDS = 1.5
"""Kept for the report at most, see ``Course.report_seconds``."""
REPORT_SHARE = 0.7
"""Of what this run took to start, kept for its report: that is 0.5 s for 0.2 on a quiet machine, and more where others
keep the cores."""
CORRECTING_SECONDS = 0.8
"""For a score by repeating the choice, where no rows are held out: 0.6 to 1.2 s, and as many repeats as there is time
for."""
SERVE_SECONDS = 7.0
"""From a Ray that is up to an endpoint that has answered."""
ENDPOINT_SECONDS = 8.0 + SERVE_SECONDS
"""The same from a Ray that is yet to be started."""
START_SECONDS = 6.0
"""The smallest run: imports and a first model."""
BYTES_PER_SECOND = 20e6
"""How fast a text table is read, profiled and cleaned at least."""


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a run: what a live view shows."""

    stage: str
    elapsed: float
    wall: float
    spent: str
    budget: str
    per_hour: str
    trials: int
    running: int
    metric: str
    best: str
    family: str


class Screen(Protocol):
    """Where a run tells how it goes."""

    def say(self, sentence: str) -> None: ...

    def watch(self, look: Callable[[], Progress | None]) -> None: ...

    def close(self) -> None: ...


@dataclass(slots=True)
class Course:
    """What one run in progress shares between its stages.

    Attributes:
        places: those of the cluster that it has joined.
        report_seconds: kept for the report, and for loading and writing what it needs.
    """

    spec: RunSpec
    around: Surroundings
    budget: Budget
    folder: RunFolder
    meter: Meter
    screen: Screen
    value: Value | None
    warm: Warm | None = None
    priors: Priors | None = None
    asked_to_stop: threading.Event = field(default_factory=threading.Event)
    temp: tuple[Path, ...] = ()
    places: tuple[Place, ...] = ()
    report_seconds: float = REPORT_SECONDS

    def clock(self) -> float:
        """Seconds since the user's process began."""
        return time.monotonic() - self.around.started

    @property
    def host(self) -> Place:
        """This machine, as a place for trials."""
        return Place(HOST, self.meter.ledger.machine.per_hour, self.around.cpus)

    def wish(self, family: str) -> Wish:
        """What a node must have to carry out trials of this family in this run."""
        wish = wish_of(family_named(family))
        return wish if self.spec.spot else replace(wish, spot=False)

    def lacking(self, family: str) -> str | None:
        """What trials of this family need, if neither this machine nor a node of the cluster has it."""
        wish = self.wish(family)
        return None if any(place.suits(wish) for place in (self.host, *self.places)) else wish.sentence

    @property
    def end(self) -> float:
        """The second by which everything must be sealed: the supervisor kills soon after."""
        return self.budget.wall_seconds - margin_seconds(self.budget.wall_seconds) - SLACK_SECONDS

    def tell(self, message: messages.Message) -> None:
        """Tell the supervisor, where there is one."""
        if self.around.wall_fd is not None:
            messages.say(self.around.wall_fd, message)

    def tell_wall(self) -> None:
        """Tell the supervisor how long the run may last by now, and which folders to remove at its end."""
        budget = self.budget
        self.tell(
            messages.Wall(
                run=self.around.run_id,
                folder=str(self.folder.path),
                wall_seconds=budget.wall_seconds,
                per_hour_micros=budget.per_hour.micros,
                budget_micros=budget.dollars.micros,
                deadline_seconds=budget.deadline_seconds,
                json=self.spec.json,
                temp=tuple(str(folder) for folder in (self.folder.scratch, *self.temp)),
                kept=(str(self.folder.kept),),
            )
        )

    def take_on(self, nodes: Sequence[Hired]) -> None:
        """Hold these nodes from now on.

        The supervisor is told of the nearer wall before the first of them is billed, and none is given work before it
        is: a driver that dies anywhere in between leaves a wall that is too near, and nothing that is owed.
        """
        ledger, at = self.meter.ledger, self.clock()
        added = Dollars.total(node.machine.per_hour for node in nodes)
        self._live_within(ledger.rates.then(at, ledger.rates.now + added))
        for node in nodes:
            ledger.join(node, at)
            self.screen.say(f"holds {node.sentence}")

    def let_go(self, name: str, why: str) -> None:
        """Hold this node no longer, or know that it has gone away: what it would have cost is there for the rest.

        The wall moves away again after the node's last second is booked, never before.
        """
        self.meter.ledger.leave(name, self.clock(), why)
        self._live_within(self.meter.ledger.rates)
        self.screen.say(f"holds {name} no longer: {why}")

    def _live_within(self, rates: Rates) -> None:
        self.budget = self.budget.under(rates)
        self.tell_wall()


def limits(spec: RunSpec, around: Surroundings, machine: MachinePrice | None = None) -> tuple[MachinePrice, Budget]:
    """What this machine costs, and what the run may.

    Args:
        machine: what it costs as a node of a cluster.

    Raises:
        MoneyError: no amount or no time, or too little of it for the smallest run.
    """
    machine = machine or spec.machine(around)
    budget = spec.resolved_budget(machine)
    spec.row_seconds(machine)
    smallest = smallest_seconds(spec)
    budget.refuse(smallest, given=spec.limits)
    if spec.serves and budget.wall_seconds < smallest + ENDPOINT_SECONDS:
        raise MoneyError(
            f"The run would end after {duration_text(budget.wall_seconds)}, but one with an endpoint needs "
            f"{duration_text(math.ceil(smallest + ENDPOINT_SECONDS))}.",
            "Give it as much, or leave the endpoint out with --no-serve.",
        )
    return machine, budget


def begin(spec: RunSpec, around: Surroundings, screen: Screen, machine: MachinePrice | None = None) -> Course:
    """Resolve the money, make the folder, open the ledger; nothing heavy is imported yet.

    Raises:
        EnvironmentFault: the folder cannot be written, or onnx is asked for and not installed.
    """
    machine, budget = limits(spec, around, machine)
    if spec.onnx:
        from lepton_ray.bundle.onnx_file import needs_onnx  # late: it loads numpy

        needs_onnx()
    value = None if spec.value is None else Value.from_file(spec.value)
    warm, priors = Warm.of(spec), priors_of(spec)
    with claimed(spec.folder(around.run_id)) as folder:
        folder.prepare()
        folder.write_json("spec.json", lasting(spec, folder))  # before the ledger: a run that has one can be taken up
        elapsed = time.monotonic() - around.started
        ledger = Ledger.create(folder.ledger, around.run_id, machine, time.time() - elapsed)
    course = Course(
        spec,
        around,
        budget,
        folder,
        Meter(ledger, lambda: time.monotonic() - around.started),
        screen,
        value,
        warm,
        priors,
        report_seconds=min(REPORT_SECONDS, REPORT_SHARE * elapsed),
    )
    ledger.enter("start", 0.0)
    ledger.note("budget", budget.to_dict())
    screen.say(
        f"run {around.run_id}: at most {budget.dollars} and {budget.deadline_seconds:.0f} s, "
        f"at {machine.per_hour} per hour ({machine.sentence})"
    )
    if warm is not None:
        screen.say(warm.sentence)
    return course


def lasting(spec: RunSpec, folder: RunFolder) -> dict[str, Any]:
    """The spec as it can be read later, from anywhere: of what a caller lent, tables by their names only, the rest as
    copies."""
    facts = spec.to_dict()
    for role in ("table", "test", "plan", "value", "warm_start", "priors"):
        name = None if facts[role] is None else lent_name(facts[role])
        if name is not None and role in ("plan", "value"):
            facts[role] = str(folder.write(f"{role}.json", Path(facts[role]).read_text(encoding="utf-8")))
        elif name is not None:
            facts[role] = name
        elif facts[role] is not None and not facts[role].startswith(BUILTIN):
            facts[role] = str(Path(facts[role]).expanduser().absolute())
    return facts


def priors_of(spec: RunSpec) -> Priors | None:
    """Those that the user mined; None: the shipped ones are read where a search begins."""
    return None if spec.priors is None else Priors.from_folder(spec.priors)


def arm(course: Course, temp: tuple[Path, ...]) -> None:
    """Let the supervisor hold the run's wall."""
    course.temp = temp
    course.tell_wall()


def smallest_seconds(spec: RunSpec) -> float:
    """The least that a run of this table needs, so that one which cannot end well is refused at once."""
    try:
        size = Path(spec.table).stat().st_size
    except OSError:
        size = 0
    return START_SECONDS + min(size, 50e6) / BYTES_PER_SECOND + margin_seconds(0.0) + SLACK_SECONDS


def listen(course: Course) -> None:
    """Let the first Ctrl-C or SIGTERM end the search within the reserve."""

    def asked(number: int, frame: FrameType | None) -> None:
        course.asked_to_stop.set()
        (course.folder.scratch / "stop").touch()

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, asked)
        signal.signal(signal.SIGTERM, asked)
