"""A trial and what came of it, as frozen values that survive JSON. It knows nothing about who runs it or where."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from math import fsum, isfinite
from typing import Any

DONE, PARTIAL, FAILED, KILLED, SKIPPED = "done", "partial", "failed", "killed", "skipped"
BROKEN_OFF = "broken off"
"""The state of a trial that was in hand when its whole run was broken off: no fault of its own, once."""
INTERRUPTED = "interrupted"
"""The state of a trial whose node went away: no fault of its own, and to be taken up again under the same id."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One configuration of one family, to be judged at one rung.

    Attributes:
        id: "t003", unique within the run, in order of start.
        family: a key of ``models.registry``.
        config: what the family's ``fit`` is given.
        rung: index into ``rungs.ladder``; a promotion is a new trial with a higher rung and ``parent`` set.
    """

    id: str
    family: str
    config: dict[str, Any]
    rung: int
    parent: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "Trial":
        return cls(**facts)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one trial came to.

    Attributes:
        state: "done", "partial" (its lease ended, the best so far counts), "failed", "killed", "skipped", "broken off",
            "interrupted".
        error: validation error, lower is better; None where there is no model.
        score: the same in the metric's own direction.
        seconds: of its worker, start to end.
        fold_errors: error on each fold that was judged, in the rung's order; see ``beats``.
        effort: what the fit settled on, merged into the config of a refit (``{"rounds": 137}``).
        fit_seconds: of those, what fitting and judging took; the rest went to features and sealing. None: not told.
        fit_started: when fitting began, as ``started``; ``pid``: of the process that did it. None: not told.
        fits: folds that its seconds paid for; those of its parent are not fitted again.
        row_seconds: of predicting one clean row, features included.
        bundle: path of the bundle it sealed when it was the best so far, else None.
        held_out: the sealed bundle's score, interval and baseline; no decision reads it.
        node: of those that the run holds beside its own machine, the one that it was on; empty: on that machine.
        lost: of its seconds, those since the last fold that was kept, where it was interrupted.
    """

    trial: Trial
    state: str
    driver: str
    started: float
    seconds: float
    error: float | None = None
    score: float | None = None
    fold_errors: tuple[float, ...] = ()
    effort: dict[str, Any] = field(default_factory=dict)
    fits: int = 1
    fit_seconds: float | None = None
    row_seconds: float = 0.0
    reason: str = ""
    bundle: str | None = None
    held_out: dict[str, Any] | None = None
    fit_started: float | None = None
    pid: int | None = None
    node: str = ""
    lost: float = 0.0

    @property
    def fitting(self) -> float:
        """Seconds that another such trial would take in a worker that has the features."""
        return self.seconds if self.fit_seconds is None else self.fit_seconds

    @property
    def usable(self) -> bool:
        """Whether it left a model that can be compared."""
        return self.error is not None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> "Outcome":
        trial, errors = Trial.from_dict(facts["trial"]), tuple(facts.get("fold_errors", ()))
        return cls(**{**facts, "trial": trial, "fold_errors": errors})


def beats(errors: Sequence[float], champion: Sequence[float]) -> bool:
    """Whether ``errors`` are lower on the folds that both were judged on; folds come in one order, and one that does
    not define the metric does not count."""
    pairs = [pair for pair in zip(errors, champion, strict=False) if all(map(isfinite, pair))]
    return fsum(mine for mine, _ in pairs) < fsum(theirs for _, theirs in pairs)
