"""Small tables on disk with a signal in them, and a run that is ready for its first trial."""

import csv
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ray.on_host.bench import Bench
from lepton_ray.on_host.course import Course, Progress, begin
from lepton_ray.on_host.preparation import Prepared, prepare
from lepton_ray.on_host.telling import write_setup
from lepton_ray.spec import RunSpec, Surroundings

Columns = dict[str, list[Any]]


def columns(rows: int = 1500, seed: int = 3) -> Columns:
    """Columns of a table; ``row`` counts them, ``left`` follows from age and city, ``value`` from all of them."""
    rng = np.random.default_rng(seed)
    age, city = rng.integers(18, 80, rows), rng.choice(["Ulm", "Bonn", "Kiel"], rows)
    height = np.round(rng.normal(170, 10, rows), 3)
    signal = (age - 50) / 20 + (city == "Ulm") * 1.5
    left = signal + rng.normal(0, 0.8, rows) > 0.5
    value = 10 * signal + height / 10 + rng.normal(0, 1, rows)
    return {
        "row": [f"r{number}x{number % 7}" for number in range(rows)],
        "age": age.tolist(),
        "city": city.tolist(),
        "height": height.tolist(),
        "value": [f"{one:.4f}" for one in value],
        "left": np.where(left, "yes", "no").tolist(),
    }


def write(path: Path, table: Columns) -> Path:
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(table)
        out.writerows(zip(*table.values(), strict=True))
    return path


def spec(path: Path, **options: Any) -> RunSpec:
    return RunSpec.from_options({"table": str(path), "target": "left", "deadline": "60s"} | options)


class Silent:
    """A screen that nobody looks at; ``said`` is what was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)

    def watch(self, look: Callable[[], Progress | None]) -> None: ...

    def close(self) -> None: ...


def course(wanted: RunSpec) -> Course:
    """A run under way without a supervisor."""
    around = Surroundings(started=time.monotonic(), run_id="run-1", wall_fd=None, cpus=1, vcpus=2)
    return begin(wanted, around, Silent())


def bench(wanted: RunSpec) -> tuple[Course, Prepared, Bench]:
    """A run that is ready for its first trial, and where trials are carried out."""
    made = course(wanted)
    prepared = prepare(made.spec)
    write_setup(made, prepared)
    return made, prepared, Bench(made.folder.scratch)


def task(family: str, config: dict[str, Any] | None = None, *, name: str = "t000", **more: Any) -> dict[str, Any]:
    trial = {"id": name, "family": family, "config": config or {}, "rung": 0, "parent": None}
    given = {
        "kind": "trial",
        "trial": trial,
        "beat": None,
        "driver": "host",
        "threads": 1,
        "again": False,
        "judging": 0.5,
    }
    return json.loads(json.dumps(given | more))
