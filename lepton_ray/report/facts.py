"""Everything a report says, frozen before a word of it is written: plain numbers, names and numpy arrays.

It knows nothing about how a run went about finding them, and nothing about HTML.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from lepton_ray.money.dollars import Dollars
from lepton_ray.report.predictions import Predictions
from lepton_ray.report.roi import Roi

How = Literal["held_out", "latest", "test_file", "cross_validation", "search"]


class HtmlReceipt(Protocol):
    """What the report asks of a receipt: one safe piece of HTML."""

    def to_html(self) -> str: ...


@dataclass(frozen=True, slots=True)
class DataFacts:
    """The table: what came in, what was put aside, what was changed and what looked wrong."""

    source: str
    target: str
    rows: int
    kinds: Mapping[str, int] = field(default_factory=dict)  # kind of column -> how many features are of it
    dropped: tuple[str, ...] = ()  # columns not used
    size_bytes: int | None = None
    rejected_rows: int = 0
    rejected_file: str | None = None
    target_counts: Mapping[str, int] = field(default_factory=dict)  # class -> rows; empty for a number
    target_range: tuple[float, float, float] | None = None  # smallest, middle and largest value; None for classes
    cleaning: tuple[str, ...] = ()  # sentences, as CleaningPlan.describe() gives them
    findings: tuple[str, ...] = ()  # sentences about leak suspects and the like

    @property
    def columns(self) -> int:
        """How many columns the table had, the target included."""
        return sum(self.kinds.values()) + len(self.dropped) + 1


@dataclass(frozen=True, slots=True)
class Measurement:
    """The winner's score, how wide the truth may lie around it, and how it was measured.

    ``how`` is "held_out" (rows kept apart by chance), "latest" (the last part in time), "test_file" (rows of another
    table), "cross_validation", or "search" (rows were kept apart, but do not define the metric).
    ``group``, ``time`` and ``weight`` name the columns of these roles. ``believed`` is what the search took the score
    to be, on rows that it chose the model by; None where it is not known.
    """

    metric: str
    greater_is_better: bool
    score: float
    low: float | None
    high: float | None
    baseline: float | None  # the constant model, on the same rows
    how: How
    rows: int
    folds: int | None = None
    repeats: int = 1
    also: Mapping[str, float] = field(default_factory=dict)  # further metrics on the same rows
    group: str | None = None
    time: str | None = None
    weight: str | None = None
    believed: float | None = None

    @property
    def clearly_better(self) -> bool | None:
        """Whether the whole interval lies on the good side of the constant model; None where it is not known."""
        if self.baseline is None or self.low is None or self.high is None:
            return None
        return self.low > self.baseline if self.greater_is_better else self.high < self.baseline


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """One model that was tried. ``score`` was measured during the search and is None if it never got that far."""

    id: str
    family: str
    config: Mapping[str, Any]
    rung: int
    score: float | None
    seconds: float
    dollars: Dollars
    driver: str  # "host" | "ray"
    state: str  # "finished" | "stopped" | "failed" | …
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Winner:
    """Which trials make up the model, and whether it saw every row in the end."""

    family: str
    trials: tuple[str, ...]
    refitted: bool
    note: str = ""  # why it was not refitted, or how it was combined


@dataclass(frozen=True, slots=True)
class Spending:
    """The two limits, what was used of them, and why the search ended. ``binding`` is "budget" or "deadline"."""

    spent: Dollars
    wall_seconds: float
    budget: Dollars | None = None
    deadline_seconds: float | None = None
    binding: str = ""
    per_hour: Dollars | None = None
    stopped_because: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ReportFacts:
    """One run, told. ``absent`` maps a section to the sentence that says why it has nothing to show.

    Sections that may be absent: "score", "trials", "held_out", "importances", "roi", "receipt".
    """

    run: str
    task: str  # "binary" | "multiclass" | "regression"
    data: DataFacts
    spending: Spending
    classes: tuple[str, ...] = ()  # in code order; (negative, positive) for "binary"
    measurement: Measurement | None = None
    trials: tuple[TrialFacts, ...] = ()
    winner: Winner | None = None
    importances: Mapping[str, float] | None = None
    held_out: Predictions | None = None
    roi: Roi | None = None
    threshold: float | None = None  # from which probability the bundle predicts the positive class; None: its default
    receipt: HtmlReceipt | None = None
    endpoint: str | None = None
    bundle: str | None = None
    written: str = ""  # when, in words; part of the facts so that the same facts give the same bytes
    versions: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[tuple[str, str], ...] = ()  # (what it does, the line to type)
    absent: Mapping[str, str] = field(default_factory=dict)
