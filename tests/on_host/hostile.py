"""Trials that do not want to end, run by a real worker in tests. Each notes its processes' numbers in a file."""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from lepton_ray.money.lease import Lease


def setup(args: dict[str, Any]) -> "Hostile":
    return Hostile(Path(args["pids"]))


def broken(args: dict[str, Any]) -> "Hostile":
    raise OSError("no such table")


class Hostile:
    def __init__(self, pids: Path) -> None:
        self.pids = pids
        self.kept: list[bytearray] = []

    def run(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]:
        note(self.pids, os.getpid())
        value = getattr(self, task["do"])()
        return {"said": task.get("say"), "pid": os.getpid(), "until": lease.until, "value": value}

    def nothing(self) -> None:
        print("words that go to the log")

    def unsayable(self) -> object:
        return object()

    def raising(self) -> None:
        raise ValueError("two\nlines")

    def leaving(self) -> None:
        sys.exit(3)

    def fork(self) -> None:
        os.fork()

    def crash(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def stopped(self) -> None:
        os.kill(os.getpid(), signal.SIGSTOP)

    def gil(self) -> None:
        ctypes.PyDLL(None).sleep(60)

    def deaf(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self.pids.with_name("deaf").touch()
        while True:
            time.sleep(60)

    def hoard(self) -> None:
        blocks = []
        while True:
            blocks.append(bytearray(1 << 20))

    def hoard_small(self) -> None:
        things: list[object] = []
        while True:
            things.append([things])

    def daemon(self) -> None:
        daemonize(self.pids)

    def daemon_and_hang(self) -> None:
        daemonize(self.pids)
        self.deaf()

    def daemon_and_die(self) -> None:
        daemonize(self.pids)
        os._exit(1)


def note(pids: Path, pid: int) -> None:
    with pids.open("a") as file:
        file.write(f"{pid}\n")


def daemonize(pids: Path) -> None:
    """Start a daemon: two forks, a session of its own, no environment, deaf to all that can be ignored."""
    source = f"""
import os, signal
[signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]
open({str(pids)!r}, "a").write(f"{{os.getpid()}}\\n")
os.write(1, b"1")
while True: signal.pause()
"""
    ready, up = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        if os.fork() == 0:
            os.dup2(up, 1)
            os.execve(sys.executable, [sys.executable, "-S", "-c", source], {})
        os._exit(0)
    os.waitpid(child, 0)
    os.read(ready, 1)
