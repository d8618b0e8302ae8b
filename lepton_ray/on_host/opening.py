"""What a search starts from: the families, their portfolio, the desk, and what is done with each outcome."""

from pathlib import Path

from lepton_ray.errors import SearchError
from lepton_ray.models.registry import FAMILIES
from lepton_ray.models.registry import family as family_named
from lepton_ray.money.forecast import Forecast
from lepton_ray.on_host import finishing
from lepton_ray.on_host.course import REPORT_SECONDS, SERVE_SECONDS, Course
from lepton_ray.on_host.preparation import Prepared
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.search.desk import Desk
from lepton_ray.search.policy import PromotionPolicy, interleave
from lepton_ray.search.rungs import ladder
from lepton_ray.search.trial import Outcome
from lepton_ray.spec import RunSpec
from lepton_ray.table.schema import Task

LARGEST_REFIT_SHARE = 0.3
LATE_SECONDS = 1.0
"""How much later than its lease a trial of the last moment may come back."""
REFITS = 2.25 * 1.3
"""One on the development rows, one on a quarter more, and something to spare."""


def families_of(spec: RunSpec, task: Task) -> list[str]:
    """The families to try, the constant first whatever was asked for.

    Raises:
        UsageError: one is not known. SearchError: none can do this task.
    """
    asked = spec.families or tuple(FAMILIES)
    fitting = [name for name in asked if name != "constant" and task in family_named(name).tasks]
    if not fitting and spec.families and spec.families != ("constant",):
        raise SearchError(
            f"None of the families {', '.join(spec.families)} can do a {task.value} task.",
            f"Leave --families out, or choose among {', '.join(FAMILIES)}.",
        )
    return ["constant", *fitting]


def open_desk(course: Course, prepared: Prepared, sealer: Sealer) -> Desk:
    """The policy over this table's portfolio, and the desk that gives its trials out."""
    problem = prepared.plan.problem
    rungs = ladder(int(prepared.dev.usable.sum()))
    names = families_of(course.spec, problem.task)
    found = {name: family_named(name) for name in names}
    n_rows, n_columns = len(prepared.dev.y), len(prepared.plan.schema.columns)
    portfolio = interleave({name: found[name].configs(problem, n_rows, n_columns) for name in names})
    policy = PromotionPolicy(
        tuple(portfolio),
        lambda name, rng: found[name].sample(rng) if name != "constant" else None,
        last_rung=len(rungs) - 1,
        seed=course.spec.seed,
    )
    forecast = Forecast()
    work = float(min(rungs[0].rows or n_rows, n_rows) * rungs[0].folds)
    for name in names:
        forecast = forecast.guess(name, work, 0.1 if name == "constant" else 0.2 + work * n_columns * 1e-6)

    def on_outcome(outcome: Outcome) -> None:
        note_outcome(course, sealer, desk, outcome)

    after = course.budget.wall_seconds - course.end + LATE_SECONDS

    def reserve(best: Outcome | None) -> float:
        refits = REFITS * finishing.refit_seconds(best, rungs, course.around.cpus, dev_rows=n_rows)
        serving = SERVE_SECONDS if course.spec.serves else 0.0
        return min(refits, LARGEST_REFIT_SHARE * course.budget.wall_seconds) + REPORT_SECONDS + serving + after

    desk = Desk(
        policy, course.budget, rungs=rungs, n_rows=n_rows, forecast=forecast, reserve=reserve, on_outcome=on_outcome
    )
    return desk


def note_outcome(course: Course, sealer: Sealer, desk: Desk, outcome: Outcome) -> None:
    """Book a trial, log it, and seal its bundle where it is the best so far."""
    course.meter.trial(
        outcome.trial.id,
        started=outcome.started,
        cpus=1,
        family=outcome.trial.family,
        driver=outcome.driver,
        outcome=outcome.state,
        stage=course.meter.ledger.stage or "search",
    )
    course.folder.log_trial(outcome)
    if outcome.trial.family == "constant" and outcome.held_out is not None:
        sealer.update(baseline_score=outcome.held_out["score"])
    best = desk.best()
    if outcome.bundle is not None and outcome.held_out is not None and best is outcome:
        sealer.seal(Path(outcome.bundle), outcome.held_out, trials=len(desk.outcomes()))
    else:
        sealer.update(trials=len(desk.outcomes()))
