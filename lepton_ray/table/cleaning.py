"""The cleaning plan: what each column means, what is learned, which rows train. Made from a profile; fits nothing else.

Column rules clean each cell by itself, so a block and its rows, cleaned one by one, agree. Row rules (duplicates,
outliers of the target) choose rows for training only: a table to predict or to score keeps all of its rows.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.errors import DataError, UsageError
from lepton_ray.table import kinds, values
from lepton_ray.table.column_plan import CLEAN_TYPES, IN_WORDS, ColumnPlan, Reason, clean_together
from lepton_ray.table.fields import Fields, nearest, parsed
from lepton_ray.table.finding import Finding
from lepton_ray.table.hashing import hash_column, hash_rows, mix
from lepton_ray.table.profile import ColumnProfile, Profile
from lepton_ray.table.row_rules import RowRules, make_rules
from lepton_ray.table.schema import Column, Kind, Problem, Schema, Task
from lepton_ray.table.target import METRICS, class_counts, make_problem

VERSION = 1
MIN_ROWS = 10
FEW_ROWS = 64
LARGEST = 1e100
UNKNOWN_CLASS = -2
"""The label of a row whose class no row that was planned from has."""
FEWEST_OF_A_CLASS = 5


@dataclass(frozen=True, slots=True)
class CleaningPlan:
    """How a raw block becomes a clean one, and how the target is read."""

    columns: tuple[ColumnPlan, ...]
    target: ColumnPlan
    problem: Problem
    rows: RowRules = RowRules()
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    missing_words: tuple[str, ...] = values.MISSING_WORDS
    findings: tuple[Finding, ...] = ()

    @property
    def schema(self) -> Schema:
        """The columns of a clean block."""
        return Schema(tuple(Column(column.name, column.kind) for column in self.columns if column.use))

    def clean(self, block: Any) -> Any:
        """The features of a raw block, typed by the plan; extra columns are ignored."""
        used = [column for column in self.columns if column.use]
        _require(block, [column.name for column in used])
        columns = [block.column(column.name) for column in used]
        if block.num_rows <= FEW_ROWS:
            arrays = clean_together(used, columns, self.missing_words)
        else:
            arrays = [plan.clean(column, self.missing_words) for plan, column in zip(used, columns, strict=True)]
        schema = pa.schema([(column.name, CLEAN_TYPES[column.kind]) for column in used])
        return pa.Table.from_arrays(arrays, schema=schema)

    def labels(self, block: Any) -> npt.NDArray[Any]:
        """The target of a raw block: class codes (-1: missing, -2: no known class), or numbers (NaN: missing).

        A number too large for its square to be one counts as missing: no error of it can be measured.
        """
        _require(block, [self.target.name])
        cleaned = self.target.clean(block.column(self.target.name), values.MISSING_TARGET_WORDS)
        if self.problem.task is Task.REGRESSION:
            numbers = np.asarray(cleaned.to_numpy(zero_copy_only=False), dtype=np.float64)
            return np.where(np.abs(numbers) <= LARGEST, numbers, np.nan)
        codes = pc.index_in(cleaned, value_set=pa.array(self.problem.classes, type=pa.string()))
        codes = pc.coalesce(codes, pc.if_else(pc.is_valid(cleaned), pa.scalar(UNKNOWN_CLASS, pa.int32()), -1))
        return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)

    def weights(self, block: Any) -> npt.NDArray[np.float64] | None:
        """The weights of the rows of a raw block, or None if the plan has no weight."""
        if self.weight is None:
            return None
        _require(block, [self.weight])
        column = ColumnPlan(self.weight, Kind.NUMBER).clean(block.column(self.weight), self.missing_words)
        weights = np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)
        if not (weights >= 0).all():
            raise DataError(
                f"The weight {self.weight!r} is missing or negative in {int((~(weights >= 0)).sum()):,} rows.",
                "Fill it with numbers from zero up.",
            )
        return weights

    def within_bounds(self, y: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which labels are neither missing nor absurd."""
        if self.problem.task is not Task.REGRESSION:
            return np.asarray(y >= 0, dtype=bool)
        lowest = -math.inf if self.rows.lowest is None else self.rows.lowest
        highest = math.inf if self.rows.highest is None else self.rows.highest
        return np.asarray((y >= lowest) & (y <= highest), dtype=bool)

    def training_rows(self, clean: Any, y: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which rows of a clean block train: those with a target in bounds, and the first of exact duplicates."""
        keep = self.within_bounds(y)
        if self.rows.duplicates:
            keys = mix(hash_rows(clean, clean.column_names) ^ hash_column(pa.array(y)))
            first = np.zeros(len(y), dtype=bool)
            first[np.unique(keys, return_index=True)[1]] = True
            keep = keep & first
        return np.asarray(keep, dtype=bool)

    def set_aside(self, suspects: Iterable[Finding]) -> "CleaningPlan":
        """The plan without the columns that are suspected of knowing the answer, unless the user typed them.

        If no column would be left, all stay: then the answer may honestly be that easy.
        """
        suspects = tuple(suspects)
        names = {suspect.column for suspect in suspects}
        gone = [column.name for column in self.columns if column.use and not column.by_user and column.name in names]
        if len(gone) == len(self.schema.names):
            note = Finding(
                "leak", None, "Every column is suspected of knowing the answer, so all are used. Check them."
            )
            return replace(self, findings=(*self.findings, *suspects, note))
        columns = tuple(
            replace(column, reason=Reason.LEAK) if column.name in gone else column for column in self.columns
        )
        return replace(self, columns=columns, findings=(*self.findings, *suspects))

    def describe(self) -> list[str]:
        """The plan in sentences: what is learned, what becomes of each column and why, which rows train."""
        problem = self.problem
        what = problem.task.value + ("" if problem.task is Task.REGRESSION else " classification")
        classes = f" into {len(problem.classes)} classes" if len(problem.classes) > 2 else ""
        sought = f", looking for {problem.positive!r}" if problem.positive is not None else ""
        said = [f"To learn: {problem.target!r}, a {what}{classes}{sought}, measured by {problem.metric}."]
        by_column: dict[str | None, list[str]] = {}
        for finding in self.findings:
            by_column.setdefault(finding.column, []).append(finding.sentence)
        for column in (*self.columns, self.target):
            if column is self.target:
                head = f"{column.name!r} is the target."
            elif column.reason is None:
                head = f"{column.name!r} is a {column.kind.value} column{' (you said so)' if column.by_user else ''}."
            else:
                head = f"{column.name!r} is left out: {IN_WORDS[column.reason]}."
            said.append(" ".join([head, *by_column.pop(column.name, [])]))
        return said + by_column.pop(None, [])

    def to_json(self) -> str:
        """The plan as a JSON text that can be edited and given back."""
        facts = {
            "version": VERSION,
            "problem": self.problem.to_dict(),
            "target": self.target.to_dict(),
            "rows": self.rows.to_dict(),
            "weight": self.weight,
            "group": self.group,
            "time": self.time,
            "columns": [column.to_dict() for column in self.columns],
            "missing_words": list(self.missing_words),
            "findings": [{"kind": f.kind, "column": f.column, "sentence": f.sentence} for f in self.findings],
        }
        return json.dumps(facts, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, where: str = "The plan") -> "CleaningPlan":
        """The inverse of ``to_json``; whatever is wrong in an edited plan is refused by its place."""
        fields = parsed(text, where)
        if fields.values.get("version") != VERSION:
            raise DataError(f"{where} is not a cleaning plan of version {VERSION}.", "Write it with lepton profile.")
        fields.only(
            "version", "problem", "target", "rows", "weight", "group", "time", "columns", "missing_words", "findings"
        )
        found = fields.objects("findings")
        plan = cls(
            columns=tuple(ColumnPlan.from_fields(column) for column in fields.objects("columns")),
            target=ColumnPlan.from_fields(fields.object("target")),
            problem=_problem_of(fields.object("problem")),
            rows=RowRules.from_fields(fields.object("rows")),
            weight=fields.optional_text("weight"),
            group=fields.optional_text("group"),
            time=fields.optional_text("time"),
            missing_words=tuple(word.lower() for word in fields.texts("missing_words")),
            findings=tuple(Finding(f.text("kind"), f.optional_text("column"), f.text("sentence")) for f in found),
        )
        _check_columns(plan, where)
        return plan


def _problem_of(fields: Fields) -> Problem:
    """A problem from an edited plan."""
    fields.only("target", "task", "classes", "metric", "positive")
    task, classes = fields.choice("task", Task), fields.texts("classes")
    metric = fields.one_of("metric", [name for name, tasks in METRICS.items() if task in tasks])
    positive = fields.optional_text("positive")
    wrong = {
        Task.BINARY: len(classes) != 2 or positive != classes[-1],
        Task.MULTICLASS: len(classes) < 2 or positive is not None,
        Task.REGRESSION: bool(classes) or positive is not None,
    }[task]
    if wrong or len(set(classes)) < len(classes):
        raise DataError(
            f"{fields.where}.classes does not fit a {task.value} task.",
            "A binary task has two classes, the positive one last; a multiclass task several; a regression none.",
        )
    return Problem(fields.text("target"), task, classes, metric, positive)


def _check_columns(plan: CleaningPlan, where: str) -> None:
    names = [column.name for column in plan.columns]
    for name in names:
        if names.count(name) > 1 or name == plan.problem.target:
            raise DataError(f"{where} names the column {name!r} twice.", "Remove one of its entries.")
    if plan.target.name != plan.problem.target:
        raise DataError(f"{where}.target is not {plan.problem.target!r}.", "Give both places the same name.")
    _check_some_left(plan.columns)


def _check_some_left(columns: Sequence[ColumnPlan]) -> None:
    if not any(column.use for column in columns):
        why = "; ".join(f"{column.name!r}: {IN_WORDS[column.reason]}" for column in columns[:5] if column.reason)
        raise DataError(
            f"No column is left to learn from{f' ({why})' if why else ''}.",
            "Add columns, or bring one back with --types column=kind.",
        )


def _require(block: Any, names: Sequence[str]) -> None:
    """Refuse a block that lacks columns."""
    there = set(block.column_names)
    absent = [name for name in names if name not in there]
    if absent:
        some = ", ".join(map(repr, absent[:5])) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        raise DataError(
            f"The table lacks the column{'s' if len(absent) > 1 else ''} {some}.",
            nearest(absent[0], list(block.column_names)),
        )


def make_plan(
    profile: Profile,
    *,
    target: str,
    drop: Sequence[str] = (),
    types: Mapping[str, str] | None = None,
    weight: str | None = None,
    group: str | None = None,
    time: str | None = None,
    positive: str | None = None,
    task: str = "auto",
    metric: str = "auto",
) -> CleaningPlan:
    """Judge a table from its profile; ``types`` (name to kind) overrides every judgement, suspicion included."""
    types = types or {}
    roles = {Reason.WEIGHT: weight, Reason.GROUP: group, Reason.TIME: time}
    _check_request(profile, target, types, [*drop, *types, *(name for name in roles.values() if name)])
    problem, target_plan = make_problem(profile.column(target), task=task, metric=metric, positive=positive)
    given = {name: reason for reason, name in roles.items() if name} | dict.fromkeys(drop, Reason.DROPPED)
    columns: list[ColumnPlan] = []
    found: list[Finding] = []
    for column in profile.columns:
        if column.name == target:
            continue
        kind = Kind(types[column.name]) if column.name in types else None
        plan = kinds.judge(column, kind, repeated=profile.duplicates)
        if kind is None and column.name in given:
            plan = replace(plan, reason=given[column.name])
        columns.append(plan)
        found += kinds.findings(column, plan) if plan.use else []
    _check_some_left(columns)
    rules, said = make_rules(profile, problem, columns)
    found += [*_target_findings(profile.column(target), problem), *said]
    return CleaningPlan(tuple(columns), target_plan, problem, rules, weight, group, time, findings=tuple(found))


def _check_request(profile: Profile, target: str, types: Mapping[str, str], named: Iterable[str]) -> None:
    """Refuse columns that are not there, kinds that there are not, and tables without columns or rows."""
    names = list(profile.names)
    if len(names) < 2:
        raise DataError(f"The table has one column only ({names[0]!r}).", "Check the delimiter, or add columns.")
    for name in (target, *named):
        if name not in names:
            what = "target " if name == target else ""
            raise DataError(f"The table has no {what}column {name!r}.", nearest(name, names))
    if profile.rows < MIN_ROWS:
        raise DataError(
            f"The table has {profile.rows} row{'s' if profile.rows != 1 else ''} to learn from, fewer than {MIN_ROWS}.",
            "Give more rows.",
        )
    if target in types:
        raise UsageError(f"{target!r} is the target and has no kind.", "Say what is learned with --task.")
    for name, kind in types.items():
        if kind not in list(Kind):
            raise UsageError(f"Column {name!r} cannot be a {kind!r}.", nearest(kind, [known.value for known in Kind]))


def _target_findings(column: ColumnProfile, problem: Problem) -> list[Finding]:
    absent = column.missing + sum(n for word, n in column.words.items() if word.lower() in values.MISSING_TARGET_WORDS)
    found = []
    if absent:
        sentence = f"{absent:,} of {column.rows:,} rows have no target and do not train."
        found.append(Finding("missing-target", column.name, sentence))
    counts = class_counts(column)
    rare = [(name, counts[name]) for name in problem.classes if counts[name] < FEWEST_OF_A_CLASS]
    if rare:
        some = ", ".join(f"{name!r:.40}: {count}" for name, count in rare[:5]) + (", …" if len(rare) > 5 else "")
        have, them = ("class has", "it") if len(rare) == 1 else ("classes have", "them")
        sentence = (
            f"{len(rare)} {have} fewer than {FEWEST_OF_A_CLASS} rows to learn from ({some}): "
            f"what is said of {them} is little more than a guess, and hardly tested."
        )
        found.append(Finding("rare-class", column.name, sentence))
    if problem.task is Task.REGRESSION and column.numbers.infinite:
        sentence = f"{column.numbers.infinite:,} rows have an infinite target and do not train."
        found.append(Finding("infinite", column.name, sentence))
    return found
