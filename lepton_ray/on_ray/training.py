"""The loop under Ray Train: a group of workers (DDP), their lease, what their epochs cost, and what ends them.

``TorchTrainer`` brings the group up and again after a failure; checkpoints are ours (``training.checkpoint``), the
latest of which every group goes on from, so a call with the same folder resumes a run that was broken off. Workers ask
after each epoch; the caller's ``lease`` answers in this process, for all of them.

Not there yet: sharded models (FSDP2), numbers of workers that change while they run, notices of preemption. Two drivers
on one folder of checkpoints are not told apart.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray

from lepton_ray.errors import EnvironmentFault, Interrupted, LeptonError, UsageError
from lepton_ray.money.usage import Usage
from lepton_ray.on_ray.seats import Free, Seats, planned
from lepton_ray.on_ray.training_desk import Entry, Mail, Question
from lepton_ray.training.settings import Settings
from lepton_ray.training.telling import Epoch, Outcome

if TYPE_CHECKING:
    from torch import Tensor

    from lepton_ray.on_ray.training_job import Lesson, Place

_WORD_SECONDS = 0.5
_ENDING_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a training is run.

    Attributes:
        workers: how many; the result of a run that is resumed is exactly that of an unbroken one with as many.
        checkpoints: a folder or URI of this training alone, which every node reaches; the last ``keep`` stay there.
        cpus: of each worker; by default as many as the nodes have, with one left where Ray Data feeds them.
        gpus: of each worker.
        failures: how many times a group begins again that has lost a worker, or whose batch did not fit into memory.
        silent_seconds: when no worker has asked anything for so long, the group is ended.
        largest_batch: rows in a worker's batch at most, beyond which it is not cut into more pieces.
        name: of the usages.
    """

    workers: int
    checkpoints: str
    keep: int = 2
    cpus: float | None = None
    gpus: float = 0.0
    failures: int = 3
    silent_seconds: float = 600.0
    largest_batch: int = 1 << 20
    name: str = "training"


@dataclass(frozen=True, slots=True)
class Books:
    """Who hears what an epoch costs: usages in seconds of ``clock``, one for each node that workers sat on.

    Attributes:
        charge: such as ``Ledger.attribute``.
        stage: the billed stage that pays.
        node: the name in the ledger of a node of Ray; empty for the machine that the run began on.
    """

    charge: Callable[[Usage], None] = lambda usage: None
    clock: Callable[[], float] = time.monotonic
    stage: str = "training"
    node: Callable[[str], str] = lambda node: ""


@dataclass(frozen=True, slots=True)
class Trained:
    """What came of it: how it ended, the best weights by name, on how many CPUs each, and how many groups it took."""

    outcome: Outcome
    weights: dict[str, Tensor]
    seats: Seats
    groups: int


def train_on_ray(
    build: Callable[[Place], Lesson],
    settings: Settings,
    plan: Plan,
    *,
    data: Mapping[str, Any] | None = None,
    rows: Mapping[str, int] | None = None,
    lease: Callable[[Epoch], bool] = lambda epoch: True,
    note: Callable[[str], None] = lambda sentence: None,
    books: Books | None = None,
) -> Trained:
    """Train on workers of a Ray that is up, and return the best model once all of them have ended.

    Args:
        build: makes model, batches and optimizer on each worker; it travels by Ray's own pickling.
        data: ``ray.data.Dataset`` by name, split among the workers in their order.
        rows: of each data set; one that is not said is counted first, which may take as long as reading it.
        lease: asked here after each epoch whether another may begin.
        note: is told sentences about what was mended.

    Raises:
        EnvironmentFault: the cluster is too small, no batch came in time, nobody asked for too long, or workers were
            lost more often than ``plan.failures``.
        LeptonError: what a worker raised.
        Interrupted: by Ctrl-C; the latest checkpoint is whole.
    """
    seats = planned(plan.workers, _free(), streams=bool(data), cpus=plan.cpus, gpus=plan.gpus)
    desk: Any = ray.remote(Mail).options(num_cpus=0, max_concurrency=1000).remote()
    watch = _Watch(desk, plan, seats, lease, note, books=books or Books())
    try:
        watch.follow(_Fit(_trainer(build, settings, plan, seats, desk=desk, data=data or {}, rows=rows or {})))
        return Trained(watch.outcome_or_raise(), _weights(plan), seats, watch.groups)
    finally:
        ray.kill(desk)


def _free() -> list[Free]:
    from ray._private.state import available_resources_per_node

    nodes = available_resources_per_node().values()  # type: ignore[no-untyped-call]
    return [Free(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in nodes]


def _trainer(
    build: Callable[[Place], Lesson],
    settings: Settings,
    plan: Plan,
    seats: Seats,
    *,
    desk: Any,
    data: Mapping[str, Any],
    rows: Mapping[str, int],
) -> Any:
    from ray.data import ExecutionOptions
    from ray.train import DataConfig  # the others by their homes: ray.train's own names are typed as those of v1
    from ray.train.v2.api.config import FailureConfig, LoggingConfig, RunConfig, ScalingConfig
    from ray.train.v2.torch.torch_trainer import TorchTrainer

    from lepton_ray.on_ray.training_job import Job
    from lepton_ray.on_ray.training_worker import work

    place = plan.checkpoints if "://" in plan.checkpoints else os.path.abspath(plan.checkpoints)
    each = {name: (rows.get(name) or dataset.count()) // seats.workers for name, dataset in data.items()}
    if short := [name for name, count in each.items() if not count]:
        raise UsageError(f"The data set {short[0]} has fewer rows than there are workers.", "Take fewer workers.")
    job = Job(build, settings, seats, place, plan.keep, each, plan.largest_batch, desk)
    return TorchTrainer(
        work,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=seats.workers, use_gpu=seats.gpus > 0, resources_per_worker=seats.resources
        ),
        run_config=RunConfig(
            name=f"ray-{secrets.token_hex(4)}",
            storage_path=place,
            failure_config=FailureConfig(max_failures=plan.failures, controller_failure_limit=2),
            logging_config=LoggingConfig(log_level="CRITICAL"),
        ),
        datasets=dict(data),
        dataset_config=DataConfig(execution_options=ExecutionOptions(preserve_order=True)),
    )


def _weights(plan: Plan) -> dict[str, Tensor]:
    from lepton_ray.training.checkpoint import Checkpoints

    state = Checkpoints.at(plan.checkpoints).latest()
    return {} if state is None else state.weights()


class _Fit:
    """``TorchTrainer.fit`` in a thread: in the main one it would keep Ctrl-C to itself."""

    def __init__(self, trainer: Any) -> None:
        self.fault: Exception | None = None
        self._trainer = trainer
        self._thread = threading.Thread(target=self._run, name="fit", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as fault:
            self.fault = fault

    @property
    def runs(self) -> bool:
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        self._thread.join(seconds)


@dataclass(slots=True)
class _Watch:
    """The driver's side of the desk: it hears, answers, meters, and ends a group that says nothing."""

    desk: Any
    plan: Plan
    seats: Seats
    lease: Callable[[Epoch], bool]
    note: Callable[[str], None]
    books: Books
    groups: int = 0
    outcome: Outcome | None = None
    fault: Exception | None = None
    nodes: dict[int, str] = field(default_factory=dict)
    actors: dict[int, Any] = field(default_factory=dict)
    mark: float = 0.0

    def follow(self, fit: _Fit) -> None:
        """Return when the trainer has ended and all words are heard."""
        self.mark, heard = self.books.clock(), time.monotonic()
        try:
            while True:
                running = fit.runs
                word = ray.get(self.desk.next_word.remote(_WORD_SECONDS if running else 0.0))
                if word is not False:
                    self._hear(word)
                    heard = time.monotonic()
                elif not running:
                    break
                elif time.monotonic() - heard > self.plan.silent_seconds:
                    self._end(fit, _silence(self.plan.silent_seconds))
                    break
        except KeyboardInterrupt:
            self._end(fit, Interrupted("The training was interrupted.", "Its checkpoints go on where it was."))
        except BaseException as fault:  # the caller's lease, note or charge
            self._end(fit, Interrupted(f"The training was broken off by {type(fault).__name__}."))
            raise
        finally:
            self._charge("the end")
        self.fault = fit.fault

    def outcome_or_raise(self) -> Outcome:
        fault: LeptonError | None = ray.get(self.desk.fault.remote())
        if fault is not None:
            raise fault
        if self.fault is not None or self.outcome is None:
            reason = (str(self.fault or "its workers said nothing").strip()).splitlines()[-1]
            raise EnvironmentFault(
                f"The training failed: {reason.rstrip('.')}.", "Its checkpoints go on where it was."
            ) from self.fault
        return self.outcome

    def _hear(self, word: Any) -> None:
        if isinstance(word, Entry):
            if word.group > self.groups:
                self._charge("start-up" if word.group == 1 else "lost with a worker", lost=word.group > 1)
                self.groups = word.group
                self.nodes.clear()
            self.nodes[word.rank], self.actors[word.rank] = word.node, word.actor
        elif isinstance(word, Question):
            self._charge(f"epoch {word.epoch.number}")
            goes_on = bool(self.lease(word.epoch))
            ray.get(self.desk.answer.remote(word.group, word.epoch.number, goes_on))
        elif isinstance(word, Outcome):
            self.outcome = word
        else:
            self.note(word)

    def _charge(self, outcome: str, lost: bool = False) -> None:
        """Book the time since the last mark on every node that workers sit on."""
        begun, now = self.mark, max(self.mark, self.books.clock())
        self.mark = now
        sitting = list(self.nodes.values()) or [""] * self.seats.workers
        for node in sorted(set(sitting)):
            cpus = sitting.count(node) * self.seats.cpus
            name = self.books.node(node) if node else ""
            about = {"driver": "ray", "outcome": outcome, "node": name, "lost": now - begun if lost else 0.0}
            self.books.charge(Usage(self.books.stage, self.plan.name, begun, now, cpus, **about))  # type: ignore[arg-type]

    def _end(self, fit: _Fit, fault: LeptonError) -> None:
        """End the workers from outside; those that Ray begins again are sent home."""
        ray.get(self.desk.give_up.remote(fault))
        for actor in self.actors.values():
            ray.kill(actor)
        fit.wait(_ENDING_SECONDS)


def _silence(seconds: float) -> EnvironmentFault:
    return EnvironmentFault(
        f"No training worker has asked for {seconds:g} seconds: the group was ended.",
        "Allow epochs more time, or look at what batches and judge wait for.",
    )
