"""lepton clean: remove what runs left: scratch folders, unfinished runs, and on wish old runs."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from lepton_ray.cli.past import result_of, run_folders


def clean(
    all_runs: Annotated[bool, typer.Option("--all", help="Remove finished runs, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove scratch folders and runs without a bundle under lepton-runs; with --all every run there.

    Example: lepton clean --dry-run
    """
    removed = 0
    for folder in run_folders():
        if (folder / ".running").exists():
            continue
        doomed = [folder] if all_runs or not result_of(folder).get("bundle") else scratch_of(folder)
        for path in doomed:
            removed += 1
            typer.echo(f"{'would remove' if dry_run else 'removed'} {path}")
            if not dry_run:
                shutil.rmtree(path)
    if not removed:
        typer.echo("nothing to remove")


def scratch_of(folder: Path) -> list[Path]:
    """What a run that ended needs no more."""
    return [path for path in (folder / ".work",) if path.exists()]
