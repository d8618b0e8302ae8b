"""The search on Ray Tune: one searcher, one stopper, one callback and a warm, reused actor.

Tune asks the desk what is next and tells it what came; no rule of the search lives here. Four things about Tune 2.60
shaped it: a searcher that says "I limit myself" avoids the limiter that hands out one trial at a time; an actor that
hangs must be killed before anything is stopped; a stopped trial's busy actor would be cached and hang the next one;
and FINISHED may be said only when nothing runs.
"""

import json
import logging
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

from lepton_ray.money.lease import Lease
from lepton_ray.on_host.bench import Bench, stay_in, task_of
from lepton_ray.on_host.opening import LATE_SECONDS
from lepton_ray.on_host.worker import limit_memory
from lepton_ray.search.desk import Desk
from lepton_ray.search.policy import Stop, Wait
from lepton_ray.search.trial import SKIPPED, Outcome, Trial

WATCH_SECONDS = 0.1
TIDY_SECONDS = 0.3
"""How long Tune may take to end when all is over; after that it tidies up beside what comes next."""
GRACE_SECONDS = 2.5
"""How long after its lease a trial may take to come back before its actor is killed."""
TOO_LATE = "the search ended before its turn came"


class TrialActor(tune.Trainable):
    """A warm process that carries out one trial after another on the same bench."""

    def setup(self, config: dict[str, Any]) -> None:
        limit_memory(config["memory_bytes"])
        stay_in(Path(config["scratch"]))
        self._bench = Bench(Path(config["scratch"]))

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

    def __init__(self, desk: Desk, clock: Callable[[], float], *, scratch: Path, memory_bytes: int) -> None:
        super().__init__(metric="error", mode="min")
        self._desk = desk
        self._clock = clock
        self._fixed = {"scratch": str(scratch), "memory_bytes": memory_bytes}
        self.assigned: dict[str, str] = {}

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        return True

    def set_search_properties(self, *args: Any, **spec: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        step = self._desk.next_step(self._clock())
        if isinstance(step, Wait):
            return None
        if isinstance(step, Stop):
            return None if self._desk.running() else Searcher.FINISHED
        self.assigned[trial_id] = step.trial.id
        task = json.dumps(task_of(step, driver="ray", threads=1))
        return {
            **self._fixed,
            "task": task,
            "lease": json.dumps(asdict(step.lease)),
            "search_end": self._desk.search_end(),
            "least": step.least,
        }

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        name = self.assigned.get(trial_id)
        if name is None:
            return
        if name in self._waiting():
            self._desk.skip(name, self._clock(), "ray", TOO_LATE)
        elif error or not result or "outcome" not in result:
            self._desk.lost(name, self._clock(), "ray", "its process was killed at the end of its lease, or died")
        else:
            self._desk.finish(Outcome.from_dict(json.loads(result["outcome"])))

    def _waiting(self) -> set[str]:
        return {given.trial.id for given in self._desk.running() if not given.begun}

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the run's own log is what a resume reads."""

    def restore(self, checkpoint_path: str) -> None:
        """See ``save``."""


class LeaseCallback(Live, tune.Callback):
    """Tells the desk that a trial has an actor now: its lease runs from here."""

    def __init__(self, desk: Desk, clock: Callable[[], float], searcher: DeskSearcher) -> None:
        self._desk = desk
        self._clock = clock
        self._searcher = searcher
        self.actors: dict[str, Any] = {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name = self._searcher.assigned[trial.trial_id]
        self.actors[name] = trial.temporary_state.ray_actor
        self._desk.begin(name, self._clock(), "ray")


class DeskStopper(Live, Stopper):
    """Ends the experiment once nothing runs and nothing more may start; what waits for an actor is dropped."""

    def __init__(self, desk: Desk, clock: Callable[[], float]) -> None:
        self._desk = desk
        self._clock = clock

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return over(self._desk, self._clock)


def run(
    desk: Desk,
    *,
    scratch: Path,
    clock: Callable[[], float],
    memory_bytes: int,
    asked_to_stop: threading.Event,
) -> None:
    """Search on Ray until the desk says stop. Ray must be up.

    Tune has a thread of its own, because its loop sleeps and waits by the second, and longer after a kill: what
    outlives its lease is killed from here, and nobody waits for Tune to tidy up.
    """
    searcher = DeskSearcher(desk, clock, scratch=scratch, memory_bytes=memory_bytes)
    callback = LeaseCallback(desk, clock, searcher)
    tuner = tuner_of(desk, clock, searcher, callback, storage=scratch / "tune")
    pool = ThreadPoolExecutor(1, thread_name_prefix="tune")
    fitting = pool.submit(tuner.fit)
    pool.shutdown(wait=False)
    while not (over(desk, clock) or fitting.done()):
        if asked_to_stop.is_set():
            desk.stop("you asked to stop")
        elif clock() > desk.search_end() and desk.best() is not None:
            desk.stop("the time for the search is over")
        for name in desk.overdue(clock(), grace=GRACE_SECONDS, late=LATE_SECONDS - 2 * WATCH_SECONDS):
            ray.kill(callback.actors[name])
            desk.lost(name, clock(), "ray", "it outlived its lease and was killed")
        wait([fitting], WATCH_SECONDS)
    wait([fitting], TIDY_SECONDS)
    if fitting.done():
        fitting.result()
    for given in desk.running():
        desk.skip(given.trial.id, clock(), "ray", TOO_LATE)


def tuner_of(
    desk: Desk, clock: Callable[[], float], searcher: DeskSearcher, callback: LeaseCallback, *, storage: Path
) -> tune.Tuner:
    """Tune with our parts in it and its own rules switched off."""
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a killed trial is in our log, with its reason
    return tune.Tuner(
        tune.with_resources(TrialActor, {"cpu": 1}),
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
