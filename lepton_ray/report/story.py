"""What each section of a report says and shows, made from its facts. It knows nothing about the page's HTML."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from lepton_ray.bundle.bundle import DEFAULT_THRESHOLD
from lepton_ray.report import curves, pictures
from lepton_ray.report.facts import Measurement, ReportFacts, TrialFacts
from lepton_ray.report.roi import Roi
from lepton_ray.report.wording import (
    count,
    decimals,
    figure,
    metric_words,
    percent,
    plural,
    rounded,
    safe,
    short,
    span_of_days,
)

SHOWN_TRIALS = 12
MOST_TRIALS = 300
SHOWN_COLUMNS = 15
MOST_CLASSES = 12
COUNTING = ("accuracy", "balanced_accuracy", "f1")
"""Metrics of the class that is named, not of its probability."""
SHOWN_MISTAKES = 10
KINDS = {"number": "numbers", "category": "categories", "date": "dates", "text": "texts"}
REASONS = {
    "score": "No score could be measured.",
    "trials": "No model beyond the constant guess was tried.",
    "held_out": "There are no predictions on rows kept apart to draw this from.",
    "importances": "This kind of model does not say how much each column counts.",
    "receipt": "The receipt is written when the run ends.",
    "roi": "Run again with --value FILE, a few lines saying what right and wrong decisions are worth, and this page "
    "says what the model earns.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the leaderboard."""

    rank: int | None
    trial: TrialFacts
    score: str
    settings: str
    won: bool
    front: bool
    mark: str
    colour: int


@dataclass(frozen=True, slots=True)
class Tried:
    """The search: its picture, a legend, the leaderboard and what must be said beside them."""

    picture: Markup | None
    legend: tuple[tuple[str, str, int], ...]  # (family, mark, colour)
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    left_out: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """Every true class against every predicted class; ``cells`` holds (rows, share of the true class)."""

    classes: tuple[str, ...]
    cells: tuple[tuple[tuple[int, float], ...], ...]
    sentences: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Strip:
    """Where the score lies between the constant guess (0) and perfection (1), with its interval."""

    score: float
    low: float
    high: float
    sentence: str


def absent(facts: ReportFacts, section: str) -> str:
    """Say why a section is empty."""
    return facts.absent.get(section) or REASONS[section]


def headline(facts: ReportFacts) -> str:
    """The whole result in one sentence."""
    target, m = f"“{short(facts.data.target, 60)}”", facts.measurement
    if m is None or not math.isfinite(m.score):
        return f"A model for {target} was made, but no score could be measured."
    words, score = metric_words(m.metric), figure(m.score, m.low, m.high)
    guess = figure(m.baseline, m.low, m.high) if m.baseline is not None else None
    if m.clearly_better is False:
        return (
            f"No model was found that clearly predicts {target} better than a constant guess: "
            f"{words.title} {score} against {guess}."
        )
    if words.scale == "target":
        rest = f"; a constant guess is off by {guess}" if guess else ""
        return f"{target} is predicted to within {score} ({words.title}){rest}."
    rest = f"; a constant guess reaches {guess}" if guess else ""
    return f"{target} is predicted with {_article(words.title)} {words.title} of {score}{rest}."


def _article(noun: str) -> str:
    return "an" if noun[:1].lower() in "aeio" or noun[:2] in ("RM", "R²", "F1", "MA") and noun != "MAPE" else "a"


def measured(facts: ReportFacts) -> tuple[str, ...]:
    """How the score came about, in words."""
    m = facts.measurement
    if m is None:
        return ()
    also = "; ".join(f"{metric_words(name).title} {figure(value)}" for name, value in m.also.items())
    words = metric_words(m.metric)
    counting = [metric_words(name).title for name in (m.metric, *m.also) if name in COUNTING]
    moved = threshold(facts) != DEFAULT_THRESHOLD and counting
    where = "On the rows kept apart" if m.how == "search" else "On the same rows"
    return (
        f"{words.title[:1].upper()}{words.title[1:]} is {words.meaning}.",
        _how(m),
        *_believed(m),
        *([f"Each row counts by its weight, the column “{short(m.weight)}”."] if m.weight else []),
        *([f"{where}: {also}."] if also else []),
        *(
            [f"Here the likelier class counts as named ({_listed(counting)}), whatever the value says."]
            if moved
            else []
        ),
    )


def _how(m: Measurement) -> str:
    """Which rows the score comes from, and what had been seen of them."""
    rows = plural(m.rows, "row")
    unseen = "no trial, statistic, threshold or stopping decision has seen them"
    group = f"“{short(m.group)}”" if m.group else ""
    parted = f"; rows with the same {group} may be on both sides of that moment" if group else ""
    kept = (
        f"in whole groups drawn by chance, all rows with the same {group} on one side," if group else "drawn by chance"
    )
    few = f"on {rows}, because so few rows leave too little to keep apart"
    if m.how == "held_out":
        return f"Measured on {rows} {kept} and kept apart: {unseen}."
    if m.how == "latest":
        return f"Measured on the latest {rows} in time, kept apart: {unseen}{parted}."
    if m.how == "test_file":
        return f"Measured on the {rows} of the test file: {unseen}."
    if m.how == "search":
        return (
            "The rows kept apart do not define this score, for instance because they are all of one class. It is that "
            "of the search, on rows that the model was not fitted on but that picked it: expect a little less."
        )
    if m.time:
        return f"Measured by cross-validation {few}: each row was predicted by a model fitted on earlier rows only."
    nor = f", nor any row with the same {group}" if group else ""
    return (
        f"Measured by cross-validation {few}: each row was predicted by a model that had not seen it{nor}{_folds(m)}."
    )


def _believed(m: Measurement) -> list[str]:
    """How far the search's own belief was from what was measured."""
    if m.believed is None or not math.isfinite(m.believed) or m.how == "search":
        return []
    said, measured = figure(m.believed, m.low, m.high), figure(m.score, m.low, m.high)
    gap = f"{figure(abs(m.believed - m.score), m.low, m.high)} {'more' if m.believed > m.score else 'less'}"
    found = "is left once it is corrected for the choice" if m.how == "cross_validation" else "on rows it had not seen"
    compared = "just what was measured" if said == measured else f"{gap} than {found}"
    return [f"The search itself believed it to be {said}, by rows that it chose the model with: {compared}."]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _folds(m: Measurement) -> str:
    if not m.folds:
        return ""
    times = f", {m.repeats} times over" if m.repeats > 1 else ""
    return f" ({m.folds} parts, each left out once{times})"


def strip(m: Measurement) -> Strip | None:
    """Place the score between the constant guess and perfection."""
    perfect = 1.0 if m.greater_is_better else 0.0
    if m.baseline is None or not math.isfinite(m.score) or m.baseline == perfect:
        return None

    def place(value: float) -> float:
        return min(1.0, max(0.0, (value - m.baseline) / (perfect - m.baseline)))  # type: ignore[operator]

    low, high = sorted((place(m.score if m.low is None else m.low), place(m.score if m.high is None else m.high)))
    covered = f"{100 * place(m.score):.0f} %"
    return Strip(place(m.score), low, high, f"It covers {covered} of the way from a constant guess to a perfect score.")


def tried(facts: ReportFacts) -> Tried:
    """Tell the search."""
    greater = facts.measurement.greater_is_better if facts.measurement else True
    sign = -1.0 if greater else 1.0
    scored = sorted((t for t in facts.trials if _finite(t.score)), key=lambda t: (-t.rung, sign * (t.score or 0.0)))
    others = [t for t in facts.trials if not _finite(t.score)]
    families = list(dict.fromkeys(t.family for t in facts.trials))
    winners = set(facts.winner.trials) if facts.winner else set()
    scores = [t.score for t in scored if t.score is not None]
    front = set(curves.pareto([float(t.dollars) for t in scored], scores, greater))
    digits = _digits(facts.measurement, scores)
    rows = [
        Row(
            rank=place + 1 if place < len(scored) else None,
            trial=t,
            score=rounded(t.score, digits) if place < len(scored) and t.score is not None else "–",
            settings=settings(t.config),
            won=t.id in winners,
            front=place in front,
            mark=pictures.MARK_SIGNS[families.index(t.family) % len(pictures.MARK_SIGNS)],
            colour=families.index(t.family) % len(pictures.SERIES) + 1,
        )
        for place, t in enumerate([*scored, *others])
    ]
    legend = tuple((r.trial.family, r.mark, r.colour) for r in {r.trial.family: r for r in rows}.values())
    picture = _trials_picture(facts, scored, families, winners, greater=greater) if scored else None
    notes = _trial_notes(facts, scored, len(others), greater)
    return Tried(picture, legend, tuple(rows[:MOST_TRIALS]), notes, max(0, len(rows) - MOST_TRIALS))


def _trials_picture(
    facts: ReportFacts, scored: Sequence[TrialFacts], families: list[str], winners: set[str], *, greater: bool
) -> Markup:
    last = max(t.rung for t in scored)
    points = [
        pictures.Point(float(t.dollars), t.score or 0.0, families.index(t.family), t.id in winners, t.rung == last)
        for t in scored
    ]
    title = metric_words(facts.measurement.metric).title if facts.measurement else "score"
    label = (
        f"{plural(len(points), 'trial')}: {title} against what each cost. The leaderboard below holds the same numbers."
    )
    return pictures.trials_picture(points, title, greater, label)


def _trial_notes(facts: ReportFacts, scored: Sequence[TrialFacts], failed: int, greater: bool) -> tuple[str, ...]:
    notes = []
    scores = [t.score for t in scored if t.score is not None]
    floor = pictures.score_floor(scores, greater) if scores else 0.0
    clipped = sum(s < floor if greater else s > floor for s in scores)
    if clipped:
        notes.append(
            f"{plural(clipped, 'weaker trial')}, below the dashed line, {'is' if clipped == 1 else 'are'} not to scale."
        )
    if failed:
        notes.append(f"{plural(failed, 'trial')} ended without a score and {'is' if failed == 1 else 'are'} not drawn.")
    m = facts.measurement
    if m and m.low is not None and m.high is not None and m.high > m.low:
        doubt = (m.high - m.low) / 2
        notes.append(
            "These scores were measured during the search, on rows that the trial was not fitted on but that picked "
            f"the winner. Differences below about {figure(doubt, 0, 2 * doubt)} may be chance."
        )
    return tuple(notes)


def settings(config: Mapping[str, Any]) -> str:
    """A trial's settings as one line."""
    parts = (f"{short(k, 30)} {f'{v:.3g}' if isinstance(v, float) else short(v, 30)}" for k, v in config.items())
    return ", ".join(parts) or "default settings"


def _digits(m: Measurement | None, scores: Sequence[float]) -> int:
    """One digit more than the winner's interval carries, so that neighbours on the leaderboard can be told apart."""
    if m and m.low is not None and m.high is not None and m.high > m.low:
        return min(6, decimals((m.high - m.low) / 2) + 1)
    return 4 if not scores or max(map(abs, scores)) < 10 else 1


def _finite(score: float | None) -> bool:
    return score is not None and math.isfinite(score)


def importances(facts: ReportFacts) -> tuple[tuple[str, float, str], ...]:
    """(column, bar from 0 to 1, share in words), the largest first; what does not fit is one last line."""
    positive = {k: v for k, v in (facts.importances or {}).items() if math.isfinite(v) and v > 0}
    total = sum(positive.values())
    ranked = sorted(positive.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = ranked[:SHOWN_COLUMNS], ranked[SHOWN_COLUMNS:]
    lines = [(safe(name), value / ranked[0][1], percent(value / total)) for name, value in shown]
    if rest:
        left = sum(value for _, value in rest)
        lines.append((f"{plural(len(rest), 'other')} together", min(1.0, left / ranked[0][1]), percent(left / total)))
    return tuple(lines)


def threshold(facts: ReportFacts) -> float:
    """From which probability a row counts as positive, here and wherever the bundle predicts."""
    return DEFAULT_THRESHOLD if facts.threshold is None else facts.threshold


def _naming(facts: ReportFacts, name: str) -> str:
    """From when on a row is called positive, and who decided that."""
    bound = threshold(facts)
    if bound == DEFAULT_THRESHOLD:
        return f"A row is called {name} from a probability of {percent(bound)} up."
    rows = f"Every row is called {name}" if bound <= 0 else f"No row is called {name}"
    called = f"A row is called {name} from a probability of {percent(bound)} up" if 0 < bound <= 1 else rows
    cross_validated = facts.measurement is not None and facts.measurement.how == "cross_validation"
    on = "on these same rows, so expect a little less" if cross_validated else "on rows that are not counted here"
    return (
        f"{called}: that earns most by the value you gave, {on}. "
        "The column prediction of the bundle and its endpoint decides the same way."
    )


def confusion(facts: ReportFacts) -> Confusion | None:
    """Count each kind of mistake; None where there are too few rows or too many classes for a table."""
    rows = facts.held_out.usable() if facts.held_out else None
    if rows is None or len(rows) == 0 or facts.task == "regression" or len(facts.classes) > MOST_CLASSES:
        return None
    binary = facts.task == "binary"
    named = (rows.values[:, 1] >= threshold(facts)).astype(np.int64) if binary else rows.values.argmax(axis=1)
    table = curves.confusion(rows.y, named, len(facts.classes))
    cells = tuple(tuple((int(n), float(n / max(1, line.sum()))) for n in line) for line in table)
    right = int(np.trace(table))
    words = [f"{count(right)} of {plural(len(rows), 'row')} are right ({percent(right / len(rows))})."]
    if binary:
        name, (missed, found), false = f"“{short(facts.classes[1])}”", table[1], table[0][1]
        words.append(
            f"Of {count(missed + found)} rows that are {name}, the model finds {count(found)}; "
            f"of {count(found + false)} that it calls {name}, {count(found)} are. "
            f"{_naming(facts, name)}"
        )
    return Confusion(tuple(safe(c) for c in facts.classes), cells, tuple(words))


def mistakes(facts: ReportFacts) -> tuple[tuple[str, str, int], ...]:
    """The pairs (true, predicted, rows) mixed up most often, where a full table would be too large."""
    rows = facts.held_out.usable() if facts.held_out else None
    if rows is None or len(rows) == 0 or facts.task != "multiclass" or len(facts.classes) <= MOST_CLASSES:
        return ()
    table = curves.confusion(rows.y, rows.values.argmax(axis=1), len(facts.classes))
    np.fill_diagonal(table, 0)
    order = np.argsort(-table, axis=None, kind="stable")[:SHOWN_MISTAKES]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, table.shape), strict=True)]
    return tuple((safe(facts.classes[i]), safe(facts.classes[j]), int(table[i, j])) for i, j in pairs if table[i, j])


def outcome(facts: ReportFacts) -> str:
    """Whether the model that is served saw every row in the end."""
    if facts.winner is None:
        return ""
    done = (
        "Afterwards it was fitted once more, with the same settings, on all rows; the score above is from before that."
        if facts.winner.refitted
        else "It was not fitted again on all rows: what is served is exactly the model that was measured."
    )
    return f"{done} {facts.winner.note}".strip()


def acts_from(roi: Roi) -> str:
    """The chosen threshold in a few words."""
    if roi.threshold is None or roi.threshold > 1:
        return "never act"
    return percent(roi.threshold) if roi.threshold > 0 else "always act"


def horizon(roi: Roi) -> str:
    """The time over which cost is set against value."""
    years = roi.value.horizon_years
    return "in one year" if years == 1 else f"in {years:g} years"


def payback(roi: Roi) -> str:
    """The payback time in a few words."""
    days = roi.payback_days
    return "never" if days is None else span_of_days(days)
