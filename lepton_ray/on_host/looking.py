"""One look at a table: its profile, what would be done with each column, what looks like a leak. It learns nothing."""

from dataclasses import dataclass

from lepton_ray.on_host.preparation import LEAK_SAMPLE_ROWS, open_table, without_leaks
from lepton_ray.table import kinds
from lepton_ray.table.cleaning import CleaningPlan, make_plan
from lepton_ray.table.column_plan import IN_WORDS, ColumnPlan
from lepton_ray.table.passes import Sample
from lepton_ray.table.profile import Profile, profile_block
from lepton_ray.table.splitting import key_columns, row_keys, sample_order


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen.

    Attributes:
        plan: for the target, or None where none was named.
        rows: (column, kind, missing, distinct, what is done) in words, one per column.
        sentences: what its owner should hear.
    """

    source: str
    profile: Profile
    plan: CleaningPlan | None
    rows: tuple[tuple[str, ...], ...]
    sentences: tuple[str, ...]


def look_at(table: str, *, target: str | None, types: dict[str, str] | None = None) -> Look:
    """Read and profile a table; with a target also plan for it and look for leaks.

    Raises:
        DataError: it cannot be read, or has no such column.
    """
    source = open_table(table)
    raw = source.read()
    profile = profile_block(raw)
    plan = None
    said: list[str] = []
    if target is not None:
        plan = make_plan(profile, target=target, types=types or {})
        keys = row_keys(raw, key_columns(raw.column_names, target=target))
        plan = without_leaks(plan, Sample.of(raw, sample_order(keys), LEAK_SAMPLE_ROWS))
        said += [str(finding) for finding in plan.findings]
        plans = {column.name: column for column in (*plan.columns, plan.target)}
    else:
        plans = {column.name: kinds.judge(column, None) for column in profile.columns}
        for column in profile.columns:
            said += [str(finding) for finding in kinds.findings(column, plans[column.name])]
        said.append("Name a --target to see what looks like a leak.")
    if source.rejected.count:
        said.append(f"{source.rejected.count:,} ragged rows would be kept aside.")
    if profile.duplicates:
        said.append(f"{profile.duplicates:,} rows repeat an earlier one exactly.")
    rows = tuple(_row(profile, plans[name], name, target) for name in profile.names)
    return Look(source.name, profile, plan, rows, tuple(dict.fromkeys(said)))


def _row(profile: Profile, plan: ColumnPlan, name: str, target: str | None) -> tuple[str, ...]:
    column = profile.column(name)
    missing = column.rows - column.present
    about = "" if column.values.exact else "about "
    if name == target:
        done = "the target"
    else:
        done = "used" if plan.reason is None else f"left out: {IN_WORDS[plan.reason]}"
    share = f"{missing / column.rows:.0%}" if missing else ""
    return name, plan.kind.value, share, f"{about}{column.values.distinct:,}", done
