"""The last stage of a search: the winners fitted again on more rows, and scored where nothing saw the rows.

No step here chooses by a held-out score: refits that ran to their end replace the search's model, those that did not
are put aside, whatever they scored. It knows nothing about Ray, reports or endpoints.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.manifest import Manifest, read_manifest
from lepton_ray.money.lease import Lease
from lepton_ray.on_host.blending import Recipe
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.worker_client import Worker
from lepton_ray.search.rungs import Rung
from lepton_ray.search.trial import Outcome

MORE_ROWS = 1.25
"""A refit on all development rows against one fold's fit, and one on every row against that."""
NO_SEARCH = 0.6
"""Of a trial's time on as many rows: a refit stops at the round that was found, and judges nothing. Measured: 0.5."""
SPARE = 1.3
"""What a refit is given, as a multiple of what it is expected to take."""
HOPE = SPARE * MORE_ROWS
"""A refit is begun where this many times what is left would do: what it is expected to take is on the safe side."""
SEAL_SECONDS = 0.5
POLL_SECONDS = 0.05
NOTES = {
    "all": "The score was measured on rows held out; the model itself was fitted again on all rows.",
    "development": "The model is the one that was scored: fitted without the rows that measured it.",
    "search": "The model is the one of the search: the reserve did not allow a refit.",
}

Facts = dict[str, Any]
Book = Callable[[Outcome, str, float, bool], None]
"""Told of each refit that ended: of which trial, on which part, begun when, and whether it came to its end."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What the run hands over.

    Attributes:
        fitted_on: "all" rows, all "development" rows, or "search" where no refit fitted into the reserve.
        predictions: (rows, …) of the held-out part by the model that was scored, or None without such a part.
        note: a sentence on what was refitted, or why not.
    """

    recipe: Recipe
    held_out: dict[str, Any]
    fitted_on: str
    importances: dict[str, float] | None
    predictions: Path | None
    note: str

    def measured(self, score: float, interval: list[float]) -> "Finished":
        """The same with another score."""
        return replace(self, held_out={**self.held_out, "score": score, "interval": interval})


def refit_seconds(fit_seconds: float) -> float:
    """What fitting a model again on every row may take, beside its refit on the development rows.

    Args:
        fit_seconds: of one of its fits on all rows but a fold's, judged after each round.
    """
    return SPARE * NO_SEARCH * MORE_ROWS**2 * fit_seconds


def finish(
    recipe: Recipe,
    sealed_before: Recipe,
    workers: Sequence[Worker],
    sealer: Sealer,
    clock: Callable[[], float],
    *,
    scratch: Path,
    rung: Rung,
    refit_seconds: float,
    until: float,
    n_rows: int,
    trials: int,
    held_rows: int,
    learn_held: bool,
    book: Book = lambda outcome, part, started, complete: None,
) -> Finished:
    """Refit on the development rows for the score and on all rows for use, side by side, as far as ``until`` allows.

    Args:
        sealed_before: the trial whose bundle the search left; it stays where no refit ends in time.
        workers: one or two; with one the refits follow each other.
        rung: on which the trial was judged whose bundle the search left.
        refit_seconds: what fitting the winner again is expected to take at most, see ``refit_seconds``.
        n_rows: of the development part.
        held_rows: 0 where the score comes from cross-validation; then one refit sees every row.
        learn_held: whether the rows held out may be learned from in the end.
    """
    champion = sealed_before.winner
    if (scratch / "stop").exists():
        (scratch / "stop").unlink()
    parts = ("dev", "all") if held_rows and learn_held else ("dev",)
    fitted: dict[str, set[str]] = {}
    if clock() + refit_seconds / HOPE <= until:
        fitted = _fitted(workers, clock, recipe, parts, until - SEAL_SECONDS * len(parts), book=book)
    kept, ready = _whole(recipe, fitted)
    sealed: dict[str, Facts] = {}
    held_out = champion.held_out or {}
    for part in ready:
        worker = workers[parts.index(part) % len(workers)]
        worker = worker if worker.ready_within(0.0) else workers[0]
        measured = held_out if part == "all" else None  # whoever saw the rows held out is not scored on them
        lease = Lease(f"{kept.winner.trial.id}-seal", clock(), max(until, clock()) + SEAL_SECONDS)
        answer = _sealed(kept, part, measured, worker, lease)
        if answer is not None:
            sealed[part], held_out = answer, answer["held_out"]
            sealer.seal(Path(answer["bundle"]), held_out, trials=trials)
    fitted_on = "all" if "all" in sealed or (sealed and not held_rows) else "development" if sealed else "search"
    name = "blend-dev" if "dev" in sealed else champion.trial.id
    return Finished(
        kept if sealed else sealed_before,
        held_out,
        fitted_on,
        (sealed.get("dev") or sealed.get("all") or _kept(sealer)).get("importances"),
        scratch / "predictions" / f"{name}.npy" if held_rows else None,
        note_of(fitted_on, rung, n_rows, held_rows),
    )


def finished_before(recipe: Recipe, sealer: Sealer, sealed: Manifest, *, scratch: Path, held_rows: int) -> Finished:
    """What ``finish`` had handed over when its run was broken off: the bundle in place, and the score beside it."""
    held_out = {name: sealed.facts[name] for name in ("score", "interval", "how", "rows")}
    fitted_on = "all" if sealed.facts["fitted_on"] == "all" or not held_rows else "development"
    predictions = scratch / "predictions" / "blend-dev.npy" if held_rows else None
    note = NOTES[fitted_on] if held_rows else "The model was fitted on all rows."
    return Finished(recipe, held_out, fitted_on, _kept(sealer)["importances"], predictions, note)


def _whole(recipe: Recipe, fitted: dict[str, set[str]]) -> tuple[Recipe, tuple[str, ...]]:
    """The blend that can be sealed, and on which parts: the members that are there on all of them, else those of the
    first part alone, for a score must be that of the model it stands beside."""
    if not fitted:
        return recipe, ()
    common = set.intersection(*fitted.values())
    if common:
        return recipe.only(common), tuple(fitted)
    first = next(iter(fitted))
    return recipe.only(fitted[first]), (first,)


def note_of(fitted_on: str, rung: Rung, n_rows: int, held_rows: int) -> str:
    """A sentence on which rows the model has seen."""
    if fitted_on == "search" and rung.rows is not None and rung.rows < n_rows:
        return f"The model is the one of the search, fitted on {rung.rows:,} rows: the reserve did not allow a refit."
    return NOTES[fitted_on] if held_rows or fitted_on == "search" else "The model was fitted on all rows."


def _kept(sealer: Sealer) -> Facts:
    """What is to be told of the search's own model, where it stays."""
    folder = Path(sealer.facts["bundle"])
    trust = [member.family for member in read_manifest(folder)[1].members]
    return {"importances": Bundle.load(folder, trust=trust).model.importances()}


def _fitted(
    workers: Sequence[Worker],
    clock: Callable[[], float],
    recipe: Recipe,
    parts: tuple[str, ...],
    until: float,
    *,
    book: Book,
) -> dict[str, set[str]]:
    """For each part the members that were fitted on it to the end, the largest shares first.

    Each worker has a part of its own, if there are two, and takes from the other's when it is idle: one that has only
    been started may not be there yet.
    """
    waiting = [(part, outcome) for outcome, _ in recipe.members for part in parts]
    running: dict[int, tuple[str, Outcome, float]] = {}
    done: dict[str, set[str]] = {}
    while running or (waiting and clock() < until):
        there = [at for at, worker in enumerate(workers) if worker.ready_within(0.0)]
        for at, worker in enumerate(workers):
            if at in running or not waiting or clock() >= until or at not in there:
                continue
            own = [entry for entry in waiting if parts.index(entry[0]) % len(there) == there.index(at)]
            part, outcome = (own or waiting)[0]
            waiting.remove((part, outcome))
            running[at] = part, outcome, clock()
            task = {"kind": "refit", "rows": part, "threads": 1, **_member(outcome)}
            worker.submit(task, Lease(f"{outcome.trial.id}-{part}", clock(), until))
        if not running:
            workers[0].ready_within(POLL_SECONDS)
        for at, (part, outcome, started) in list(running.items()):
            ended = workers[at].poll(POLL_SECONDS)
            if ended is not None:
                del running[at]
                complete = ended.value is not None and bool(ended.value["complete"])
                book(outcome, part, started, complete)
                if complete:
                    done.setdefault(part, set()).add(outcome.trial.id)
    return {part: done[part] for part in parts if part in done}


def _sealed(recipe: Recipe, part: str, held_out: Facts | None, worker: Worker, lease: Lease) -> Facts | None:
    """Let the worker that fitted this part seal its models: scored there, or with the score measured beside it."""
    task = {
        "kind": "seal",
        "rows": part,
        "members": [{**_member(outcome), "share": share} for outcome, share in recipe.members],
        "temperature": recipe.temperature,
        "score": recipe.winner.score,
        "held_out": held_out,
        "decided": recipe.decided,
    }
    worker.submit(task, lease)
    ended = None
    while ended is None:
        ended = worker.poll(1.0)
    return ended.value


def _member(outcome: Outcome) -> Facts:
    return {"trial": outcome.trial.to_dict(), "effort": outcome.effort}
