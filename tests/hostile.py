"""Model families that are good on the host and hostile on Ray: what a run must survive whatever a trial does.

Off Ray they are slow linear models, so that most of their trials are left to Ray. Each daemon leaves its number in the
file that HOSTILE_PIDS names.
"""

import ctypes
import os
import signal
import sys
import time
from typing import Any

import numpy as np

from lepton_ray.models.family import Batch
from lepton_ray.models.linear import LinearFamily
from lepton_ray.table.schema import Problem

HOST_SECONDS = 1.5
DAEMON = """
import os, signal
[signal.signal(number, signal.SIG_IGN) for number in (1, 2, 15)]
with open({path!r}, "a") as file:
    file.write(f"{{os.getpid()}}\\n")
while True:
    signal.pause()
"""


class Hostile(LinearFamily):
    """Three configurations, each of which does harm in a Ray worker before it fits."""

    def configs(self, *given: Any) -> list[dict[str, Any]]:
        return [{"C": 0.001 * n} for n in (1, 2, 3)]

    def sample(self, problem: Problem, rng: np.random.Generator) -> dict[str, Any]:
        return {"C": 0.001 * float(rng.uniform())}

    def fit(self, train: Batch, valid: Batch | None, config: dict[str, Any], **given: Any) -> Any:
        if "ray" in sys.modules:
            self.harm()
        elif valid is not None:
            time.sleep(HOST_SECONDS / 5)
        return super().fit(train, valid, config, **given)

    def harm(self) -> None:
        raise NotImplementedError


class Stopped(Hostile):
    def harm(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)


class Holding(Hostile):
    def harm(self) -> None:
        ctypes.PyDLL(None).sleep(600)  # in C, with the GIL held


class Hoarding(Hostile):
    def harm(self) -> None:
        hoard = []
        while True:
            hoard.append(np.empty(1 << 27, np.uint8))  # asked for, but never touched: the machine is shared


class Forking(Hostile):
    def harm(self) -> None:
        """Leave a daemon: two forks, a session of its own, no environment, deaf to what can be ignored."""
        child = os.fork()
        if child == 0:
            os.setsid()
            if os.fork() == 0:
                source = DAEMON.format(path=os.environ["HOSTILE_PIDS"])
                os.execve(sys.executable, [sys.executable, "-S", "-c", source], {})
            os._exit(0)
        os.waitpid(child, 0)
