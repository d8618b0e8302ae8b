"""Trainables for Tune, most of which mean harm: what a budget must survive. Those leave their pids first."""

import ctypes
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune


def leave_pid(config: dict[str, Any]) -> None:
    (Path(config["pids"]) / str(os.getpid())).touch()


def hold() -> None:
    ctypes.PyDLL(None).sleep(600)  # in C, with the GIL held


def harm(config: dict[str, Any]) -> None:
    """A function trainable: every kind but ``silent`` says one word before it does harm."""
    leave_pid(config)
    kind = config["kind"]
    if kind == "silent":
        hold()
    tune.report({"loss": 0.5, "kind": kind})
    match kind:
        case "talks, then holds":
            hold()
        case "says no more":
            while True:
                time.sleep(0.1)
        case "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raises":
            raise RuntimeError("meant")


class AtResult(tune.Callback):
    """Does something in Tune's own thread at every result."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self._act = act

    def on_trial_result(self, *given: Any, **info: Any) -> None:
        self._act()

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Actor(tune.Trainable):
    """A class trainable, deaf to SIGTERM, that hangs where it is told to."""

    def setup(self, config: dict[str, Any]) -> None:
        leave_pid(config)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if config["kind"] == "hangs in setup":
            hold()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        leave_pid(new_config)
        return bool(new_config["kind"] != "hangs in setup")

    def step(self) -> dict[str, Any]:
        if self.config["kind"] == "hangs in step" and self.iteration == 1:
            hold()
        time.sleep(0.01)
        return {"loss": 1.0 / (1 + self.iteration), "done": self.config["kind"] == "good" and self.iteration == 3}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        pass

    def load_checkpoint(self, checkpoint: Any) -> None:
        pass


class Counting(tune.Trainable):
    """A well-behaved one: its loss falls by a tenth of ``x`` a step, for six steps in all."""

    def setup(self, config: dict[str, Any]) -> None:
        self._steps = 0

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._steps = 0
        return True

    def step(self) -> dict[str, Any]:
        self._steps += 1
        loss = self.config["x"] * (1 - self._steps / 10)
        return {"loss": loss, "steps": self._steps, "done": self._steps == 6}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        (Path(checkpoint_dir) / "steps").write_text(str(self._steps))

    def load_checkpoint(self, checkpoint: Any) -> None:
        self._steps = int((Path(checkpoint) / "steps").read_text())


def counting(config: dict[str, Any]) -> None:
    """The same as a function; it goes on from its checkpoint."""
    given = tune.get_checkpoint()
    steps = 0
    if given is not None:
        with given.as_directory() as folder:
            steps = int((Path(folder) / "steps").read_text())
    while steps < 6:
        steps += 1
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "steps").write_text(str(steps))
            loss = config["x"] * (1 - steps / 10)
            tune.report({"loss": loss, "steps": steps}, checkpoint=tune.Checkpoint.from_directory(folder))
