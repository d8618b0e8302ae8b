"""From a table to what a search needs: rows held out first, then a profile, a plan and clean columns of the rest.

The part that is held out is set aside by a hash of each raw row before anything is looked at, so no statistic of the
plan has seen it. The same three passes go over a table in memory and over the blocks of one that is not. It knows
nothing about trials, money or Ray.

Rows that a plan makes equal, because it leaves out what told them apart, belong on one side too. Which columns those
are only a plan can say; so where there are such rows, the hash is taken again without these columns, and the profile
and the plan are made anew. What stays of the first plan is which columns do not count, and no statistic: rows change
sides by their hash alone. Large tables are spared the second time; of them it is counted and told. Folds may part equal
rows where these are many, for the search is to find what is best on rows as they come.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import reduce
from pathlib import Path
from typing import Protocol, Self, TypeVar

import numpy as np
import pyarrow as pa

from lepton_ray import datasets
from lepton_ray.errors import DataError, UsageError
from lepton_ray.on_host.bench import Part
from lepton_ray.on_host.folds import folds_in_time, folds_of
from lepton_ray.on_host.lending import lent_name
from lepton_ray.spec import RunSpec, text_of_file
from lepton_ray.table.checks import leak_suspects
from lepton_ray.table.cleaning import LARGEST, MIN_ROWS, UNKNOWN_CLASS, CleaningPlan, make_plan
from lepton_ray.table.column_plan import Reason
from lepton_ray.table.hashing import hash_column, hash_rows, mix
from lepton_ray.table.passes import (
    Alike,
    Blocks,
    Clean,
    Cleaned,
    Compare,
    Count,
    InMemory,
    LookAt,
    ProfileOne,
    Rows,
    Sample,
    Sight,
    Split,
    Survey,
)
from lepton_ray.table.profile import Profile
from lepton_ray.table.row_rules import rich
from lepton_ray.table.schema import Kind
from lepton_ray.table.source import Source
from lepton_ray.table.splitting import (
    Census,
    Holdout,
    key_columns,
    needs_cross_validation,
    time_plan,
)

LEAK_SAMPLE_ROWS = 20_000
ANEW_BYTES = 64 * 2**20
"""A table up to this size is split and planned anew where it has rows that its plan makes equal."""
ROUNDS = 3
"""Of splitting anew, for a plan made from other rows may leave out more."""
FEW_TIMES, FEW_SHARE = 10, 0.02
"""Rows of few columns are equal by chance. Where none occurs more often than this, and in no larger share of the rows,
they can stay together all the same; else whole combinations would be held out, and the score be one of strangers."""


class Summand(Protocol):
    """An answer that adds up over the blocks of a table."""

    def add(self, other: Self) -> Self: ...


Sum = TypeVar("Sum", bound=Summand)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A table made ready.

    Attributes:
        dev: what the search may see; held: what only the final score sees, None under cross-validation.
        how: "held_out", "latest", "test_file" or "cross_validation".
        profile: of the development part.
        unscored: rows held out whose class no row to learn from has.
        twins: rows held out that repeat a row to learn from, but for columns that number the rows.
        note: what to say if not every row is learned from.
    """

    plan: CleaningPlan
    dev: Part
    held: Part | None
    how: str
    profile: Profile
    rows: int
    columns: int
    source: Source
    rejected: int
    unscored: int = 0
    twins: int = 0
    note: str | None = None

    def save(self, scratch: Path) -> None:
        """Write what a bench loads, but for its setup."""
        (scratch / "plan.json").write_text(self.plan.to_json(), encoding="utf-8")
        self.dev.save(scratch, "dev")
        if self.held is not None:
            self.held.save(scratch, "held")


@dataclass(frozen=True, slots=True)
class Planned:
    """How a table is split and cleaned, decided without the rows that are held out.

    Attributes:
        rows: of the whole table.
        how: see ``Prepared``.
        profile: of the development part.
    """

    split: Split
    holdout: Holdout
    how: str
    rows: int
    profile: Profile
    plan: CleaningPlan


def prepare(spec: RunSpec, source: Source | None = None) -> Prepared:
    """Make a table ready that fits into memory."""
    source = source or open_table(spec.table)
    return prepare_blocks(spec, source, InMemory(source.read()))


def prepare_blocks(spec: RunSpec, source: Source, blocks: Blocks, room: float = math.inf) -> Prepared:
    """Split, profile, plan and clean a table, block by block; ``room``: bytes that its clean rows may take."""
    planned = plan_blocks(spec, source, blocks)
    plan, split, holdout, profile = planned.plan, planned.split, planned.holdout, planned.profile
    share = min(1.0, room / (profile.rows * bytes_per_row(plan, profile)))
    dev, held = (Cleaned.join(parts) for parts in zip(*blocks.each(Clean(plan, split, holdout, share)), strict=True))
    if spec.test is not None:
        tested = Rows(open_table(spec.test).read())
        held = Clean(plan, replace(split, columns=(), time=None), Holdout())(tested)[0]
    twins = twins_of(plan, dev, held) if planned.how == "held_out" and rich(profile, plan.columns) else 0
    if split.time is None:
        folds = folds_of(dev.order, apart=judged_as_they_come(planned))
    else:
        folds = folds_in_time(-dev.order)[:, None]
    learned = part_of(plan, dev, folds)
    require_learnable(plan, learned, of=len(dev.y))
    return Prepared(
        plan=plan,
        dev=learned,
        held=part_of(plan, held) if len(held.y) else None,
        how=planned.how,
        profile=profile,
        rows=planned.rows,
        columns=len(source.names),
        source=source,
        rejected=source.rejected.count,
        unscored=int((held.y == UNKNOWN_CLASS).sum()),
        twins=twins,
        note=note_of(share, len(dev.y), profile.rows),
    )


def plan_blocks(spec: RunSpec, source: Source, blocks: Blocks) -> Planned:
    """Decide how a table is split, and plan from the rows that are not held out."""
    require_columns(source.names, spec)
    kept = [name for name in source.names if name not in spec.drop]
    columns = key_columns(kept, target=spec.target, weight=spec.weight, group=spec.group)
    when = None if spec.time is None else time_plan(joined(blocks.each(ProfileOne(spec.time))))
    split = Split(tuple(columns), spec.seed, when, spec.target if when is None else None)
    planned = planned_by(split, spec, blocks)
    if when is not None or spec.group is not None or source.expanded_bytes > ANEW_BYTES:
        return planned
    for _ in range(ROUNDS):
        fewer = replace(planned.split, columns=used_of(planned.split.columns, planned.plan))
        if fewer == planned.split or not belong_together(joined(blocks.each(Compare(planned.split, fewer))), planned):
            break
        planned = planned_by(fewer, spec, blocks)
    return planned


def belong_together(alike: Alike, planned: Planned) -> bool:
    """Whether there are rows that only left-out columns tell apart, and that do not just happen to be equal."""
    few = alike.most <= min(FEW_TIMES, FEW_SHARE * len(alike.keys))
    return alike.apart and (few or rich(planned.profile, planned.plan.columns))


def used_of(columns: Sequence[str], plan: CleaningPlan) -> tuple[str, ...]:
    """Those of them that the plan does not leave out."""
    left_out = {column.name for column in plan.columns if not column.use}
    return tuple(name for name in columns if name not in left_out)


def planned_by(split: Split, spec: RunSpec, blocks: Blocks) -> Planned:
    """Split a table like this, and plan from the rows that are not held out."""
    rows, holdout, how, sight = surveyed(blocks, split, spec)
    plan = plan_for(sight.profile, spec)
    if spec.plan is None:
        plan = without_leaks(plan, sight.sample)
    return Planned(split, holdout, "test_file" if spec.test is not None else how, rows, sight.profile, plan)


def surveyed(blocks: Blocks, split: Split, spec: RunSpec) -> tuple[int, Holdout, str, Sight]:
    """How many rows there are, which are held out and how, and what the others look like."""
    sight = None
    if blocks.rows_about is None or split.time is not None:
        census = joined(blocks.each(Count(split)))
        holdout, how = set_apart(census, split, spec)
    else:
        guess = Holdout() if spec.test is not None else Holdout.guess(blocks.rows_about)
        survey = joined(blocks.each(Survey(split, guess, LEAK_SAMPLE_ROWS)))
        census = survey.census
        holdout, how = set_apart(census, split, spec)
        sight = survey.settle(LookAt(split, holdout, LEAK_SAMPLE_ROWS), guess)
    return census.rows, holdout, how, sight or joined(blocks.each(LookAt(split, holdout, LEAK_SAMPLE_ROWS)))


def joined(answers: Iterable[Sum]) -> Sum:
    """The answers of all blocks as one."""
    return reduce(lambda one, other: one.add(other), answers)


def bytes_per_row(plan: CleaningPlan, profile: Profile) -> float:
    """About how many bytes a clean row takes."""
    texts = [profile.column(column.name) for column in plan.schema.columns if column.kind in (Kind.CATEGORY, Kind.TEXT)]
    return 8.0 * (len(plan.schema.columns) + 4) + sum(text.bytes / max(text.rows, 1) for text in texts)


def note_of(share: float, kept: int, rows: int) -> str | None:
    """What to say if not every row is learned from."""
    if share >= 1:
        return None
    return (
        f"{kept:,} of {rows:,} rows are learned from, chosen evenly by a hash of each row: more do not fit into this "
        "machine's memory"
    )


def open_table(table: str) -> Source:
    """The table behind a path or the name of a built-in one; one that a caller lent is named in the caller's words."""
    source, name = datasets.open_table(table), lent_name(table)
    return source if name is None else replace(source, name=name)


def set_apart(census: Census, split: Split, spec: RunSpec) -> tuple[Holdout, str]:
    """Which rows are held out, and how."""
    if spec.test is not None or needs_cross_validation(census.rows):
        return Holdout(), "cross_validation"
    return census.holdout(spec.task), "held_out" if split.time is None else "latest"


def require_columns(names: Sequence[str], spec: RunSpec) -> None:
    """Refuse a target, weight, group or time column that the table lacks, naming the nearest."""
    asked = {"--target": spec.target, "--weight": spec.weight, "--group": spec.group, "--time": spec.time}
    for role, name in asked.items():
        if name is not None and name not in names:
            near = get_close_matches(name, names, 3, 0.4) or list(names[:5])
            raise DataError(f"The table has no column '{name}' ({role}).", f"Its nearest columns: {', '.join(near)}.")


def given_plan(spec: RunSpec) -> CleaningPlan | None:
    """The user's own plan, if there is one.

    Raises:
        DataError: it cannot be read, or is for another target.
    """
    if spec.plan is None:
        return None
    plan = CleaningPlan.from_json(text_of_file(spec.plan, "The plan"), where=f"The plan {spec.plan}")
    if plan.problem.target != spec.target:
        raise DataError(
            f"The plan {spec.plan} is for the target '{plan.problem.target}', not '{spec.target}'.",
            "Give the plan of a run with this target.",
        )
    return plan


def under_plan(spec: RunSpec) -> RunSpec:
    """The spec with what the user's own plan decides, so that rows are set apart as they were when it was made.

    Raises:
        UsageError: an option says otherwise than the plan.
    """
    plan = given_plan(spec)
    if plan is None:
        return spec
    problem = plan.problem
    said = {"metric": problem.metric, "task": problem.task.value, "positive": problem.positive}
    said |= {"weight": plan.weight, "group": plan.group, "time": plan.time}
    for option, planned in said.items():
        asked = getattr(spec, option)
        if asked not in (None, "auto", planned):
            raise contradiction(spec, f"--{option} is '{asked}'", "nothing" if planned is None else f"'{planned}'")
    columns = {column.name: column for column in plan.columns}
    for name, kind in spec.types:
        if name in columns and (columns[name].kind.value != kind or not columns[name].use):
            raise contradiction(spec, f"--types makes '{name}' a {kind}", "otherwise")
    for name in spec.drop:
        if name in columns and columns[name].use:
            raise contradiction(spec, f"--drop leaves out '{name}'", "that it is used")
    left_out = [column.name for column in plan.columns if column.reason is Reason.DROPPED]
    drop = tuple(dict.fromkeys((*spec.drop, *left_out)))
    return replace(spec, drop=drop, weight=plan.weight, group=plan.group, time=plan.time)


def contradiction(spec: RunSpec, asked: str, planned: str) -> UsageError:
    return UsageError(f"{asked}, but the plan {spec.plan} says {planned}.", "Leave the option out, or edit the plan.")


def plan_for(profile: Profile, spec: RunSpec) -> CleaningPlan:
    """The user's own plan, else one made from the profile."""
    plan = given_plan(spec)
    return plan or make_plan(
        profile,
        target=spec.target,
        drop=spec.drop,
        types=dict(spec.types),
        weight=spec.weight,
        group=spec.group,
        time=spec.time,
        positive=spec.positive,
        task=spec.task,
        metric=spec.metric,
    )


def without_leaks(plan: CleaningPlan, sample: Sample) -> CleaningPlan:
    """The plan with columns set aside that seem to know the answer, judged on a sample of the development rows."""
    rows = sample.in_order()
    return plan.set_aside(leak_suspects(rows, plan, plan.labels(rows)))


def judged_as_they_come(planned: Planned) -> bool:
    """Whether folds may part equal rows: where these stay because so many are how the table is, the rows to predict
    will be like that, too. Not where the folds' own score is the score."""
    stay = planned.profile.duplicates > 0 and not planned.plan.rows.duplicates
    return stay and planned.how != "cross_validation" and planned.plan.group is None


def twins_of(plan: CleaningPlan, dev: Cleaned, held: Cleaned) -> int:
    """How many rows held out repeat a row to learn from, where only a left-out number of the rows told them apart.

    A large table is split before it is known which columns those are. Only where rows are so ``rich`` that none are
    equal by chance does it say anything.
    """
    if plan.group is not None or not row_numbers(plan):
        return 0
    seen, judged = (
        mix(hash_rows(part.table, plan.schema.names) ^ hash_column(pa.array(part.y))) for part in (dev, held)
    )
    return int(np.isin(judged, seen).sum())


def row_numbers(plan: CleaningPlan) -> tuple[str, ...]:
    """The columns that are left out because they number or name the rows."""
    return tuple(column.name for column in plan.columns if column.reason is Reason.ID)


def require_learnable(plan: CleaningPlan, part: Part, *, of: int) -> None:
    """Refuse rows that nothing can be learned from: without a target, for no number is so large, or without a weight.

    Args:
        of: how many rows there are to learn from, those without a target with them.
    """
    if len(part.y) < MIN_ROWS:
        raise DataError(
            f"The target {plan.problem.target!r} is missing, or beyond {LARGEST:g}, in all but {len(part.y)} of {of:,} "
            "rows to learn from.",
            f"Give at least {MIN_ROWS} rows with it; write large numbers in a larger unit.",
        )
    weighty = len(part.y) if part.weight is None else int((part.weight[part.usable] > 0).sum())
    if weighty < MIN_ROWS:
        many = f"all but {weighty} of the rows" if weighty else "every row"
        raise DataError(f"The weight {plan.weight!r} is zero in {many} to learn from.", "Give more rows some.")


def part_of(plan: CleaningPlan, rows: Cleaned, folds: np.ndarray | None = None) -> Part:
    """Clean rows as a part; those without a label are left out."""
    known = np.isfinite(rows.y) if rows.y.dtype.kind == "f" else rows.y >= 0
    folds = np.zeros((len(rows.y), 1), np.int64) if folds is None else folds
    rows, folds = rows.filter(known), folds[known]
    table = rows.table.combine_chunks()
    return Part(table, rows.y, rows.weight, plan.training_rows(table, rows.y), folds)
