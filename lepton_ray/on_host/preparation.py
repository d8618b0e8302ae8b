"""From a table to what a search needs: rows held out first, then a profile, a plan and clean columns of the rest.

The part that is held out is set aside by a hash of each raw row before anything is looked at, so no statistic of the
plan has seen it. It knows nothing about trials, money or Ray.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lepton_ray.errors import DataError
from lepton_ray.on_host.bench import Part
from lepton_ray.spec import RunSpec
from lepton_ray.table.cleaning import CleaningPlan, make_plan
from lepton_ray.table.profile import Profile, profile_block
from lepton_ray.table.source import Source, open_source
from lepton_ray.table.splitting import fold_ids, holdout_mask, needs_cross_validation, row_keys, time_order


@dataclass(frozen=True, slots=True)
class Prepared:
    """A table made ready.

    Attributes:
        dev: what the search may see; held: what only the final score sees, None under cross-validation.
        how: "held_out", "latest", "test_file" or "cross_validation".
        profile: of the development part; example: a raw row of it.
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
    example: pa.Table

    def save(self, scratch: Path) -> None:
        """Write what a bench loads, but for its setup."""
        (scratch / "plan.json").write_text(self.plan.to_json(), encoding="utf-8")
        self.dev.save(scratch, "dev")
        if self.held is not None:
            self.held.save(scratch, "held")


def prepare(spec: RunSpec) -> Prepared:
    """Read, split, profile, plan and clean a table that fits into memory."""
    source = open_source(spec.table)
    raw = source.read()
    require_columns(raw, spec)
    keys = row_keys(raw, split_columns(raw, spec), spec.seed)
    order = time_order(raw, spec.time) if spec.time else None
    apart, how = _apart(raw, keys, order, spec)
    dev_raw = raw.filter(pa.array(~apart)) if apart.any() else raw
    profile = profile_block(dev_raw)
    plan = plan_for(profile, dev_raw, spec)
    dev = clean_part(plan, dev_raw, spec, fold_ids(keys[~apart], order=None if order is None else order[~apart]))
    held = clean_part(plan, raw.filter(pa.array(apart)), spec) if apart.any() else None
    if spec.test is not None:
        tested = open_source(spec.test).read()
        held, how = clean_part(plan, tested, spec), "test_file"
    return Prepared(
        plan, dev, held, how, profile, raw.num_rows, raw.num_columns, source, source.rejected.count, dev_raw.slice(0, 1)
    )


def _apart(
    raw: pa.Table, keys: np.ndarray, order: np.ndarray | None, spec: RunSpec
) -> tuple[np.ndarray, str]:
    """(n,) True where a row is held out, and how."""
    if spec.test is not None or needs_cross_validation(raw.num_rows):
        return np.zeros(raw.num_rows, bool), "cross_validation"
    if order is not None:
        return holdout_mask(keys, order=order), "latest"
    return holdout_mask(keys), "held_out"


def require_columns(raw: pa.Table, spec: RunSpec) -> None:
    """Refuse a target, weight, group or time column that the table lacks, naming the nearest."""
    from difflib import get_close_matches

    named = {"target": spec.target, "weight": spec.weight, "group": spec.group, "time": spec.time}
    named.update({f"drop ({name})": name for name in spec.drop})
    named.update({f"types ({name})": name for name, _ in spec.types})
    for role, name in named.items():
        if name is not None and name not in raw.column_names:
            near = get_close_matches(name, raw.column_names, 3, 0.4) or raw.column_names[:5]
            raise DataError(f"The table has no column '{name}' ({role}).", f"Nearest: {', '.join(near)}.")


def split_columns(raw: pa.Table, spec: RunSpec) -> list[str]:
    """The columns whose equality keeps rows on one side: the group, else all but target, weight and dropped ones."""
    if spec.group is not None:
        return [spec.group]
    without = {spec.target, spec.weight, *spec.drop}
    return [name for name in raw.column_names if name not in without] or [spec.target]


def plan_for(profile: Profile, sample: pa.Table, spec: RunSpec) -> CleaningPlan:
    """The user's own plan, else one made from the profile."""
    if spec.plan is not None:
        return CleaningPlan.from_file(spec.plan, target=spec.target)
    return make_plan(
        profile,
        target=spec.target,
        sample=sample,
        drop=spec.drop,
        types=dict(spec.types),
        weight=spec.weight,
        group=spec.group,
        time=spec.time,
        positive=spec.positive,
        task=spec.task,
        metric=spec.metric,
    )


def clean_part(plan: CleaningPlan, raw: pa.Table, spec: RunSpec, folds: np.ndarray | None = None) -> Part:
    """Clean columns and labels; rows without a label are left out."""
    y = plan.labels(raw)
    known = np.isfinite(y) if y.dtype.kind == "f" else y >= 0
    table = plan.clean(raw)
    usable = plan.training_rows(table, y)
    weight = weights(raw, spec.weight)
    folds = np.zeros(len(y), np.int64) if folds is None else folds
    if not known.all():
        table = table.filter(pa.array(known))
        y, usable, folds = y[known], usable[known], folds[known]
        weight = None if weight is None else weight[known]
    return Part(table.combine_chunks(), y, weight, usable, folds)


def weights(raw: pa.Table, column: str | None) -> np.ndarray | None:
    """(n,) weights, finite and not negative.

    Raises:
        DataError: a weight is missing, negative or no number.
    """
    if column is None:
        return None
    import pandas as pd

    found: Any = pd.to_numeric(raw.column(column).to_pandas(), errors="coerce").to_numpy(np.float64)
    wrong = np.flatnonzero(~np.isfinite(found) | (found < 0))
    if len(wrong):
        raise DataError(
            f"The weight column '{column}' holds {len(wrong)} values that are missing, negative or no numbers "
            f"(the first in row {wrong[0] + 1}).",
            "Mend them, or run without --weight.",
        )
    if not found.any():
        raise DataError(f"The weight column '{column}' is zero in every row.", "Run without --weight.")
    return np.asarray(found)
