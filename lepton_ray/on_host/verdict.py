"""How a run ended, and what that means for its user: exit code, sentence, model or none. Values in, values out."""

import signal
from dataclasses import dataclass
from enum import StrEnum

from lepton_ray.errors import EnvironmentFault, Interrupted, LeptonError, MoneyError, SearchError, ServingError
from lepton_ray.money.duration import duration_text
from lepton_ray.on_host.messages import Failed, Wall

BROKEN_OFF = "broken off"
"""How a run has ended that can be taken up again."""
PASSED_ON = frozenset({2, 3, 4, 5, 6, 7, 8, 130})
_FAULTS: dict[int, type[LeptonError]] = {
    kind.exit_code: kind for kind in (MoneyError, SearchError, ServingError, EnvironmentFault, Interrupted)
}
_BEST = "this is the best model sealed before"


class Why(StrEnum):
    """What ended a run, or a service."""

    DONE = "done"
    FAILED = "failed"
    SERVING = "serving"
    WALL = "wall"
    DIED = "died"
    ASKED_TWICE = "asked twice"


@dataclass(frozen=True, slots=True)
class Ending:
    """Why it ended; ``status`` is the driver's exit code (negative: a signal's number) where it ended by itself."""

    why: Why
    status: int | None = None
    failed: Failed | None = None

    @property
    def broken_off(self) -> bool:
        """Whether the run neither came to its end nor was ended for its own sake: its driver died, or the machine
        refused something that may be mended."""
        if self.failed is not None:
            return self.failed.exit_code == EnvironmentFault.exit_code
        return self.why is Why.DIED and self.status != 0 and self.status not in PASSED_ON


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the user is told: ``fault`` where there is nothing to hand over, or not all that was asked for."""

    exit_code: int
    fault: LeptonError | None = None
    stopped_because: str | None = None


def judge(ending: Ending, *, sealed: bool, asked: bool, wall: Wall | None) -> Verdict:
    """Decide what a run's end means; ``sealed``: a bundle is on disk, ``asked``: the user has asked to stop."""
    if ending.failed is not None:
        goes_on = f"Then lepton resume {wall.folder} goes on." if wall and ending.broken_off and not asked else ""
        return _failure(ending.failed.exit_code, ending.failed.error, f"{ending.failed.hint} {goes_on}".strip())
    status = ending.status
    if wall is None and status == 0 and not asked:
        return Verdict(0)  # nothing was to be run, like a help text
    if ending.why is Why.DIED and status in PASSED_ON and not asked:
        assert status is not None
        return _failure(status, f"The run ended with exit code {status}; its own message is above.", "")
    if sealed:
        return Verdict(130 if asked else 0, stopped_because=_reason(ending, wall))
    if asked:
        return _failure(130, "The run was interrupted before its first model was sealed.", "Start it again.")
    if ending.why is Why.WALL:
        return _too_short(wall)
    told = "The driver finished" if ending.why is Why.DONE else f"The driver {in_words(status)}"
    return _failure(5, f"{told} without a model.", "What it said is above; `lepton doctor` looks at the machine.")


def judge_service(ending: Ending, *, up: bool, asked: bool) -> Verdict:
    """Decide what the end of an endpoint means; ``up``: it has answered."""
    if asked:
        return Verdict(0) if up else _failure(130, "You asked to stop before the endpoint was up.", "Start it again.")
    if ending.failed is not None:
        return _failure(ending.failed.exit_code, ending.failed.error, ending.failed.hint)
    if not up and ending.why is Why.WALL:
        return _failure(7, "The endpoint did not come up in time.", "Try again on a machine less busy.")
    if up and (ending.why is Why.DONE or ending.status == 0):
        return Verdict(0)
    return _failure(7, f"The endpoint is gone: its process {in_words(ending.status)}.", "Start it with `lepton serve`.")


def in_words(status: int | None) -> str:
    """Say how a process ended."""
    if status is None:
        return "did not end"
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit code {status}"


def binding(wall: Wall) -> str:
    """Name the limit that a run's wall follows from."""
    return "deadline" if wall.deadline_seconds is not None and wall.wall_seconds >= wall.deadline_seconds else "budget"


def _reason(ending: Ending, wall: Wall | None) -> str | None:
    """Overrule the driver's own reason where it could not give one."""
    if ending.why is Why.WALL and wall is not None:
        return f"the {binding(wall)} was reached and the driver did not finish in time; {_BEST}"
    if ending.why is Why.DIED and ending.status != 0:
        goes_on = f", and lepton resume {wall.run} goes on" if wall is not None and ending.broken_off else ""
        return f"the driver {in_words(ending.status)}; {_BEST}{goes_on}"
    if ending.why is Why.ASKED_TWICE:
        return f"it was interrupted twice; {_BEST}"
    return None


def _too_short(wall: Wall | None) -> Verdict:
    if wall is None:
        what = "The deadline came before the run had even begun."
        return _failure(4, what, "The smallest run needs about 8s: give --deadline 8s or more.")
    limit = f"{binding(wall)} ended after {duration_text(wall.wall_seconds)}"
    return _failure(4, f"The {limit}, before a first model was sealed.", "Give it a larger --budget or --deadline.")


def _failure(exit_code: int, what: str, hint: str) -> Verdict:
    return Verdict(exit_code, fault=_FAULTS.get(exit_code, LeptonError)(what, hint))
