"""A small driver for tests of the supervisor: it arms the wall, seals a bundle, starts a real worker and misbehaves.

``python fake_driver.py SCENARIO.json``; the scenario's keys are read below, each with its default. A scenario with
``notes`` has a wall that is far until so many processes have noted themselves, and near from then on: on a busy machine
nobody is late for it. The second it stands at is written into the file ``wall``.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import hostile

from lepton_ray.money.dollars import Dollars
from lepton_ray.money.lease import Lease
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.prices import MachinePrice
from lepton_ray.on_host.messages import Done, Failed, Service, Serving, Wall, say
from lepton_ray.on_host.worker_client import Worker

STARTED = float(os.environ["LEPTON_STARTED"])
CHANNEL = int(os.environ["LEPTON_WALL_FD"])
FAR_SECONDS, NEAR_SECONDS = 60.0, 1.4


def clock() -> float:
    return time.monotonic() - STARTED


def main() -> int:
    scenario = json.loads(Path(sys.argv[1]).read_text())
    folder = Path(scenario["folder"])
    hostile.note(folder / "pids", os.getpid())
    print("the driver speaks on its standard output")
    if scenario.get("arm", True):
        arm(scenario, folder)
    if scenario.get("seal", True):
        seal(scenario, folder)
    if scenario.get("orphan"):
        titled(folder)
    if "notes" in scenario:
        draw_near(scenario, folder)
    outcome = work(scenario, folder) if "task" in scenario else None
    if outcome is not None:
        seal(scenario, folder, trials=outcome)
    return end(scenario.get("end", "done"), folder)


def titled(folder: Path) -> None:
    """An orphan in the driver's session whose environment tells nothing, like an agent of Ray's."""
    child = os.fork()
    if child == 0:
        command = [sys.executable, "-S", "-c", "import signal; signal.pause()"]
        orphan = os.posix_spawn(command[0], command, {})
        (folder / "titled").write_text(str(orphan))
        os._exit(0)
    os.waitpid(child, 0)


def arm(scenario: dict[str, Any], folder: Path) -> None:
    ledger = Ledger.create(
        folder / "ledger.jsonl",
        os.environ["LEPTON_RUN_ID"],
        MachinePrice(Dollars(96_000), 2, "a test", ""),
        time.time(),
    )
    ledger.enter("search", clock())
    deep = folder / "scratch" / "deep"
    (deep / "er").mkdir(parents=True)
    (deep / "table").write_text("much")
    say_wall(scenario, folder, FAR_SECONDS)


def say_wall(scenario: dict[str, Any], folder: Path, wall: float) -> None:
    (folder / "wall").write_text(repr(wall))
    run, temp = os.environ["LEPTON_RUN_ID"], (str(folder / "scratch"),)
    say(CHANNEL, Wall(run, str(folder), wall, 96_000, 2_000, wall, scenario.get("json", True), temp))


def draw_near(scenario: dict[str, Any], folder: Path) -> None:
    """Move the wall near once all that it is to end is there."""

    def wait() -> None:
        while len((folder / "pids").read_text().split()) < scenario["notes"]:
            time.sleep(0.005)
        say_wall(scenario, folder, clock() + NEAR_SECONDS)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    if scenario["notes"] == 1:
        waiting.join()


def seal(scenario: dict[str, Any], folder: Path, **facts: Any) -> None:
    (folder / "bundle").mkdir(exist_ok=True)
    (folder / "report.html").write_text("<html><!--receipt-->nothing yet<!--/receipt--></html>")
    result = {"bundle": str(folder / "bundle"), "metric": "roc_auc", "score": 0.8, "score_interval": [0.7, 0.9]}
    result |= {"stopped_because": "the next cent is not worth it", "report": str(folder / "report.html"), **facts}
    (folder / "result.new").write_text(json.dumps(result))
    os.replace(folder / "result.new", folder / "result.json")


def work(scenario: dict[str, Any], folder: Path) -> dict[str, Any]:
    lease = Lease("t0", clock(), clock() + scenario.get("lease", 1000.0))
    log = folder / "worker.log"
    args = {"pids": str(folder / "pids")}
    worker = Worker.start("hostile:setup", args, log=log, memory_bytes=150 << 20, grace_seconds=0.2, clock=clock)
    worker.submit({"do": scenario["task"]}, lease)
    outcome = worker.poll(1000.0)
    assert outcome is not None
    return {"status": outcome.status, "error": outcome.error}


def end(how: str, folder: Path) -> int:
    name, _, value = how.partition(":")
    match name:
        case "done":
            say(CHANNEL, Done())
            time.sleep(60)
        case "fail":
            say(CHANNEL, Failed("The table is odd.", "Mend it.", 3))
            time.sleep(60)
        case "signal":
            os.kill(os.getpid(), int(value))
        case "exit":
            return int(value)
        case "sleep":
            (folder / "sleeping").touch()
            time.sleep(60)
        case "polite":
            polite(folder)
        case "daemon":
            hostile.daemonize(folder / "pids")
            time.sleep(60)
        case "serve":
            say(CHANNEL, Serving("http://127.0.0.1:1"))
            polite(folder)
        case "service" | "service-never":
            (folder / "scratch").mkdir()
            say(CHANNEL, Service(96_000, (str(folder / "scratch"),)))
            if name == "service":
                say(CHANNEL, Serving("http://127.0.0.1:1"))
            polite(folder)
        case "serve-and":
            say(CHANNEL, Serving("http://127.0.0.1:1"))
            return end(value.replace("=", ":"), folder)
    return 0


def polite(folder: Path) -> None:
    """Wait for the wish to stop, then finish."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    (folder / "sleeping").touch()
    signal.sigwait([signal.SIGINT])
    say(CHANNEL, Done())
    time.sleep(60)


if __name__ == "__main__":
    sys.exit(main())
