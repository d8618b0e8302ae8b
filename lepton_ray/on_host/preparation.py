"""From a table to what a search needs: rows held out first, then a profile, a plan and clean columns of the rest.

The part that is held out is set aside by a hash of each raw row before anything is looked at, so no statistic of the
plan has seen it. It knows nothing about trials, money or Ray.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pyarrow as pa

from lepton_ray.datasets import load_builtin_dataset
from lepton_ray.errors import DataError
from lepton_ray.on_host.bench import Part
from lepton_ray.search.rungs import N_FOLDS
from lepton_ray.spec import RunSpec, text_of_file
from lepton_ray.table.checks import leak_suspects
from lepton_ray.table.cleaning import CleaningPlan, make_plan
from lepton_ray.table.profile import Profile, profile_block
from lepton_ray.table.source import Source, open_source
from lepton_ray.table.splitting import (
    fold_ids,
    holdout_mask,
    key_columns,
    latest_mask,
    needs_cross_validation,
    row_keys,
    sample_mask,
    time_folds,
    times,
)

LEAK_SAMPLE_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Prepared:
    """A table made ready.

    Attributes:
        dev: what the search may see; held: what only the final score sees, None under cross-validation.
        how: "held_out", "latest", "test_file" or "cross_validation".
        profile: of the development part.
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

    def save(self, scratch: Path) -> None:
        """Write what a bench loads, but for its setup."""
        (scratch / "plan.json").write_text(self.plan.to_json(), encoding="utf-8")
        self.dev.save(scratch, "dev")
        if self.held is not None:
            self.held.save(scratch, "held")


def prepare(spec: RunSpec) -> Prepared:
    """Read, split, profile, plan and clean a table that fits into memory."""
    source = open_table(spec.table)
    raw = source.read()
    require_columns(raw.column_names, spec)
    names = [name for name in raw.column_names if name not in spec.drop]
    keys = row_keys(raw, key_columns(names, target=spec.target, weight=spec.weight, group=spec.group), spec.seed)
    when = times(raw, spec.time) if spec.time else None
    apart, how = set_apart(raw.num_rows, keys, when, tested=spec.test is not None)
    dev_raw = raw.filter(pa.array(~apart)) if apart.any() else raw
    profile = profile_block(dev_raw)
    plan = plan_for(profile, spec)
    if spec.plan is None:
        plan = without_leaks(plan, dev_raw, keys[~apart])
    folds = fold_ids(keys[~apart], N_FOLDS) if when is None else folds_in_time(when[~apart])
    dev = clean_part(plan, dev_raw, folds)
    held = clean_part(plan, raw.filter(pa.array(apart))) if apart.any() else None
    if spec.test is not None:
        held, how = clean_part(plan, open_table(spec.test).read()), "test_file"
    return Prepared(
        plan=plan,
        dev=dev,
        held=held,
        how=how,
        profile=profile,
        rows=raw.num_rows,
        columns=raw.num_columns,
        source=source,
        rejected=source.rejected.count,
    )


def open_table(table: str) -> Source:
    """The table behind a path, or one that ships with the package: ``builtin:breast_cancer``."""
    if table.startswith("builtin:"):
        dataset = load_builtin_dataset(table.removeprefix("builtin:"))
        return replace(open_source(dataset.frame), name=dataset.name)
    return open_source(table)


def set_apart(n_rows: int, keys: np.ndarray, when: np.ndarray | None, *, tested: bool) -> tuple[np.ndarray, str]:
    """(n,) True where a row is held out, and how."""
    if tested or needs_cross_validation(n_rows):
        return np.zeros(n_rows, bool), "cross_validation"
    if when is not None:
        return latest_mask(when), "latest"
    return holdout_mask(keys), "held_out"


def require_columns(names: Sequence[str], spec: RunSpec) -> None:
    """Refuse a target, weight, group or time column that the table lacks, naming the nearest."""
    asked = {"--target": spec.target, "--weight": spec.weight, "--group": spec.group, "--time": spec.time}
    for role, name in asked.items():
        if name is not None and name not in names:
            near = get_close_matches(name, names, 3, 0.4) or list(names[:5])
            raise DataError(f"The table has no column '{name}' ({role}).", f"Its nearest columns: {', '.join(near)}.")


def plan_for(profile: Profile, spec: RunSpec) -> CleaningPlan:
    """The user's own plan, else one made from the profile."""
    if spec.plan is not None:
        text = text_of_file(spec.plan, "The plan")
        plan = CleaningPlan.from_json(text, where=f"The plan {spec.plan}")
        if plan.problem.target != spec.target:
            raise DataError(
                f"The plan {spec.plan} is for the target '{plan.problem.target}', not '{spec.target}'.",
                "Give the plan of a run with this target.",
            )
        return plan
    return make_plan(
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


def without_leaks(plan: CleaningPlan, raw: pa.Table, keys: np.ndarray) -> CleaningPlan:
    """The plan with columns set aside that seem to know the answer, judged on a sample of the development rows."""
    sample = raw.filter(pa.array(sample_mask(keys, LEAK_SAMPLE_ROWS)))
    return plan.set_aside(leak_suspects(sample, plan, plan.labels(sample)))


def folds_in_time(when: np.ndarray) -> np.ndarray:
    """(n,) fold of each row in order of time; fold 0 only trains."""
    folds = np.zeros(len(when), np.int64)
    for number, (_, judged) in enumerate(time_folds(when, N_FOLDS), start=1):
        folds[judged] = number
    return folds


def clean_part(plan: CleaningPlan, raw: pa.Table, folds: np.ndarray | None = None) -> Part:
    """Clean columns and labels; rows without a label are left out."""
    y = plan.labels(raw)
    known = np.isfinite(y) if y.dtype.kind == "f" else y >= 0
    table, weight = plan.clean(raw), plan.weights(raw)
    folds = np.zeros(len(y), np.int64) if folds is None else folds
    if not known.all():
        table = table.filter(pa.array(known))
        y, folds = y[known], folds[known]
        weight = None if weight is None else weight[known]
    return Part(table.combine_chunks(), y, weight, plan.training_rows(table, y), folds)
