"""A whole search in the calling process: the desk, the bench and the finish of a run, without a supervisor or a worker.

Nothing is killed here: a trial is asked to come back when its lease ends. It knows nothing about scikit-learn or Ray.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import UnsupportedOperation
from math import inf
from pathlib import Path
from typing import Any

from lepton_ray.bundle.carried import Carried
from lepton_ray.errors import SearchError
from lepton_ray.money.budget import Budget
from lepton_ray.money.duration import LONGEST_SECONDS
from lepton_ray.money.lease import Lease
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.meter import Meter
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host import search as host_search
from lepton_ray.on_host import telling
from lepton_ray.on_host.bench import Bench
from lepton_ray.on_host.concluding import conclude
from lepton_ray.on_host.course import Course, Progress
from lepton_ray.on_host.opening import open_desk
from lepton_ray.on_host.preparation import Prepared
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.short_lived import short_lived_folder
from lepton_ray.on_host.worker_client import Outcome as Ended
from lepton_ray.on_host.worker_client import Status
from lepton_ray.search.desk import Desk
from lepton_ray.search.trial import Outcome
from lepton_ray.spec import RunSpec, Surroundings

SMALL_ROWS, SHORT_SECONDS = 2_000, 30.0
"""Below either, to start a process and Ray costs more than they bring."""
ONE_CORE_ROWS, ONE_CORE_SECONDS = 20_000, 60.0
"""Up to both, one core is enough."""
ROWS_PER_CONFIGURATION, FEWEST_CONFIGURATIONS = 20, 4
"""Rows that one more configuration is worth trying for: with fewer, the best of many is the luckiest."""
SHORTEST_LEASE_SECONDS = 10.0
"""As far as the wall allows: the first trial of a family imports it here, with no worker to have done so before."""
KEPT_SHARE, LONGEST_KEPT_SECONDS = 0.3, 1.2
"""Of the wall: kept for choosing a blend and sealing it; its refits are reserved beside."""
SLACK_SHARE, LONGEST_SLACK_SECONDS = 0.05, 0.15
"""Of the wall: kept for loading what was sealed and for the receipt."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a search may take.

    Attributes:
        budget: None: only ``max_trials`` ends the search, and no clock has a say in what is found.
        max_trials: how many configurations are tried; the constant, which stands by, is none.
    """

    budget: Budget | None
    max_trials: int | None = None

    def apart(self, rows: int) -> bool:
        """Whether a search over so many rows is worth more than this process."""
        if self.max_trials is not None or self.budget is None:
            return False
        wall = self.budget.wall_seconds
        small = rows < SMALL_ROWS or wall < SHORT_SECONDS
        return not small and (rows > ONE_CORE_ROWS or wall > ONE_CORE_SECONDS)

    def enough(self, tried: int, rows: int) -> str | None:
        """Why no more configurations than have been tried should be, or None."""
        if self.max_trials is not None:
            asked = f"{self.max_trials} configurations were tried, as many as you asked for"
            return asked if tried >= self.max_trials else None
        if tried < max(FEWEST_CONFIGURATIONS, rows // ROWS_PER_CONFIGURATION):
            return None
        return f"{tried} configurations were tried; {rows} rows could not tell more of them apart"


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to: the sealed model and its score, all that was tried, what it cost and why it ended."""

    carried: Carried
    score: float
    outcomes: tuple[Outcome, ...]
    receipt: Receipt
    stopped_because: str


class Silent:
    """A screen that shows nothing."""

    def say(self, sentence: str) -> None: ...

    def watch(self, look: Callable[[], Progress | None]) -> None: ...

    def close(self) -> None: ...


class Here:
    """A worker that is this process: a task begins when its end is asked for.

    Args:
        latest: the second until which a short lease may be stretched; None: leases do not end, so that what comes of a
            task depends on no clock.
    """

    def __init__(self, bench: Bench, latest: float | None) -> None:
        self._bench = bench
        self._latest = latest
        self._given: tuple[dict[str, Any], Lease] | None = None

    @property
    def busy(self) -> bool:
        return self._given is not None

    @property
    def ready(self) -> bool:
        return True

    def ready_within(self, timeout: float) -> bool:
        return True

    def fileno(self) -> int:
        """Raise, as a stream without a descriptor does: nobody waits for this process but itself."""
        raise UnsupportedOperation("fileno")

    def submit(self, task: dict[str, Any], lease: Lease) -> None:
        self._given = task, lease

    def poll(self, timeout: float) -> Ended | None:
        """Carry the task out, however long it takes."""
        assert self._given is not None
        (task, lease), self._given = self._given, None
        started = self._bench.now()
        until = inf if self._latest is None else max(lease.until, min(started + SHORTEST_LEASE_SECONDS, self._latest))
        try:
            value = self._bench.run(task, replace(lease, until=until))
        except Exception as fault:  # a family may raise anything, as in a worker
            return Ended(task, Status.FAILED, None, f"{type(fault).__name__}: {fault}", started, self._bench.now())
        return Ended(task, Status.DONE, value, "", started, self._bench.now())


def search(
    prepared: Prepared,
    spec: RunSpec,
    around: Surroundings,
    limits: Limits,
    *,
    elsewhere: Callable[[Course, Desk], None] | None = None,
) -> Found:
    """Search, fit the winner again on all rows, and seal it.

    Args:
        around: its ``started`` is when the search began to cost.
        elsewhere: goes on with the search once there is a model beside the constant, on more than this process.

    Raises:
        SearchError: no model could be fitted.
    """
    endless = limits.budget is None
    spec = replace(spec, spend_it_all=endless or spec.spend_it_all)  # what a trial is worth hangs on its seconds
    budget = limits.budget or Budget.resolve(None, LONGEST_SECONDS, spec.machine(around).per_hour)
    with short_lived_folder(prepared.dev.table.nbytes) as place:
        course = _course(spec, around, budget, place, noted=not endless)
        telling.write_setup(course, prepared)
        sealer = Sealer(course.folder, telling.opening_facts(course, prepared), course.clock)
        kept = min(KEPT_SHARE * budget.wall_seconds, LONGEST_KEPT_SECONDS)
        slack = min(SLACK_SHARE * budget.wall_seconds, LONGEST_SLACK_SECONDS)
        desk = open_desk(course, prepared, sealer, kept=kept, probed=not endless)
        here = Here(Bench(course.folder.scratch), None if endless else budget.wall_seconds - kept)

        def hand_over() -> bool:
            trials = [outcome.trial for outcome in desk.outcomes()]
            tried = sum(trial.family != "constant" and trial.parent is None for trial in trials)
            if reason := limits.enough(tried, len(prepared.dev.y)):
                desk.stop(reason)
            best = desk.best()
            return elsewhere is not None and best is not None and best.trial.family != "constant"

        course.meter.enter("search")
        host_search.run(desk, [here], course.clock, threads=1, hand_over=hand_over)
        if elsewhere is not None:
            elsewhere(course, desk)
        course.meter.enter("finish")
        winner = _finish(course, prepared, desk, sealer, here, until=budget.wall_seconds - slack)
        carried = Carried.of(course.folder.bundle, trust=[name for name in spec.families if ":" in name])
        course.meter.close()
        reason = desk.view(course.clock()).stopped_because or "the search came to its end"
        assert winner.score is not None
        return Found(carried, winner.score, desk.outcomes(), Receipt.from_ledger(course.meter.ledger), reason)


def _course(spec: RunSpec, around: Surroundings, budget: Budget, place: Path, *, noted: bool) -> Course:
    """A run of its own in ``place``, from which nobody hears; what came before belongs to its stage "prepare"."""
    folder = RunFolder(place)
    folder.prepare()
    elapsed = time.monotonic() - around.started
    ledger = Ledger.create(folder.ledger, around.run_id, spec.machine(around), time.time() - elapsed)
    meter = Meter(ledger, lambda: time.monotonic() - around.started)
    ledger.enter("prepare", 0.0)
    if noted:
        ledger.note("budget", budget.to_dict())
    return Course(spec, around, budget, folder, meter, Silent(), None)


def _finish(course: Course, prepared: Prepared, desk: Desk, sealer: Sealer, here: Here, *, until: float) -> Outcome:
    """Blend the best and fit them again on all rows, as far as ``until`` allows; leave it in the course's folder."""
    champion = desk.best()
    if champion is None:
        reasons = sorted({f"{outcome.trial.family}: {outcome.reason}" for outcome in desk.outcomes()})
        raise SearchError(f"No model could be fitted ({'; '.join(reasons)[:400]}).", "Check the features.")
    conclude(course, prepared, desk, sealer, champion, hire=lambda refits, expected: [here], until=until)
    return champion
