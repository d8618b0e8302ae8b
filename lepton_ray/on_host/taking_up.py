"""``lepton resume``: takes a run up that was broken off, under a supervisor whose clock stands where it was broken off.

So the wall, the books and every time of the run go on as if nothing had been in between. Standard library only.
"""

import json
import sys
import time
from collections.abc import Sequence

from lepton_ray.errors import LeptonError, UsageError
from lepton_ray.money.duration import duration_text
from lepton_ray.on_host import broken, handover, processes
from lepton_ray.on_host.broken import Broken
from lepton_ray.on_host.supervisor import PROVISIONAL_SECONDS, UNTIL_EOF, State, Supervisor, driver_command

SAY_SECONDS = 5.0
"""For a driver to say that too little is left to go on."""
VALUED = ("--port", "--serve-for")
"""Options whose value is no run."""


def main(argv: Sequence[str]) -> int:
    """Carry out ``lepton resume …``; ``argv`` is what follows ``lepton``."""
    try:
        return supervisor_of(argv).run()
    except LeptonError as fault:
        return refuse(fault, "--json" in argv)


def supervisor_of(argv: Sequence[str]) -> Supervisor:
    """The supervisor of a run that goes on, which nobody else can take up any more.

    Raises:
        UsageError: there is no such run, or it has ended, or is under way.
    """
    started, as_json, words = processes.own_start(), "--json" in argv, list(argv[1:])
    name = named(words)
    if name is None:
        folder = offered(as_json).folder
        started = time.monotonic()  # who is asked is not billed for thinking
    else:
        words.remove(name)
        folder = broken.find(name)
    held = broken.take(folder)
    run = Broken.of(folder.resolve())
    provisional = max(min(run.wall_seconds, run.spent_seconds + PROVISIONAL_SECONDS), run.spent_seconds + SAY_SECONDS)
    state = State(started - run.spent_seconds, as_json, provisional)
    command = driver_command(["resume", str(run.folder), *words])
    return Supervisor(command, state, held=UNTIL_EOF in argv, taken_up=(run.run_id, held))


def named(words: Sequence[str]) -> str | None:
    """The run that is named among the words of the command line."""
    before = ["", *words]
    return next((word for at, word in enumerate(words) if word[:1] != "-" and before[at] not in VALUED), None)


def offered(as_json: bool) -> Broken:
    """The run that was broken off last, if the user wants that one.

    Raises:
        UsageError: there is none, nobody can be asked, or the answer is no.
    """
    last = broken.last_broken()
    if last is None:
        raise UsageError("No run here was broken off.", "See lepton runs, or name the folder of one.")
    command = f"lepton resume {last.folder.name}"
    what = f"The last run that was broken off is {last.run_id}, {ago(last)}, {last.sentence}."
    if as_json or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"No run was named. {what}", f"To go on with it: {command}")
    print(f"{what} Go on with it? [Y/n] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("", "y", "yes"):
        raise UsageError("Nothing was resumed.", f"To go on with another: lepton resume RUN, or later {command}")
    return last


def ago(run: Broken) -> str:
    """When it was broken off."""
    return f"{duration_text(max(1.0, time.time() - run.at))} ago"


def refuse(fault: LeptonError, as_json: bool) -> int:
    """Say why nothing is taken up."""
    if as_json:
        handover.say(json.dumps(handover.failure(fault, fault.exit_code, None)) + "\n")
    else:
        handover.tell(f"lepton: {fault}")
    return fault.exit_code
