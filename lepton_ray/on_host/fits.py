"""Fitted models of trials on disk, until some of them are sealed as a bundle: where they lie, each whole or not there.

It knows nothing about how a model was fitted, what it is worth, or what a bundle is; the supervisor reads it, too.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lepton_ray.models.family import Model

SEARCH = "search"
"""What the trials of the last rung have fitted; beside it "dev" and "all", fitted again on these rows."""


def home_of(scratch: Path, name: str, trial_id: str) -> Path:
    """Where the model of a trial lies that was fitted by the search, or again on the rows of this name."""
    return scratch / "fits" / name / trial_id


def keep(model: Model, home: Path) -> None:
    """Write a model there, whole or not at all, in place of one that a broken trial has left."""
    temporary = home.with_suffix(".part")
    for left in (temporary, home):
        if left.exists():
            shutil.rmtree(left)
    temporary.mkdir(parents=True)
    model.save(temporary)
    temporary.rename(home)


def bytes_of(home: Path) -> int:
    """How much a model takes; 0 where there is none."""
    return sum(path.stat().st_size for path in home.glob("**/*") if path.is_file())
