"""The last stage of a search: the winner fitted again on more rows and its score where nothing saw the rows.

No step here chooses by a held-out score: a refit that ran to its end replaces the search's model, one that did not
is put aside, whatever either scored. It knows nothing about Ray, reports or endpoints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.money.lease import Lease
from lepton_ray.on_host.bench import Part
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.worker_client import Worker
from lepton_ray.search.bias import CorrectedScore, Judged, corrected_score
from lepton_ray.search.rungs import Rung
from lepton_ray.search.trial import DONE, Outcome
from lepton_ray.table.schema import Problem
from lepton_ray.training.metrics import METRICS

MORE_ROWS = 1.25
"""A refit on all development rows against one fold's fit, and one on every row against that."""
ROWS_EXPONENT = 0.75
"""How a fit's seconds grow with its rows: 32 times as many took LightGBM 9 to 14 times as long."""
NO_SEARCH = 0.6
"""Of a trial's time on as many rows: a refit stops at the round that was found, and judges nothing. Measured: 0.5."""
SEAL_SECONDS = 0.5
POLL_SECONDS = 0.05
NOTES = {
    "all": "The score was measured on rows held out; the model itself was fitted again on all rows.",
    "development": "The model is the one that was scored: fitted without the rows that measured it.",
    "search": "The model is the one of the search: the reserve did not allow a refit.",
}

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Finished:
    """What the run hands over.

    Attributes:
        fitted_on: "all" rows, all "development" rows, or "search" where no refit fitted into the reserve.
        predictions: (rows, …) of the held-out part by the model that was scored, or None without such a part.
        note: a sentence on what was refitted, or why not.
    """

    winner: Outcome
    held_out: dict[str, Any]
    fitted_on: str
    importances: dict[str, float] | None
    predictions: Path | None
    note: str

    def measured(self, score: float, interval: list[float]) -> "Finished":
        """The same with another score."""
        return replace(self, held_out={**self.held_out, "score": score, "interval": interval})


def refit_share(rung: Rung, n_rows: int) -> float:
    """Seconds of both refits, side by side on one core each, per second of a trial of this rung."""
    part = 1.0 if rung.rows is None else min(1.0, rung.rows / max(n_rows, 1)) ** ROWS_EXPONENT
    return NO_SEARCH * MORE_ROWS**2 / part / rung.folds


def finish(
    winner: Outcome,
    workers: Sequence[Worker],
    sealer: Sealer,
    clock: Callable[[], float],
    *,
    scratch: Path,
    rungs: tuple[Rung, ...],
    until: float,
    n_rows: int,
    trials: int,
    held_rows: int,
) -> Finished:
    """Refit on the development rows for the score and on all rows for use, side by side, as far as ``until`` allows.

    Args:
        workers: one or two; with one the refits follow each other.
        n_rows: of the development part.
        held_rows: 0 where the score comes from cross-validation; then one refit sees every row.
    """
    name = winner.trial.id
    if (scratch / "stop").exists():
        (scratch / "stop").unlink()
    expected = max(0.2, refit_share(rungs[winner.trial.rung], n_rows) / MORE_ROWS * winner.seconds)
    fitted: dict[str, Facts] = {}
    if clock() + expected <= until:
        fitted = _fitted(workers, clock, winner, ("dev", "all") if held_rows else ("dev",), until)
    scored, everything = fitted.get("dev"), fitted.get("all")
    held_out = scored["held_out"] if scored is not None else winner.held_out or {}
    if scored is not None:
        sealer.seal(Path(scored["bundle"]), held_out, trials=trials)
    if everything is not None:
        everything = _sealed(everything["worker"], clock, winner, held_out, until)
    if everything is not None:
        sealer.seal(Path(everything["bundle"]), held_out, trials=trials)
    fitted_on = "all" if everything or (scored and not held_rows) else "development" if scored else "search"
    return Finished(
        winner,
        held_out,
        fitted_on,
        (scored or everything or _kept(sealer, winner)).get("importances"),
        scratch / "predictions" / f"{name}{'-dev' if scored else ''}.npy" if held_rows else None,
        note_of(fitted_on, rungs[winner.trial.rung], n_rows, held_rows),
    )


def note_of(fitted_on: str, rung: Rung, n_rows: int, held_rows: int) -> str:
    """A sentence on which rows the model has seen."""
    if fitted_on == "search" and rung.rows is not None and rung.rows < n_rows:
        return f"The model is the one of the search, fitted on {rung.rows:,} rows: the reserve did not allow a refit."
    return NOTES[fitted_on] if held_rows or fitted_on == "search" else "The model was fitted on all rows."


def cross_validated(
    problem: Problem, part: Part, outcomes: tuple[Outcome, ...], scratch: Path, *, rng: np.random.Generator
) -> CorrectedScore | None:
    """The bias-corrected score over all trials that predicted the same rows out of fold, or None without any.

    These are all rows, or with folds in time all but the earliest.
    """
    rows: np.ndarray | None = None
    predictions = []
    for outcome in outcomes:
        path = scratch / "oof" / f"{outcome.trial.id}.npz"
        if outcome.state != DONE or not path.exists():
            continue
        with np.load(path, allow_pickle=False) as saved:
            order = np.argsort(saved["rows"])
            judged = saved["rows"][order]
            rows = judged if rows is None else rows
            if np.array_equal(judged, rows):
                predictions.append(saved["predictions"][order])
    if rows is None:
        return None
    weight = None if part.weight is None else part.weight[rows]
    judged = Judged(part.y[rows], weight, part.folds[rows])
    return corrected_score(METRICS[problem.metric], judged, predictions, rng=rng)


def _kept(sealer: Sealer, winner: Outcome) -> Facts:
    """What is to be told of the search's own model, where it stays."""
    model = Bundle.load(sealer.facts["bundle"], trust=(winner.trial.family,)).model
    return {"importances": model.importances()}


def _fitted(
    workers: Sequence[Worker], clock: Callable[[], float], winner: Outcome, parts: tuple[str, ...], until: float
) -> dict[str, Facts]:
    """What came of fitting each part to its end, each in a worker of its own as far as there are workers."""
    waiting, running, done = list(parts), dict[str, Worker](), dict[str, Facts]()
    while running or (waiting and clock() < until):
        for worker in workers:
            if waiting and worker not in running.values():
                part = waiting.pop(0)
                worker.submit(_task("refit", winner, part), Lease(f"{winner.trial.id}-{part}", clock(), until))
                running[part] = worker
        for part, worker in list(running.items()):
            ended = worker.poll(POLL_SECONDS)
            if ended is not None:
                del running[part]
                if ended.value is not None and ended.value["complete"]:
                    done[part] = {**ended.value, "worker": worker}
    return done


def _sealed(worker: Worker, clock: Callable[[], float], winner: Outcome, held_out: Facts, until: float) -> Facts | None:
    """Let the worker that fitted on all rows seal its model with the score that was measured beside it."""
    task = {**_task("seal", winner, "all"), "held_out": held_out}
    worker.submit(task, Lease(f"{winner.trial.id}-seal", clock(), max(until, clock()) + SEAL_SECONDS))
    ended = None
    while ended is None:
        ended = worker.poll(1.0)
    return ended.value


def _task(kind: str, winner: Outcome, part: str) -> Facts:
    facts = {"trial": winner.trial.to_dict(), "effort": winner.effort, "score": winner.score}
    return {"kind": kind, "rows": part, "threads": 1, **facts}
