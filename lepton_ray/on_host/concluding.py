"""How a search becomes a model: the best trials are blended, fitted again and sealed, wherever the search was run.

It knows nothing about reports, endpoints or where the workers come from.
"""

import errno
import os
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lepton_ray.bundle.manifest import Manifest
from lepton_ray.errors import EnvironmentFault, Interrupted, LeptonError, MoneyError, SearchError
from lepton_ray.money.receipt import FINISH
from lepton_ray.on_host import blending, finishing
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.fits import SEARCH, home_of
from lepton_ray.on_host.preparation import Prepared
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.worker_client import Hand
from lepton_ray.search.desk import Desk
from lepton_ray.search.ensemble import Room
from lepton_ray.search.trial import DONE, PARTIAL, Outcome

Hire = Callable[[int, float], Sequence[Hand]]
"""How many refits may follow, and the seconds that one of each member is expected to take, to the workers that are to
carry them out."""


def conclude(
    course: Course,
    prepared: Prepared,
    desk: Desk,
    sealer: Sealer,
    champion: Outcome,
    *,
    hire: Hire,
    until: float,
    cores: int = 1,
) -> finishing.Finished:
    """Blend the champion with what goes well with it, refit as far as ``until`` allows, and seal.

    Args:
        champion: the best trial, whose bundle is sealed already; it stays where nothing better can be made in time.
        cores: that the refits may take.
    """
    problem, scratch = prepared.plan.problem, course.folder.scratch

    def seconds(outcome: Outcome) -> float:
        return finishing.refit_seconds(desk.fit_seconds(outcome))

    def book(refit: finishing.Refit, complete: bool) -> None:
        course.meter.trial(
            f"{refit.outcome.trial.id}-{refit.part}",
            started=refit.started,
            cpus=refit.threads,
            family=refit.outcome.trial.family,
            driver="host",
            outcome=DONE if complete else PARTIAL,
            stage=FINISH,
        )

    def kept(outcome: Outcome) -> bool:
        return home_of(scratch, SEARCH, outcome.trial.id).exists()

    outcomes = desk.outcomes()
    recipe = blending.recipe_of(
        problem,
        prepared.dev,
        [one for one in outcomes if kept(one)] if kept(champion) else outcomes,  # others need not be fitted in time
        champion,
        scratch,
        refit_seconds=lambda one: 0.0 if kept(one) else seconds(one),
        room=Room(
            refit_seconds=until - course.clock(),
            row_seconds=course.spec.row_seconds(course.meter.ledger.machine),
        ),
        rng=np.random.default_rng(course.spec.seed),
        value=course.value,
    )
    rows = rows_of(prepared)
    refits = len(recipe.members) * (2 if rows.final == "all" else 1)
    return finishing.finish(
        recipe,
        blending.as_sealed(problem, prepared.dev, champion, scratch, course.value),
        hire(refits, sum(seconds(outcome) for outcome, _ in recipe.members)),
        sealer,
        course.clock,
        scratch=scratch,
        rows=rows,
        rung=desk.rungs[champion.trial.rung],
        seconds=seconds,
        until=until,
        trials=desk.tried(),
        cores=cores,
        book=book,
    )


def no_model(course: Course, outcomes: Sequence[Outcome]) -> LeptonError:
    """Why there is none."""
    if course.asked_to_stop.is_set():
        return Interrupted("You asked to stop before any model was there.", "Run it again.")
    reasons = sorted({f"{outcome.trial.family}: {outcome.reason}" for outcome in outcomes if outcome.reason})
    full = [reason for reason in reasons if os.strerror(errno.ENOSPC) in reason]
    if full:
        return EnvironmentFault(f"No model could be kept: {full[0][:300]}", "Free some space, or give another --out.")
    if reasons:
        return SearchError(
            f"No model could be fitted ({'; '.join(reasons)[:400]}).", "See trials.jsonl in the run's folder."
        )
    return MoneyError("The wall came before the first model.", "Give a larger --budget or a later --deadline.")


def rows_of(prepared: Prepared) -> finishing.Rows:
    """What there is to fit on; a user's own test rows stay unseen."""
    held = 0 if prepared.held is None else len(prepared.held.y)
    return finishing.Rows(len(prepared.dev.y), held, prepared.how != "test_file")


def concluded(
    course: Course, prepared: Prepared, sealer: Sealer, sealed: Manifest, outcomes: Mapping[str, Outcome]
) -> finishing.Finished:
    """What an earlier leg of the run had come to: the model in place was fitted again by ``conclude``.

    Args:
        outcomes: of all trials, by their ids.
    """
    problem, scratch = prepared.plan.problem, course.folder.scratch
    names = [str(trial["id"]) for trial in sealed.facts["origin"]]
    shares = [member.share for member in sealed.members]
    members = [(outcomes[name], share) for name, share in zip(names, shares, strict=True)]
    return finishing.finished_before(
        blending.of_members(problem, prepared.dev, members, scratch, course.value),
        sealer,
        sealed,
        scratch=scratch,
        rows=rows_of(prepared),
    )
