"""What a run says of itself: the first facts of its result, the setup of its benches, sentences, the report.

It only gathers; what a number means is decided on the floors below.
"""

import json
import platform
import time
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow.compute as pc

from lepton_ray import __version__
from lepton_ray.bundle.export import onnx_refusal
from lepton_ray.bundle.files import disk_faults
from lepton_ray.bundle.interval import Interval
from lepton_ray.bundle.margins import margins_of, to_json
from lepton_ray.errors import LeptonError
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host.choosing import Chosen, chosen_families, fault_of
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.finishing import Finished
from lepton_ray.on_host.lending import lent_name
from lepton_ray.on_host.looking import in_short
from lepton_ray.on_host.preparation import Prepared, row_numbers
from lepton_ray.on_host.sealing import Facts, Sealer
from lepton_ray.report.facts import DataFacts, How, Measurement, ReportFacts, Spending, TrialFacts, Winner
from lepton_ray.report.predictions import Predictions
from lepton_ray.report.roi import Costs, Roi, measure_roi
from lepton_ray.report.wording import plural
from lepton_ray.search.desk import Desk
from lepton_ray.search.title import FLOOR
from lepton_ray.search.trial import Outcome
from lepton_ray.table.schema import Kind, Task
from lepton_ray.training.metrics import METRICS

ALSO = {
    Task.BINARY: ("roc_auc", "log_loss", "accuracy"),
    Task.MULTICLASS: ("log_loss", "accuracy", "balanced_accuracy"),
    Task.REGRESSION: ("rmse", "r2", "mae"),
}


def opening_facts(course: Course, prepared: Prepared) -> Facts:
    """The keys of the result that are known before the first trial."""
    problem = prepared.plan.problem
    return {
        "run": course.around.run_id,
        "bundle": None,
        "task": problem.task.value,
        "metric": problem.metric,
        "score": None,
        "score_interval": None,
        "baseline_score": None,
        "believed_score": None,
        "spent_usd": None,
        "budget_usd": float(course.budget.dollars),
        "wall_seconds": None,
        "deadline_seconds": course.budget.deadline_seconds,
        "trials": 0,
        "stopped_because": None,
        "left_out": dict(chosen_of(course, prepared).left_out),
        "report": None,
        "onnx": None,
        "endpoint": None,
        "score_how": prepared.how,
    }


def chosen_of(course: Course, prepared: Prepared) -> Chosen:
    """Which families this run tries."""
    problem, schema = prepared.plan.problem, prepared.plan.schema
    unsound = partial(fault_of, problem=problem, n_rows=len(prepared.dev.y), n_columns=len(schema.columns))
    return chosen_families(course.spec, problem.task, schema, course.lacking, unsound=unsound)


def chosen_in_the_end(course: Course, prepared: Prepared, desk: Desk) -> Chosen:
    """The same without those that the search has set aside."""
    chosen, aside = chosen_of(course, prepared), desk.set_aside()
    return Chosen(tuple(name for name in chosen.names if name not in aside), {**chosen.left_out, **aside})


def alone(winner: Outcome, outcomes: Sequence[Outcome], chosen: Chosen) -> str | None:
    """That the constant model is all there is, and why, where every family failed."""
    if winner.trial.family != FLOOR or any(one.usable and one.trial.family != FLOOR for one in outcomes):
        return None
    failed = {one.trial.family: one.reason for one in outcomes if one.reason} | dict(chosen.left_out)
    reasons = "; ".join(f"{name}: {' '.join(reason.split()).rstrip('.')}" for name, reason in failed.items())
    return f"every family failed, so the model is the constant one ({reasons[:400]})" if failed else None


def write_setup(course: Course, prepared: Prepared) -> None:
    """Write into the scratch folder what every bench of this run loads."""
    with disk_faults(course.folder.scratch):
        prepared.save(course.folder.scratch)
    setup = {
        "seed": course.spec.seed,
        "timed": course.spec.time is not None,
        "started": course.around.started,
        "how": prepared.how,
        "facts": {"run": course.around.run_id, "table_rows": prepared.rows, "source": prepared.source.name},
        "example": typical_row(prepared),
        "margins": to_json(margins_of(prepared.dev.table, prepared.plan.schema)) if course.spec.margins else None,
        "value": None if course.value is None else course.value.to_mapping(),
    }
    (course.folder.scratch / "setup.json").write_text(json.dumps(setup), encoding="utf-8")


def sentences_of(prepared: Prepared) -> list[str]:
    """What a person should hear before the search starts."""
    problem = prepared.plan.problem
    held_rows = 0 if prepared.held is None else len(prepared.held.y)
    plan = prepared.plan
    whole = f", in whole groups of '{plan.group}'" if plan.group else ""
    parted = f" whatever their '{plan.group}'" if plan.group else ""
    measured = {
        "held_out": f"{held_rows:,} rows are held out for the score{whole}",
        "latest": f"the latest {held_rows:,} rows are held out for the score{parted}",
        "test_file": "the score comes from the test file",
        "cross_validation": "too few rows to hold some out: the score comes from cross-validation",
    }[prepared.how]
    said = [
        f"{prepared.source.name}: {prepared.rows:,} rows, {prepared.columns} columns; {problem.task.value} on "
        f"'{problem.target}', judged by {problem.metric}; {measured}"
    ]
    if prepared.rejected:
        said.append(f"{prepared.rejected:,} ragged rows were kept aside in rejected.csv; the rest is used")
    said += [f"! {sentence}" for sentence in _score_doubts(prepared)]
    if prepared.note:
        said.append(prepared.note)
    return [*said, *(f"! {sentence}" for sentence in in_short(prepared.plan.findings, prepared.profile))]


def one_row(prepared: Prepared) -> dict[str, Any]:
    """A real row of the development part as JSON values, as a caller would send it."""
    row: dict[str, Any] = prepared.dev.table.slice(0, 1).to_pylist()[0]
    return {name: _plain(value) for name, value in row.items()}


def typical_row(prepared: Prepared) -> dict[str, Any]:
    """The middle of each number and date, the most frequent category: like a row, and nobody's. Text stays out."""
    table = prepared.dev.table
    columns = prepared.plan.schema.columns
    return {column.name: _plain(_typical(table.column(column.name), column.kind)) for column in columns}


def _typical(column: Any, kind: Kind) -> Any:
    known = column.drop_null()
    if kind is Kind.TEXT or not len(known):
        return None
    if kind is Kind.CATEGORY:
        counted = pc.value_counts(known)
        return max(counted.to_pylist(), key=lambda entry: (entry["counts"], entry["values"]))["values"]
    return known.take(pc.sort_indices(known).slice(len(known) // 2, 1))[0].as_py()


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def report_html(course: Course, prepared: Prepared, desk: Desk, sealer: Sealer, finished: Finished) -> str:
    """The whole report; its receipt is drawn again by the supervisor when the run has ended."""
    absent: dict[str, str] = {}
    roi = None
    if course.value is not None:
        try:
            roi = worth(course, prepared, finished)
        except Exception as fault:  # the report must stand without it, and says why
            absent["roi"] = str(fault)
    held = held_predictions(prepared, finished)
    if held is None and prepared.held is None:
        held = out_of_fold(prepared, finished)
    if held is None:
        absent["held_out"] = "The predictions for the rows held out are missing."
    problem = prepared.plan.problem
    families = [outcome.trial.family for outcome, _ in finished.recipe.members]
    refusal = onnx_refusal(prepared.plan.schema, families)
    facts = ReportFacts(
        run=course.around.run_id,
        task=problem.task.value,
        data=data_facts(prepared),
        spending=spending(course, sealer),
        classes=problem.classes,
        measurement=measurement(prepared, sealer, finished, held),
        trials=tuple(trial_facts(course, outcome) for outcome in desk.outcomes()),
        winner=winner(
            finished,
            None if prepared.held is None else held,
            refusal,
            chosen_in_the_end(course, prepared, desk).sentences,
        ),
        importances=finished.importances,
        held_out=held,
        roi=roi,
        threshold=sealer.facts.get("threshold"),
        receipt=Receipt.from_ledger(course.meter.ledger, at=course.clock()),
        bundle=sealer.bundle_id,
        written=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        versions={"python": platform.python_version(), "lepton_ray": __version__}
        | {name: version(name) for name in ("ray", "lightgbm", "scikit-learn")},
        commands=commands(course, exports=refusal is None),
        absent=absent,
    )
    from lepton_ray.report.render import render  # matplotlib takes most of a second, and nothing before needs it

    return render(facts)


def winner(
    finished: Finished, held: Predictions | None, refusal: LeptonError | None, left_out: Sequence[str] = ()
) -> Winner:
    """What won; the note is for what the report does not say by itself, as why it cannot be exported."""
    members = finished.recipe.members
    families = " + ".join(dict.fromkeys(outcome.trial.family for outcome, _ in members))
    notes = [finished.note] if finished.fitted_on in ("search", "some") else []
    if len(members) > 1:
        parts = ", ".join(f"{share:.0%} {outcome.trial.id} ({outcome.trial.family})" for outcome, share in members)
        notes.append(f"It averages {len(members)} models: {parts}.")
    if held is not None and "interval" in finished.recipe.decided:
        notes.append(_covered(Interval.from_dict(finished.recipe.decided["interval"]), held))
    notes += [*([] if refusal is None else [refusal.what]), *left_out]
    trials = tuple(outcome.trial.id for outcome, _ in members)
    return Winner(families, trials, finished.fitted_on == "all", " ".join(notes))


def _covered(interval: Interval, held: Predictions) -> str:
    low, high = interval.around(held.values)
    share = float(np.mean((held.y >= low) & (held.y <= high)))
    return (
        f"{share:.1%} of the rows held out lie between prediction_low and prediction_high; {interval.level:.0%} should."
    )


def data_facts(prepared: Prepared) -> DataFacts:
    """What the table was."""
    plan, schema = prepared.plan, prepared.plan.schema
    used = {*schema.names, plan.problem.target}
    y = prepared.dev.y
    lent = any(lent_name(str(file)) for file in prepared.source.files)
    counts = {name: int((y == code).sum()) for code, name in enumerate(plan.problem.classes)}
    return DataFacts(
        source=prepared.source.name,
        target=plan.problem.target,
        rows=prepared.rows,
        kinds={kind.value: len(schema.of(kind)) for kind in Kind if schema.of(kind)},
        dropped=tuple(name for name in prepared.source.names if name not in used),
        size_bytes=None if lent else prepared.source.size_bytes,
        rejected_rows=prepared.rejected,
        rejected_file="rejected.csv" if prepared.rejected else None,
        target_counts=counts,
        target_range=None if counts else (float(y.min()), float(np.median(y)), float(y.max())),
        cleaning=tuple(plan.describe()),
        findings=(*in_short(plan.findings, prepared.profile), *_score_doubts(prepared)),
    )


def _score_doubts(prepared: Prepared) -> tuple[str, ...]:
    """What makes the score other than it seems."""
    said = []
    if prepared.unscored:
        rows = plural(prepared.unscored, "row")
        said.append(f"{rows} kept apart are of a class that no row to learn from has, and are left out of the score.")
    if prepared.twins:
        names = row_numbers(prepared.plan)
        rows = f"{plural(prepared.twins, 'row')} kept apart {'repeats' if prepared.twins == 1 else 'repeat'}"
        said.append(
            f"{rows} a row to learn from but for {' and '.join(map(repr, names))}, so the score may be too good: "
            f"--drop {','.join(names)} puts equal rows on one side."
        )
    return tuple(said)


def spending(course: Course, sealer: Sealer) -> Spending:
    """What was used of both limits until now."""
    return Spending(
        spent=course.meter.spent(),
        wall_seconds=course.clock(),
        budget=course.budget.dollars,
        deadline_seconds=course.budget.deadline_seconds,
        binding=course.budget.binding,
        per_hour=course.budget.per_hour,
        stopped_because=str(sealer.facts.get("stopped_because") or ""),
    )


def measurement(prepared: Prepared, sealer: Sealer, finished: Finished, held: Predictions | None) -> Measurement:
    """The score, its interval, and the same rows by other metrics."""
    problem = prepared.plan.problem
    metric = METRICS[problem.metric]
    low, high = finished.held_out["interval"] or (None, None)
    how: How = finished.held_out["how"]
    if how == "cross_validation" and prepared.held is not None:
        how = "search"
    also = {}
    if held is not None and len(held):
        scores = {name: float(METRICS[name].score(held.y, held.values, held.weight)) for name in ALSO[problem.task]}
        also = {name: score for name, score in scores.items() if name != problem.metric and np.isfinite(score)}
    return Measurement(
        metric=problem.metric,
        greater_is_better=metric.greater_is_better,
        score=finished.held_out["score"],
        low=low,
        high=high,
        baseline=sealer.facts.get("baseline_score"),
        how=how,
        rows=int(finished.held_out["rows"]),
        folds=len(np.unique(prepared.dev.folds[:, 0])) if prepared.held is None else None,
        repeats=finished.recipe.repeats,
        also=also,
        group=prepared.plan.group,
        time=prepared.plan.time,
        weight=prepared.plan.weight,
        believed=finished.recipe.believed,
    )


def trial_facts(course: Course, outcome: Outcome) -> TrialFacts:
    """One line of the leaderboard."""
    machine = course.meter.ledger.machine
    return TrialFacts(
        id=outcome.trial.id,
        family=outcome.trial.family,
        config={**outcome.trial.config, **outcome.effort},
        rung=outcome.trial.rung,
        score=outcome.score,
        seconds=outcome.seconds,
        dollars=machine.share(1, outcome.seconds),
        driver=outcome.driver,
        state=outcome.state,
        reason=outcome.reason,
    )


def held_predictions(prepared: Prepared, finished: Finished) -> Predictions | None:
    """What the scored model said of the rows held out."""
    if prepared.held is None or finished.predictions is None or not finished.predictions.exists():
        return None
    return Predictions(prepared.held.y, np.load(finished.predictions, allow_pickle=False), prepared.held.weight)


def out_of_fold(prepared: Prepared, finished: Finished) -> Predictions:
    """What the winners said together of development rows that they were not fitted on."""
    recipe, weight = finished.recipe, prepared.dev.weight
    return Predictions(prepared.dev.y[recipe.rows], recipe.predictions, None if weight is None else weight[recipe.rows])


def worth(course: Course, prepared: Prepared, finished: Finished) -> Roi:
    """Value minus cost: the threshold from out-of-fold predictions, the earning from held-out ones."""
    assert course.value is not None
    problem = prepared.plan.problem
    return measure_roi(
        course.value,
        out_of_fold(prepared, finished),
        held_predictions(prepared, finished),
        Costs(course.meter.spent(), course.budget.per_hour),
        answer=problem.positive or problem.target,
        rng=np.random.default_rng(course.spec.seed),
    )


def commands(course: Course, *, exports: bool) -> tuple[tuple[str, str], ...]:
    """Lines that a reader may want to type."""
    folder = course.folder.path
    elsewhere = f" --out {folder}-again" if course.spec.out else ""
    again = ("Run it again", f"lepton run --spec {folder / 'spec.json'}{elsewhere}")
    return (
        ("Predict a table", f"lepton predict {folder / 'bundle'} TABLE --out predictions.csv"),
        ("Serve it", f"lepton serve {folder / 'bundle'}"),
        *((("Export it as ONNX", f"lepton export {folder / 'bundle'} --out model.onnx"),) if exports else ()),
        ("See every trial", f"lepton trials {folder}"),
        *((again,) if lent_name(course.spec.table) is None else ()),
    )
