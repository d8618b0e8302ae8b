"""lepton profile: what is in a table, what would be cleaned and why, what looks like a leak."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lepton_ray.cli import options
from lepton_ray.table.place import require_there


def profile(
    table: Annotated[
        str, typer.Argument(help="CSV, TSV, Parquet, JSONL (also .gz), a folder of them, or builtin:NAME.")
    ],
    target: Annotated[
        str | None, typer.Option(help="The column you want to know: plans for it, and looks for leaks.")
    ] = None,
    task: options.Task = None,
    metric: options.Metric = None,
    positive: options.Positive = None,
    drop: options.Drop = None,
    types: options.Types = None,
    weight: options.Weight = None,
    group: options.Group = None,
    time: options.Time = None,
    test: options.Test = None,
    seed: options.Seed = None,
    plan_out: Annotated[
        str | None, typer.Option("--plan", help="Write the cleaning plan here, to edit and give back.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the profile and the plan as JSON.")] = False,
) -> None:
    """Look at a table without learning from it; with the options of a run, the plan is the one that it would make.

    Example:

      lepton profile churn.csv --target Churn --plan plan.json
    """
    given: dict[str, Any] = dict(locals())
    for name in ("plan_out", "as_json"):
        given.pop(name)
    from lepton_ray.spec import RunSpec

    RunSpec.from_options({**given, "target": target or "-"})  # a wrong word is refused before anything is read
    require_there(table)
    from lepton_ray.on_host.looking import look_at

    seen = look_at(**given)
    if plan_out is not None and seen.plan is not None:
        from pathlib import Path

        Path(plan_out).write_text(seen.plan.to_json(), encoding="utf-8")
    if as_json:
        plan = None if seen.plan is None else json.loads(seen.plan.to_json())
        typer.echo(json.dumps({"profile": seen.profile.to_dict(), "plan": plan}, indent=2))
        return
    console = Console()
    shown = Table(box=None, pad_edge=False)
    for name in ("column", "kind", "missing", "distinct", "what is done"):
        shown.add_column(name, justify="right" if name in ("missing", "distinct") else "left", overflow="fold")
    for row in seen.rows:
        shown.add_row(*(escape(cell) for cell in row))
    size = f"{seen.profile.rows:,} rows, {len(seen.profile.names)} columns"
    console.print(f"{seen.source}: {size}", highlight=False, markup=False)
    console.print(shown)
    for sentence in seen.sentences:
        console.print(f"- {sentence}", highlight=False, markup=False)
