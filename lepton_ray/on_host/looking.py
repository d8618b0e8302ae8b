"""One look at a table: its profile, what would be done with each column, what looks like a leak. It learns nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from lepton_ray.on_host.preparation import Planned, open_table, plan_blocks
from lepton_ray.spec import RunSpec
from lepton_ray.table import kinds
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.column_plan import IN_WORDS, ColumnPlan
from lepton_ray.table.finding import Finding
from lepton_ray.table.passes import InMemory
from lepton_ray.table.profile import Profile, profile_block

NAMED_GAPS = 3
"""So many columns with missing cells are named; what is done about gaps is the same for all."""


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


def look_at(table: str, *, target: str | None, **options: Any) -> Look:
    """Read and profile a table; with a target also plan for it and look for leaks, as a run with these options would.

    Args:
        options: those of ``RunSpec`` that a plan or a split depends on.

    Raises:
        DataError: it cannot be read, or has no such column. UsageError: an option is wrong or does not fit.
    """
    spec = RunSpec.from_options({"table": table, "target": target or "-", **options})
    source = open_table(table)
    raw = source.read()
    profile = profile_block(raw)
    plan = None
    said: list[str] = []
    if target is not None:
        planned = plan_blocks(spec, source, InMemory(raw))
        plan = planned.plan
        said += in_short(plan.findings, planned.profile)
        if planned.profile.rows < planned.rows:
            said.append(_seen(planned))
        plans = {column.name: column for column in (*plan.columns, plan.target)}
    else:
        plans = {column.name: kinds.judge(column, None) for column in profile.columns}
        found = [one for column in profile.columns for one in kinds.findings(column, plans[column.name])]
        said += in_short(found, profile)
        said.append("Name a --target to see what looks like a leak.")
    if source.rejected.count:
        said.append(f"{source.rejected.count:,} ragged rows would be kept aside.")
    if profile.duplicates and plan is None:
        said.append(f"{profile.duplicates:,} rows repeat an earlier one exactly.")
    rows = tuple(_row(profile, plans[name], name, target) for name in profile.names)
    return Look(source.name, profile, plan, rows, tuple(dict.fromkeys(said)))


def in_short(findings: Iterable[Finding], profile: Profile) -> list[str]:
    """The findings as sentences, what is missing in one of them: a table of many gaps must not hide the rest."""
    kept = list(findings)
    gaps = [one for one in kept if one.kind == "missing" and one.column is not None]
    if len(gaps) <= NAMED_GAPS:
        return [str(one) for one in kept]
    shares = sorted(((_absent(profile, one.column), one.column) for one in gaps if one.column), reverse=True)
    named = ", ".join(f"{name} ({_share(share)})" for share, name in shares[:NAMED_GAPS])
    rest = f"{len(gaps) - NAMED_GAPS} more with {_share(shares[NAMED_GAPS][0])} or less"
    said = f"Cells are missing in {len(gaps)} columns: {named} and {rest}."
    return [said, *(str(one) for one in kept if one not in gaps)]


def _seen(planned: Planned) -> str:
    apart = planned.rows - planned.profile.rows
    return (
        f"The plan is made from {planned.profile.rows:,} rows, those that a run may look at; it holds the other "
        f"{apart:,} out for its score."
    )


def _absent(profile: Profile, name: str) -> float:
    column = profile.column(name)
    return 1 - column.present / column.rows


def _share(share: float) -> str:
    """A share that is not nothing never reads as nothing, and one that is not all never as all."""
    if 0 < share < 0.01:
        return "<1%"
    return ">99%" if 0.99 < share < 1 else f"{share:.0%}"


def _row(profile: Profile, plan: ColumnPlan, name: str, target: str | None) -> tuple[str, ...]:
    column = profile.column(name)
    missing = column.rows - column.present
    distinct = min(column.values.distinct, column.present)  # beyond some thousands it is an estimate
    about = "" if column.values.exact else "about "
    if name == target:
        done = "the target"
    else:
        done = "used" if plan.reason is None else f"left out: {IN_WORDS[plan.reason]}"
    share = _share(missing / column.rows) if missing else ""
    return name, plan.kind.value, share, f"{about}{distinct:,}", done
