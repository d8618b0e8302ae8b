"""Where a trial is carried out, the same object in a host worker and in a Tune actor: it fits, judges, seals.

It lives in a process that may be killed at any moment, so whatever it hands over lies complete on disk first. It
knows nothing about which driver asked, what a second costs, or what will be tried next.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lepton_ray.bundle.bundle import DEFAULT_THRESHOLD, write_bundle
from lepton_ray.features.chain import View, for_schema
from lepton_ray.features.matrix import Matrix
from lepton_ray.features.step import learn
from lepton_ray.models.family import Family, Model
from lepton_ray.models.registry import family as family_named
from lepton_ray.money.lease import Lease
from lepton_ray.report.threshold import deciding_threshold
from lepton_ray.report.value import Value
from lepton_ray.search.desk import Assignment
from lepton_ray.search.evaluation import Labelled, checked, evaluate
from lepton_ray.search.rungs import ladder, splits
from lepton_ray.search.trial import DONE, FAILED, PARTIAL, Outcome, Trial, beats
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.schema import Task
from lepton_ray.training.metrics import METRICS, bootstrap_interval

State = dict[str, Any]

JUDGING_SHARE, LONGEST_JUDGING_SECONDS = 0.15, 3.0
"""Of a lease: kept for predicting, judging and sealing, which nothing interrupts."""


@dataclass(frozen=True, slots=True)
class Part:
    """Clean rows and their labels: the development part, or the part held out."""

    table: pa.Table
    y: np.ndarray
    weight: np.ndarray | None
    usable: np.ndarray
    folds: np.ndarray

    def save(self, folder: Path, name: str) -> None:
        """Write it where another process can map it."""
        with pa.OSFile(str(folder / f"{name}.arrow"), "wb") as sink, pa.ipc.new_file(sink, self.table.schema) as out:
            out.write_table(self.table)
        arrays = {"y": self.y, "usable": self.usable, "folds": self.folds}
        if self.weight is not None:
            arrays["weight"] = self.weight
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, folder: Path, name: str) -> "Part":
        """Map it into memory."""
        table = pa.ipc.open_file(pa.memory_map(str(folder / f"{name}.arrow"))).read_all()
        with np.load(folder / f"{name}.npz", allow_pickle=False) as arrays:
            weight = arrays["weight"] if "weight" in arrays.files else None
            return cls(table, arrays["y"], weight, arrays["usable"], arrays["folds"])


def open_bench(args: dict[str, Any]) -> "LateBench":
    """What a worker is started with: it may start before the scratch folder ``args["scratch"]`` is filled."""
    return LateBench(Path(args["scratch"]))


class LateBench:
    """A bench that loads its data when the first task comes."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._bench: Bench | None = None

    def run(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """See ``Bench.run``."""
        if self._bench is None:
            self._bench = Bench(self._scratch)
        return self._bench.run(task, lease)


class Bench:
    """Loads the run's data once and carries out tasks on it."""

    def __init__(self, scratch: Path) -> None:
        setup = json.loads((scratch / "setup.json").read_text(encoding="utf-8"))
        self.scratch = scratch
        self.plan = CleaningPlan.from_json((scratch / "plan.json").read_text(encoding="utf-8"))
        self.problem = self.plan.problem
        self.seed: int = setup["seed"]
        self.timed: bool = setup["timed"]
        self.started: float = setup["started"]
        self.how: str = setup["how"]
        self.facts: dict[str, Any] = setup["facts"]
        self.example: dict[str, Any] = setup["example"]
        self.value = None if setup["value"] is None else Value.from_mapping(setup["value"])
        self.dev = Part.load(scratch, "dev")
        self.held = Part.load(scratch, "held") if (scratch / "held.arrow").exists() else None
        self.rungs = ladder(int(self.dev.usable.sum()))
        self._kept: tuple[Fitted, int] | None = None
        self._views: dict[View, tuple[State, Matrix]] = {}

    def run(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """Carry out {"kind": "trial" | "refit" | "seal", …}; times are seconds since the run's start."""
        kinds = {"trial": self._trial, "refit": self._refit, "seal": self._seal_kept}
        return kinds[task["kind"]](task, lease)

    def now(self) -> float:
        return time.monotonic() - self.started

    def _stop(self, lease: Lease) -> Callable[[], bool]:
        """True once what is left of the lease is for judging and sealing, or the run was asked to finish."""
        flag = self.scratch / "stop"
        judging = min(JUDGING_SHARE * (lease.until - lease.started), LONGEST_JUDGING_SECONDS)
        return lambda: lease.expired(self.now() + judging) or flag.exists()

    def _view(self, name: View) -> tuple[State, Matrix]:
        if name not in self._views:
            step = for_schema(self.plan.schema, name)
            state = learn(step, [self.dev.table])
            self._views[name] = state, step.apply(state, self.dev.table)
        return self._views[name]

    def _trial(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        trial, started = Trial.from_dict(task["trial"]), self.now()
        try:
            outcome = self._judged(trial, task, lease, started)
        except MemoryError:
            reason = "it asked for more memory than a trial may have"
            outcome = Outcome(trial, FAILED, task["driver"], started, self.now() - started, reason=reason)
        except Exception as fault:  # a family may raise anything; the run goes on without it and says why
            reason = f"{type(fault).__name__}: {fault}"[:300]
            outcome = Outcome(trial, FAILED, task["driver"], started, self.now() - started, reason=reason)
        return outcome.to_dict()

    def _judged(self, trial: Trial, task: dict[str, Any], lease: Lease, started: float) -> Outcome:
        family = family_named(trial.family)
        state, matrix = self._view(family.view)
        rng = np.random.default_rng(self.seed)
        pairs = list(splits(self.dev.folds, self.rungs[trial.rung], usable=self.dev.usable, timed=self.timed, rng=rng))
        found = evaluate(
            family,
            trial.config,
            Labelled(matrix, self.dev.y, self.dev.weight),
            pairs,
            problem=self.problem,
            stop=self._stop(lease),
            seed=self.seed,
            threads=task["threads"],
        )
        np.savez(self.scratch / "oof" / f"{trial.id}.npz", rows=found.rows, predictions=found.predictions)
        bundle, held_out = None, None
        if task["beat"] is None or beats(found.fold_errors, task["beat"]):
            folder = self.scratch / "sealed" / trial.id
            held_out = self._held_out(folder.name, family.view, state, found.model, fallback=found.score)
            fitted = Fitted(trial.family, family, state, found.model, {**trial.config, **found.effort})
            self._seal(folder, fitted, held_out, trial.id)
            bundle = str(folder)
        return Outcome(
            trial,
            DONE if found.complete else PARTIAL,
            task["driver"],
            started,
            self.now() - started,
            error=found.error,
            score=found.score,
            fold_errors=found.fold_errors,
            effort=found.effort,
            reason="" if found.complete else "its lease ended; the best so far counts",
            bundle=bundle,
            held_out=held_out,
        )

    def _refit(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """Fit the winner again: on the development rows, scored and sealed, or on all rows, kept until ``seal``."""
        trial, everything = Trial.from_dict(task["trial"]), task["rows"] == "all"
        family = family_named(trial.family)
        part = joined(self.dev, self.held) if everything and self.held is not None else self.dev
        if part is self.dev:
            state, matrix = self._view(family.view)
        else:
            step = for_schema(self.plan.schema, family.view)
            state = learn(step, [part.table])
            matrix = step.apply(state, part.table)
        rows = np.flatnonzero(part.usable)
        config, stop = {**trial.config, **task["effort"]}, self._stop(lease)
        model = family.fit(
            Labelled(matrix, part.y, part.weight).batch(rows),
            None,
            config,
            problem=self.problem,
            stop=stop,
            seed=self.seed,
            threads=task["threads"],
        )
        complete = not stop()
        fitted = Fitted(trial.family, family, state, model, config)
        answer = {"complete": complete, "rows": len(rows), "importances": model.importances()}
        if everything:
            self._kept = fitted, len(rows)
            return answer
        folder = self.scratch / "sealed" / f"{trial.id}-dev"
        held_out = self._held_out(folder.name, family.view, state, model, fallback=task["score"])
        self._seal(folder, fitted, {**held_out, "fitted_on": "dev", "fitted_rows": len(rows)}, trial.id)
        return {**answer, "bundle": str(folder), "held_out": held_out}

    def _seal_kept(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """Seal what the last refit on all rows left, with the score that another model of its kind has got."""
        assert self._kept is not None
        fitted, n_rows = self._kept
        name = task["trial"]["id"]
        folder = self.scratch / "sealed" / f"{name}-all"
        self._seal(folder, fitted, {**task["held_out"], "fitted_on": "all", "fitted_rows": n_rows}, name)
        return {"bundle": str(folder), "importances": fitted.model.importances()}

    def _held_out(self, name: str, view: View, state: State, model: Model, *, fallback: float) -> dict[str, Any]:
        """The score on rows that no decision sees; without such rows, or a score of them, the folds' own."""
        by_folds = {"score": fallback, "interval": None, "how": "cross_validation", "rows": len(self.dev.y)}
        if self.held is None:
            return by_folds
        matrix = for_schema(self.plan.schema, view).apply(state, self.held.table)
        prediction = checked(model.predict(matrix), len(self.held.y), self.problem)
        np.save(self.scratch / "predictions" / f"{name}.npy", prediction)
        metric = METRICS[self.problem.metric]
        score = metric.score(self.held.y, prediction, self.held.weight)
        if not np.isfinite(score):
            return by_folds
        rng = np.random.default_rng(self.seed)
        ends = bootstrap_interval(metric, self.held.y, prediction, rng=rng, weight=self.held.weight, level=0.95)
        interval = [float(end) for end in ends] if np.isfinite(ends).all() else None
        return {"score": float(score), "interval": interval, "how": self.how, "rows": len(self.held.y)}

    def _decided(self, trial: str) -> tuple[float, dict[str, Any]]:
        """From which probability a bundle of this trial predicts the positive class, and what to say of it.

        What the trial said of rows that it was not fitted on decides; the rows held out have no say.
        """
        if self.value is None or self.problem.task is not Task.BINARY:
            return DEFAULT_THRESHOLD, {}
        with np.load(self.scratch / "oof" / f"{trial}.npz", allow_pickle=False) as saved:
            y, p = self.dev.y[saved["rows"]], saved["predictions"][:, 1]
        return deciding_threshold(self.value, y, p), {"threshold_by": "value", "threshold_rows": len(p)}

    def _seal(self, folder: Path, fitted: "Fitted", held_out: dict[str, Any], trial: str) -> None:
        threshold, decided = self._decided(trial)
        write_bundle(
            folder,
            plan=self.plan,
            view=fitted.family.view,
            state=fitted.state,
            model=fitted.model,
            family=fitted.name,
            config=fitted.config,
            problem=self.problem,
            facts={**self.facts, **held_out, **decided},
            created=time.time(),
            threshold=threshold,
            example=self.example,
        )


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model with what it takes to use and to fit it again; ``name`` is the one that its family is found by."""

    name: str
    family: Family
    state: State
    model: Model
    config: dict[str, Any]


def task_of(assignment: Assignment, *, driver: str, threads: int) -> dict[str, Any]:
    """What a bench is asked to do for an assignment."""
    return {
        "kind": "trial",
        "trial": assignment.trial.to_dict(),
        "beat": assignment.beat,
        "driver": driver,
        "threads": threads,
    }


def joined(first: Part, second: Part) -> Part:
    """Both parts as one."""
    weight = None
    if first.weight is not None and second.weight is not None:
        weight = np.concatenate([first.weight, second.weight])
    return Part(
        pa.concat_tables([first.table, second.table]),
        np.concatenate([first.y, second.y]),
        weight,
        np.concatenate([first.usable, second.usable]),
        np.concatenate([first.folds, second.folds]),
    )
