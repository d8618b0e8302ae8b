"""The command line as its user has it: a process of its own, judged by what it prints, returns and leaves on disk."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.outside import Done, Started, python


def lepton(*words: Any, cwd: Path | None = None, before: Sequence[str] = (), **more: str) -> Done:
    """Run ``lepton WORDS``; ``before`` is a command that starts it, ``more`` goes into its environment."""
    with Started([*before, *python("-m", "lepton_ray", *words)], cwd=cwd, **more) as process:
        return process.end()


def started(*words: Any, cwd: Path | None = None, **more: str) -> Started:
    """``lepton WORDS`` under way."""
    return Started(python("-m", "lepton_ray", *words), cwd=cwd, **more)
