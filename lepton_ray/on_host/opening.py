"""What a search starts from: the families, their portfolio, the desk, and what is done with each outcome."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.features.grams import LONGEST
from lepton_ray.models.family import Config, Family
from lepton_ray.models.registry import family as family_named
from lepton_ray.on_host import finishing
from lepton_ray.on_host.course import CORRECTING_SECONDS, SERVE_SECONDS, Course
from lepton_ray.on_host.exporting import kept_seconds
from lepton_ray.on_host.preparation import Prepared
from lepton_ray.on_host.run_folder import Begun
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.telling import chosen_of
from lepton_ray.search.cost import CostModel, Size
from lepton_ray.search.desk import Desk
from lepton_ray.search.economics import Economy, default_worth
from lepton_ray.search.policy import PromotionPolicy, interleave, near
from lepton_ray.search.portfolio import Place, Portfolio, ordered
from lepton_ray.search.priors import Priors, shipped_priors
from lepton_ray.search.probe import probe
from lepton_ray.search.records import key_of
from lepton_ray.search.rungs import N_FOLDS, Rung, ladder, one_in
from lepton_ray.search.title import FLOOR
from lepton_ray.search.trial import Outcome, Trial
from lepton_ray.table.schema import Kind, Problem, Schema
from lepton_ray.training.metrics import METRICS

LATE_SECONDS = 1.0
"""How much later than its lease a trial of the last moment may come back before it is killed."""
KEPT_LATE_SECONDS = 0.3
"""Of that, what is kept: a lease ends early by what sealing took before. Who is later takes it from the refits."""
LARGEST_REFIT_SHARE = 0.25
"""Of the wall: no winner of an early rung may stop the search to be fitted on all rows."""
FIRST = ("constant", "linear")
"""Families whose default is tried before all else: a usable model within a second."""
LEADING = "lightgbm"
FEW_MINED = 4
"""Of the mined configurations: those that come before the defaults of families that were not recorded."""
MANY_ROWS, GROWN = 30_000, 1
"""More rows than most recorded tables have can carry larger models than these did: of the leading family's own list,
which follows the rows, so many come as early."""
BLEND_SECONDS = 0.4
"""For choosing among the trials: 0.1 s over 5,000 rows, 0.4 over 20,000."""
AT_ONCE = 0.2
"""Of the wall: what is expected to take no longer on all rows needs no first look at a part of them."""
MEMBERS = 3
"""Of a blend: time to fit so many again is kept, as far as the share above allows."""
FAR_BEHIND = 1.25
"""Times the best error."""
TRIM_EVERY = 16
"""Trials between two looks at how much is kept of what they said."""


def open_desk(
    course: Course, prepared: Prepared, sealer: Sealer, *, kept: float | None = None, probed: bool = True
) -> Desk:
    """The policy over this table's portfolio, and the desk that gives its trials out.

    Args:
        kept: seconds before the wall in which no trial may run; by default what a run needs to report and serve.
        probed: whether the machine's speed is measured first, which takes a quarter of a second.
    """
    problem, priors = prepared.plan.problem, course.priors or shipped_priors()
    rungs = ladder(int(prepared.dev.usable.sum()), prepared.dev.folds.shape[1])
    found = {name: family_named(name) for name in chosen_of(course, prepared).names}
    n_rows, schema = len(prepared.dev.y), prepared.plan.schema

    spaceless = {"constant"}

    def draw(name: str, rng: np.random.Generator, leader: Config | None) -> Config | None:
        if name in spaceless:
            return None
        try:
            drawn = found[name].sample(problem, rng)
        except Exception as fault:  # a user's family may raise anything
            spaceless.add(name)
            course.screen.say(f"! nothing more is drawn from {name}: {type(fault).__name__}: {fault}")
            return None
        return drawn if leader is None else near(leader, drawn, rng)

    place = Place(n_rows, wide_as(prepared.dev.table, schema), len(problem.classes))
    idle = idle_families(priors, found, problem, place)
    policy = PromotionPolicy(
        portfolio_of(
            priors.portfolio,
            found,
            problem,
            place,
            idle=idle,
            warm=course.warm.entries if course.warm is not None else (),
            texts=len(schema.of(Kind.TEXT)) == len(schema.columns),
        ),
        draw,
        one_in=one_in(rungs, n_rows),
        seed=course.spec.seed,
        economy=economy_of(course, prepared),
        idle=idle,
        at_once=0.0 if rungs[0].rows is None else AT_ONCE * course.budget.wall_seconds,
    )

    def on_outcome(outcome: Outcome) -> None:
        note_outcome(course, sealer, desk, outcome)

    desk = Desk(
        policy,
        course.budget,
        rungs=rungs,
        size=size_of(found, problem, rungs, prepared),
        costs=CostModel.begin(priors.costs, probe(time.perf_counter) if probed else None),
        reserve=lambda best: reserved(course, prepared, desk, best, kept),
        scoring=scoring_of(found, prepared, place.columns),
        on_outcome=on_outcome,
        on_begin=lambda trial, now, driver, node: course.folder.log_begun(Begun(trial, driver, now, node)),
    )
    return desk


def reserved(course: Course, prepared: Prepared, desk: Desk, best: Outcome | None, kept: float | None) -> float:
    """Seconds for the end with this outcome: what is fixed, or ``kept`` instead, the refits of the best trial of each
    of the first few families, as far as time allows, and the seals: of what is fitted again, or of what is there."""
    serving = SERVE_SECONDS if course.spec.serves else 0.0
    scoring = CORRECTING_SECONDS if prepared.held is None else 0.0
    choosing = KEPT_LATE_SECONDS + BLEND_SECONDS + scoring
    reporting = course.report_seconds + serving + course.budget.wall_seconds - course.end
    fixed = choosing + reporting + kept_seconds(course.spec) if kept is None else kept
    if best is None:
        return fixed
    most = LARGEST_REFIT_SHARE * course.budget.wall_seconds
    expected = [(one, finishing.refit_seconds(desk.fit_seconds(one))) for one in leading(desk.outcomes())]
    members = [entry for entry in expected if entry[1] <= most][:MEMBERS]  # others would not be begun
    if not members:
        return fixed + finishing.seal_seconds(best)
    likely, seals = [seconds for _, seconds in members], sum(finishing.seal_seconds(one) for one, _ in members)
    seals += finishing.WRITING_SECONDS * len(members)
    return fixed + seals + min(max(max(likely), sum(likely) / course.around.cpus), most)


def leading(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The best of each family on the last rung that any has come to, the best family first: what a blend is made of,
    which takes none whose error is far behind."""
    usable = [one for one in outcomes if one.usable and one.trial.family != FLOOR]
    last = max((one.trial.rung for one in usable), default=0)
    ranked = sorted((one for one in usable if one.trial.rung == last), key=lambda one: -(one.error or 0.0))
    leaders = sorted({one.trial.family: one for one in ranked}.values(), key=lambda one: one.error or 0.0)
    return [one for one in leaders if (one.error or 0.0) <= FAR_BEHIND * (leaders[0].error or 0.0)]


def economy_of(course: Course, prepared: Prepared) -> Economy | None:
    """When the search is to end with money left, told to the user; None where all of it is to be spent."""
    if course.spec.spend_it_all:
        return None
    problem, value = prepared.plan.problem, course.value
    worth = None if value is None else value.worth_of(problem.metric, prepared.dev.y)
    assumed = " (assumed; --value FILE says what it is worth to you)" if worth is None else ""
    worth = worth or default_worth(METRICS[problem.metric].greater_is_better)
    course.screen.say(f"an improvement counts as {worth}{assumed}; the search ends where the next trial costs more")
    return Economy(worth, course.budget.per_hour, course.around.cpus, problem.metric)


def idle_families(priors: Priors, families: Mapping[str, Family], problem: Problem, place: Place) -> frozenset[str]:
    """Those that were recorded and brought nothing to tables like this one; of what reads texts few were."""
    if not priors.portfolio.reaches(place):
        return frozenset()
    mined = ordered(priors.portfolio, problem, place.rows, place.columns, families=list(families))
    known = {name for name, one in families.items() if name in priors.costs.laws and one.view != "text"}
    return frozenset(known - {name for name, _ in mined} - set(FIRST))


def portfolio_of(
    portfolio: Portfolio,
    families: Mapping[str, Family],
    problem: Problem,
    place: Place,
    *,
    idle: Collection[str] = (),
    warm: Sequence[tuple[str, Config]] = (),
    texts: bool = False,
) -> tuple[tuple[str, Config], ...]:
    """What to try, in order: the constant, a first cheap model and the first mined one of another family, the rest that
    was mined, then the families' own lists.

    The default of a family that was not recorded, such as a user's own, comes after the first few that were mined.

    Args:
        idle: families that were recorded and brought nothing: they come after all that was mined.
        warm: what an earlier bundle was made of: tried right after the constant.
        texts: whether there is nothing else; families that read texts come before what was mined from other tables.
    """
    n_rows, n_columns = place.rows, place.columns
    listed = interleave({name: one.configs(problem, n_rows, n_columns) for name, one in families.items()})
    if portfolio.reaches(place):
        mined = ordered(portfolio, problem, n_rows, n_columns, families=list(families))
    else:  # what is best on most tables leads
        mined = [entry for entry in listed if entry[0] == LEADING][:FEW_MINED]
    defaults, known = listed[: len(families)], {name for name, _ in mined} | set(idle)
    first = [entry for entry in defaults if entry[0] in FIRST]
    unknown = [entry for entry in defaults if entry[0] not in known]
    lead = [entry for entry in mined if entry[0] not in FIRST][:1]
    again = [entry for entry in warm if entry[0] in families]
    own = [entry for entry in listed if entry[0] == LEADING]
    large = own[1 : 1 + GROWN] if n_rows > MANY_ROWS else []
    readers = [entry for entry in defaults if texts and families[entry[0]].view == "text"]
    start = (*first[:1], *again, *first[1:], *readers, *lead, *large)
    order = (*start, *mined[:FEW_MINED], *unknown, *mined[FEW_MINED:], *listed)
    return tuple({key_of(*entry): entry for entry in order}.values())


def size_of(
    families: Mapping[str, Family], problem: Problem, rungs: Sequence[Rung], prepared: Prepared
) -> Callable[[Trial], Size]:
    """How much a trial has to do: a promotion does not repeat the folds of its parent."""
    n_rows = len(prepared.dev.y) * (N_FOLDS - 1) // N_FOLDS
    n_columns = wide_as(prepared.dev.table, prepared.plan.schema)

    def size(trial: Trial) -> Size:
        rung = rungs[trial.rung]
        rows = max(1, n_rows if rung.rows is None else min(rung.rows, n_rows))
        fits = rung.fits
        if trial.parent is not None and rungs[trial.rung - 1].rows is None:
            fits -= rungs[trial.rung - 1].fits
        work = families[trial.family].work(trial.config, problem, rows, n_columns)
        pace = getattr(families[trial.family], "pace", None)
        return Size(work, rows, n_columns, problem.n_outputs, fits, None if pace is None else work * float(pace))

    return size


def scoring_of(families: Mapping[str, Family], prepared: Prepared, n_columns: int) -> Callable[[Trial], float]:
    """How long predicting the rows held out takes by the families that say so."""
    n_rows = 0 if prepared.held is None else len(prepared.held.y)

    def seconds(trial: Trial) -> float:
        scoring = getattr(families[trial.family], "scoring", None)
        return 0.0 if scoring is None else float(scoring(n_rows, n_columns))

    return seconds


def wide_as(table: pa.Table, schema: Schema) -> int:
    """How many columns a row takes as long as: a text counts for as many as it has bytes, the longest ones cut.

    Of 60 bytes and 77 classes, linear and LightGBM models took 10 and 13 s; as one column 0.1 and 5 were forecast, as
    61 it is 3 and 14.
    """
    texts = schema.of(Kind.TEXT)
    lengths = (pc.min_element_wise(pc.binary_length(table[name].drop_null()), LONGEST) for name in texts)
    read: int = sum(pc.sum(each).as_py() or 0 for each in lengths)
    return len(schema.columns) - len(texts) + max(len(texts), int(read / max(table.num_rows, 1) + 0.5))


def note_outcome(course: Course, sealer: Sealer, desk: Desk, outcome: Outcome) -> None:
    """Log a trial, book it, and seal the bundle of the best so far, where that is another one now.

    That need not be this trial: a promotion that disappoints hands the title back to one that ended before.
    Where the run is broken off in between, what is missing follows from what was written before it.
    """
    course.folder.log_trial(outcome)
    course.meter.trial(
        outcome.trial.id,
        started=outcome.started,
        cpus=course.wish(outcome.trial.family).cpus if outcome.driver == "ray" else 1,
        family=outcome.trial.family,
        driver=outcome.driver,
        outcome=outcome.state,
        stage=course.meter.ledger.stage or "search",
        node=outcome.node,
        lost=outcome.lost,
    )
    if outcome.trial.family == "constant" and outcome.held_out is not None:
        sealer.update(baseline_score=outcome.held_out["score"])
    if desk.tried() % TRIM_EVERY == 0:
        course.folder.trim(desk.outcomes())
    best = desk.best()
    place = None if best is None or best.bundle is None else Path(best.bundle)
    if best is not None and best.held_out is not None and place not in (None, sealer.taken) and place.exists():
        sealer.seal(place, best.held_out, trials=desk.tried())
    else:
        sealer.update(trials=desk.tried())
