"""The command line within this process: the ``main`` of the real driver, and what its supervisor makes of its end."""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.cli.main import main
from lepton_ray.errors import LeptonError
from lepton_ray.on_host import processes, taking_up
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.messages import decode
from lepton_ray.on_host.staff import Staff
from lepton_ray.on_host.supervisor import State, Supervisor
from tests.outside import Done

SUPERVISED = ("run", "serve", "resume")


class Inside:
    """``lepton WORDS`` without a process of its own: no start of a Python, no wall, all else is the real thing."""

    def __init__(self, capfd: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capfd = capfd
        self._patch = patch

    def __call__(self, *words: Any, cwd: Path | None = None, temp: Path | None = None) -> Done:
        """Run it in the folder ``cwd``; temporary files go to ``temp``."""
        given = tuple(str(word) for word in words)
        began = time.monotonic()
        heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        with self._patch.context() as patch:
            if cwd is not None:
                patch.chdir(cwd)
            if temp is not None:
                patch.setattr(tempfile, "tempdir", str(temp))
            self._capfd.readouterr()
            try:
                code = supervised(given, patch) if given[:1] in [(verb,) for verb in SUPERVISED] else main(given)
            finally:
                for number, handler in heard.items():
                    signal.signal(number, handler)
        out, err = self._capfd.readouterr()
        return Done(("lepton", *given), code, out, err, time.monotonic() - began)


def supervised(words: tuple[str, ...], patch: pytest.MonkeyPatch) -> int:
    """Carry it out as the driver, and hand it over as the supervisor does with what it has heard."""
    staffs: list[Staff] = []
    start = Staff.start

    def noted(course: Course) -> Staff:
        staffs.append(start(course))
        return staffs[-1]

    patch.setattr(Staff, "start", noted)
    channel, wall_fd = os.pipe()
    try:
        again = taking_up.supervisor_of(words) if words[0] == "resume" else None
    except LeptonError as fault:
        return taking_up.refuse(fault, "--json" in words)
    supervisor = again or Supervisor((), State(time.monotonic(), "--json" in words))
    words = (*supervisor._command[supervisor._command.index("resume") :],) if again else words
    for name, value in supervisor._words(wall_fd).items():
        patch.setenv(name, value)
    try:
        supervisor.state.status = main(words)
    finally:
        for worker in (worker for staff in staffs for worker in staff.workers):
            worker.close()
        os.close(wall_fd)
    with os.fdopen(channel, "rb") as lines:
        for line in lines:
            supervisor.state.hear(decode(line))
    assert processes.members(supervisor.run_id, -1) == []
    ending = supervisor.state.ending(time.monotonic())
    assert ending is not None
    return supervisor._hand_over(ending)


@pytest.fixture
def inside(capfd: pytest.CaptureFixture[str]) -> Iterator[Inside]:
    with pytest.MonkeyPatch.context() as patch:
        yield Inside(capfd, patch)
