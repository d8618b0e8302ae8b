"""One run from a table to a served model. The sentence is ``drive``; what happens is told to a Screen."""

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
import psutil

from lepton_ray.errors import EnvironmentFault, LeptonError, ServingError
from lepton_ray.on_host import blending, exporting, finishing, messages, resuming, telling
from lepton_ray.on_host import search as host_search
from lepton_ray.on_host.concluding import conclude, no_model
from lepton_ray.on_host.course import (
    CORRECTING_SECONDS,
    SERVE_SECONDS,
    START_SECONDS,
    Course,
    Progress,
    Screen,
    arm,
    begin,
    listen,
)
from lepton_ray.on_host.opening import leading, open_desk
from lepton_ray.on_host.preparation import Prepared, open_table, prepare, require_columns, under_plan
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.staff import MOST, Staff
from lepton_ray.on_ray.joining import Joined, join
from lepton_ray.on_ray.port import Port
from lepton_ray.on_ray.serving import FrontDoor, bring_up
from lepton_ray.on_ray.session import Session, short_temp_path
from lepton_ray.search.desk import Desk
from lepton_ray.search.trial import Trial
from lepton_ray.spec import RunSpec, Surroundings
from lepton_ray.table.source import Source

RAY_WORTH_SECONDS = 35.0
"""A search with less than this left is done without Ray: on two cores it took 8 s of them to start, and a tenth of what
followed."""
RAY_THERE_SECONDS = 12.0
"""The same where Ray boots in any case, for the endpoint or a cluster, or has read the table."""
RAY_OF_USE_SECONDS = 25.0
"""A run with less than this left does nothing with Ray, which needs about 8 s of it to start."""
AMPLE_SECONDS = 30.0
"""With less than this left after reading, Ray boots only once there is a first model."""
ENDING_SECONDS = 5.0
"""Between a search's end and the run's, about, as long as nothing is known of its models."""
WARM_FROM = 0.75
"""Of the time until a search's end: from here on its leading families are likely to be those of its blend."""
LARGE_BYTES = 64 * 2**20
"""A table up to this size is read in memory; a larger one by Ray Data, if the time reaches."""
MEMORY_PER_BYTE = 7.5
"""The most memory that reading, profiling and cleaning took, per byte of text."""
BYTES_PER_SECOND = 12e6
COLUMN_SECONDS = 3e-3
"""For profiling, planning and cleaning a column, however few its rows: 5,000 of them took 15 s, 2,000 took 8.6."""
FIRST_MODEL_SECONDS = 2.0
"""For the constant model and a report, once the table is read."""
RAY_READ_SECONDS = 12.0
"""Ray's start, and its first task."""
RAY_BYTES_PER_SECOND = 6e6
"""For each core."""
OBJECT_STORE_BYTES, TUNING = 150 * 2**20, "lepton_ray.on_ray.search"
LAST_MODULES = ("scipy.optimize", "lepton_ray.report.render")
"""What blending and the report need: imported while the search goes on."""


@dataclass(frozen=True, slots=True)
class Hands:
    """Who carries out the work: worker processes, and Ray where the time is worth its start."""

    staff: Staff
    session: Session | None
    port: Port | None


def drive(spec: RunSpec, around: Surroundings, screen: Screen) -> None:
    """Carry out one run; what it made lies in its folder, where the supervisor finds it."""
    spec = under_plan(spec)
    joined = join(spec)
    port = Port.reserve(spec.port) if spec.serves else None
    course = begin(spec, around, screen, None if joined is None else joined.machine)
    carry_out(course, port, joined=joined)


def resume(spec: RunSpec, folder: Path, around: Surroundings, screen: Screen) -> None:
    """Go on with a run that was broken off, from what lies in its folder."""
    spec = under_plan(spec)
    joined = join(spec)
    port = Port.reserve(spec.port) if spec.serves else None
    course, past = resuming.take_up(spec, folder, around, screen, None if joined is None else joined.machine)
    carry_out(course, port, past, joined=joined)


def carry_out(
    course: Course, port: Port | None, past: resuming.Past | None = None, *, joined: Joined | None = None
) -> None:
    """The sentence; ``past`` is what earlier legs of the run have left, ``joined`` the cluster that it has joined."""
    if joined is not None:
        course.places = joined.places
        course.screen.say(joined.sentence)
    temp = short_temp_path()  # made where Ray is started
    arm(course, (temp,))
    listen(course)
    course.meter.enter("read")
    source = open_table(course.spec.table)  # what is no table, or lacks a column, is refused before anybody is called
    require_columns(source.names, course.spec)
    hands = take_hands(course, temp, port)
    prepared = ready(course, hands, source)
    if course.value is not None:
        course.value.check_task(prepared.plan.problem.task)
    if course.warm is not None:
        course.warm.check_task(prepared.plan.problem.task)
    sealer = Sealer(course.folder, telling.opening_facts(course, prepared), course.clock)
    desk = open_desk(course, prepared, sealer)
    resuming.lay_grounds(course, prepared)
    if past is not None:
        past.replay(prepared, desk, sealer, course.folder.scratch)
    course.screen.watch(lambda: look(course, prepared, desk))
    if past is None or not past.searched:
        search(course, hands, desk)
    door = open_door(course, hands)
    finished = past and past.concluded(course, prepared, sealer, model_due(course))
    finished = scored(course, prepared, desk, sealer, finished or finish(course, hands, prepared, desk, sealer))
    report(course, prepared, desk, sealer, finished)
    exporting.export(
        course, sealer, until=model_due(course) + course.report_seconds + exporting.kept_seconds(course.spec)
    )
    if isinstance(door, LeptonError):
        raise door
    if door is not None:
        serve(course, door, prepared, sealer)
    course.screen.close()
    course.tell(messages.Done())


def take_hands(course: Course, temp: Path, port: Port | None) -> Hands:
    """Start the worker, which imports while the table is read, and decide whether Ray is worth its start."""
    staff = Staff.start(course)
    left = course.end - course.clock() - course.report_seconds
    session = None
    if left >= RAY_OF_USE_SECONDS or course.spec.serves or course.spec.address is not None:
        session = Session(temp, cpus=course.around.cpus, object_store_bytes=OBJECT_STORE_BYTES, preload=(TUNING,))
    return Hands(staff, session, port)


def ready(course: Course, hands: Hands, source: Source) -> Prepared:
    """Read the table, set rows apart, plan and clean; then Ray may boot, but not where time is so short that it would
    keep the cores from the first model."""
    prepared = prepare_table(course, hands, source)
    course.folder.write("plan.json", prepared.plan.to_json())
    course.folder.write_json("profile.json", prepared.profile.to_dict())
    if prepared.rejected:
        prepared.source.rejected.write(course.folder.path / "rejected.csv")
    telling.write_setup(course, prepared)
    for sentence in (*telling.sentences_of(prepared), *telling.chosen_of(course, prepared).sentences):
        course.screen.say(sentence)
    wanted = max(AMPLE_SECONDS, worth_ray(course, hands.session) + ENDING_SECONDS)
    if hands.session is not None and course.end - course.clock() >= wanted:
        hands.session.start()
    return prepared


def prepare_table(course: Course, hands: Hands, source: Source) -> Prepared:
    """Make the table ready: in memory, or through Ray where it is large, comes in pieces, and the time reaches.

    Raises:
        MoneyError: it cannot be read before the wall. EnvironmentFault: nor does it fit into memory.
    """
    size, free = source.expanded_bytes, psutil.virtual_memory().available
    if source.frame is not None or size <= LARGE_BYTES:
        looked_at = size / BYTES_PER_SECOND + len(source.names) * COLUMN_SECONDS
        course.budget.refuse(course.clock() + looked_at + FIRST_MODEL_SECONDS + course.budget.wall_seconds - course.end)
        return prepare(course.spec, source)
    pieces = source.pieces()
    fits = size * MEMORY_PER_BYTE <= free
    around = course.clock() + START_SECONDS + course.report_seconds + course.budget.wall_seconds - course.end
    in_memory = around + size / BYTES_PER_SECOND
    with_ray = around + RAY_READ_SECONDS + size / (RAY_BYTES_PER_SECOND * min(course.around.cpus, len(pieces)))
    wanted = (len(pieces) > 1 or not fits) and course.spec.address is None
    if wanted and hands.session is not None and course.budget.wall_seconds >= with_ray:
        if ray_is_up(course, hands.session):
            from lepton_ray.on_ray import tables

            return tables.prepare(course.spec, source, pieces, free)
    if fits:
        course.budget.refuse(min(in_memory, with_ray))
        return prepare(course.spec, source)
    course.budget.refuse(max(with_ray, around + RAY_OF_USE_SECONDS))
    raise EnvironmentFault(
        f"{source.name} takes about {size * MEMORY_PER_BYTE / 2**30:.1f} GiB of memory to read at once, and "
        f"{free / 2**30:.1f} GiB are free.",
        "Free memory or take fewer rows; with Ray it would be read in parts.",
    )


def ray_is_up(course: Course, session: Session) -> bool:
    """Boot Ray before the table is read, and wait for it."""
    course.meter.enter("start Ray")
    try:
        session.start().wait(course.end - course.clock())
    except EnvironmentFault as fault:
        course.screen.say(f"Ray did not start ({fault}); the table is read without it.")
    course.meter.enter("read")
    return session.error is None and session.ready.is_set()


def worth_ray(course: Course, session: Session | None) -> float:
    """The seconds that a search must have left to go on on Ray."""
    there = session is not None and session.ready.is_set()
    return RAY_THERE_SECONDS if there or course.spec.serves or course.spec.address is not None else RAY_WORTH_SECONDS


def search(course: Course, hands: Hands, desk: Desk) -> None:
    """The first models here while Ray boots, then all cores through Tune; or all of it here, on as many workers, where
    time is short.

    What comes after it is imported beside it, once there is a model: at the end every tenth of a second counts.
    """
    course.meter.enter("first models")
    session = hands.session
    on_ray = session is not None and desk.search_end() - course.clock() >= worth_ray(course, session)
    boots = session is not None and (on_ray or hands.port is not None)

    early = threading.Thread(target=lambda: [import_module(name) for name in LAST_MODULES], daemon=True)

    def hand_over() -> bool:
        if course.asked_to_stop.is_set():
            desk.stop("you asked to stop")
        if desk.best() is not None and early.ident is None:
            early.start()
        if boots and session is not None and desk.best() is not None:
            session.start()
        there = session is not None and (session.ready.is_set() or session.trouble is not None)
        return on_ray and there and desk.best() is not None

    pause: Callable[[float], object] | None = session.ready.wait if on_ray and session is not None else None

    def here(trial: Trial) -> bool:
        return course.host.suits(course.wish(trial.family))

    def on_host(cores: int, hand_over: Callable[[], bool]) -> host_search.InHand:
        crew = hands.staff.of(min(cores, MOST))
        threads = cores // len(crew)
        return host_search.run(desk, crew, course.clock, threads=threads, hand_over=hand_over, pause=pause, able=here)

    begun, lost = on_host(1 if boots else course.around.cpus, hand_over), None
    if on_ray and session is not None and desk.view(course.clock()).stopped_because is None:
        lost = session.trouble or search_on_ray(course, hands, desk, begun)
    begun.wait()
    if lost is not None:
        course.screen.say(f"! Ray {lost}; the search goes on without it.")
        hands.staff.free()
        pause = None
        on_host(course.around.cpus, lambda: hand_over() and False)


def search_on_ray(course: Course, hands: Hands, desk: Desk, begun: host_search.InHand) -> str | None:
    """Search on all cores through Tune; say what became of Ray, where it was lost before the search was over."""
    from lepton_ray.on_ray import search as ray_search

    course.meter.enter("search")
    assert hands.session is not None
    lost = ray_search.run(
        desk,
        ray_search.crew_of(course, desk),
        scratch=course.folder.scratch,
        clock=course.clock,
        memory_bytes=hands.staff.memory_bytes,
        asked_to_stop=course.asked_to_stop,
        beside=beside_ray(course, hands, desk, begun),
        ended=hands.session.ended,
    )
    return None if lost is None else f"was lost ({lost})"


def beside_ray(course: Course, hands: Hands, desk: Desk, begun: host_search.InHand) -> Callable[[], None]:
    """Hear out what was begun here; once, late, let the workers here make ready for what must be fitted again."""
    told = False

    def beside() -> None:
        nonlocal told
        begun.hear()
        if not told and course.clock() > WARM_FROM * desk.search_end():
            told = True
            hands.staff.warm([one.trial.family for one in leading(desk.outcomes())])

    return beside


def look(course: Course, prepared: Prepared, desk: Desk) -> Progress:
    """What a live view shows."""
    seen = desk.view(course.clock())
    budget, ledger = course.budget, course.meter.ledger
    return Progress(
        stage=ledger.stage or "",
        elapsed=seen.elapsed,
        wall=budget.wall_seconds,
        spent=str(course.meter.spent()),
        budget=str(budget.dollars),
        per_hour=str(budget.per_hour),
        trials=seen.finished,
        running=seen.running,
        metric=prepared.plan.problem.metric,
        best="" if seen.best is None else f"{seen.best.score:.4f}",
        family="" if seen.best is None else seen.best.trial.family,
    )


def finish(course: Course, hands: Hands, prepared: Prepared, desk: Desk, sealer: Sealer) -> finishing.Finished:
    """Blend the best, fit them again on more rows and measure them where nothing saw the rows.

    Raises:
        Interrupted, MoneyError, SearchError: there is no model at all.
    """
    course.meter.enter("finish")
    winner = desk.best()
    if winner is None:
        raise no_model(course, desk.outcomes())
    chosen = telling.chosen_in_the_end(course, prepared, desk)
    for name, why in desk.set_aside().items():
        course.screen.say(f"! {name} was tried no more: {why}")
    alone = telling.alone(winner, desk.outcomes(), chosen)
    reason = alone or desk.view(course.clock()).stopped_because or "the search came to its end"
    sealer.update(stopped_because=reason, left_out=dict(chosen.left_out))
    course.meter.ledger.note("stopped_because", reason)
    until = model_due(course) - (CORRECTING_SECONDS if prepared.held is None else 0.0)
    hire, cores = hands.staff.for_refits, course.around.cpus
    return conclude(course, prepared, desk, sealer, winner, hire=hire, until=until, cores=cores)


def scored(
    course: Course, prepared: Prepared, desk: Desk, sealer: Sealer, finished: finishing.Finished
) -> finishing.Finished:
    """The same with a score that is corrected for the choice of the winner, where no rows are held out; and tell what
    the search believed the score to be."""
    believed = finished.recipe.believed
    sealer.update(believed_score=believed if math.isfinite(believed) else None)
    if prepared.held is not None:
        return finished
    problem, scratch, end = prepared.plan.problem, course.folder.scratch, model_due(course)
    rng = np.random.default_rng(course.spec.seed)
    late = lambda: course.clock() > end  # noqa: E731
    corrected = blending.cross_validated(problem, prepared.dev, desk.outcomes(), scratch, rng=rng, late=late)
    if corrected is None:
        return finished
    interval = [corrected.low, corrected.high]
    sealer.update(score=corrected.score, score_interval=interval)
    return finished.measured(corrected.score, interval)


def model_due(course: Course) -> float:
    """The second by which the model must be sealed, so that it can be reported, exported and served."""
    served = SERVE_SECONDS if course.spec.serves else 0.0
    return course.end - course.report_seconds - exporting.kept_seconds(course.spec) - served


def report(course: Course, prepared: Prepared, desk: Desk, sealer: Sealer, finished: finishing.Finished) -> None:
    """Write report.html and name it in the result."""
    course.meter.enter("report")
    if sealer.bundle_id is not None:
        course.meter.ledger.note("bundle", sealer.bundle_id)
    html = telling.report_html(course, prepared, desk, sealer, finished)
    course.folder.write("report.html", html)
    sealer.update(report=str(course.folder.report))


def open_door(course: Course, hands: Hands) -> FrontDoor | LeptonError | None:
    """Begin to bring up Serve's proxy, where an endpoint is wanted; it goes on in the background. Where an earlier leg
    of the run has done the search, Ray begins to boot only now.

    A Ray that is not there is a fault to be told at the end: the model is finished and reported without it.
    """
    session = hands.session
    if hands.port is None or session is None:
        return None
    try:
        session.start().wait(max(0.0, course.end - course.clock() - course.report_seconds))
    except LeptonError as fault:
        return ServingError(f"The endpoint was not brought up: {fault.what}", fault.hint)
    return FrontDoor(hands.port).open()


def serve(course: Course, door: FrontDoor, prepared: Prepared, sealer: Sealer) -> None:
    """Put the winner behind the proxy, prove it with a real row, and stay until asked to end."""
    course.meter.enter("bring up endpoint")
    left = course.end - course.clock()
    row = telling.one_row(prepared)
    rate = course.meter.ledger.machine.per_hour
    endpoint = bring_up(door, course.folder.bundle, row, trust=course.spec.families, per_hour=rate, timeout=left)
    sealer.update(endpoint=endpoint.url)
    course.screen.close()
    course.tell(messages.Serving(endpoint.url))
    course.asked_to_stop.clear()
    course.asked_to_stop.wait(course.spec.serve_seconds)
