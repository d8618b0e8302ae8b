"""The desk where a search is run from: it admits trials, gives leases and keeps what came of them.

Drivers (one worker process, Ray Tune) ask ``next_step`` and report ``finish``; both may ask from several threads.
It knows neither processes nor Ray nor files: time is an argument, and what is to be done is an answer.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lepton_ray.money.budget import Budget
from lepton_ray.money.lease import Lease
from lepton_ray.search.cost import CostModel, Kin, Size
from lepton_ray.search.policy import PromotionPolicy, Snapshot, Start, Stop, Wait
from lepton_ray.search.rungs import Rung
from lepton_ray.search.setting_aside import reasons, set_aside
from lepton_ray.search.title import Standing, best
from lepton_ray.search.trial import INTERRUPTED, KILLED, SKIPPED, Outcome, Trial

ADMISSION_QUANTILE = 0.5
"""Of a trial's forecast: it must fit what is left. The median, since a lease that ends early still leaves a model."""
LEASE_FACTOR = 3.0
"""A trial may take this many times its forecast before its lease ends; what it has come to then counts."""
SHORTEST_LEASE_SECONDS = 3.0
LONGEST_AFTERWARDS = 3.0
"""Seconds that a lease ends before the search does, at most, for what follows the fits: scoring and sealing."""
JUDGING_SHARE, LONGEST_JUDGING_SECONDS = 0.15, 3.0
"""Of a lease: kept for predicting, judging and sealing, which nothing interrupts."""
GRACE = 0.5
"""Of its lease: what has ended its fits in time and is still judging them is not killed before."""
WORTH_BEGINNING = 0.5
"""Of its forecast: with less time left than this when its turn comes, a trial is not begun."""
LETTING_GO_SECONDS = 4.0
"""From the end of the last lease until the nodes of a cluster are no longer billed."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial to be run now, under this lease.

    Attributes:
        beat: the fold errors that win the title, see ``title``.
        least: seconds that must be left when its turn comes.
        begun: its driver has said that a worker has taken it up; ``node``: on which of the run's nodes.
        again: it was interrupted before, and what it has kept of its folds is there.
        judging: seconds of the lease that its fits are to leave for predicting, judging and sealing.
    """

    trial: Trial
    lease: Lease
    beat: tuple[float, ...] | None
    begun: bool = False
    least: float = 0.0
    node: str = ""
    again: bool = False
    judging: float = 0.0


@dataclass(frozen=True, slots=True)
class View:
    """What a person may want to see of a running search."""

    elapsed: float
    finished: int
    running: int
    best: Outcome | None
    stopped_because: str | None


class Desk:
    """Mutable heart of one search; every method may be called from any thread."""

    def __init__(
        self,
        policy: PromotionPolicy,
        budget: Budget,
        *,
        rungs: tuple[Rung, ...],
        size: Callable[[Trial], Size],
        costs: CostModel,
        reserve: Callable[[Outcome | None], float],
        on_outcome: Callable[[Outcome], None],
        scoring: Callable[[Trial], float] = lambda trial: 0.0,
        on_begin: Callable[[Trial, float, str, str], None] = lambda trial, now, driver, node: None,
    ) -> None:
        """Args:
        size: how much a trial has to do.
        costs: what a trial is expected to take before any has been seen.
        reserve: seconds to keep for finishing with this outcome, the best so far.
        scoring: about how many seconds a trial takes, beside what is usual, to predict rows that no fit has seen.
        on_outcome: told each outcome once, in order, under the desk's lock.
        on_begin: told each trial that a worker takes up, when, by which driver and on which node; under the lock, too.
        """
        self._policy = policy
        self._budget = budget
        self.rungs = rungs
        self._size = size
        self._reserve = reserve
        self._on_outcome = on_outcome
        self._scoring = scoring
        self._on_begin = on_begin
        self._costs = costs
        self._outcomes: list[Outcome] = []
        self._running: dict[str, Assignment] = {}
        self._stopped_because: str | None = None
        self._lock = threading.RLock()

    @property
    def portfolio(self) -> Sequence[tuple[str, dict[str, Any]]]:
        """The families that are tried, each with a configuration."""
        return self._policy.portfolio

    def replay(self, outcomes: Sequence[Outcome]) -> None:
        """Know what an earlier leg of this run has found out; nobody is told of it again."""
        with self._lock:
            for outcome in outcomes:
                self._take_in(outcome)

    def next_step(
        self,
        now: float,
        *,
        driver: str | None = None,
        able: Callable[[Trial], bool] = lambda trial: True,
        within: float = float("inf"),
    ) -> Assignment | Wait | Stop:
        """A trial with its lease, or Wait while one that runs may change the answer, or Stop.

        Args:
            driver: who has a worker that takes it up at once; None: ``begin`` will say so.
            able: whether that driver has a place for such a trial; by default for each.
            within: once there is a model, only trials that are expected to take no longer; Wait where there is none.
        """
        with self._lock:
            if self._stopped_because is not None:
                return Stop(self._stopped_because)
            takes, running = self._expected_seconds, tuple(given.trial for given in self._running.values())
            decision = self._policy.decide(
                Snapshot(
                    tuple(self._outcomes),
                    running,
                    self._spent(now),
                    max(0.0, self.search_end() - now),
                ),
                lambda trial: (
                    able(trial)
                    and not set_aside(trial, self._outcomes, running)
                    and self._fits(trial, now)
                    and (self.best() is None or takes(trial) <= within)
                ),
                takes,
            )
            if isinstance(decision, Start):
                given = self._assign(decision.trial, now)
                if driver is not None:
                    self._on_begin(given.trial, now, driver, "")
                return given
            if isinstance(decision, Stop):
                if self._running or within < float("inf"):
                    return Wait()
                self.stop(decision.reason)
            return decision

    def _spent(self, now: float) -> float:
        """The share of the search's time that is over, and of its money with it."""
        return min(1.0, max(0.0, now / max(self.search_end(), 1e-9)))

    def _fits(self, trial: Trial, now: float) -> bool:
        """Until there is a model the next trial always does: it is what keeps a run from returning nothing."""
        if not self._running and self.best() is None:
            return now < self._budget.wall_seconds
        left_after = self._budget.wall_seconds - self.search_end()
        return self._budget.admits(now, self._expected_seconds(trial) + self._seconds_to_follow(trial), left_after)

    def _seconds_to_follow(self, trial: Trial) -> float:
        """What its promotions are expected to take: once a model of the last rung is there, one that cannot come as far
        is of no use any more. Of a family that this table has not seen, nobody knows."""
        last = len(self.rungs) - 1
        usable = [outcome.trial for outcome in self._outcomes if outcome.usable]
        if all(one.rung < last for one in usable) or all(one.family != trial.family for one in usable):
            return 0.0
        further = (replace(trial, rung=rung, parent=trial.id) for rung in range(trial.rung + 1, last + 1))
        return sum(self._expected_seconds(one) for one in further)

    def _assign(self, trial: Trial, now: float) -> Assignment:
        expected = self._expected_seconds(trial)
        seconds = max(LEASE_FACTOR * expected, SHORTEST_LEASE_SECONDS)
        found, end = self.best(), self.search_end()
        if found is None:
            end = self._budget.wall_seconds  # what is kept for finishing is worth nothing without a model
        beat = None
        if found is not None:
            beat = Standing.of(self._outcomes).to_beat(trial, found, folds=self.rungs[trial.rung].fits)
        lease = Lease(trial.id, now, max(now, min(now + seconds, end - self._afterwards())))
        least = 0.0 if found is None else WORTH_BEGINNING * expected
        judging = min(JUDGING_SHARE * (lease.until - lease.started), LONGEST_JUDGING_SECONDS) + self._scoring(trial)
        given = Assignment(trial, lease, beat, least=least, again=self._known(trial), judging=judging)
        self._running[trial.id] = given
        return given

    def _afterwards(self) -> float:
        """What a trial has to do when its fits are over, as far as is known: the longest of those that were sealed."""
        tails = (one.seconds - one.fitting for one in self._outcomes if one.bundle is not None)
        return min(max(tails, default=0.0), LONGEST_AFTERWARDS)

    def finish(self, outcome: Outcome) -> None:
        """Record what came of a trial; the second word about the same trial is ignored."""
        with self._lock:
            if (given := self._running.pop(outcome.trial.id, None)) is None:
                return
            if given.node:  # another machine's clock counts for nothing
                outcome = replace(outcome, node=given.node, started=given.lease.started)
            self._take_in(outcome)
            self._on_outcome(outcome)

    def _take_in(self, outcome: Outcome) -> None:
        again = self._known(outcome.trial)
        self._outcomes.append(outcome)
        # a spell after another one has the seconds of its last folds only; the constant's are those of a process that
        # wakes up, a hundred times what its law says and nothing to other families
        if outcome.usable and not again and outcome.trial.family != "constant":
            self._costs = self._costs.observe(outcome.trial.family, self._size(outcome.trial), outcome.fitting)

    def _known(self, trial: Trial) -> bool:
        """Whether this very trial has had a spell before."""
        return any(one.trial.id == trial.id for one in self._outcomes)

    def lost(self, trial_id: str, now: float, driver: str, reason: str) -> None:
        """Record that a trial was killed or died without a word."""
        with self._lock:
            if (assignment := self._running.get(trial_id)) is not None:
                seconds = now - assignment.lease.started
                self.finish(Outcome(assignment.trial, KILLED, driver, assignment.lease.started, seconds, reason=reason))

    def interrupted(self, trial_id: str, now: float, driver: str, *, reason: str, kept: float | None) -> None:
        """Record that a trial's node went away: it may be taken up again.

        Args:
            kept: seconds since a fold of it was last kept, by which what is lost is known; None: none was.
        """
        with self._lock:
            if (given := self._running.get(trial_id)) is None:
                return
            if not given.begun:  # nobody had taken it up, so there is nothing to record
                del self._running[trial_id]
                return
            seconds = max(0.0, now - given.lease.started)
            lost = seconds if kept is None else min(seconds, kept)
            broken = Outcome(given.trial, INTERRUPTED, driver, given.lease.started, seconds, reason=reason, lost=lost)
            self.finish(broken)

    def skip(self, trial_id: str, now: float, driver: str, reason: str) -> None:
        """Record that a trial was never begun."""
        with self._lock:
            if (assignment := self._running.get(trial_id)) is not None:
                self.finish(Outcome(assignment.trial, SKIPPED, driver, now, 0.0, reason=reason))

    def stop(self, reason: str) -> None:
        """Start nothing more; the first reason stays."""
        with self._lock:
            if self._stopped_because is None:
                self._stopped_because = reason

    def begin(self, trial_id: str, now: float, driver: str = "", *, node: str = "") -> None:
        """Let a trial's lease run from now, on this node: its driver had no worker for it before."""
        with self._lock:
            if (given := self._running.get(trial_id)) is not None:
                lease = given.lease
                until = max(now, min(now + lease.until - lease.started, self.search_end() - self._afterwards()))
                self._running[trial_id] = replace(given, lease=Lease(trial_id, now, until), begun=True, node=node)
                self._on_begin(given.trial, now, driver, node)

    def shorten(self, trial_id: str, until: float) -> None:
        """Let a trial's lease end earlier."""
        with self._lock:
            if (given := self._running.get(trial_id)) is not None:
                lease = replace(given.lease, until=max(given.lease.started, min(given.lease.until, until)))
                self._running[trial_id] = replace(given, lease=lease)

    def call_in(self, now: float) -> list[str]:
        """End the leases that would outlive the search, whose end may have come nearer since they were given; return
        whose they are."""
        with self._lock:
            if self.best() is None:
                return []
            begun = {name: given for name, given in self._running.items() if given.begun and given.lease.until > now}
            end = self.search_end()
            late = [name for name, given in begun.items() if now >= end - self._after(given) < given.lease.until]
            for name in late:
                self.shorten(name, now)
            return late

    def _after(self, given: Assignment) -> float:
        """What this trial has to do when its fits are over; of a family that has not ended a trial nobody knows."""
        known = any(one.usable and one.trial.family == given.trial.family for one in self._outcomes)
        return max(self._afterwards(), self._scoring(given.trial) if known else given.judging)

    def reprice(self, budget: Budget, workers: int) -> None:
        """Go on within these limits, at their price, with so many trials side by side: a node has come or gone."""
        with self._lock:
            self._budget = budget
            if (economy := self._policy.economy) is not None:
                economy = replace(economy, per_hour=budget.per_hour, workers=max(1, workers))
                self._policy = replace(self._policy, economy=economy)

    def overdue(self, now: float, *, grace: float, late: float) -> list[str]:
        """Ids of begun trials that outlived their lease, by ``grace`` seconds or a share of it, or the search by
        ``late``."""
        with self._lock:
            latest = self.search_end() + late
            leases = {name: given.lease for name, given in self._running.items() if given.begun}
            until = {name: one.until + max(grace, GRACE * (one.until - one.started)) for name, one in leases.items()}
            return [name for name, one in leases.items() if now > max(one.until, min(until[name], latest))]

    def search_end(self) -> float:
        """The second at which the last lease ends, once there is a model."""
        return self._budget.latest(self.reserve_seconds(), LETTING_GO_SECONDS)

    def reserve_seconds(self) -> float:
        """How long finishing with the best so far will take."""
        return self._reserve(self.best())

    def best(self) -> Outcome | None:
        """The best of those that left a bundle."""
        with self._lock:
            sealed = (outcome for outcome in self._outcomes if outcome.bundle is not None)
            return best(sealed, self._outcomes)

    def fit_seconds(self, outcome: Outcome) -> float:
        """What one fit of its model on all rows but a fold's is expected to take, where it was not just that."""
        if self.rungs[outcome.trial.rung].rows is None:
            return outcome.fitting / outcome.fits
        size, last = self._size(outcome.trial), len(self.rungs) - 1
        whole = replace(self._size(replace(outcome.trial, rung=last, parent=None)), fits=1)
        with self._lock:
            kin = Kin(size, outcome.fitting)
            return self._costs.quantile(outcome.trial.family, whole, ADMISSION_QUANTILE, kin)

    def outcomes(self) -> tuple[Outcome, ...]:
        with self._lock:
            return tuple(self._outcomes)

    def set_aside(self) -> dict[str, str]:
        """The families that are tried no more because they failed too often, each with its last reason."""
        return reasons(self.outcomes())

    def tried(self) -> int:
        """How many trials were begun and have ended, but for those that may be taken up again."""
        return sum(outcome.state not in (SKIPPED, INTERRUPTED) for outcome in self.outcomes())

    def running(self) -> tuple[Assignment, ...]:
        with self._lock:
            return tuple(self._running.values())

    def view(self, now: float) -> View:
        with self._lock:
            return View(now, self.tried(), len(self._running), self.best(), self._stopped_because)

    def _expected_seconds(self, trial: Trial) -> float:
        parent = next((one for one in self._outcomes if one.usable and one.trial.id == trial.parent), None)
        kin = None if parent is None else Kin(self._size(parent.trial), parent.fitting)
        return self._costs.quantile(trial.family, self._size(trial), ADMISSION_QUANTILE, kin)
