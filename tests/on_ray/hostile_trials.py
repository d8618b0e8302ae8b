"""Trainables for Tune that mean harm: what a budget must survive whatever a trial does. Each leaves its pid first."""

import ctypes
import os
import signal
import time
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
        case "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_IGN) if _main() else None
            while True:
                time.sleep(0.1)
        case "stopped":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raises":
            raise RuntimeError("meant")


def _main() -> bool:
    import threading

    return threading.current_thread() is threading.main_thread()


class Actor(tune.Trainable):
    """A class trainable that hangs where it is told to."""

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
