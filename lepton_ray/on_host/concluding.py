"""How a search becomes a model: the best trials are blended, fitted again and sealed, wherever the search was run.

It knows nothing about reports, endpoints or where the workers come from.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from lepton_ray.bundle.manifest import Manifest
from lepton_ray.money.receipt import FINISH
from lepton_ray.on_host import blending, finishing
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.preparation import Prepared
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.worker_client import Worker
from lepton_ray.search.desk import Desk
from lepton_ray.search.ensemble import Room
from lepton_ray.search.trial import DONE, PARTIAL, Outcome

MANY_ROWS = 20_000
"""Development rows from which another member of the blend is worth more than a quarter more rows for each."""

Hire = Callable[[float], Sequence[Worker]]
"""Expected seconds of the refits of one part to the workers that are to carry them out."""


def conclude(
    course: Course,
    prepared: Prepared,
    desk: Desk,
    sealer: Sealer,
    champion: Outcome,
    *,
    hire: Hire,
    until: float,
    side_by_side: bool = False,
) -> finishing.Finished:
    """Blend the champion with what goes well with it, refit as far as ``until`` allows, and seal.

    Args:
        champion: the best trial, whose bundle is sealed already; it stays where nothing better can be made in time.
        side_by_side: whether ``hire`` has a worker for each of the two refits of a member.
    """
    n_rows, held_rows = len(prepared.dev.y), 0 if prepared.held is None else len(prepared.held.y)
    problem, scratch = prepared.plan.problem, course.folder.scratch
    learn_held = prepared.how != "test_file"  # a user's own test rows stay unseen
    in_turn = 2.0 if held_rows and learn_held and not side_by_side else 1.0

    def refit_seconds(outcome: Outcome) -> float:
        return finishing.refit_seconds(desk.fit_seconds(outcome))

    def chosen(turns: float) -> blending.Recipe:
        return blending.recipe_of(
            problem,
            prepared.dev,
            desk.outcomes(),
            champion,
            scratch,
            refit_seconds=refit_seconds,
            room=Room(
                refit_seconds=(until - course.clock()) / turns,
                row_seconds=course.spec.row_seconds(course.meter.ledger.machine),
            ),
            rng=np.random.default_rng(course.spec.seed),
            value=course.value,
        )

    def book(outcome: Outcome, part: str, started: float, complete: bool) -> None:
        course.meter.trial(
            f"{outcome.trial.id}-{part}",
            started=started,
            cpus=1,
            family=outcome.trial.family,
            driver="host",
            outcome=DONE if complete else PARTIAL,
            stage=FINISH,
        )

    recipe = chosen(in_turn)
    if held_rows and learn_held and n_rows >= MANY_ROWS:
        wide = chosen(in_turn / 2.0)
        if len(wide.members) > len(recipe.members):
            recipe, learn_held = wide, False
    return finishing.finish(
        recipe,
        blending.as_sealed(problem, prepared.dev, champion, scratch, course.value),
        hire(sum(refit_seconds(outcome) for outcome, _ in recipe.members)),
        sealer,
        course.clock,
        scratch=scratch,
        rung=desk.rungs[champion.trial.rung],
        refit_seconds=refit_seconds(recipe.winner),
        until=until,
        n_rows=n_rows,
        trials=desk.tried(),
        held_rows=held_rows,
        learn_held=learn_held,
        book=book,
    )


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
        held_rows=0 if prepared.held is None else len(prepared.held.y),
    )
