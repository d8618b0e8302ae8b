"""Where a trial is carried out, the same object in a host worker and in a Tune actor: it fits, judges, seals.

It lives in a process that may be killed at any moment, so whatever it hands over lies complete on disk first. It
knows nothing about which driver asked, what a second costs, or what will be tried next.
"""

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lepton_ray.bundle.blend import Blend, Member
from lepton_ray.bundle.bundle import DEFAULT_THRESHOLD, write_bundle
from lepton_ray.bundle.interval import Interval
from lepton_ray.bundle.margins import from_json
from lepton_ray.features.chain import View, for_schema
from lepton_ray.features.matrix import Matrix
from lepton_ray.features.step import learn
from lepton_ray.models.registry import family as family_named
from lepton_ray.money.lease import Lease
from lepton_ray.on_host.fits import SEARCH, home_of, keep
from lepton_ray.on_host.out_of_fold import load_folds, path_of, save_folds
from lepton_ray.report.threshold import deciding_threshold
from lepton_ray.report.value import Value
from lepton_ray.search.desk import Assignment
from lepton_ray.search.evaluation import Fold, Labelled, checked, evaluate
from lepton_ray.search.rungs import ladder, splits
from lepton_ray.search.trial import DONE, FAILED, PARTIAL, Outcome, Trial, beats
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.schema import Problem, Task
from lepton_ray.training.metrics import METRICS, bootstrap_interval

State = dict[str, Any]

KEEP_SECONDS = 0.2
"""Of a refit's lease: kept for writing the model."""
FAR_ENOUGH = 0.8
"""Of its rounds or trees: a refit that its lease cuts here is worth more for its rows than it lacks."""

TIMINGS = 3


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


Said = tuple[Part, np.ndarray]
"""Rows that a model was asked about, and its predictions of them, (n,) or (n, k)."""


def open_bench(args: dict[str, Any]) -> "LateBench":
    """What a worker is started with: it may start before the scratch folder ``args["scratch"]`` is filled."""
    scratch = Path(args["scratch"])
    stay_in(scratch)
    return LateBench(scratch)


def stay_in(scratch: Path) -> None:
    """Let what a library of this process leaves in its temporary folder lie in the run's own, and go with it."""
    tempfile.tempdir = str(scratch)


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
        self.margins = from_json(setup.get("margins"), self.plan.schema)
        self.value = None if setup["value"] is None else Value.from_mapping(setup["value"])
        self.dev = Part.load(scratch, "dev")
        self.held = Part.load(scratch, "held") if (scratch / "held.arrow").exists() else None
        self.rungs = ladder(int(self.dev.usable.sum()), self.dev.folds.shape[1])
        self._parts = {"dev": self.dev}
        self._states: dict[View, State] = {}
        self._matrices: dict[tuple[str, View], Matrix] = {}

    def run(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """Carry out {"kind": "trial" | "refit" | "seal" | "warm", …}; times are seconds since the run's start."""
        kinds = {"trial": self._trial, "refit": self._refit, "seal": self._seal_blend, "warm": self._warm}
        return kinds[task["kind"]](task, lease)

    def now(self) -> float:
        return time.monotonic() - self.started

    def _stop(self, lease: Lease, *, kept: float) -> Callable[[], bool]:
        """True once only ``kept`` of the lease is left, or the run, or this trial, was asked to finish."""
        flags = self.scratch / "stop", self.scratch / f"stop-{lease.trial}"
        return lambda: lease.expired(self.now() + kept) or any(flag.exists() for flag in flags)

    def _part(self, name: str) -> Part:
        """The rows called "dev", or "all": with those held out."""
        if name not in self._parts:
            self._parts[name] = self.dev if self.held is None else joined(self.dev, self.held)
        return self._parts[name]

    def _state(self, view: View) -> State:
        """What the features learn: of the development rows, whatever is fitted, so that models of both go together."""
        if view not in self._states:
            self._states[view] = learn(for_schema(self.plan.schema, view), [self.dev.table])
        return self._states[view]

    def _matrix(self, view: View, part: str = "dev") -> Matrix:
        if (part, view) not in self._matrices:
            step = for_schema(self.plan.schema, view)
            self._matrices[part, view] = step.apply(self._state(view), self._part(part).table)
        return self._matrices[part, view]

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
        return replace(outcome, pid=os.getpid()).to_dict()

    def _judged(self, trial: Trial, task: dict[str, Any], lease: Lease, started: float) -> Outcome:
        family = family_named(trial.family)
        matrix = self._matrix(family.view)
        rng = np.random.default_rng(self.seed)
        pairs = list(splits(self.dev.folds, self.rungs[trial.rung], usable=self.dev.usable, timed=self.timed, rng=rng))
        before = self._judged_before(trial, again=task["again"])[: len(pairs) - 1]
        begun = self.now()
        found = evaluate(
            family,
            trial.config,
            Labelled(matrix, self.dev.y, self.dev.weight),
            pairs,
            problem=self.problem,
            stop=self._stop(lease, kept=task["judging"]),
            seed=self.seed,
            threads=task["threads"],
            before=before,
            keep=lambda folds: self._keep(trial, folds),
        )
        fit_seconds = self.now() - begun
        self._keep(trial, found.folds)
        member = Member(trial.family, family.view, {**trial.config, **found.effort}, found.model)
        blend = Blend(self.plan.schema, self.problem, (member,), {family.view: self._state(family.view)})
        bundle, held_out = None, None
        wins = task["beat"] is None or beats(found.fold_errors, task["beat"])
        last = trial.rung == len(self.rungs) - 1
        said = self._said(trial.id, blend) if wins or last else None
        if last:
            keep(found.model, home_of(self.scratch, SEARCH, trial.id))
        if wins:
            folder = self.scratch / "sealed" / trial.id
            shutil.rmtree(folder, ignore_errors=True)  # sealed before, but its node went away before it could say so
            held_out = self._held_out(said, fallback=found.score)
            self._seal(folder, blend, {**held_out, "origin": [trial.to_dict()]}, self._decided(found.folds))
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
            fits=len(found.folds) - len(before),
            fit_seconds=fit_seconds,
            row_seconds=row_seconds(blend, self.dev.table),
            reason="" if found.complete else "its lease ended; the best so far counts",
            bundle=bundle,
            held_out=held_out,
            fit_started=begun,
        )

    def _keep(self, trial: Trial, folds: Sequence[Fold]) -> None:
        """Lay down what the folds so far have said, to go on from if this process dies."""
        save_folds(path_of(self.scratch, trial.id), folds)

    def _judged_before(self, trial: Trial, *, again: bool) -> tuple[Fold, ...]:
        """What an earlier bench left of this trial; else what the parent's folds said, where they had the same rows."""
        if again and (own := load_folds(path_of(self.scratch, trial.id))):
            return own
        if trial.parent is None or self.rungs[trial.rung].rows is not None:
            return ()
        parent = self.rungs[trial.rung - 1]
        return load_folds(path_of(self.scratch, trial.parent)) if parent.rows is None else ()

    def _refit(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """Fit a member again on the rows called "dev" or "all", and keep the model on disk for ``seal``."""
        trial, name = Trial.from_dict(task["trial"]), task["rows"]
        family, part = family_named(trial.family), self._part(name)
        matrix = self._matrix(family.view, name)
        rows, stop = np.flatnonzero(part.usable), self._stop(lease, kept=KEEP_SECONDS)
        model = family.fit(
            Labelled(matrix, part.y, part.weight).batch(rows),
            None,
            {**trial.config, **task["effort"]},
            problem=self.problem,
            stop=stop,
            seed=self.seed,
            threads=task["threads"],
        )
        complete = not stop() or come_to(model.effort, task["effort"]) >= FAR_ENOUGH
        keep(model, home_of(self.scratch, name, trial.id))
        return {"complete": complete, "rows": len(rows)}

    def _warm(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """Import what these families need, and lay out what their refits read."""
        for name in task["families"]:
            if self._stop(lease, kept=0.0)():
                break
            view = family_named(name, imports=True).view
            for part in ("dev",) if self.held is None else ("dev", "all"):
                self._matrix(view, part)
        return {}

    def _seal_blend(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        """Seal models that lie on disk as one bundle, scored on the rows held out or with the score that is given."""
        members = []
        for given in task["members"]:
            trial = Trial.from_dict(given["trial"])
            family = family_named(trial.family)
            model = family.load(home_of(self.scratch, given["fit"], trial.id))
            config = {**trial.config, **given["effort"]}
            members.append(Member(trial.family, family.view, config, model, given["share"]))
        states = {one.view: self._state(one.view) for one in members}
        blend = Blend(self.plan.schema, self.problem, tuple(members), states, task["temperature"])
        folder = self.scratch / "sealed" / f"blend-{task['rows']}"
        held_out = task["held_out"]
        if held_out is None:
            known = [self._place(given["trial"]["id"]) for given in task["members"] if given["fit"] == SEARCH]
            parts = [np.load(place) for place in known] if self.held is not None else []
            whole = blend.blended(parts) if parts and len(parts) == len(members) else None
            held_out = self._held_out(self._said(folder.name, blend, whole), fallback=task["score"])
        again = [one["fit"] for one in task["members"] if one["fit"] != SEARCH]
        fitted = {
            "fitted_on": task["rows"],
            "refitted": len(again),
            "origin": [one["trial"] for one in task["members"]],
        }
        if again:
            fitted["fitted_rows"] = int(self._part(task["rows"]).usable.sum())
        self._seal(folder, blend, {**held_out, **fitted}, task["decided"])
        return {"bundle": str(folder), "held_out": held_out, "importances": blend.importances()}

    def _place(self, name: str) -> Path:
        return self.scratch / "predictions" / f"{name}.npy"

    def _said(self, name: str, blend: Blend, known: np.ndarray | None = None) -> Said | None:
        """What it says of the rows held out, which is kept as ``name``; None without such rows."""
        if self.held is None:
            return None
        said = blend.predict(self.held.table) if known is None else known
        prediction = checked(said, len(self.held.y), self.problem)
        np.save(self._place(name), prediction)
        return self.held, prediction

    def _held_out(self, said: Said | None, *, fallback: float) -> dict[str, Any]:
        """The score on rows that no decision sees; without such rows, or a score of them, the folds' own."""
        by_folds = {"score": fallback, "interval": None, "how": "cross_validation", "rows": len(self.dev.y)}
        if said is None:
            return by_folds
        metric, (held, prediction) = METRICS[self.problem.metric], said
        score = metric.score(held.y, prediction, held.weight)
        if not np.isfinite(score):
            return by_folds
        rng = np.random.default_rng(self.seed)
        ends = bootstrap_interval(metric, held.y, prediction, rng=rng, weight=held.weight, level=0.95)
        interval = [float(end) for end in ends] if np.isfinite(ends).all() else None
        return {"score": float(score), "interval": interval, "how": self.how, "rows": len(held.y)}

    def _decided(self, folds: Sequence[Fold]) -> dict[str, Any]:
        """See ``decided_by``."""
        y = np.concatenate([self.dev.y[fold.rows] for fold in folds])
        return decided_by(self.problem, self.value, y, np.concatenate([fold.prediction for fold in folds]))

    def _seal(self, folder: Path, blend: Blend, held_out: dict[str, Any], decided: dict[str, Any]) -> None:
        by_value = {"threshold_by": "value", "threshold_rows": decided["rows"]} if "threshold" in decided else {}
        threshold, interval = decided.get("threshold", DEFAULT_THRESHOLD), decided.get("interval")
        write_bundle(
            folder,
            plan=self.plan,
            blend=blend,
            facts={**self.facts, **held_out, **by_value},
            created=time.time(),
            threshold=threshold,
            interval=None if interval is None else Interval.from_dict(interval),
            example=self.example,
            margins=self.margins,
        )


def decided_by(problem: Problem, value: Value | None, y: np.ndarray, predictions: np.ndarray) -> dict[str, Any]:
    """What predictions out of fold decide: for two classes and a ``value`` the probability from which the positive one
    is predicted, for a regression the interval around a prediction."""
    if problem.task is Task.REGRESSION:
        interval = Interval.measured(y, predictions)
        return {} if interval is None else {"interval": interval.to_dict()}
    if value is None or problem.task is not Task.BINARY:
        return {}
    return {"threshold": deciding_threshold(value, y, predictions[:, 1]), "rows": len(y)}


def row_seconds(blend: Blend, clean: pa.Table) -> float:
    """How long one clean row takes to predict, features included: the shortest of a few."""
    row, taken = clean.slice(0, 1), []
    for _ in range(TIMINGS):
        before = time.perf_counter()
        blend.predict(row)
        taken.append(time.perf_counter() - before)
    return min(taken)


def come_to(effort: Mapping[str, Any], wanted: Mapping[str, Any]) -> float:
    """The share of the rounds, trees or epochs that a fit was to come to, 0 where it counts none."""
    counted = [name for name, value in wanted.items() if isinstance(value, int) and value > 0]
    return min((effort.get(name, 0) / wanted[name] for name in counted), default=0.0)


def task_of(assignment: Assignment, *, driver: str, threads: int) -> dict[str, Any]:
    """What a bench is asked to do for an assignment."""
    return {
        "kind": "trial",
        "trial": assignment.trial.to_dict(),
        "beat": assignment.beat,
        "driver": driver,
        "threads": threads,
        "again": assignment.again,
        "judging": assignment.judging,
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
        np.zeros((len(first.y) + len(second.y), 1), np.int64),
    )
