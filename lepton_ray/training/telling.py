"""What the loop tells while it runs and at its end: plain values. They know nothing about torch or who listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Steps:
    """A few steps that have been taken since the loop looked last.

    Attributes:
        epoch: from 1.
        first: the number of the first of them in its epoch, from 0.
        losses: the loss of each, the mean over all workers.
        rows_per_second: of all workers together, since the loop began.
        seconds_left: until all epochs are done, at that speed; what judging and saving take is in it.
    """

    epoch: int
    first: int
    losses: tuple[float, ...]
    rows_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Epoch:
    """An epoch that has ended, also one that was cut short.

    Attributes:
        number: from 1.
        loss: the mean of its steps.
        error: how wrong the judge found the model, lower is better; None without a judge.
        best: the number of the epoch that the judge liked most so far; without a judge the latest.
    """

    number: int
    loss: float
    error: float | None
    best: int
    rows_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence about something out of the ordinary that the loop has mended."""

    sentence: str


Told = Steps | Epoch | Note
Report = Callable[[Told], None]
Ending = Literal["epochs", "patience", "lease", "stop", "not finite"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How training ended; the model holds the best that there was.

    Attributes:
        ended: "epochs", all were run; "patience" or "lease", which ended it after an epoch; "stop", within one; "not
            finite", the loss was none even at half the learning rate, and the model is the last that was good.
        epochs: how many have ended, one that was cut short among them.
        best: the number of the epoch whose model this is; 0: none has ended.
        error: what the judge said of it.
        sentence: for the user, where it did not end as planned.
    """

    ended: Ending
    epochs: int
    best: int
    error: float | None = None
    sentence: str = ""
