"""What is to be learned: the task, the classes and the metric, judged from the target's profile. Knows no rows."""

from collections.abc import Sequence
from dataclasses import replace

from lepton_ray.errors import DataError, UsageError
from lepton_ray.table import values
from lepton_ray.table.column_plan import ColumnPlan
from lepton_ray.table.fields import nearest
from lepton_ray.table.kinds import TOLERATED_WORDS, judge
from lepton_ray.table.profile import ColumnProfile
from lepton_ray.table.schema import Kind, Problem, Task

_CLASSES = frozenset({Task.BINARY, Task.MULTICLASS})
METRICS = {
    "roc_auc": _CLASSES,
    "log_loss": _CLASSES,
    "accuracy": _CLASSES,
    "f1": _CLASSES,
    "balanced_accuracy": _CLASSES,
    "average_precision": frozenset({Task.BINARY}),
    "brier": _CLASSES,
    "rmse": frozenset({Task.REGRESSION}),
    "mae": frozenset({Task.REGRESSION}),
    "r2": frozenset({Task.REGRESSION}),
    "mape": frozenset({Task.REGRESSION}),
}
DEFAULT_METRICS = {Task.BINARY: "roc_auc", Task.MULTICLASS: "log_loss", Task.REGRESSION: "rmse"}
MAX_INTEGER_CLASSES = 20
MAX_CLASSES = 200

_POSITIVE = {
    "yes": ("no",),
    "y": ("n",),
    "true": ("false",),
    "t": ("f",),
    "1": ("0", "-1"),
    "positive": ("negative",),
    "pos": ("neg",),
    "bad": ("good",),
    "spam": ("ham",),
    "malignant": ("benign",),
    "fraud": ("legit", "genuine", "normal", "ok"),
    "default": ("paid", "no default", "repaid"),
    "churned": ("stayed", "retained", "active"),
    "sick": ("healthy",),
    "anomaly": ("normal",),
    "failure": ("ok", "normal"),
}
"""The class that is looked for, with its opposites; of other pairs it is the rarer one."""


def make_problem(
    column: ColumnProfile, *, task: str = "auto", metric: str = "auto", positive: str | None = None
) -> tuple[Problem, ColumnPlan]:
    """The problem, and how the target's cells are read."""
    counts = class_counts(column)
    _check_values(column, counts)
    numeric = _is_numeric(column, sum(counts.values()) if column.values.exact else column.present)
    known = _task(column, counts, numeric, task)
    plan = replace(judge(column), kind=Kind.CATEGORY, reason=None, sentinels=(), dates=())
    if known is Task.REGRESSION:
        if not numeric:
            raise UsageError(
                f"The target {column.name!r} holds words ({next(iter(counts))!r:.40}), so it has no regression.",
                "Take --task multiclass (or binary), or another target.",
            )
        if positive is not None:
            raise UsageError(f"The target {column.name!r} is a number and has no positive class.", "Leave it out.")
        plan = replace(plan, kind=Kind.NUMBER)
        return Problem(column.name, known, (), fitting_metric(metric, known)), plan
    classes = _classes(column, counts, known)
    chosen = _positive(column.name, classes, counts, positive) if known is Task.BINARY else None
    if known is Task.MULTICLASS and positive is not None:
        raise UsageError(
            f"The target {column.name!r} has {len(classes)} classes, so none is the positive one.",
            "Leave the positive class out.",
        )
    if chosen is not None:
        classes = tuple(sorted(classes, key=lambda name: name == chosen))
    return Problem(column.name, known, classes, fitting_metric(metric, known), chosen), plan


def class_counts(column: ColumnProfile) -> dict[str, int]:
    """How many rows each value of a target has; some words that are no value elsewhere name a class here."""
    named = {word: n for word, n in column.words.items() if word.lower() not in values.MISSING_TARGET_WORDS}
    return column.values.counts() | named


def learns_classes(column: ColumnProfile, task: str = "auto") -> bool:
    """Whether the values of a target are taken for classes, and not for too many of them."""
    counts = class_counts(column)
    if not column.values.exact or len(counts) > MAX_CLASSES or task == Task.REGRESSION.value:
        return False
    return (
        task != "auto" or len(counts) == 2 or not _measures(column, counts, _is_numeric(column, sum(counts.values())))
    )


def _check_values(column: ColumnProfile, counts: dict[str, int]) -> None:
    where = f"The target {column.name!r}"
    if column.physical == "nested":
        raise DataError(f"{where} holds lists or objects.", "Choose a target with one value per row.")
    if not counts:
        raise DataError(f"{where} holds no value in any of {column.rows:,} rows.", "Choose another target.")
    if len(counts) == 1:
        absent = column.rows - sum(counts.values())
        every = f"every row but {absent:,}, where it is missing (blank, NA or the like)" if absent else "every row"
        raise DataError(
            f"{where} is {next(iter(counts))!r:.40} in {every}, so there is nothing to learn.",
            "Choose another target, or add rows with another value.",
        )


def _is_numeric(column: ColumnProfile, present: int) -> bool:
    if column.physical in ("integer", "number"):
        return True
    if column.physical != "text":
        return False
    return column.number_count >= (1 - TOLERATED_WORDS) * present


def _task(column: ColumnProfile, counts: dict[str, int], numeric: bool, asked: str) -> Task:
    """The task that was asked for, or the one that fits the values."""
    if asked != "auto":
        if asked not in [task.value for task in Task]:
            raise UsageError(f"There is no task {asked!r}.", nearest(asked, ["auto", *(task.value for task in Task)]))
        return Task(asked)
    if len(counts) == 2 and column.values.exact:
        return Task.BINARY
    if _measures(column, counts, numeric):
        return Task.REGRESSION
    if column.physical == "date" or (column.dates and judge(column).kind is Kind.DATE):
        raise DataError(
            f"The target {column.name!r} is a date, which is not learned as it is.",
            "Add a column with the number of days (or a class) and take it as the target.",
        )
    return Task.MULTICLASS


def _measures(column: ColumnProfile, counts: dict[str, int], numeric: bool) -> bool:
    """Whether the values are amounts, and not a few whole numbers that may well name classes."""
    whole = column.numbers.integers == column.number_count
    return numeric and not (column.values.exact and whole and len(counts) <= MAX_INTEGER_CLASSES)


def _classes(column: ColumnProfile, counts: dict[str, int], task: Task) -> tuple[str, ...]:
    """The classes, sorted: as numbers if all are."""
    where = f"The target {column.name!r}"
    if not column.values.exact or len(counts) > MAX_CLASSES:
        many = f"{'' if column.values.exact else 'about '}{column.values.distinct:,}"
        raise DataError(
            f"{where} has {many} different values, more than the {MAX_CLASSES} classes that can be learned.",
            "Choose another target, merge rare values, or take --task regression if it is a number.",
        )
    if task is Task.BINARY and len(counts) != 2:
        raise UsageError(f"{where} has {len(counts)} classes, not two.", "Take --task multiclass.")
    rarest = min(counts, key=lambda name: counts[name])
    if counts[rarest] == 1:
        raise DataError(
            f"{where} has one row only of class {rarest!r:.60} to learn from, so it cannot be tested.",
            "Remove or merge the class, add rows of it, or take --task regression if it is a number.",
        )
    return tuple(sorted(counts, key=_class_order))


def _class_order(name: str) -> tuple[int, float, str]:
    try:
        return 0, float(name), name
    except ValueError:
        return 1, 0.0, name


def _positive(target: str, classes: Sequence[str], counts: dict[str, int], asked: str | None) -> str:
    """The class that is looked for."""
    if asked is not None:
        same = [name for name in classes if name == asked] or [n for n in classes if n.lower() == asked.lower()]
        if not same:
            raise UsageError(f"The target {target!r} has no class {asked!r}.", nearest(asked, list(classes)))
        return same[0]
    for name, other in (tuple(classes), tuple(reversed(classes))):
        if other.lower() in _POSITIVE.get(name.lower(), ()):
            return name
    return min(classes, key=lambda name: (counts[name], classes.index(name) == 0))


def fitting_metric(asked: str, task: Task) -> str:
    """The metric that was asked for, or the task's default.

    Raises:
        UsageError: there is none of that name, or it does not fit the task.
    """
    if asked == "auto":
        return DEFAULT_METRICS[task]
    if asked not in METRICS:
        raise UsageError(f"There is no metric {asked!r}.", nearest(asked, list(METRICS)))
    if task not in METRICS[asked]:
        fitting = ", ".join(name for name, tasks in METRICS.items() if task in tasks)
        raise UsageError(f"The metric {asked!r} does not fit a {task.value} task.", f"Take one of: {fitting}.")
    return asked
