"""A file of JSON lines that a bench adds to and can be interrupted over; what made them. It knows no bench."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Line = dict[str, Any]
ASK = """
import json, platform, sys
from importlib.metadata import PackageNotFoundError, version
found = {"python": platform.python_version()}
for name in sys.argv[1:]:
    try:
        found[name] = version(name)
    except PackageNotFoundError:
        pass
print(json.dumps(found))
"""
WHERE = "import lepton_ray, pathlib; print(pathlib.Path(lepton_ray.__file__).parent)"
OURS = ("lepton_ray", "ray", "numpy", "pandas", "scikit-learn", "lightgbm", "catboost", "torch")
THEIRS = (
    "flaml",
    "autogluon.tabular",
    "ray",
    "numpy",
    "pandas",
    "scikit-learn",
    "lightgbm",
    "catboost",
    "xgboost-cpu",
    "torch",
    "fastai",
)


def read(path: Path) -> list[Line]:
    """Every whole line; a last one that was cut off is taken out of the file."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def append(path: Path, line: Line) -> None:
    """Add a line that outlives a power cut."""
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")
        file.flush()
        os.fsync(file.fileno())


def versions(python: str, packages: Sequence[str], env: dict[str, str]) -> Line:
    """What an interpreter has of these packages."""
    done = subprocess.run([python, "-c", ASK, *packages], capture_output=True, text=True, check=True, env=env)
    return json.loads(done.stdout)


def our_versions(python: str, env: dict[str, str]) -> Line:
    """The same of an environment with lepton_ray, and the commit that its sources are at, ``+`` where they differ."""
    done = subprocess.run([python, "-c", WHERE], capture_output=True, text=True, env=env)
    if done.returncode:
        sys.exit(f"{python} has no lepton_ray: give --python or PYTHONPATH")
    git = ["git", "-C", done.stdout.strip()]
    commit = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True)
    changed = subprocess.run([*git, "status", "--porcelain", "--", "."], capture_output=True, text=True)
    mark = commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
    return {**versions(python, OURS, env), "commit": mark or None}


def machine(cores: int) -> Line:
    return {"cpus": os.cpu_count(), "cores_given": cores, "machine": platform.machine(), "kernel": platform.release()}
