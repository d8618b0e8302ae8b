"""The supervisor: parent of a run's driver, keeper of its wall. Standard library, money and errors only.

It starts the driver in a session of its own, adopts every orphan, listens to the driver's messages and to the user's
signals, and at the wall (or when all is sealed, or the driver dies) kills all that belongs to the run and hands over
the best model sealed so far. It never waits for anybody's consent. An endpoint without a run (``lepton serve``) is
kept the same way, without a wall once it is up. It knows nothing about tables, models or Ray.
"""

import json
import os
import secrets
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType

from lepton_ray.errors import MoneyError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import duration_text, parse_duration
from lepton_ray.on_host import broken, handover, processes
from lepton_ray.on_host.heir import Heir
from lepton_ray.on_host.messages import MARGIN_SECONDS, Done, Failed, Form, Message, Service, Serving, Wall, decode
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.on_host.verdict import BROKEN_OFF, Ending, Verdict, Why, judge, judge_service

CLOSING_SECONDS = 0.05  # billed ahead: what is left to do once the books are closed
PROVISIONAL_SECONDS = 20.0  # the wall of a driver that has not set its own
BRING_UP_SECONDS = 150.0  # the wall of an endpoint that does not come up
SERVICE_GRACE_SECONDS = 5.0  # for an endpoint to close after the first Ctrl-C
ECHO_SECONDS = 0.1  # `timeout` and closing terminals send a signal twice; nobody types that fast
SWEEP_SECONDS = 1.0
UNTIL_EOF = "--until-eof"
LENT = "--lent"
_WISHES = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(slots=True)
class State:
    """All that the supervisor knows about its run; ``ending`` decides from it, and from the time, alone."""

    started: float
    json: bool
    provisional: float = PROVISIONAL_SECONDS
    wall: Wall | None = None
    farthest: float = float("inf")
    service: Service | None = None
    failed: Failed | None = None
    serving: Serving | None = None
    served_from: float | None = None
    done: bool = False
    status: int | None = None
    asked: int = 0
    asked_at: float = 0.0

    @property
    def kill_at(self) -> float:
        """When everything of the run is killed."""
        if self.asked and (self.service is not None or self.served_from is not None):
            return self.asked_at + SERVICE_GRACE_SECONDS
        if self.served_from is not None:
            return float("inf")
        return self.started + (self.wall.wall_seconds if self.wall else self.provisional) - self.margin

    @property
    def margin(self) -> float:
        return self.wall.margin_seconds if self.wall else MARGIN_SECONDS

    def hear(self, message: Message) -> None:
        """Take in what the driver says; a wall that stands can be moved, never beyond where it was first."""
        match message:
            case Form():
                self.json = message.json
            case Wall():
                self.farthest = message.wall_seconds if self.wall is None else self.farthest
                self.wall = replace(message, wall_seconds=min(message.wall_seconds, self.farthest))
                self.json = message.json
            case Service():
                self.service = message
            case Failed():
                self.failed = message
            case Serving():
                self.serving = message
            case Done():
                self.done = True

    def ask(self, number: int, now: float) -> bool:
        """Count a wish to stop; say whether it is the first. A hangup (or the parent's end) is never the second."""
        if self.asked and (number == signal.SIGHUP or now - self.asked_at < ECHO_SECONDS):
            return False
        self.asked += 1
        self.asked_at = now if self.asked == 1 else self.asked_at
        return self.asked == 1

    def ending(self, now: float) -> Ending | None:
        """Say whether, and why, the run (or the service after it) has ended."""
        if self.serving is not None and self.served_from is None:
            return Ending(Why.SERVING)
        if self.failed is not None:
            return Ending(Why.FAILED, self.status, self.failed)
        if self.done:
            return Ending(Why.DONE, self.status)
        if self.asked > 1:
            return Ending(Why.ASKED_TWICE)
        if now >= self.kill_at:
            return Ending(Why.WALL)
        if self.status is not None:
            return Ending(Why.DIED, self.status)
        return None


class Supervisor:
    """One run from its driver's start to the exit code."""

    def __init__(
        self,
        command: Sequence[str],
        state: State,
        *,
        held: bool = False,
        lent: Sequence[str] = (),
        taken_up: tuple[str, int | None] | None = None,
    ) -> None:
        """Args:
        held: standard input is a pipe that ends when this run's parent does.
        lent: folders of the parent's, to remove at the end if it could not.
        taken_up: the id of a run that was broken off and goes on, and the descriptor that holds its folder.
        """
        new = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(4)}"
        self.run_id, self._hold = taken_up or (new, None)
        self.state, self._command = state, command
        self._held, self._lent = held, lent
        self._heard = b""

    def run(self) -> int:
        """Start the driver, watch, hand over; return the exit code."""
        with self._alert():
            code = self._see_through(self._watch())
            handover.remove(self._lent, None, time.monotonic() + SWEEP_SECONDS)
            return code

    def _see_through(self, ending: Ending) -> int:
        """Do what a run's end, or its endpoint's beginning, asks for."""
        if self.state.service is not None:
            return self._serve_out(ending)
        if ending.why is Why.SERVING and self._sealed() is not None:
            self._hand_over(ending)
            return self._serve_out(ending)
        self._end_processes()
        return self._hand_over(ending)

    def _watch(self) -> Ending:
        """Sleep until something happens, again and again, until the run has ended."""
        while True:
            self._reap()
            self._hear()
            self._heed_parent()
            now = time.monotonic()
            ending = self.state.ending(now)
            if ending is not None:
                return ending
            wait = self.state.kill_at - now
            self._selector.select(None if wait == float("inf") else wait)
            with suppress(BlockingIOError):
                os.read(self._bell, 4096)

    def _hand_over(self, ending: Ending) -> int:
        """Close the books, write the result and say it; the driver is dead by now, or serves."""
        state, wall, sealed = self.state, self.state.wall, self._sealed()
        verdict = judge(ending, sealed=sealed is not None, asked=state.asked > 0, wall=wall)
        if wall is None:
            return self._say_fault(verdict, None)
        books = self._close_books(wall, ending)
        if sealed is None:
            if verdict.fault is not None:
                handover.write_failure(wall, handover.failure(verdict.fault, verdict.exit_code, None), books)
            return self._say_fault(verdict, None)
        result = handover.final_result(sealed, wall, books, verdict, state.serving.endpoint if state.serving else None)
        handover.write_result(wall, result)
        if verdict.fault is not None:
            return self._say_fault(verdict, sealed)
        handover.say(json.dumps(result) + "\n" if state.json else handover.summary(result))
        return verdict.exit_code

    def _close_books(self, wall: Wall, ending: Ending) -> handover.Books:
        state = self.state
        ended = time.monotonic() - state.started
        if ending.why is Why.SERVING:
            state.served_from = ended
            return handover.open_service(wall, ended)
        goes_on = ending.broken_off and not state.asked
        doomed = (*wall.temp, *(() if goes_on else wall.kept))
        handover.remove(doomed, Path(wall.folder), state.kill_at + 0.7 * state.margin)
        now = time.monotonic() - state.started + CLOSING_SECONDS
        return handover.close_run(wall, ended, now, BROKEN_OFF if goes_on else ending.why.value)

    def _serve_out(self, ending: Ending) -> int:
        """Keep the endpoint in the foreground until it, or the user's patience, ends."""
        state, wall = self.state, self.state.wall
        if ending.why is Why.SERVING:
            if state.serving is not None and wall is None:
                state.served_from = time.monotonic() - state.started
                handover.say(f"{state.serving.endpoint}\n")
            ending = self._watch()
        self._end_processes()
        verdict = judge_service(ending, up=state.served_from is not None, asked=state.asked > 0)
        temp = (*((*wall.temp, *wall.kept) if wall else ()), *(state.service.temp if state.service else ()))
        handover.remove(temp, Path(wall.folder) if wall else None, time.monotonic() + SWEEP_SECONDS)
        if state.served_from is not None:
            self._say_cost(state.served_from, time.monotonic() - state.started)
        if verdict.fault is not None:
            handover.tell(f"lepton: {verdict.fault}")
        return verdict.exit_code

    def _say_cost(self, opened: float, now: float) -> None:
        """Say what the endpoint has cost; after a run its ledger holds that, too."""
        state, wall = self.state, self.state.wall
        if wall is not None:
            books = handover.close_service(wall, opened, now)
        else:
            rate = Dollars(state.service.per_hour_micros if state.service else 0)
            books = handover.Books(Dollars.of_rate(rate, now - opened), now - opened)
        handover.tell(f"The endpoint served for {duration_text(books.seconds)} and cost {books.spent}.")

    def _say_fault(self, verdict: Verdict, sealed: handover.Result | None) -> int:
        """Say in the form that was asked for why there is no model, or what went wrong beside it."""
        if verdict.fault is not None:
            if self.state.json:
                handover.say(json.dumps(handover.failure(verdict.fault, verdict.exit_code, sealed)) + "\n")
            else:
                handover.tell(f"lepton: {verdict.fault}")
                if sealed is not None:
                    handover.tell(f"The best model sealed before is in {sealed['bundle']}.")
        return verdict.exit_code

    def _sealed(self) -> handover.Result | None:
        wall = self.state.wall
        return handover.sealed_result(Path(wall.folder)) if wall else None

    def _end_processes(self) -> None:
        """Kill the driver and all else that belongs to the run; half the margin at the wall is for this."""
        half = self.state.margin / 2
        seconds = max(half, min(SWEEP_SECONDS, self.state.kill_at + half - time.monotonic()))
        left = processes.sweep(lambda: processes.members(self.run_id, os.getpid()), seconds=seconds)
        self._driver.returncode = 0  # collected by the sweep or by _reap, never by Popen
        if left:
            handover.tell(f"Could not end: {', '.join(str(process.pid) for process in left)}")
        if sys.stderr.isatty():
            handover.tell("\x1b[?25h")  # a killed live view has hidden the cursor

    def _reap(self) -> None:
        """Collect dead children: the driver, and orphans that came to us."""
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                if found[0] == self._driver.pid and self.state.status is None:
                    self.state.status = os.waitstatus_to_exitcode(found[1])

    def _hear(self) -> None:
        """Read what the driver has said so far."""
        with suppress(BlockingIOError):
            while chunk := os.read(self._channel, 1 << 16):
                self._heard += chunk
            with suppress(KeyError):  # at its end a pipe is readable for ever
                self._selector.unregister(self._channel)
        *lines, self._heard = self._heard.split(b"\n")
        for line in lines:
            try:
                message = decode(line)
            except ValueError as fault:
                handover.tell(f"The driver said something strange: {fault}")
                continue
            self.state.hear(message)
            if isinstance(message, Service):
                self._heir.note(folders=message.temp)
            elif isinstance(message, Wall):
                self._attend(message)

    def _attend(self, wall: Wall) -> None:
        """Hold the run's folder, and let the heir keep its pulse."""
        folder = Path(wall.folder)
        if self._hold is None:
            self._hold = broken.hold_own(folder)
        pulse = (str(RunFolder(folder).pulse), self.state.started)
        self._heir.note(folders=wall.temp, pulse=pulse, hold=self._hold)

    def _heed_parent(self) -> None:
        """Take the end of standard input for a wish to stop, where the parent holds the other end of it."""
        if not self._held:
            return
        with suppress(BlockingIOError):
            while os.read(0, 1 << 16):
                pass
            self._held = False
            self._selector.unregister(0)
            self._on_signal(signal.SIGHUP, None)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Pass the first wish to stop on to the driver, which then finishes within its reserve."""
        if self.state.ask(number, time.monotonic()) and self.state.status is None:
            with suppress(ProcessLookupError):
                os.kill(self._driver.pid, signal.SIGINT)

    def _words(self, channel: int) -> dict[str, str]:
        """Return what the driver finds in its environment; unbuffered, for what is killed should have been heard."""
        words = {"LEPTON_WALL_FD": str(channel), "LEPTON_STARTED": repr(self.state.started), "PYTHONUNBUFFERED": "1"}
        return {processes.RUN_ID: self.run_id, **words}

    @contextmanager
    def _alert(self) -> Iterator[None]:
        """Start the driver and be woken by its messages, its end and the user's signals."""
        self._heir = Heir(self.run_id)
        self._heir.note(folders=self._lent)
        processes.become_subreaper()
        niceness = os.getpriority(os.PRIO_PROCESS, 0)
        with suppress(PermissionError):  # where the machine lets it, the wall goes before everything else
            os.setpriority(os.PRIO_PROCESS, 0, niceness - 10)
        self._selector = selectors.DefaultSelector()
        self._bell, rope = os.pipe()
        self._channel, channel = os.pipe()
        for number in (self._bell, rope, self._channel):
            os.set_blocking(number, False)
        self._selector.register(self._bell, selectors.EVENT_READ)
        self._selector.register(self._channel, selectors.EVENT_READ)
        if self._held:
            try:
                self._selector.register(0, selectors.EVENT_READ)
                os.set_blocking(0, False)
            except OSError:
                self._held = False  # a file or nothing at all: no parent holds it
        signal.set_wakeup_fd(rope, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)
        signal.signal(signal.SIGTSTP, lambda number, frame: None)  # a wall cannot be suspended
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, _WISHES)
        self._driver = _start(self._command, self._words(channel), channel, niceness=niceness, held=self._held)
        self._heir.note(session=self._driver.pid)
        os.close(channel)
        for wish in _WISHES:
            if wish != signal.SIGHUP or signal.getsignal(wish) is not signal.SIG_IGN:  # nohup is obeyed
                signal.signal(wish, self._on_signal)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        yield


def main(argv: Sequence[str], *, command: Sequence[str] | None = None) -> int:
    """Run ``lepton run …`` or ``lepton serve …`` under a wall; ``argv`` is what follows ``lepton``.

    Args:
        command: the driver to start; ``lepton_ray.cli.main`` where none is given.
    """
    started = processes.own_start()
    state = State(started, "--json" in argv, _provisional(argv))
    held, lent = UNTIL_EOF in argv, [argv[place + 1] for place, word in enumerate(argv[:-1]) if word == LENT]
    return Supervisor(command or driver_command(argv), state, held=held, lent=lent).run()


def driver_command(argv: Sequence[str]) -> list[str]:
    """Run the command line in a Python like this one, which finds modules where this one does."""
    return [*processes.like_this("lepton_ray.cli.main"), *argv]


def _provisional(argv: Sequence[str]) -> float:
    """Return the wall before the driver sets its own: a deadline on the command line counts at once."""
    if argv[:1] == ["serve"]:
        return BRING_UP_SECONDS
    pairs = [*zip(argv, argv[1:], strict=False), *(word.split("=", 1) for word in argv if "=" in word)]
    for name, text in pairs:
        if name == "--deadline":
            with suppress(MoneyError):
                return min(PROVISIONAL_SECONDS, max(parse_duration(text), 2 * MARGIN_SECONDS))
    return PROVISIONAL_SECONDS


def _start(
    command: Sequence[str], words: dict[str, str], channel: int, *, niceness: int, held: bool
) -> "subprocess.Popen[bytes]":
    """Start the driver in a session of its own; the kernel ends it together with this process."""

    def prepare() -> None:
        processes.die_with_parent()
        os.setpriority(os.PRIO_PROCESS, 0, niceness)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's background job has it ignored
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WISHES)

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL if held else None,
        stdout=2,
        env=os.environ | words,
        pass_fds=(channel,),
        start_new_session=True,
        preexec_fn=prepare,
    )
