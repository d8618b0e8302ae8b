"""lepton runs, trials, receipt, report: what earlier runs left on disk, read without changing anything."""

import json
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lepton_ray.errors import UsageError
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host.broken import Broken, broken_off, find, run_folders
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.table.place import RUNS_FOLDER

RunArgument = Annotated[str, typer.Argument(help="A run's id (its beginning will do), or its folder.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]


def runs(as_json: JsonOption = False) -> None:
    """List the runs under lepton-runs, the latest last, and which of them lepton resume can go on with.

    Example: lepton runs
    """
    found = [(folder, result_of(folder)) for folder in run_folders()]
    left = {folder: broken_off(folder) for folder, _ in found}
    if as_json:
        told = [{"folder": str(folder), "resumable": left[folder] is not None, **result} for folder, result in found]
        typer.echo(json.dumps(told, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("run", "task", "metric", "score", "spent", "seconds", "trials", "stopped because"):
        table.add_column(name, justify="right" if name in ("score", "spent", "seconds", "trials") else "left")
    for folder, result in found:
        seen = costs({**result, **costs_so_far(left[folder])})
        table.add_row(folder.name, *(text(result.get(key)) for key in ("task", "metric", "score")), *seen)
    Console().print(table if found else f"There are no runs under {RUNS_FOLDER}/ here.")
    for one in filter(None, left.values()):
        typer.echo(f"To go on with what was broken off: lepton resume {one.folder.name}")


def trials(run: RunArgument, as_json: JsonOption = False) -> None:
    """List the trials of a run, the best first.

    Example: lepton trials 20261122-1015
    """
    outcomes = sorted(
        RunFolder(find(run)).trials(), key=lambda o: (-o.trial.rung, o.error if o.error is not None else float("inf"))
    )
    if as_json:
        typer.echo(json.dumps([outcome.to_dict() for outcome in outcomes], indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for name in ("trial", "family", "rung", "score", "seconds", "driver", "state", "configuration"):
        table.add_column(name, justify="right" if name in ("score", "seconds", "rung") else "left")
    for outcome in outcomes:
        trial = outcome.trial
        said = outcome.reason or json.dumps(trial.config)
        table.add_row(
            *(trial.id, escape(trial.family), str(trial.rung), text(outcome.score), f"{outcome.seconds:.2f}"),
            *(outcome.driver, outcome.state, escape(said)),
        )
    Console().print(table)


def receipt(run: RunArgument, as_json: JsonOption = False) -> None:
    """Print what a run cost, stage by stage and trial by trial, from its ledger.

    Example: lepton receipt 20261122-1015
    """
    drawn = Receipt.from_ledger(Ledger.open(RunFolder(find(run)).ledger))
    typer.echo(json.dumps(drawn.to_dict(), indent=2) if as_json else drawn.to_text())


def report(
    run: RunArgument, show: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False
) -> None:
    """Print where a run's report lies, or open it.

    Example: lepton report 20261122-1015 --open
    """
    path = RunFolder(find(run)).report
    if not path.exists():
        raise UsageError(f"The run {run} has no report.", "It ended before one was written; see lepton receipt.")
    typer.echo(str(path))
    if show and not webbrowser.open(path.as_uri()):
        raise UsageError("No browser could be opened here.", f"Open {path} yourself.")


def result_of(folder: Path) -> dict[str, Any]:
    """What the run's result.json says; empty where there is none that can be read."""
    try:
        found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def costs_so_far(left: Broken | None) -> dict[str, Any]:
    """What a run that was broken off is billed, and how far it had come."""
    if left is None:
        return {}
    spent = Ledger.open(RunFolder(left.folder).ledger).spent(left.spent_seconds)
    return {"spent_usd": float(spent), "wall_seconds": left.spent_seconds, "stopped_because": left.sentence}


def costs(result: dict[str, Any]) -> list[str]:
    spent, wall = result.get("spent_usd"), result.get("wall_seconds")
    return [
        "–" if spent is None else f"${spent:.6f}",
        "–" if wall is None else f"{wall:.1f}",
        text(result.get("trials")),
        text(result.get("stopped_because") or result.get("error")),
    ]


def text(value: Any) -> str:
    """A cell of a table."""
    if value is None:
        return "–"
    return f"{value:.4f}" if isinstance(value, float) else escape(str(value))
