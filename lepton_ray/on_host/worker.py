"""The worker process: it is set up once, then runs one task after another. It knows nothing about what a task is.

Started by ``worker_client.Worker`` as ``python -m lepton_ray.on_host.worker TASKS ANSWERS PARENT``: two pipes with one
JSON object per line, and the process that it must not outlive. ``setup`` is ``module:function``; called with its JSON
arguments it returns the runner, whose ``run(task, lease)`` takes and returns JSON values.
"""

import ctypes
import gc
import json
import os
import resource
import signal
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Protocol, TextIO

from lepton_ray.money.lease import Lease
from lepton_ray.on_host import processes

TRIALS_MEMORY_SHARE = 0.8
"""Of the memory that is free: what the trials may take together."""


class Runner(Protocol):
    """What a setup function returns: it runs tasks until their lease ends."""

    def run(self, task: dict[str, Any], lease: Lease) -> dict[str, Any]: ...


def main(argv: Sequence[str]) -> int:
    """Serve tasks from one pipe until it is closed."""
    tasks, answers, parent = (int(text) for text in argv)
    processes.die_with_parent(parent)
    processes.become_subreaper()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(OSError):  # where memory runs out, the kernel shall take a trial and not its driver
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    os.set_inheritable(tasks, False)
    os.set_inheritable(answers, False)
    with os.fdopen(tasks) as orders, os.fdopen(answers, "w", buffering=1) as replies:
        return _serve(orders, replies)


def memory_of_a_trial(cpus: int) -> int:
    """Bytes that each trial may take where one runs on each core, two at least."""
    import psutil

    return int(psutil.virtual_memory().available * TRIALS_MEMORY_SHARE / max(2, cpus))


def limit_memory(extra_bytes: int) -> int:
    """Let this process take ``extra_bytes`` more than it holds now, for good; beyond is MemoryError.

    Returns the cap on its data, in bytes.
    """
    with open("/proc/self/status") as file:
        held = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))
    cap = held + extra_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (cap, cap))
    return cap


def _serve(orders: TextIO, replies: TextIO) -> int:
    setup = json.loads(orders.readline() or "null")
    if setup is None:
        return 0
    try:
        runner = _set_up(setup)
    except BaseException as fault:
        traceback.print_exc()
        _reply(replies, {"broken": _sentence(fault)})
        return 1
    _reply(replies, {"ready": True})
    me = os.getpid()
    for line in orders:
        answer = _answer(runner, json.loads(line), setup["memory_bytes"])
        if os.getpid() != me:  # a task that forked came back twice
            os._exit(1)
        _reply(replies, answer)
        _end_leftovers()
    return 0


def _set_up(order: dict[str, Any]) -> Runner:
    for name in order["preload"]:
        import_module(name)
    module, _, function = order["setup"].partition(":")
    runner: Runner = getattr(import_module(module), function)(order["args"])
    if order["memory_bytes"] is not None:
        limit_memory(order["memory_bytes"])
    return runner


def _answer(runner: Runner, order: dict[str, Any], memory_bytes: int | None) -> dict[str, Any]:
    """Run one task; whatever it throws becomes its answer."""
    try:
        value = runner.run(order["task"], Lease(**order["lease"]))
        json.dumps(value)
        return {"value": value}
    except MemoryError:
        pass  # the hoarded memory is freed with the exception, and only then are there bytes to speak
    except BaseException as fault:
        traceback.print_exc()
        return {"error": _sentence(fault)}
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    limit = "" if memory_bytes is None else f" of {memory_bytes / 2**20:.0f} MiB"
    return {"error": f"it needs more memory than the limit{limit} for one trial"}


def _end_leftovers() -> None:
    """Kill what a task has started and not ended: daemons too, for this process adopts them."""
    with suppress(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        processes.sweep(lambda: processes.tree(os.getpid()))


def _reply(replies: TextIO, answer: dict[str, Any]) -> None:
    replies.write(json.dumps(answer) + "\n")
    replies.flush()


def _sentence(fault: BaseException) -> str:
    lines = str(fault).strip().splitlines()
    return f"{type(fault).__name__}: {lines[0]}" if lines else type(fault).__name__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
