"""The ledger: everything a run costs, one JSON line per event, appended and synced before the next thing happens.

The first line says whose money it is (run, start, machine price); it is written whole or not at all. Then come events:
``{"enter": stage, "at": s}``, ``{"attribute": {…}}``, ``{"note": name, "value": …}``, ``{"machine": {…}, "at": s}``
where a cluster has changed, ``{"join": {…}, "at": s}`` and ``{"leave": node, "why": …, "at": s}`` where a run takes a
node on and where it has it no longer, ``{"resume": {…}, "at": s}`` where a run that was broken off goes on, and
``{"close": s}``, in seconds that the run has lived: the time between two legs of it is nobody's.

A line torn by a killed writer is skipped by readers and fenced off with a newline by the next writer, so the supervisor
can open the ledger of a driver that it had to kill, and close it. Notes with a meaning elsewhere are ``budget``
(``Budget.to_dict``) and ``bundle`` (its id), which the receipt reads, and ``stopped_because`` and ``ended`` (how), for
a run that goes on.

Billed stages partition the time from 0 to the close: what no stage claims is ``unexplained``. Each charge is a
difference of two cumulative costs, so the charges add up to rate x wall to the micro-dollar, however many there are.
Stage ``serve`` ends the run; from there on the charges are the endpoint's.

It knows no clock and decides nothing. One process writes at a time; another one's lines are seen by opening it again.
"""

import math
import os
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Self, final

from lepton_ray.errors import EnvironmentFault, MoneyError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.lines import Event, append_line, line_of, parse_line, write_at_once
from lepton_ray.money.lives import Hired, Life
from lepton_ray.money.prices import MachinePrice
from lepton_ray.money.rates import Rates
from lepton_ray.money.usage import Book, Charge, Leg, Usage

UNEXPLAINED = "unexplained"
SERVE = "serve"

_DAMAGED = (KeyError, TypeError, ValueError, OverflowError)  # what a line can raise that is torn, or of a later version


@dataclass(slots=True)
class _Timeline:
    """Folds enter, close and witnessed times into spans that leave no gap and never run backwards."""

    spans: list[tuple[str, float, float, Book]] = field(default_factory=list)
    cursor: float = 0.0  # where the last span ended
    now: float = 0.0  # the latest time that any event is a witness of
    stage: str = UNEXPLAINED
    book: Book = "billed"
    closed: bool = False

    def enter(self, stage: str, at: float) -> None:
        self._cut(at)
        self.stage, self.closed = stage, False
        if stage == SERVE:
            self.book = "endpoint"

    def close(self, at: float) -> None:
        self._cut(at)
        self.stage, self.closed = UNEXPLAINED, True

    def resume(self, at: float) -> None:
        self.close(at)
        self.closed = False

    def witness(self, at: float) -> None:
        if not self.closed:
            self.now = max(self.now, at)

    def until(self, at: float | None) -> list[tuple[str, float, float, Book]]:
        """The spans, the open one ending at ``at`` or where it was last witnessed, whichever is later."""
        end = max(self.now, at or 0.0)
        if self.closed or end <= self.cursor:
            return self.spans
        return [*self.spans, (self.stage, self.cursor, end, self.book)]

    def _cut(self, at: float) -> None:
        self.now = max(self.now, at)
        if self.now > self.cursor:
            self.spans.append((self.stage, self.cursor, self.now, self.book))
        self.cursor = self.now


@final
class Ledger:
    """The two books of a run, *billed* and *attributed*, in one append-only file."""

    def __init__(self, path: str, run_id: str, machine: MachinePrice, started_at: float) -> None:
        """Not called directly: use ``create`` or ``open``."""
        self.path = path
        self.run_id = run_id
        self.machine = machine
        self.started_at = started_at
        self.rates = Rates(((0.0, machine.per_hour),))
        self.notes: dict[str, Any] = {}
        self.legs = [Leg(0.0, started_at)]
        self.torn = 0
        self.lives: list[Life] = []
        self._usages: list[tuple[Usage, MachinePrice]] = []
        self._timeline = _Timeline()
        self._lock = threading.RLock()  # re-entrant: a signal handler may close while its thread appends

    @classmethod
    def create(cls, path: str | os.PathLike[str], run_id: str, machine: MachinePrice, started_at: float) -> Self:
        """Start a ledger; ``started_at`` is the run's start in seconds since 1970. An existing file is refused."""
        where = os.path.abspath(path)
        if os.path.exists(where):
            raise MoneyError(f"There is a ledger at {where} already.", "Give this run a folder of its own.")
        iso = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started_at))
        header = {"run": run_id, "started": started_at, "started_iso": iso, "machine": machine.to_dict()}
        _write_whole(where, line_of(header))
        return cls(where, run_id, machine, started_at)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Read a ledger, torn lines skipped and counted; only one without its first line is refused."""
        where = os.path.abspath(path)
        try:
            with open(where, "rb") as file:
                first, *rest = file.read().split(b"\n")
        except OSError as error:
            raise MoneyError(
                f"The ledger {where} cannot be read ({error.strerror}).", "Name the run's folder."
            ) from None
        try:
            header = parse_line(first)
            ledger = cls(where, str(header["run"]), MachinePrice.from_dict(header["machine"]), float(header["started"]))
        except (*_DAMAGED, MoneyError):
            raise MoneyError(
                f"{where} is not a ledger, or its first line is damaged.", "Name the run's folder."
            ) from None
        for line in filter(None, rest):
            try:
                ledger._apply(parse_line(line))
            except (*_DAMAGED, MoneyError):
                ledger.torn += 1
        return ledger

    def enter(self, stage: str, at: float) -> None:
        """Close the open stage and open this one. A time before the last event's counts as the last event's."""
        if not stage or stage == UNEXPLAINED:
            raise ValueError(f"a stage cannot be called {stage!r}")
        self._record({"enter": stage, "at": _seconds(at)})

    def attribute(self, usage: Usage) -> None:
        """Book a trial's share of the machine."""
        self._record({"attribute": asdict(usage)})

    def reprice(self, machine: MachinePrice, at: float) -> None:
        """Bill this machine from ``at`` on: a node has come or gone."""
        self._record({"machine": machine.to_dict(), "at": _seconds(at)})

    def join(self, node: Hired, at: float) -> None:
        """Bill this node beside the machine that the run began on, from ``at`` until it leaves."""
        if any(life.node.name == node.name for life in self._held()):
            raise ValueError(f"the run holds {node.name} already")
        self._record({"join": node.to_dict(), "at": _seconds(at)})

    def leave(self, name: str, at: float, why: str) -> None:
        """The run has this node no longer."""
        self._record({"leave": name, "why": why, "at": _seconds(at)})

    def note(self, name: str, value: Any) -> None:
        """Keep a JSON value beside the money; the latest of a name holds."""
        self._record({"note": name, "value": value})

    def close(self, at: float) -> None:
        """End the run, or the endpoint's service. Time until a later enter or close becomes ``unexplained``."""
        self._record({"close": _seconds(at)})

    def resume(self, leg: Leg) -> None:
        """Go on with a run that was broken off: the open stage has ended where the new leg begins."""
        self._record({"resume": {"started": leg.started_at, "down": leg.down}, "at": _seconds(leg.at)})

    @property
    def stage(self) -> str | None:
        """The open stage."""
        stage = self._timeline.stage
        return None if stage == UNEXPLAINED else stage

    @property
    def closed(self) -> bool:
        return self._timeline.closed

    @property
    def served(self) -> bool:
        """Whether the run has ended in an endpoint."""
        return self._timeline.book == "endpoint"

    @property
    def second(self) -> float:
        """The latest time that an event is a witness of."""
        return self._timeline.now

    @property
    def attributed(self) -> frozenset[str]:
        """What has been booked a share of the machine: the ids of trials."""
        with self._lock:
            return frozenset(usage.what for usage, _ in self._usages)

    @property
    def held(self) -> tuple[Hired, ...]:
        """The nodes that the run has now, beside the machine it began on."""
        with self._lock:
            return tuple(life.node for life in self._held())

    def _held(self) -> list[Life]:
        return [life for life in self.lives if life.left == math.inf]

    def charges(self, at: float | None = None) -> tuple[Charge, ...]:
        """All charges, billed and endpoint ones in order of time, then the attributed ones.

        Args:
            at: now, where the ledger is still open; without it the open stage ends at the last event.
        """
        with self._lock:
            attributed = [_attributed(usage, machine) for usage, machine in self._usages]
        return (*self._partition(at), *attributed)

    def spent(self, at: float | None = None) -> Dollars:
        """What the run is billed until ``at``, its endpoint's service not included."""
        return Dollars.total(charge.dollars for charge in self._partition(at) if charge.book == "billed")

    def _partition(self, at: float | None) -> list[Charge]:
        with self._lock:
            spans = list(self._timeline.until(at))
        charges: list[Charge] = []
        before = Dollars(0)
        for stage, started, ended, book in spans:
            after = self.rates.cost(ended)
            charges.append(Charge(stage, stage, started, ended, after - before, book))
            before = after
        return charges

    def _record(self, event: Event) -> None:
        line = line_of(event)
        with self._lock:
            try:
                append_line(self.path, line)
            except OSError as error:
                raise _unwritable(self.path, error) from None
            self._apply(parse_line(line))

    def _apply(self, event: Event) -> None:
        if "enter" in event:
            self._timeline.enter(str(event["enter"]), _seconds(event["at"]))
        elif "attribute" in event:
            usage = Usage(**event["attribute"])
            prices = {life.node.name: life.node.machine for life in self.lives}
            self._usages.append((usage, prices.get(usage.node, self.machine)))
            self._timeline.witness(usage.ended)
        elif "machine" in event:
            machine, at = MachinePrice.from_dict(event["machine"]), _seconds(event["at"])
            self.rates = self.rates.then(at, machine.per_hour)
            self.machine = machine
            self._timeline.witness(at)
        elif "join" in event:
            node, at = Hired.from_dict(event["join"]), self._not_before(event["at"])
            self.rates = self.rates.then(at, self.rates.now + node.machine.per_hour)
            self.lives.append(Life(node, at))
        elif "leave" in event:
            self._end([str(event["leave"])], event["at"], str(event["why"]))
        elif "resume" in event:
            self._end([life.node.name for life in self._held()], event["at"], "the run was broken off")
            leg = Leg(_seconds(event["at"]), float(event["resume"]["started"]), float(event["resume"]["down"]))
            self._timeline.resume(leg.at)
            self.legs.append(leg)
        elif "note" in event:
            self.notes[str(event["note"])] = event["value"]
        elif "close" in event:
            self._timeline.close(_seconds(event["close"]))

    def _not_before(self, at: float) -> float:
        """The time of a change of price: not before the one before."""
        at = max(_seconds(at), self.rates.steps[-1][0])
        self._timeline.witness(at)
        return at

    def _end(self, names: list[str], at: float, why: str) -> None:
        for number, life in enumerate(self.lives):
            if life.left == math.inf and life.node.name in names:
                self.lives[number] = life.ended(self._not_before(at), why)
                self.rates = self.rates.then(self.lives[number].left, self.rates.now - life.node.machine.per_hour)


def _attributed(usage: Usage, machine: MachinePrice) -> Charge:
    dollars = machine.share(usage.cpus, usage.seconds)
    return Charge(usage.stage, usage.what, usage.started, usage.ended, dollars, "attributed", usage)


def _seconds(at: float) -> float:
    at = float(at)
    if not (math.isfinite(at) and at >= 0):
        raise ValueError(f"a time must be finite and not before the start, got {at!r}")
    return at


def _write_whole(path: str, line: bytes) -> None:
    """Write the first line beside ``path`` and rename it into place: a ledger never lacks it."""
    sibling = f"{path}.{os.getpid()}.new"
    try:
        descriptor = os.open(sibling, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            write_at_once(descriptor, line)
        finally:
            os.close(descriptor)
        os.replace(sibling, path)
    except OSError as error:
        with suppress(OSError):
            os.unlink(sibling)
        raise _unwritable(path, error) from None


def _unwritable(path: str, error: OSError) -> EnvironmentFault:
    reason = error.strerror or str(error)
    return EnvironmentFault(
        f"The ledger {path} cannot be written ({reason}).", "Free some space or choose another --out."
    )
