"""A run's writes, carried out by the real classes in a child process that dies at one of them, or in its midst."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ray.bundle.manifest import read_manifest
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_host import handover
from lepton_ray.on_host.messages import Wall
from lepton_ray.on_host.opening import note_outcome
from lepton_ray.on_host.out_of_fold import path_of, save_folds
from lepton_ray.on_host.run_folder import Begun
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.search.desk import Assignment, Desk
from lepton_ray.search.evaluation import Fold
from lepton_ray.search.trial import DONE, Outcome, Trial
from tests.on_host.rows import course, spec
from tests.sealed import seal
from tests.search.test_desk import desk as desk_of

TRIALS = 4
WRITES = ("write", "fsync", "rename", "replace", "symlink", "unlink", "rmdir")


def origin(trial: Trial) -> dict[str, Any]:
    return {"score": 0.5, "interval": None, "how": "held_out", "rows": 9, "origin": [trial.to_dict()]}


def trial(number: int) -> Trial:
    return Trial(f"t{number:03d}", "constant" if not number else "trees", {"n": number - 1} if number else {}, 0)


def sealed(place: Path) -> dict[str, Path]:
    """A bundle for each trial, and the one that the search comes to."""
    found = {trial(n).id: origin(trial(n)) for n in range(TRIALS)}
    found["blend-all"] = origin(trial(TRIALS - 1)) | {"fitted_on": "all"}
    for at, (name, facts) in enumerate(found.items()):
        seal(place / name, family_name="constant", facts=facts, created=1.7e9 + at)
    return {name: place / name for name in found}


@dataclass
class Life:
    """What a run does to its folder, told step by step to ``done``."""

    folder: Path
    bundles: dict[str, Path]
    done: Callable[[str], None]
    outcomes: list[Outcome] = field(default_factory=list)

    def live(self) -> None:
        """From its first file to its last, as ``begin``, the desk and the supervisor write them."""
        made = course(spec(self.folder.parent / "table.csv", out=str(self.folder)))
        self.done("begun")
        made.meter.enter("first models")
        sealer = Sealer(made.folder, {"run": "run-1"}, made.clock)
        desk: Desk = desk_of(trials=TRIALS - 1)
        desk._on_outcome = lambda outcome: note_outcome(made, sealer, desk, outcome)
        desk._on_begin = lambda one, now, driver, node: made.folder.log_begun(Begun(one, driver, now, node))
        for number in range(TRIALS):
            step = desk.next_step(made.clock(), driver="host")
            assert isinstance(step, Assignment) and step.trial == trial(number)
            desk.finish(self.outcome(step, made.folder.scratch, error=1.0 / (1 + number), now=made.clock()))
            self.done(step.trial.id)
        made.meter.enter("finish")
        place = made.folder.scratch / "sealed" / "blend-all"
        shutil.copytree(self.bundles[place.name], place)
        sealer.seal(place, read_manifest(place)[1].facts, trials=TRIALS)  # type: ignore[arg-type]
        self.done(place.name)
        wall = Wall("run-1", str(self.folder), 60.0, 96_000, Dollars(1600).micros, 60.0)
        handover.close_run(wall, made.clock(), made.clock(), "done")
        self.done("closed")

    def outcome(self, step: Assignment, scratch: Path, *, error: float, now: float) -> Outcome:
        """What a bench leaves on disk, and says."""
        save_folds(path_of(scratch, step.trial.id), [Fold(np.arange(9), np.full(9, error), error, {})])
        home = scratch / "sealed" / step.trial.id
        shutil.copytree(self.bundles[home.name], home)
        held = {"score": 0.5, "interval": None, "how": "held_out", "rows": 9}
        seconds = now - step.lease.started
        return Outcome(
            *(step.trial, DONE, "host", step.lease.started, seconds, error, error, (error,)),
            bundle=str(home),
            held_out=held,
        )


def writes_of(life: Callable[[Callable[[str], None]], None]) -> list[str]:
    """Live to the end in a child; the names of all writes, in order."""
    return [word for word in child(life, -1, torn=False) if word in WRITES]


def child(life: Callable[[Callable[[str], None]], None], last: int, *, torn: bool) -> list[str]:
    """Live in a child that dies at its write number ``last``, or having written half of it; return what it has told."""
    ear, mouth = os.pipe()
    pid = os.fork()
    if pid == 0:
        say, end = os.write, os._exit
        try:
            os.close(ear)
            with counted(last, torn=torn, tell=lambda word: say(mouth, word.encode() + b"\n"), end=end):
                life(lambda word: say(mouth, word.encode() + b"\n") and None)
            end(0)
        except BaseException as fault:
            say(mouth, f"FAULT {type(fault).__name__}: {fault}\n".encode())
        finally:
            end(1)
    os.close(mouth)
    with os.fdopen(ear) as told:
        words = told.read().splitlines()
    os.waitpid(pid, 0)
    assert not [word for word in words if word.startswith("FAULT")], words
    return words


@contextmanager
def counted(last: int, *, torn: bool, tell: Callable[[str], Any], end: Callable[[int], Any]) -> Iterator[None]:
    """Count what this process writes, and end it at the write number ``last``."""
    count, real = 0, {name: getattr(os, name) for name in WRITES}

    def at(name: str) -> Callable[..., Any]:
        def act(*given: Any, **more: Any) -> Any:
            nonlocal count
            if count == last:
                if torn and name == "write":
                    real["write"](given[0], given[1][: len(given[1]) // 2])
                end(9)
            count += 1
            tell(name)
            return real[name](*given, **more)

        return act

    for name in WRITES:
        setattr(os, name, at(name))
    yield


def told(words: list[str]) -> list[str]:
    """What was done, without the writes."""
    return [word for word in words if word not in WRITES]
