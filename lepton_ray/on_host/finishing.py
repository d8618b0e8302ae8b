"""The last stage of a search: its blend is sealed and measured as it is, then fitted again on more rows.

More rows are worth more than what a search can still find out at its end, so its time goes first into refits on every
row. The score is that of the same blend without the rows held out: as the search fitted its members or, where there is
time for that as well, fitted again on the development rows. Where a refit does not end in time, the member stays as it
is. No step here chooses by a held-out score. It knows nothing about Ray, reports or endpoints.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.manifest import Manifest, read_manifest
from lepton_ray.money.lease import Lease
from lepton_ray.on_host.blending import Recipe
from lepton_ray.on_host.fits import SEARCH, home_of
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.worker_client import Hand
from lepton_ray.search.rungs import Rung
from lepton_ray.search.trial import Outcome

REFIT = 1.25
"""A refit on every row, of a fit on all rows but a fold's: 1.56 times the rows, and nothing to judge. Measured 0.8 to
1.0 where rounds are judged one by one, 1.5 where they are not."""
WORTH_BEGINNING = 0.8
"""Of what a refit is expected to take: it is begun where this much is left."""
LONGEST_SEAL_SECONDS = 1.5
"""Of what one member is expected to add."""
WRITING_SECONDS = 0.25
"""What each member adds to writing a blend whose score is known: 0.4 s for five, 0.8 for three with a forest."""
LATE_SECONDS = 0.3
"""After the time of a refit nobody waits longer for it, where another worker can seal what there is."""
PER_THREAD = 0.7
"""What each further thread adds to a refit, where a core of its own adds 1."""
SEALING_LATE_SECONDS = 0.5
POLL_SECONDS = 0.05
NOTES = {
    "all": "The score was measured on rows held out; the model itself was fitted again on all rows.",
    "some": "The score was measured on rows held out; then {again} of the {members} models were fitted again on all"
    " rows, and no time was left for the others.",
    "development": "The model is the one that was scored: fitted without the rows that measured it.",
    "search": "The model is the one of the search: the time did not allow a refit.",
}

Facts = dict[str, Any]
Fits = dict[str, set[str]]
"""For "search", "dev" and "all": the trials of which there is a model that was fitted so."""


@dataclass(frozen=True, slots=True)
class Refit:
    """A member that is being fitted again on a part, "dev" or "all", since ``started``."""

    part: str
    outcome: Outcome
    started: float
    threads: int


Book = Callable[[Refit, bool], None]
"""Told of each refit that ended, and whether it came to its end."""


@dataclass(frozen=True, slots=True)
class Rows:
    """What there is to fit on.

    Attributes:
        development: the rows that the search had.
        held: the rows that it had not; 0 where the score is cross-validated.
        learn_held: whether these may be learned from in the end.
    """

    development: int
    held: int
    learn_held: bool

    @property
    def final(self) -> str:
        """The part that the model in use is fitted on, if there is time."""
        return "all" if self.held and self.learn_held else "dev"


@dataclass(frozen=True, slots=True)
class Finished:
    """What the run hands over.

    Attributes:
        fitted_on: "all" rows; "some" where not each member was fitted on them again; "development" rows; or "search"
            where no refit ended in time.
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
    """What fitting a model again on every row is expected to take.

    Args:
        fit_seconds: of one of its fits on all rows but a fold's.
    """
    return REFIT * fit_seconds


def seal_seconds(outcome: Outcome) -> float:
    """What this trial's model is expected to add to scoring and sealing a blend: as long as the trial went on after its
    fits."""
    begun = None if outcome.node else outcome.fit_started  # another machine's clock is of no use
    before = 0.0 if begun is None else max(0.0, begun - outcome.started)
    return min(LONGEST_SEAL_SECONDS, max(0.0, outcome.seconds - before - outcome.fitting))


def finish(
    recipe: Recipe,
    sealed_before: Recipe,
    workers: Sequence[Hand],
    sealer: Sealer,
    clock: Callable[[], float],
    *,
    scratch: Path,
    rows: Rows,
    rung: Rung,
    seconds: Callable[[Outcome], float],
    until: float,
    trials: int,
    cores: int = 1,
    book: Book = lambda refit, complete: None,
) -> Finished:
    """Seal the blend as the search fitted it, fit it again as far as ``until`` allows, and seal what there is then.

    Args:
        sealed_before: the trial whose bundle the search left; it stays where no member of the blend is there in time.
        workers: they share the refits, and ``cores`` the workers.
        rung: on which the trial was judged whose bundle the search left.
        seconds: what fitting a trial's model again is expected to take, see ``refit_seconds``.
    """
    if (scratch / "stop").exists():
        (scratch / "stop").unlink()
    champion = sealed_before.winner
    left = Finished(
        sealed_before,
        champion.held_out or {},
        "search",
        None,
        _said(scratch, champion.trial.id, rows),
        note_of("search", rung, rows),
    )
    names = [one.trial.id for one, _ in recipe.members]
    there: Fits = {SEARCH: {name for name in names if home_of(scratch, SEARCH, name).exists()}}
    ending = _Ending(recipe, rows, rung, scratch, left, workers, sealer, clock, until, trials)
    sealing = sum(seal_seconds(one) for one, _ in recipe.members)
    if clock() + sealing <= until:
        ending.seal(SEARCH, there, (SEARCH,))
    waiting = _wanted(recipe, rows, there[SEARCH])
    written = WRITING_SECONDS * len(recipe.members)
    scored = written + (sealing if rows.held else 0.0)
    ends = {"dev": until - scored - (written if rows.final == "all" else 0.0)}
    ends |= {"all": until - written - (0.0 if there[SEARCH] else scored)} if rows.final == "all" else {}
    there |= _Refits(workers, cores, clock, waiting, ends, seconds, book).carried_out()
    if rows.final == "dev" or not there[SEARCH] or clock() + scored + written <= until:
        ending.seal("dev", there, ("dev", SEARCH))
    if rows.final == "all":
        ending.seal("all", there, ("all", "dev", SEARCH), measured=ending.latest)
    return ending.latest if ending.latest is not left else replace(left, importances=_told_by(sealer))


def finished_before(recipe: Recipe, sealer: Sealer, sealed: Manifest, *, scratch: Path, rows: Rows) -> Finished:
    """What ``finish`` had handed over when its run was broken off: the bundle in place, and the score beside it."""
    held_out = {name: sealed.facts[name] for name in ("score", "interval", "how", "rows")}
    members, again = len(sealed.members), sealed.facts["refitted"]
    fitted_on = _fitted_on(sealed.facts["fitted_on"], rows, again, members)
    scored = "blend-dev" if (scratch / "predictions" / "blend-dev.npy").exists() else f"blend-{SEARCH}"
    note = note_of(fitted_on, None, rows, again=again, members=members)
    return Finished(recipe, held_out, fitted_on, _told_by(sealer), _said(scratch, scored, rows), note)


def note_of(fitted_on: str, rung: Rung | None, rows: Rows, *, again: int = 0, members: int = 1) -> str:
    """A sentence on which rows the model has seen."""
    if fitted_on == "search" and rung is not None and rung.rows is not None and rung.rows < rows.development:
        return f"The model is the one of the search, fitted on {rung.rows:,} rows: the time did not allow a refit."
    if rows.held or fitted_on == "search":
        return NOTES[fitted_on].format(again=again, members=members)
    return (
        "The model was fitted on all rows."
        if fitted_on == "all"
        else f"{again} of {members} models were fitted on all rows."
    )


@dataclass(slots=True)
class _Ending:
    """What is handed over if the run ends now, and how something better takes its place."""

    recipe: Recipe
    rows: Rows
    rung: Rung
    scratch: Path
    latest: Finished
    workers: Sequence[Hand]
    sealer: Sealer
    clock: Callable[[], float]
    until: float
    trials: int

    def seal(self, name: str, there: Fits, order: Sequence[str], *, measured: Finished | None = None) -> None:
        """Take of each member the fit that comes first in ``order``; without one that is called ``name`` all stays.

        Args:
            measured: whose score it is to have, for its members saw the rows held out; only these are taken then.
        """
        known = None if measured is None else {one.trial.id for one, _ in measured.recipe.members}
        names = [one.trial.id for one, _ in self.recipe.members if known is None or one.trial.id in known]
        fits = {one: part for one in names if (part := next((p for p in order if one in there.get(p, ())), None))}
        if name not in fits.values():
            return
        kept, held_out = self.recipe.only(fits), None if measured is None else measured.held_out
        worker = _free(self.workers)
        lease = Lease(
            f"{kept.winner.trial.id}-seal", self.clock(), max(self.until, self.clock()) + SEALING_LATE_SECONDS
        )
        answer = _sealed(kept, name, fits, held_out, worker=worker, lease=lease)
        if answer is None:
            return
        self.sealer.seal(Path(answer["bundle"]), answer["held_out"], trials=self.trials)
        again = sum(part == self.rows.final for part in fits.values())
        fitted_on = _fitted_on(name, self.rows, again, len(fits))
        self.latest = Finished(
            kept,
            answer["held_out"],
            fitted_on,
            answer["importances"],
            _said(self.scratch, f"blend-{name}", self.rows) if measured is None else measured.predictions,
            note_of(fitted_on, self.rung, self.rows, again=again, members=len(fits)),
        )


def _fitted_on(name: str, rows: Rows, again: int, members: int) -> str:
    """What ``Finished`` calls a bundle whose best members were fitted on this part."""
    if name == SEARCH:
        return "search"
    if name == "dev" and rows.held:
        return "development"
    return "all" if again == members else "some"


def _told_by(sealer: Sealer) -> dict[str, float] | None:
    """How much each column counts in the bundle in place."""
    folder = Path(sealer.facts["bundle"])
    trust = [member.family for member in read_manifest(folder)[1].members]
    return Bundle.load(folder, trust=trust).model.importances()


def _said(scratch: Path, name: str, rows: Rows) -> Path | None:
    """What a model said of the rows held out."""
    return scratch / "predictions" / f"{name}.npy" if rows.held else None


def _wanted(recipe: Recipe, rows: Rows, kept: set[str]) -> list[tuple[str, Outcome]]:
    """Which refits are wanted, the most wanted first: what a score hangs on, every row, and a better score."""
    members = [outcome for outcome, _ in recipe.members]
    if rows.final == "dev":
        return [("dev", one) for one in members]
    missing = [("dev", one) for one in members if one.trial.id not in kept]
    better = [("dev", one) for one in members if one.trial.id in kept]
    return [*missing, *[("all", one) for one in members], *better]


@dataclass(slots=True)
class _Refits:
    """The refits that are wanted, and who carries them out.

    Attributes:
        until: part -> when the last refit on it must have ended.
    """

    workers: Sequence[Hand]
    cores: int
    clock: Callable[[], float]
    waiting: list[tuple[str, Outcome]]
    until: Mapping[str, float]
    seconds: Callable[[Outcome], float]
    book: Book
    running: dict[int, Refit] = field(default_factory=dict)

    def carried_out(self) -> Fits:
        """Those that came to their end; one is begun where it may, by the first worker that is there."""
        done: Fits = {}
        while True:
            for at, worker in enumerate(self.workers):
                if at not in self.running and worker.ready_within(0.0) and (refit := self._next()) is not None:
                    self.waiting.remove((refit.part, refit.outcome))
                    self.running[at] = refit
                    name, kind = f"{refit.outcome.trial.id}-{refit.part}", {"kind": "refit", "rows": refit.part}
                    task = {**kind, "threads": refit.threads, **_member(refit.outcome)}
                    worker.submit(task, Lease(name, refit.started, self.until[refit.part]))
            if not self.running:
                if not any(self._fits(entry, self.cores) for entry in self.waiting):
                    return done
                self.workers[0].ready_within(POLL_SECONDS)
            for at, refit in list(self.running.items()):
                ended = self.workers[at].poll(POLL_SECONDS)
                if ended is not None:
                    del self.running[at]
                    complete = ended.value is not None and bool(ended.value["complete"])
                    self.book(refit, complete)
                    if complete:
                        done.setdefault(refit.part, set()).add(refit.outcome.trial.id)
            if 0 < len(self.running) < len(self.workers) and self.clock() > max(self.until.values()) + LATE_SECONDS:
                for refit in self.running.values():
                    self.book(refit, False)
                return done

    def _next(self) -> Refit | None:
        """The most wanted that fits on its share of the free cores; with none under way, on all of them."""
        free = max(1, self.cores - sum(one.threads for one in self.running.values()))
        takers = min(len(self.waiting), len(self.workers) - len(self.running))
        for threads in (max(1, free // max(1, takers)), *(() if self.running else (free,))):
            for part, outcome in self.waiting:
                if self._fits((part, outcome), threads):
                    return Refit(part, outcome, self.clock(), threads)
        return None

    def _fits(self, entry: tuple[str, Outcome], threads: int) -> bool:
        part, outcome = entry
        takes = self.seconds(outcome) / (1.0 + PER_THREAD * (threads - 1))
        return self.clock() + WORTH_BEGINNING * takes <= self.until[part]


def _free(workers: Sequence[Hand]) -> Hand:
    """One that has nothing to do, of these one that is there; a refit that is late may still keep another."""
    free = [one for one in workers if not one.busy]
    return next((one for one in free if one.ready_within(0.0)), free[0])


def _sealed(
    recipe: Recipe, name: str, fits: Mapping[str, str], held_out: Facts | None, *, worker: Hand, lease: Lease
) -> Facts | None:
    """Let a worker seal models that lie on disk: scored there, or with the score measured without these rows."""
    task = {
        "kind": "seal",
        "rows": name,
        "members": [
            {**_member(outcome), "share": share, "fit": fits[outcome.trial.id]} for outcome, share in recipe.members
        ],
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
