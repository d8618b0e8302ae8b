"""The pictures of how the winner predicts and earns, each with the sentence that says what to see in it.

It chooses and captions them; it knows nothing about how a picture is drawn or where it stands on the page.
"""

from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from lepton_ray.report import curves, pictures
from lepton_ray.report.facts import ReportFacts
from lepton_ray.report.predictions import Predictions
from lepton_ray.report.story import absent, threshold
from lepton_ray.report.wording import figure, percent, plural, short

FEWEST_ROWS = 10
RARE = 0.2


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture with its title and the sentence that says what to see in it; without a picture, why."""

    title: str
    caption: str
    picture: Markup | None = None


def panels(facts: ReportFacts) -> tuple[Panel, ...]:
    """The pictures of how the winner predicts; each that cannot be drawn says why."""
    rows = facts.held_out.usable() if facts.held_out else None
    if rows is None or len(rows) == 0:
        return (Panel("How it predicts", absent(facts, "held_out")),)
    if len(rows) < FEWEST_ROWS:
        return (Panel("How it predicts", f"Only {plural(len(rows), 'row')} to judge it by: too few for a picture."),)
    if facts.task == "regression":
        return (_values_panel(rows), _errors_panel(rows))
    if facts.task == "binary":
        return (_ranking_panel(facts, rows), _calibration_panel(facts, rows))
    return (_calibration_panel(facts, rows),)


def _ranking_panel(facts: ReportFacts, rows: Predictions) -> Panel:
    hit, score, name = rows.y == 1, rows.values[:, 1], f"“{short(facts.classes[1])}”"
    if hit.all() or not hit.any():
        only = short(facts.classes[int(hit[0])])
        return Panel("Sorting the rows", f"Every row kept apart is “{only}”, so there is nothing to tell apart here.")
    named = score >= threshold(facts)
    found, alarms = float((hit & named).sum() / hit.sum()), float((~hit & named).sum() / (~hit).sum())
    if hit.mean() < RARE and named.any():
        x, y = curves.precision_recall(hit, score)
        purity = float((hit & named).sum() / named.sum())
        caption = (
            f"{name} is rare ({percent(float(hit.mean()))} of rows), so the question is how many of the rows "
            f"named {name} are right. The dot: {percent(found)} found, {percent(purity)} of those named right."
        )
        return Panel("Precision and recall", caption, pictures.recall_picture(x, y, (found, purity), caption))
    x, y = curves.roc(hit, score)
    caption = (
        f"The share of {name} that is found against the share of other rows that is wrongly named, at every threshold; "
        f"the dashed line is a coin toss. The dot: {percent(found)} found, {percent(alarms)} false alarms."
    )
    return Panel("Hits against false alarms (ROC)", caption, pictures.roc_picture(x, y, (alarms, found), caption))


def _calibration_panel(facts: ReportFacts, rows: Predictions) -> Panel:
    if facts.task == "binary":
        hit, score, what = rows.y == 1, rows.values[:, 1], f"the probability of “{short(facts.classes[1])}”"
    else:
        hit, score, what = (
            rows.values.argmax(axis=1) == rows.y,
            rows.values.max(axis=1),
            "the probability of its first choice",
        )
    bins = curves.reliability(hit, score)
    caption = (
        f"When the model says 30 %, is it so in 30 of 100 cases? On the dashed line it is. On average {what} is off by "
        f"{100 * curves.calibration_error(bins):.1f} percentage points; the bars are 95 % ranges."
    )
    return Panel(
        "Can its probabilities be trusted? (calibration)", caption, pictures.calibration_picture(bins, caption)
    )


def _values_panel(rows: Predictions) -> Panel:
    both = np.concatenate((rows.values, rows.y))
    low, high = (float(q) for q in np.quantile(both, (0.005, 0.995)))
    if not high > low:
        low, high = low - 1, high + 1
    outside = int(((both < low) | (both > high)).reshape(2, -1).any(axis=0).sum())
    left = (
        f" {plural(outside, 'extreme row')} {'lies' if outside == 1 else 'lie'} outside the picture." if outside else ""
    )
    caption = f"Each mark is a row, darker where there are many; on the dashed line the prediction is exact.{left}"
    return Panel("True against predicted", caption, pictures.values_picture(rows, (low, high), caption))


def _errors_panel(rows: Predictions) -> Panel:
    size = np.abs(rows.values - rows.y)
    half, most = (figure(float(q)) for q in np.quantile(size, (0.5, 0.9)))
    caption = (
        f"Half of the errors are smaller than {half}, nine in ten smaller than {most}. For each tenth of the rows: the "
        "middle error (dot) and the middle 80 % (bar); dots above the dashed line mean predictions that are too high."
    )
    return Panel("Where it errs", caption, pictures.errors_picture(rows, caption))


def profit(facts: ReportFacts) -> Panel | None:
    """The owner's picture: dollars a year at every threshold."""
    roi = facts.roi
    if roi is None or not roi.curve or roi.threshold is None:
        return None
    chosen = (
        "chosen on these same rows, so the peak flatters it"
        if roi.cross_fitted
        else "chosen on other rows, so it need not be the peak of this curve"
    )
    caption = (
        f"What acting earns in a year at every threshold, on the {plural(roi.rows, 'row')} that measured it. "
        f"The dot is the threshold, {chosen}; the dashed line is what {roi.rule} earns."
    )
    picture = pictures.profit_picture(
        roi.curve, roi.threshold, roi.value.decisions_per_year, roi.constant_per_decision, caption
    )
    return Panel("What each threshold earns", caption, picture)
