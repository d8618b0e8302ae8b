"""How a run that was broken off goes on: its money, its folder, and what its earlier legs have found out.

Its log is what every run leaves: the spec, the ledger, the trials, the bundle sealed last. Nothing is restored that a
search holds in memory; its desk is told again what it was told before, and the policy decides from there. It knows
nothing about Ray, processes or endpoints.
"""

import hashlib
import math
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lepton_ray.bundle.bundle import model_folders
from lepton_ray.bundle.files import point
from lepton_ray.bundle.manifest import Manifest, read_manifest
from lepton_ray.errors import BundleError, DataError, EnvironmentFault, MoneyError
from lepton_ray.money.budget import Budget
from lepton_ray.money.duration import duration_text
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.meter import Meter
from lepton_ray.money.prices import MachinePrice
from lepton_ray.money.usage import Leg, Usage
from lepton_ray.on_host.broken import Broken
from lepton_ray.on_host.concluding import concluded
from lepton_ray.on_host.course import ENDPOINT_SECONDS, Course, Screen, priors_of, smallest_seconds
from lepton_ray.on_host.finishing import Finished
from lepton_ray.on_host.fits import SEARCH, home_of
from lepton_ray.on_host.preparation import Prepared, open_table
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.warm import Warm
from lepton_ray.report.value import Value
from lepton_ray.report.wording import plural
from lepton_ray.search.desk import Desk
from lepton_ray.search.trial import BROKEN_OFF, Outcome
from lepton_ray.spec import RunSpec, Surroundings, text_of_file
from lepton_ray.table.digest import digest_of
from lepton_ray.table.fields import Fields, parsed
from lepton_ray.table.place import BUILTIN, require_there

REASON = "its run was broken off while it was in hand"
LOST = "its model was lost when the run was broken off"
AGAIN_SECONDS = 2.0
"""With less than this before the model is due, a blend that was sealed as the search fitted it stays so."""


@dataclass(frozen=True, slots=True)
class Past:
    """What the earlier legs of a run have left.

    Attributes:
        outcomes: of all trials that had begun; those that were in hand are broken off.
        sealed: the manifest of the bundle in place, None without one.
        prepared: what ``fingerprint`` said of the table made ready; None where the run did not come so far.
        stopped_because: why the search ended, where it had.
    """

    outcomes: tuple[Outcome, ...]
    sealed: Manifest | None
    prepared: str | None
    stopped_because: str | None

    @property
    def champion(self) -> str | None:
        """The id of the trial whose own model is in place, or the largest part of it; None where it is none, or one
        that was fitted again."""
        if self.sealed is None or self._fitted_on not in (None, SEARCH):
            return None
        return str(self.sealed.facts["origin"][0]["id"])

    @property
    def searched(self) -> bool:
        """Whether the search had ended: the model in place is the blend that it came to, measured."""
        return self._fitted_on is not None

    @property
    def _fitted_on(self) -> str | None:
        return None if self.sealed is None else self.sealed.facts.get("fitted_on")

    def concluded(self, course: Course, prepared: Prepared, sealer: Sealer, until: float) -> Finished | None:
        """What the search had come to; None where it is still to be concluded, or fitted again before ``until``."""
        again = self._fitted_on == SEARCH and course.clock() + AGAIN_SECONDS <= until
        if self.sealed is None or not self.searched or again:
            return None
        known = {outcome.trial.id: outcome for outcome in self.outcomes}
        sealer.update(stopped_because=self.stopped_because)
        return concluded(course, prepared, sealer, self.sealed, known)

    def replay(self, prepared: Prepared, desk: Desk, sealer: Sealer, scratch: Path) -> None:
        """Let the desk and the sealer know what was known, and lay into ``scratch`` what is to be fitted again.

        Raises:
            EnvironmentFault: the table was made ready otherwise than before.
        """
        if self.prepared not in (None, fingerprint(prepared)):
            raise EnvironmentFault(
                "The table was made ready otherwise than before, so what its trials said does not fit any more.",
                "Resume the run with the version, the memory and the --plan that it began with, or start a new one.",
            )
        desk.replay([self._as_known(outcome, sealer) for outcome in self.outcomes])
        if self.searched and self.stopped_because is not None:
            desk.stop(self.stopped_because)
        if self.sealed is not None:
            sealer.go_on(trials=desk.tried())
            if self._fitted_on == SEARCH:
                lay_out(self.sealed, sealer.place, scratch)
        for outcome in self.outcomes:
            if outcome.trial.family == "constant" and outcome.held_out is not None:
                sealer.update(baseline_score=outcome.held_out["score"])

    def _as_known(self, outcome: Outcome, sealer: Sealer) -> Outcome:
        """Only the bundle in place is left; without any, what had found a model is to be tried again."""
        if self.sealed is None and outcome.usable:
            return Outcome(outcome.trial, BROKEN_OFF, outcome.driver, outcome.started, outcome.seconds, reason=LOST)
        holds = outcome.trial.id == self.champion
        return replace(outcome, bundle=str(sealer.place) if holds else None)


def lay_out(sealed: Manifest, bundle: Path, scratch: Path) -> None:
    """Lay the models of a blend where they were when it was sealed as the search had fitted it."""
    for trial, model in zip(sealed.facts["origin"], model_folders(bundle, sealed.members), strict=True):
        shutil.copytree(model, home_of(scratch, SEARCH, str(trial["id"])))


def spec_of(folder: Path, **changes: Any) -> RunSpec:
    """What the run was asked for, with what this call of ``lepton resume`` says otherwise.

    Raises:
        DataError: its table was lent by a caller in Python, or is gone, or the spec is not as it was written.
    """
    spec = RunSpec.from_options({**written(folder / "spec.json").values, **changes})
    for table in filter(None, (spec.table, spec.test)):
        if not (table.startswith(BUILTIN) or Path(table).is_absolute()):
            raise DataError(
                f"The table of this run was {table}, and went with the program that had it.",
                "Start a new run there; --warm-start takes the best of this one along.",
            )
        require_there(table)
    return spec


def take_up(
    spec: RunSpec, folder: Path, around: Surroundings, screen: Screen, machine: MachinePrice | None = None
) -> tuple[Course, Past]:
    """Open the books where they were left, mend the folder, and say what goes on.

    Args:
        machine: what this machine costs as a node of a cluster.

    Raises:
        MoneyError: too little is left, or this machine has another price. DataError: the table has changed.
    """
    left = RunFolder(folder)
    broken, ledger = Broken.of(folder), Ledger.open(left.ledger)
    alone = ledger.rates.then(broken.spent_seconds, ledger.machine.per_hour)
    budget = Budget.from_dict(ledger.notes["budget"], ledger.machine.per_hour).under(alone)
    require_enough(spec, around, budget, left)
    require_price(machine or spec.machine(around), ledger)
    require_same(spec, left)
    grounds = grounds_of(left)
    prepared = None if grounds is None else grounds.text("prepared")
    value, warm = None if spec.value is None else Value.from_file(spec.value), still_warm(spec, screen)
    priors = priors_of(spec)
    left.mend()
    sealed = mended_bundle(left)
    outcomes = recalled(left, ledger, broken.spent_seconds)
    began = time.time() - (time.monotonic() - around.started - broken.spent_seconds)
    down = max(0.0, began - broken.at)
    ledger.resume(Leg(broken.spent_seconds, began, down))
    ledger.enter("start", broken.spent_seconds)
    meter = Meter(ledger, lambda: time.monotonic() - around.started)
    course = Course(spec, around, budget, left, meter, screen, value, warm, priors)
    for sentence in sentences_of(broken, down, outcomes, torn=ledger.torn + left.torn()):
        screen.say(sentence)
    return course, Past(outcomes, sealed, prepared, ledger.notes.get("stopped_because"))


def require_enough(spec: RunSpec, around: Surroundings, budget: Budget, folder: RunFolder) -> None:
    """Refuse a run of which too little is left to read its table and come to an end."""
    there = budget.wall_seconds - (time.monotonic() - around.started)
    smallest = smallest_seconds(spec) + (ENDPOINT_SECONDS if spec.serves else 0.0)
    if there < smallest:
        kept = f"Its best model so far is in {folder.bundle}; to" if folder.bundle.exists() else "To"
        raise MoneyError(
            f"Of {duration_text(budget.wall_seconds)} this run has {duration_text(max(0.001, there))} left, and going "
            f"on {'with an endpoint ' if spec.serves else ''}needs {duration_text(math.ceil(smallest))}.",
            f"{kept} search on, start a new run, with --warm-start and that bundle if there is one.",
        )


def require_price(machine: MachinePrice, ledger: Ledger) -> None:
    """Refuse to go on where an hour costs something else: what is left was reckoned at one rate."""
    here = machine.per_hour
    if here != ledger.machine.per_hour:
        raise MoneyError(
            f"The run began on a machine at {ledger.machine.per_hour} per hour, and this one costs {here}.",
            "Resume it on a machine like that, or start a new run with --warm-start.",
        )


def require_same(spec: RunSpec, folder: RunFolder) -> None:
    """Refuse a table that has changed, or of which nobody can say whether it has."""
    grounds = grounds_of(folder)
    if grounds is None and folder.trials():
        raise DataError(
            f"The folder {folder.kept} is gone, so nobody can say whether the table is still the same.",
            "Start a new run; --warm-start takes the best of this one along.",
        )
    if grounds is not None and grounds.text("source") != source_digest(spec):
        raise DataError(
            f"The table {spec.table} is no longer the one that the run in {folder.path} began with.",
            "Bring it back, or start a new run; --warm-start takes the best of this one along.",
        )


def grounds_of(folder: RunFolder) -> Fields | None:
    """What the run stands on, as ``lay_grounds`` wrote it; None where it did not come so far."""
    path = folder.kept / "grounds.json"
    return written(path) if path.exists() else None


def written(path: Path) -> Fields:
    """What an earlier leg of the run has written into a file of its own.

    Raises:
        DataError: it cannot be read, or holds something else.
    """
    return parsed(text_of_file(str(path), "The file"), f"The file {path}")


def lay_grounds(course: Course, prepared: Prepared) -> None:
    """Note what the trials to come will stand on, where no earlier leg of the run did."""
    if grounds_of(course.folder) is None:
        facts = {"source": source_digest(course.spec), "prepared": fingerprint(prepared)}
        course.folder.write_json(f"{course.folder.kept.name}/grounds.json", facts)


def source_digest(spec: RunSpec) -> str:
    """Which tables a run reads."""
    tables = (spec.table, *([] if spec.test is None else [spec.test]))
    return "+".join(digest_of(open_table(table)) for table in tables)


def fingerprint(prepared: Prepared) -> str:
    """Which rows a search sees, in which order, folds and meaning."""
    whole = hashlib.sha256(prepared.plan.to_json().encode())
    for part in filter(None, (prepared.dev, prepared.held)):
        for array in (part.y, part.usable, part.folds, part.weight):
            whole.update(b"" if array is None else array.tobytes())
    return whole.hexdigest()


def still_warm(spec: RunSpec, screen: Screen) -> Warm | None:
    """What the run was to begin with; a bundle that is gone since then is no reason to end."""
    try:
        return Warm.of(spec)
    except BundleError as fault:
        screen.say(f"! It goes on without --warm-start: {fault.what}")
        return None


def mended_bundle(folder: RunFolder) -> Manifest | None:
    """End what was begun when a bundle took another's place: the one that the run points at stays, the others go.

    Only where it points at none that is whole, the newest is taken by the clock of the day, which may have jumped.
    """
    whole: dict[Path, Manifest] = {}
    for home in (folder.path / "bundles").iterdir():
        try:
            manifest = read_manifest(home)[1]
            manifest.check_files(home)
        except BundleError:
            continue
        whole[home.resolve()] = manifest
    if not whole:
        return None
    chosen = folder.bundle.resolve()
    if chosen not in whole:
        chosen = max(whole, key=lambda home: whole[home].created)
        point(folder.bundle, chosen)
    folder.drop_others(folder.path / "bundles" / chosen.name)
    return whole[chosen]


def recalled(folder: RunFolder, ledger: Ledger, until: float) -> tuple[Outcome, ...]:
    """All trials that had begun; those that never ended are written down as broken off ``until`` then, and what the
    books do not hold of any is entered."""
    known = {outcome.trial.id: outcome for outcome in folder.trials()}
    for begun in folder.begun():
        if begun.trial.id not in known:
            seconds = max(0.0, until - begun.at)
            lost = Outcome(begun.trial, BROKEN_OFF, begun.driver, begun.at, seconds, reason=REASON, node=begun.node)
            folder.log_trial(lost)
            known[begun.trial.id] = lost
    booked = ledger.attributed
    for outcome in known.values():
        if outcome.trial.id not in booked:
            ledger.attribute(usage_of(outcome, ledger.stage or "search", until))
    return tuple(known.values())


def usage_of(outcome: Outcome, stage: str, until: float) -> Usage:
    """A trial's share of the machine, none of it after the run was broken off."""
    started = min(outcome.started, until)
    ended = min(started + max(0.0, outcome.seconds), until)
    return Usage(
        stage,
        outcome.trial.id,
        started,
        ended,
        1,
        family=outcome.trial.family,
        driver=outcome.driver,
        outcome=outcome.state,
        node=outcome.node,
    )


def sentences_of(broken: Broken, down: float, outcomes: tuple[Outcome, ...], *, torn: int) -> list[str]:
    """What a person should hear before it goes on."""
    ended = sum(outcome.state != BROKEN_OFF for outcome in outcomes)
    left, pause = broken.wall_seconds - broken.spent_seconds, duration_text(max(0.001, round(down, 1)))
    said = [
        f"run {broken.run_id} goes on: {broken.sentence}, and down for {pause}, which is not billed; "
        f"{plural(ended, 'trial')} and {duration_text(max(0.001, left))} are there"
    ]
    if ended < len(outcomes):
        said.append(f"{plural(len(outcomes) - ended, 'trial')} that were in hand may be tried again")
    if torn:
        said.append(f"! {plural(torn, 'line')} of its log {'was' if torn == 1 else 'were'} torn and dropped")
    return said
