"""What a driver tells its supervisor: one JSON object per line over a pipe. It knows nothing about processes.

{"form": {...}}     the user wants JSON, though the command line does not say so
{"wall": {...}}     how long the run may last, and where it writes     (arms the wall)
{"service": {...}}  there is no run, an endpoint only; without a wall once it is up
{"failed": {...}}   why there will be no model
{"serving": {...}}  the endpoint answered its first request: the run has ended, the endpoint goes on
{"done": {}}        everything is sealed: end what is left
"""

import json
import math
import os
from dataclasses import asdict, dataclass, fields
from typing import Any

MARGIN_SECONDS = 0.8
"""From the kill to the exit: 0.03 to 0.2 s measured, 1.4 s on a machine loaded sixfold."""


def margin_seconds(wall_seconds: float) -> float:
    """How long before its wall a run is killed; a driver has to be done by then. Grows with the wall, up to 2 s."""
    return min(2.0, max(MARGIN_SECONDS, 0.03 * wall_seconds))


@dataclass(frozen=True, slots=True)
class Form:
    """In which form the run's end is told, known before anything else is."""

    json: bool


@dataclass(frozen=True, slots=True)
class Wall:
    """The limits of a run and the folder it fills.

    ``temp`` are folders to remove at its end; ``kept`` those that are needed as long as it may be taken up again.
    """

    run: str
    folder: str
    wall_seconds: float
    per_hour_micros: int
    budget_micros: int | None = None
    deadline_seconds: float | None = None
    json: bool = False
    temp: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.wall_seconds) and self.wall_seconds > 0):
            raise ValueError(f"wall_seconds must be positive and finite, not {self.wall_seconds!r}")
        if not self.folder:
            raise ValueError("folder must not be empty")

    @property
    def margin_seconds(self) -> float:
        """How long before its wall this run is killed."""
        return margin_seconds(self.wall_seconds)


@dataclass(frozen=True, slots=True)
class Service:
    """An endpoint without a run before it; ``temp`` are folders to remove at its end."""

    per_hour_micros: int
    temp: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """A fault that the user can understand, and the exit code of its kind."""

    error: str
    hint: str = ""
    exit_code: int = 1


@dataclass(frozen=True, slots=True)
class Serving:
    """The endpoint is live; ``endpoint`` is its address."""

    endpoint: str


@dataclass(frozen=True, slots=True)
class Done:
    """Everything that the run wants to keep is on disk."""


Message = Form | Wall | Service | Failed | Serving | Done
_KINDS: dict[str, Any] = {
    "form": Form,
    "wall": Wall,
    "service": Service,
    "failed": Failed,
    "serving": Serving,
    "done": Done,
}


def encode(message: Message) -> bytes:
    """Write one message as one line."""
    return json.dumps({type(message).__name__.lower(): asdict(message)}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read one line; unknown fields are left out. Raises ValueError on anything else that is not a message."""
    try:
        ((name, given),) = json.loads(line).items()
        kind = _KINDS[name]
        known = {item.name for item in fields(kind)}
        values = {
            key: tuple(value) if isinstance(value, list) else value for key, value in given.items() if key in known
        }
        message: Message = kind(**values)
        return message
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as fault:
        raise ValueError(f"not a message: {line[:200]!r} ({fault})") from fault


def say(channel: int, message: Message) -> None:
    """Send one message through the pipe whose number is ``channel``; the driver's side of the talk."""
    line = encode(message)
    while line:
        line = line[os.write(channel, line) :]
