"""lepton clean: remove what runs left: scratch and temporary folders, unfinished runs, and on wish old runs."""

import re
import shutil
from pathlib import Path
from typing import Annotated

import typer

from lepton_ray.cli.past import result_of
from lepton_ray.errors import LeptonError
from lepton_ray.on_host.broken import broken_off, lives, run_folders
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.on_host.short_lived import homes

TEMPORARY = re.compile(r"lepton-([0-9a-f]+)-\w+")
"""Folders for Ray or for a search in one process, named after the process that made them."""


def clean(
    all_runs: Annotated[bool, typer.Option("--all", help="Remove finished runs, too.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
) -> None:
    """Remove scratch folders and runs without a bundle under lepton-runs; with --all every run there.

    Runs that are under way are left alone.

    Example: lepton clean --dry-run
    """
    doomed = temporary_folders()
    for folder in run_folders():
        if under_way(folder):
            continue
        whole, run = all_runs or not result_of(folder).get("bundle"), RunFolder(folder)
        useless = [run.scratch, *([] if broken_off(folder) else [run.kept])]
        doomed += [folder] if whole else [path for path in useless if path.exists()]
    for path in doomed:
        if not dry_run:
            shutil.rmtree(path, ignore_errors=True)
        said = "would remove" if dry_run else "could not remove" if path.exists() else "removed"
        typer.echo(f"{said} {path}")
    if not doomed:
        typer.echo("nothing to remove")


def under_way(folder: Path) -> bool:
    """Whether a process of this run lives."""
    try:
        return lives(folder)
    except LeptonError:
        return False


def temporary_folders() -> list[Path]:
    """Folders whose process is gone."""
    found = []
    for path in (path for home in homes() for path in sorted(home.glob("lepton-*"))):
        match = TEMPORARY.fullmatch(path.name)
        if match and path.is_dir() and not path.is_symlink() and not Path("/proc", str(int(match[1], 16))).exists():
            found.append(path)
    return found
