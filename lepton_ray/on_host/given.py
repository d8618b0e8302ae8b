"""Features and a target that a caller hands over, made ready for a search in which nothing of them is lost.

A business table is judged: identifiers, leaks, repeated rows and absurd targets are set aside. Here the caller has
chosen already: every row trains, every number is used as it is, and only columns from which nothing can be learned
(blank, constant, a name of its own in every row) are left out. It knows nothing about trials, money or scikit-learn.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from lepton_ray.on_host.bench import Part
from lepton_ray.on_host.preparation import Prepared
from lepton_ray.search.rungs import N_FOLDS, REPEATED_BELOW, REPEATS
from lepton_ray.table import values
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.column_plan import ColumnPlan, Reason
from lepton_ray.table.frames import table_of
from lepton_ray.table.hashing import hash_rows, mix
from lepton_ray.table.kinds import judge
from lepton_ray.table.profile import Profile, profile_block
from lepton_ray.table.schema import Kind, Problem
from lepton_ray.table.source import open_source

FEWEST_GROUPS = 50
"""Different rows from which equal ones are kept in one fold."""
FEWEST_REPEATED = 100
"""Rows from which a cross-validation is repeated with other folds; with fewer the choice is coarse in any case."""
NOTHING_IN_IT = (Reason.BLANK, Reason.CONSTANT, Reason.NESTED)


@dataclass(frozen=True, slots=True)
class Given:
    """What was handed over.

    Attributes:
        table: (n, d) the features, raw.
        y: (n,) codes of ``problem.classes``, or values.
        weight: (n,) above zero, or None.
        folds: (n, repeats) see ``dealt_folds``.
        numeric: every column holds numbers that mean what they say, as the columns of an array do.
    """

    table: pa.Table
    y: np.ndarray
    weight: np.ndarray | None
    folds: np.ndarray
    problem: Problem
    numeric: bool


def prepare_given(given: Given) -> Prepared:
    """Plan and clean the rows; the score comes from cross-validation."""
    profile = profile_block(given.table.select([]) if given.numeric else given.table)
    plan = plan_of(given, profile)
    n_rows = given.table.num_rows
    clean = plan.clean(given.table).combine_chunks()
    return Prepared(
        plan=plan,
        dev=Part(clean, given.y, given.weight, np.ones(n_rows, dtype=bool), given.folds),
        held=None,
        how="cross_validation",
        profile=profile,
        rows=n_rows,
        columns=given.table.num_columns,
        source=open_source(given.table),
        rejected=0,
    )


def plan_of(given: Given, profile: Profile) -> CleaningPlan:
    """The plan for what was handed over; no rule about rows."""
    target = ColumnPlan(given.problem.target, Kind.CATEGORY if given.problem.classes else Kind.NUMBER)
    if given.numeric:
        columns = [ColumnPlan(name, Kind.NUMBER) for name in given.table.column_names]
    else:
        columns = judged(given.table, profile)
    return CleaningPlan(tuple(columns), target, given.problem)


def judged(table: pa.Table, profile: Profile) -> list[ColumnPlan]:
    """Each column by its own values; if none were left, all stay."""
    plans = []
    for column in profile.columns:
        typed = Kind.CATEGORY if pa.types.is_dictionary(table.schema.field(column.name).type) else None
        plan = judge(column, typed, repeated=profile.duplicates)
        empty = plan.reason in NOTHING_IN_IT or (plan.reason is Reason.ID and plan.kind is Kind.CATEGORY)
        plans.append(plan if empty else replace(plan, reason=None))
    return plans if any(plan.use for plan in plans) else [replace(plan, reason=None) for plan in plans]


def dealt_folds(table: pa.Table, strata: np.ndarray, seed: int) -> np.ndarray:
    """(n, repeats) fold of each row: equal rows in one fold, each stratum spread evenly, the rest left to a hash of
    the row.

    Where hardly any rows differ, being equal means little, and they are dealt one by one.
    """
    keys = hash_rows(table, table.column_names, seed)
    distinct, first, places = np.unique(keys, return_index=True, return_inverse=True)
    if len(distinct) < FEWEST_GROUPS:
        first = places = np.arange(len(keys))
    repeats = REPEATS if FEWEST_REPEATED <= len(keys) < REPEATED_BELOW else 1
    folds = np.empty((len(first), repeats), np.int64)
    for repeat in range(repeats):
        order = np.lexsort((np.arange(len(first)), mix(keys[first], repeat), strata[first]))
        folds[order, repeat] = np.arange(len(first)) % min(N_FOLDS, len(first))
    return folds[places]


def each_fold_has_all(folds: np.ndarray, codes: np.ndarray, n_classes: int) -> bool:
    """Whether every class is found in every fold, so that any metric is defined there."""
    return all(len(np.unique(drawn * n_classes + codes)) == len(np.unique(drawn)) * n_classes for drawn in folds.T)


def class_names(classes: np.ndarray) -> tuple[str, ...]:
    """The classes in words, as a bundle says them; where two would read alike, or as nothing, they are numbered."""
    cells = pa.array([str(name) for name in classes.tolist()], pa.string())
    words = ColumnPlan("class", Kind.CATEGORY).clean(cells, values.MISSING_TARGET_WORDS).to_pylist()
    if None in words or len(set(words)) < len(words):
        return tuple(f"class {code}" for code in range(len(words)))
    return tuple(words)


def table_of_array(cells: np.ndarray, numeric: bool | None) -> tuple[pa.Table, bool]:
    """An array as columns x0, x1, …: numbers where all cells are, else each column by its own cells."""
    names = [f"x{place}" for place in range(cells.shape[1])]
    if numeric is not False:
        try:
            columns = np.asfortranarray(cells, dtype=np.float64)
        except ValueError:
            if numeric:
                raise
        else:
            return pa.table([pa.array(columns[:, place]) for place in range(len(names))], names=names), True
    return table_of(pd.DataFrame(cells, columns=names).infer_objects()), False


def free_name(name: str, table: pa.Table) -> str:
    """The name, or the first of name_2, name_3, … that is no column of the table."""
    taken, number, free = set(table.column_names), 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free
