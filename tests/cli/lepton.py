"""The command line as its user has it: a process of its own, judged by what it prints, returns and leaves on disk."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What a command printed and returned."""

    command: tuple[str, ...]
    code: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        (line,) = self.out.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found


def environment(**more: str) -> dict[str, str]:
    """This process's, with the package on the path."""
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {name: value for name, value in os.environ.items() if not name.startswith("LEPTON")} | {
        "PYTHONPATH": paths,
        **more,
    }


def lepton(*words: Any, cwd: Path | None = None, timeout: float = 100, before: Sequence[str] = (), **more: str) -> Done:
    """Run ``lepton WORDS``; ``before`` is a command that starts it, ``more`` goes into its environment."""
    command = (*before, sys.executable, "-m", "lepton_ray", *(str(word) for word in words))
    done = subprocess.run(
        command, cwd=cwd, env=environment(**more), capture_output=True, text=True, timeout=timeout, check=False
    )
    return Done(command, done.returncode, done.stdout, done.stderr)
