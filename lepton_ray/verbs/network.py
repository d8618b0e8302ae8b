"""The verbs for a torch module: trained on Ray Train, tuned on Ray Tune, kept as a graph. It imports neither itself."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.bundle.tensors import TensorBundle, meant, write_tensors
from lepton_ray.errors import SearchError, UsageError
from lepton_ray.training.metrics import METRICS
from lepton_ray.verbs.data import Data
from lepton_ray.verbs.said import Fitted
from lepton_ray.verbs.work import SEALING_SECONDS, Work

if TYPE_CHECKING:
    from lepton_ray.on_ray.network import Learned
    from lepton_ray.training.teaching import Part, Recipe, Subject
    from lepton_ray.training.telling import Epoch

TRAIN_SECONDS, TUNE_SECONDS = 13.0, 4.0
"""Until the first step on Ray Train, and the first trial on Tune, where a Ray is up; 13 and 4 measured on two cores."""
FEWEST_JUDGED = 20
"""Rows from which some are set aside to judge epochs by."""
MOST_JUDGED = 10_000
JUDGED_SHARE = 0.1


class Network:
    """A torch module and what is known of it."""

    def __init__(self, module: Any, data: Data, *, epochs: int, batch_size: int, seed: int) -> None:
        """Rehearse it.

        Raises:
            UsageError, DataError: it does not fit the rows.
        """
        from lepton_ray.training.teaching import Recipe

        self.name = type(module).__name__
        self._module, self._data = module, data
        self._recipe = Recipe(epochs=epochs, batch_size=batch_size, seed=seed)
        self._subject = self._rehearsed()

    def _rehearsed(self) -> Subject:
        import copy

        from lepton_ray.on_ray.network import rehearsed
        from lepton_ray.training.teaching import Subject

        features = self._data.train
        names = tuple(features.arrays) if features.kind == "dict" else ()
        seen = rehearsed(self._module, tuple(features.arrays.values()), names)
        self._data.settle(seen.width)
        if self._data.target.labels is None:
            says = "values"
        else:
            says = "probabilities" if seen.sums_to_one or (seen.bounded and seen.width == 1) else "logits"
        self.notes = self._peculiarities(seen.idle)
        return Subject(
            module=copy.deepcopy(self._module).cpu(),
            names=names,
            says=says,  # type: ignore[arg-type]
            width=seen.width,
            idle=seen.idle,
            as_floats=seen.as_floats,
        )

    def _peculiarities(self, idle: tuple[str, ...]) -> list[str]:
        notes = []
        if idle:
            notes.append(f"{len(idle)} of its parameters have no say in its answer and stay as they are ({idle[0]}).")
        values = self._data.target.values
        if self._data.target.labels is None and (spread := float(np.std(values))) > 100:
            notes.append(f"y_train spreads by {spread:.3g}: a network learns faster what is scaled to about 1.")
        return notes

    def train(self, work: Work, *, settings: Mapping[str, Any], workers: int, gpus: float, patience: Any) -> Fitted:
        """Train on ``workers`` of Ray Train; the epoch that is best on rows set aside of X_train is kept."""
        from lepton_ray.on_ray.at_hand import boot_seconds
        from lepton_ray.on_ray.network import train_network
        from lepton_ray.on_ray.training import Books, Plan

        work.need(boot_seconds() + TRAIN_SECONDS + SEALING_SECONDS, "Starting Ray and its workers")
        recipe = replace(self._recipe, patience=patience, **settings)

        def books() -> Books:
            work.enter("training")
            return Books(work.meter.ledger.attribute, work.meter.clock)

        def lease(epoch: Epoch) -> bool:
            left = max(recipe.epochs - epoch.number, 1)
            return work.has_left(epoch.seconds_left / left)

        work.enter("start Ray")
        learned = train_network(
            self._subject,
            recipe,
            self._parts(),
            Plan(workers=workers, checkpoints=str(work.scratch / "checkpoints"), gpus=gpus, name=self.name),
            cpus=work.around.cpus,
            lease=lease,
            note=work.notes.append,
            books=books,
        )
        return self._finish(work, learned, recipe)

    def optimize(self, work: Work, *, space: Mapping[str, Any] | None) -> Fitted:
        """Search rate, decay and batch size on Ray Tune, each trial one process; the best trial's model is the result.

        Raises:
            SearchError: no trial came to an end of its first epoch.
        """
        from lepton_ray.on_ray.at_hand import boot_seconds
        from lepton_ray.on_ray.tuning import tune_network

        work.need(boot_seconds() + TUNE_SECONDS + 2 * SEALING_SECONDS, "Starting Ray and a first trial")
        work.enter("start Ray")
        found = tune_network(
            self._subject,
            self._recipe,
            self._parts(),
            space,
            folder=work.folder,
            begin=lambda: work.enter("search"),
            price=work.price,
            until=work.wall - SEALING_SECONDS,
            cpus=work.around.cpus,
        )
        work.reopen()
        if found.learned is None:
            raise SearchError(f"No trial of {self.name} ended an epoch ({found.ended}).", "Give a later deadline.")
        recipe = replace(self._recipe, **found.settings)
        return self._finish(work, found.learned, recipe, trials=found.trials, ended=found.ended)

    def _parts(self) -> tuple[Part, Part | None]:
        """The rows to learn from, and those that judge epochs, where there are enough for some."""
        from lepton_ray.training.teaching import Part

        data, target = self._data, self._data.target
        values = target.values if target.labels is not None else target.values.astype(np.float32)
        rows = Part(tuple(data.train.arrays.values()), values)
        count = len(rows)
        if count < FEWEST_JUDGED:
            return rows, None
        order = np.random.default_rng(self._recipe.seed).permutation(count)
        judged = min(max(1, int(count * JUDGED_SHARE)), MOST_JUDGED)
        return rows.rows(np.sort(order[judged:])), rows.rows(np.sort(order[:judged]))

    def _finish(self, work: Work, learned: Learned, recipe: Recipe, *, trials: int = 1, ended: str = "") -> Fitted:
        """Give the module its weights, draw it, seal it and score it."""
        from lepton_ray.on_ray.network import adopt, graph_of, scores

        work.enter("finish")
        shutil.rmtree(work.scratch, ignore_errors=True)
        outcome, data, bundle = learned.outcome, self._data, None
        adopt(self._module, self._subject, learned.weights)
        try:
            graph = graph_of(self._subject, learned.weights, tuple(data.train.arrays.values()))
            bundle = self._sealed(work, graph, learned)
            said = bundle.says(data.test.arrays)
        except UsageError as fault:
            work.notes.append(f"It can be used here, and not be deployed: {fault}")
            raw = scores(self._subject, learned.weights, tuple(data.test.arrays.values()))
            said = meant(raw, self._subject.says, data.problem)
        return Fitted(
            self.name,
            METRICS[data.problem.metric].score(data.y_test, said),
            data.problem.metric,
            ended or _ENDINGS[outcome.ended].format(outcome=outcome),
            {"rate": recipe.rate, "decay": recipe.decay, "batch_size": recipe.batch_size},
            trials,
            work.folder,
            bundle,
            work.end(),
            (*self.notes, *filter(None, [outcome.sentence]), *work.notes),
        )

    def _sealed(self, work: Work, graph: Any, learned: Learned) -> TensorBundle:
        outcome = learned.outcome
        facts = {"epochs": outcome.epochs, "best_epoch": outcome.best, "ended": outcome.ended}
        rows: dict[str, NDArray[Any]] = {name: one[:1] for name, one in self._data.train.arrays.items()}
        if self._subject.as_floats:
            rows = {name: one.astype(np.float32) for name, one in rows.items()}
        return write_tensors(
            work.bundle,
            graph,
            problem=self._data.problem,
            says=self._subject.says,
            rows=rows,
            frame=False,
            facts={**facts, "workers": learned.workers},
            created=work.meter.ledger.started_at,
        )


_ENDINGS = {
    "epochs": "all {outcome.epochs} epochs were run, the model is that of epoch {outcome.best}",
    "patience": "no epoch after {outcome.best} was better, so it ended after {outcome.epochs}",
    "lease": "the wall left no time for an epoch more after {outcome.epochs}",
    "stop": "it was told to stop in epoch {outcome.epochs}",
    "not finite": "its loss was no number after epoch {outcome.epochs}",
}
