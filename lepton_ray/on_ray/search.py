"""The search on Ray Tune: one searcher, one stopper, one callback and warm, reused actors.

Tune asks the desk what is next and tells it what came, the crew says on which node; no rule of the search lives here.
What the desk calls an interruption is a failure for Tune, and its second spell a new trial. Four things about Tune
2.60 shaped it: a searcher that says "I limit myself" avoids the limiter that hands out one trial at a time; an actor
that hangs must be killed before anything is stopped; a stopped trial's busy actor would be cached and hang the next
one; and FINISHED may be said only when nothing runs.
"""

import json
import logging
import os
import secrets
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.tune.stopper import Stopper

from lepton_ray.errors import LeptonError
from lepton_ray.money.lease import Lease
from lepton_ray.on_host.bench import Bench, stay_in, task_of
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.luggage import AwayBench, boot_id, is_here
from lepton_ray.on_host.opening import LATE_SECONDS
from lepton_ray.on_host.worker import limit_memory, memory_of_a_trial
from lepton_ray.on_ray.carrier import ByRay, start_carrier
from lepton_ray.on_ray.crew import Crew
from lepton_ray.on_ray.losing import Watch, crash_of
from lepton_ray.on_ray.nodes import of_a_cluster
from lepton_ray.on_ray.session import short_temp_dir
from lepton_ray.search.desk import Desk
from lepton_ray.search.policy import Stop, Wait
from lepton_ray.search.trial import SKIPPED, Outcome, Trial

WATCH_SECONDS = 0.1
TIDY_SECONDS = 0.3
"""How long Tune may take to end when all is over; after that it tidies up beside what comes next."""
GRACE_SECONDS = 2.5
"""How long after its lease a trial may take to come back before its actor is killed."""
NODE_ID = "ray.io/node-id"
TOO_LATE = "the search ended before its turn came"


class TrialActor(tune.Trainable):
    """A warm process that carries out one trial after another on the same bench."""

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        """What the trial wishes, on the node that it was given; actors are used again for the same on the same."""
        needs = [{"CPU": config["cpus"], "GPU": config["gpus"]}]
        if config["node"] is None:
            return tune.PlacementGroupFactory(needs)
        return tune.PlacementGroupFactory(needs, bundle_label_selector=[{NODE_ID: config["node"]}])

    def setup(self, config: dict[str, Any]) -> None:
        self._away: Path | None = None
        home = Path(config["scratch"])
        if is_here(home, config["boot"]):
            limit_memory(config["memory_bytes"])
            stay_in(home)
            self._bench = Bench(home)
            return
        limit_memory(memory_of_a_trial(os.cpu_count() or 1))
        self._away = short_temp_dir()
        stay_in(self._away)
        self._bench = AwayBench(self._away, home, ByRay(config["carrier"]))

    def cleanup(self) -> None:
        """Called by Tune where the actor ends in order."""
        if self._away is not None:
            shutil.rmtree(self._away, ignore_errors=True)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        return True

    def step(self) -> dict[str, Any]:
        given = Lease(**json.loads(self.config["lease"]))
        begun = self._bench.now()
        until = min(begun + given.until - given.started, self.config["search_end"])
        task = json.loads(self.config["task"])
        if until - begun > self.config["least"]:
            outcome = self._bench.run(task, Lease(given.trial, begun, until))
        else:
            outcome = Outcome(Trial.from_dict(task["trial"]), SKIPPED, "ray", begun, 0.0, reason=TOO_LATE).to_dict()
        error = float("nan") if outcome["error"] is None else outcome["error"]
        return {"outcome": json.dumps(outcome), "error": error, "done": True}


class Live:
    """A part of this process: Tune writes its components to disk for a restore that is not ours; they go without it."""

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self


class DeskSearcher(Live, Searcher):
    """Hands the desk's assignments to Tune."""

    def __init__(
        self,
        desk: Desk,
        crew: Crew,
        clock: Callable[[], float],
        *,
        scratch: Path,
        memory_bytes: int,
        carrier: str | None = None,
    ) -> None:
        """``carrier``: the name of the actor that knows what benches on other machines need."""
        super().__init__(metric="error", mode="min")
        self._desk = desk
        self._crew = crew
        self._clock = clock
        self._fixed = {"scratch": str(scratch), "memory_bytes": memory_bytes, "boot": boot_id(), "carrier": carrier}
        self._assigned: dict[str, str] = {}
        self._latest: dict[str, str] = {}
        self.closed = False

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return True

    def set_search_properties(self, *args: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        if self.closed:
            return Searcher.FINISHED
        if not self._crew.manned:
            return None
        step = self._desk.next_step(self._clock(), able=self._crew.able)
        if isinstance(step, Wait):
            return None
        if isinstance(step, Stop):
            return None if self._desk.running() else Searcher.FINISHED
        place = self._crew.place(step.trial)
        if place is None:
            self._crew.interrupt(step.trial.id)
            return None
        self._assigned[trial_id] = step.trial.id
        self._latest[step.trial.id] = trial_id
        wish = self._crew.wish(step.trial)
        return {
            **self._fixed,
            "node": self._crew.node_id(place) if self._crew.joined else None,
            "cpus": wish.cpus,
            "gpus": wish.gpus,
            "task": json.dumps(task_of(step, driver="ray", threads=wish.cpus)),
            "lease": json.dumps(asdict(step.lease)),
            "search_end": self._desk.search_end(),
            "least": step.least,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        name = self.trial_of(trial_id)
        if name is None:
            return
        if error and self._crew.gone(name):
            self._crew.interrupt(name)
        elif name in self._waiting():
            self._desk.skip(name, self._clock(), "ray", TOO_LATE)
        elif error or not result or "outcome" not in result:
            self._desk.lost(name, self._clock(), "ray", "its process was killed at the end of its lease, or died")
        else:
            self._desk.finish(Outcome.from_dict(json.loads(result["outcome"])))

    def trial_of(self, trial_id: str) -> str | None:
        """The desk's name of one of Tune's trials; None of one that was given up and begun again elsewhere."""
        name = None if self.closed else self._assigned.get(trial_id)
        return name if name is not None and self._latest[name] == trial_id else None

    def close(self) -> None:
        """Take nothing more from the desk, and tell it nothing more: another driver goes on."""
        self.closed = True

    def _waiting(self) -> set[str]:
        return {given.trial.id for given in self._desk.running() if not given.begun}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the run's own log is what a resume reads."""

    def restore(self, checkpoint_path: str) -> None:
        """See ``save``."""


class LeaseCallback(Live, tune.Callback):
    """Tells the desk that a trial has an actor now: its lease runs from here."""

    def __init__(self, desk: Desk, crew: Crew, clock: Callable[[], float], searcher: DeskSearcher) -> None:
        self._desk = desk
        self._crew = crew
        self._clock = clock
        self._searcher = searcher
        self.actors: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name, actor = self._searcher.trial_of(trial.trial_id), trial.temporary_state.ray_actor
        if name is None or all(given.trial.id != name for given in self._desk.running()):
            ray.kill(actor)  # nobody waits for it any more
            return
        self.actors[name] = actor
        self._crew.begun(name, actor)
        self._desk.begin(name, self._clock(), "ray", node=self._crew.where(name))


class DeskStopper(Live, Stopper):
    """Ends the experiment once nothing runs and nothing more may start; what waits for an actor is dropped."""

    def __init__(self, desk: Desk, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._clock = clock

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return over(self._desk, self._clock)


def crew_of(course: Course, desk: Desk) -> Crew:
    """This machine, and the nodes of the cluster that the run has joined, if it has."""
    names = {name for name, _ in desk.portfolio}
    nodes = None if course.spec.address is None else of_a_cluster
    return Crew(course, desk, wishes={name: course.wish(name) for name in names}, nodes=nodes)


def run(
    desk: Desk,
    crew: Crew,
    *,
    scratch: Path,
    clock: Callable[[], float],
    memory_bytes: int,
    asked_to_stop: threading.Event,
    beside: Callable[[], None] = lambda: None,
    ended: Callable[[], str | None] = lambda: None,
) -> str | None:
    """Search on Ray until the desk says stop. Ray must be up. Return why it was lost before, where it was: then
    nothing is in hand any more, and another driver may go on.

    Args:
        beside: called some times a second; ``ended``: says what of Ray has ended, see ``losing.Watch``.

    Raises:
        LeptonError: the desk could not write down what came of a trial.

    Tune has a thread of its own, because its loop sleeps and waits by the second, and longer after a kill: what
    outlives its lease is killed from here, and nobody waits for Tune to tidy up.
    """
    crew.look()
    carrier = f"lepton-carrier-{secrets.token_hex(4)}" if crew.joined else None
    kept_alive = None if carrier is None else start_carrier(scratch, carrier)
    searcher = DeskSearcher(desk, crew, clock, scratch=scratch, memory_bytes=memory_bytes, carrier=carrier)
    callback = LeaseCallback(desk, crew, clock, searcher)
    tuner = tuner_of(desk, clock, searcher, callback, storage=scratch / "tune")
    pool = ThreadPoolExecutor(1, thread_name_prefix="tune")
    fitting = pool.submit(tuner.fit)
    pool.shutdown(wait=False)
    watch, lost = Watch(ended, clock()), None
    while not (over(desk, clock) or fitting.done()):
        if asked_to_stop.is_set():
            desk.stop("you asked to stop")
        elif clock() > desk.search_end() and desk.best() is not None:
            desk.stop("the time for the search is over")
        beside()
        crew.look()
        if crew.lost is not None:
            desk.stop(crew.lost)
            break
        begun = frozenset(given.trial.id for given in desk.running() if given.begun)
        lost = watch.lost(clock(), (begun, len(desk.outcomes())), idle=crew.manned and not (begun or crew.joined))
        if lost is not None:
            searcher.close()  # before Tune asks for more
            break
        for name in desk.call_in(clock()):
            crew.call_in(name)
        overdue = desk.overdue(clock(), grace=GRACE_SECONDS, late=LATE_SECONDS - 2 * WATCH_SECONDS)
        for name in (one for one in overdue if one in callback.actors):  # others are of whoever began them
            ray.kill(callback.actors[name])
            if crew.gone(name):
                crew.interrupt(name)
            else:
                desk.lost(name, clock(), "ray", "it outlived its lease and was killed")
        wait([fitting], WATCH_SECONDS)
    wait([fitting], TIDY_SECONDS)
    fault = fitting.exception() if lost is None and fitting.done() else None
    if fault is not None:
        lost = crash_of(fault)
        crew.look(at_once=True)  # it may be that the whole cluster is gone
    crew.disband()
    del kept_alive
    if isinstance(fault, LeptonError):  # not Ray's: a full disk, say
        raise fault
    if lost is not None and crew.lost is None and desk.view(clock()).stopped_because is None:
        searcher.close()
        crew.give_up()
        return lost
    for given in desk.running():
        if given.begun:
            desk.lost(given.trial.id, clock(), "ray", crew.lost or TOO_LATE)
        else:
            desk.skip(given.trial.id, clock(), "ray", TOO_LATE)
    return None


def tuner_of(
    desk: Desk, clock: Callable[[], float], searcher: DeskSearcher, callback: LeaseCallback, *, storage: Path
) -> tune.Tuner:
    """Tune with our parts in it and its own rules switched off."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a killed trial is in our log, with its reason
    return tune.Tuner(
        TrialActor,
        tune_config=tune.TuneConfig(search_alg=searcher, num_samples=-1, reuse_actors=True),
        run_config=tune.RunConfig(
            name="search",
            storage_path=str(storage),
            stop=DeskStopper(desk, clock),
            callbacks=[callback],
            failure_config=tune.FailureConfig(max_failures=0, fail_fast=False),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False, checkpoint_frequency=0),
            verbose=0,
        ),
    )


def over(desk: Desk, clock: Callable[[], float]) -> bool:
    """Whether nothing runs and nothing more may start; what waits for an actor does not count."""
    stopped = desk.view(clock()).stopped_because is not None
    return stopped and not any(given.begun for given in desk.running())
