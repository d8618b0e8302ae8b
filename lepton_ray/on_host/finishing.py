"""The last stage of a search: the winner fitted again on more rows and its score where nothing saw the rows.

No step here chooses by a held-out score: a refit that ran to its end replaces the search's model, one that did not
is put aside, whatever either scored. It knows nothing about Ray, reports or endpoints.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

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
THREADS_GAIN = 1.5
"""What the second core and those after it bring a fit that had one."""
ROWS_EXPONENT = 0.75
"""How a fit's seconds grow with its rows: 32 times as many took LightGBM 9 to 14 times as long."""


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


def refit_seconds(
    winner: Outcome | None, rungs: tuple[Rung, ...], threads: int, *, dev_rows: int, default: float = 1.0
) -> float:
    """What one refit of the winner on all development rows is expected to take; a rung may have seen a few only."""
    if winner is None:
        return default
    rung = rungs[min(winner.trial.rung, len(rungs) - 1)]
    more = MORE_ROWS if rung.rows is None else max(MORE_ROWS, dev_rows / rung.rows) ** ROWS_EXPONENT
    return max(0.2, more * winner.seconds / rung.folds / (THREADS_GAIN if threads > 1 else 1.0))


def finish(
    winner: Outcome,
    worker: Worker,
    sealer: Sealer,
    clock: Callable[[], float],
    *,
    scratch: Path,
    rungs: tuple[Rung, ...],
    until: float,
    threads: int,
    trials: int,
    dev_rows: int,
    held_rows: int,
) -> Finished:
    """Refit on the development rows, then on all rows, as far as ``until`` allows.

    Args:
        held_rows: 0 where the score comes from cross-validation; then one refit sees every row.
    """
    expected = refit_seconds(winner, rungs, threads, dev_rows=dev_rows)
    few = rungs[min(winner.trial.rung, len(rungs) - 1)].rows
    fitted = f", fitted on {few:,} rows" if few is not None and few < dev_rows else ""
    unchanged = Finished(
        winner,
        winner.held_out or {},
        "search",
        None,
        scratch / "predictions" / f"{winner.trial.id}.npy" if held_rows else None,
        f"The model is the one of the search{fitted}: the reserve did not allow a refit.",
    )
    if (scratch / "stop").exists():
        (scratch / "stop").unlink()
    first = _refit(worker, clock, winner, "dev", expected, until=until, threads=threads)
    if first is None:
        return unchanged
    sealer.seal(Path(first["bundle"]), first["held_out"], trials=trials)
    name = f"{winner.trial.id}-dev.npy"
    done = Finished(
        winner,
        first["held_out"],
        "development" if held_rows else "all",
        first["importances"],
        scratch / "predictions" / name if held_rows else None,
        "The score was measured first; the model was then left as it is, fitted without the rows that measured it."
        if held_rows
        else "The model was fitted on all rows.",
    )
    if not held_rows:
        return done
    again = max(expected, first["seconds"]) * MORE_ROWS
    second = _refit(worker, clock, winner, "all", again, until=until, threads=threads, held_out=first["held_out"])
    if second is None:
        return done
    sealer.seal(Path(second["bundle"]), first["held_out"], trials=trials)
    note = "The score was measured first, on rows held out; then the model was fitted again on all rows."
    return Finished(winner, first["held_out"], "all", first["importances"], done.predictions, note)


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


def _refit(
    worker: Worker,
    clock: Callable[[], float],
    winner: Outcome,
    rows: str,
    expected: float,
    *,
    until: float,
    threads: int,
    held_out: dict[str, Any] | None = None,
) -> dict[str, Any] | None:
    """The bench's answer, or None where it did not fit into the time or did not come to its end."""
    now = clock()
    if now + expected > until:
        return None
    lease = Lease(f"{winner.trial.id}-{rows}", now, until)
    task = {
        "kind": "refit",
        "trial": winner.trial.to_dict(),
        "effort": winner.effort,
        "rows": rows,
        "score": winner.score,
        "held_out": held_out,
        "threads": threads,
    }
    worker.submit(task, lease)
    ended = None
    while ended is None:
        ended = worker.poll(1.0)
    return ended.value if ended.value is not None and ended.value["complete"] else None
