"""Numbers and names as a person reads them: units, honest digits, harmless text. It knows nothing about HTML."""

import math
import unicodedata
from dataclasses import dataclass

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class MetricWords:
    """A metric's title, what it means in one clause, and whether it is a share of one."""

    title: str
    meaning: str
    scale: str = "score"  # "score" | "target": the latter is in the target's own unit


METRICS = {
    "roc_auc": MetricWords(
        "ROC AUC",
        "how often the model ranks a row of one class above a row of another class, when it should: "
        "0.5 is a coin toss, 1 is perfect",
    ),
    "average_precision": MetricWords(
        "average precision",
        "how pure the list stays when rows are picked in the model's order: "
        "the share of positive rows is what chance gives, 1 is perfect",
    ),
    "log_loss": MetricWords(
        "log loss", "how far the predicted probabilities are from what happened: lower is better, 0 is perfect"
    ),
    "brier": MetricWords(
        "Brier score", "the mean squared distance between probability and what happened: lower is better, 0 is perfect"
    ),
    "accuracy": MetricWords("accuracy", "the share of rows whose class was predicted right: 1 is perfect"),
    "balanced_accuracy": MetricWords(
        "balanced accuracy", "the share predicted right, each class counting the same: 1 is perfect"
    ),
    "f1": MetricWords("F1", "a balance between finding all positives and naming only positives: 1 is perfect"),
    "rmse": MetricWords(
        "RMSE",
        "the typical size of an error in the target's own unit, large ones counting more: 0 is perfect",
        "target",
    ),
    "mae": MetricWords("mean error", "the average size of an error in the target's own unit: 0 is perfect", "target"),
    "mape": MetricWords("MAPE", "the average error as a share of the true value: 0 is perfect"),
    "r2": MetricWords("R²", "the share of the target's variation that is explained: 1 is perfect, 0 is the plain mean"),
}


def metric_words(name: str) -> MetricWords:
    """Find a metric's words; one that is not known keeps its own name."""
    return METRICS.get(name) or MetricWords(
        short(name.replace("_", " ")), "the metric that this run was asked to improve"
    )


def safe(text: object) -> str:
    """Make text harmless to show: control and direction marks, line breaks and lone surrogates become visible."""
    shown = []
    for mark in str(text):
        kind = unicodedata.category(mark)
        shown.append(
            "\N{REPLACEMENT CHARACTER}" if kind in ("Cc", "Cf", "Cs", "Zl", "Zp") and mark != "\u200d" else mark
        )
    return "".join(shown)


def short(text: object, length: int = 40) -> str:
    """Cut harmless text to a length, the cut shown by an ellipsis."""
    whole = safe(text)
    return whole if len(whole) <= length else whole[: length - 1].rstrip() + "…"


def count(number: float) -> str:
    """12345 -> "12,345"."""
    return f"{round(number):,}"


def plural(number: int, noun: str, many: str | None = None) -> str:
    """(1, "row") -> "1 row"; (2000, "row") -> "2,000 rows"."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


def percent(share: float) -> str:
    """0.0312 -> "3.1 %"; what is neither none nor all is never shown as such."""
    if 0 < share < 0.001:
        return "< 0.1 %"
    if 0.999 < share < 1:
        return "> 99.9 %"
    return f"{100 * share:.{0 if share in (0, 1) else 1}f} %"


def size(number: int) -> str:
    """Bytes in the unit that fits."""
    amount, unit = float(number), "bytes"
    for bigger in ("kB", "MB", "GB", "TB"):
        if amount < 1000:
            break
        amount, unit = amount / 1000, bigger
    return f"{amount:.0f} {unit}" if unit == "bytes" or amount >= 100 else f"{amount:.1f} {unit}"


def duration(seconds: float) -> str:
    """Seconds in one or two units: "3.2 s", "48 s", "2 min 5 s", "1 h 3 min", "4 days"."""
    if seconds < 10:
        return f"{seconds:.1f} s" if seconds >= 0.1 or seconds == 0 else f"{1000 * seconds:.0f} ms"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    if seconds < 2 * DAY_SECONDS:
        hours, minutes = divmod(round(seconds / 60), 60)
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days = seconds / DAY_SECONDS
    return f"{count(days)} days" if days < 730 else f"{days / 365.25:.1f} years"


def span_of_days(days: float) -> str:
    """A time in days, in the unit that fits; below a minute no figure is worth giving."""
    return "less than a minute" if days * DAY_SECONDS < 60 else duration(days * DAY_SECONDS)


def decimals(half_width: float) -> int:
    """How many decimals an interval of that half-width can carry: one digit of doubt, two where it begins with 1 or 2.

    Negative where even whole tens are in doubt.
    """
    if not math.isfinite(half_width) or half_width <= 0:
        return 6
    place = math.floor(math.log10(half_width))
    return -place + (1 if half_width / 10**place < 3 else 0)


def rounded(number: float, digits: int) -> str:
    """Write a number with so many decimals, thousands marked; negative decimals round to tens, hundreds, …"""
    if not math.isfinite(number):
        return "not a number" if math.isnan(number) else ("∞" if number > 0 else "−∞")
    if digits <= 0:
        return f"{round(number / 10**-digits) * 10**-digits:,.0f}".replace("-", "−")
    return f"{number:,.{digits}f}".replace("-", "−")


def figure(number: float, low: float | None = None, high: float | None = None) -> str:
    """A measured number: its interval decides the digits; without one, three that count."""
    if low is not None and high is not None and high > low:
        return rounded(number, min(6, decimals((high - low) / 2)))
    if number == 0 or not math.isfinite(number):
        return rounded(number, 0)
    return rounded(number, min(6, max(0, 2 - math.floor(math.log10(abs(number))))))


def interval(low: float, high: float) -> str:
    """The two ends of an interval, in the digits that it can carry itself."""
    return f"{figure(low, low, high)} to {figure(high, low, high)}"


def usd(number: float, low: float | None = None, high: float | None = None) -> str:
    """An estimate in dollars; an interval decides the digits: "$12,300", "−$0.42", "$1.24 million"."""
    doubt = (high - low) / 2 if low is not None and high is not None and high > low else 0.0
    large = abs(number) >= 1e6
    scale = 1e6 if large else 1.0
    if doubt:
        digits = decimals(doubt / scale)
    else:
        digits = 2 if large or abs(number) < 100 else 0
    text = rounded(abs(number) / scale, min(6, 2 if digits == 1 and not large else digits))
    if not doubt and 0 < abs(number) < 0.1:
        text = figure(abs(number))
    return f"{'−$' if number < 0 and text.strip('0.,') else '$'}{text}{' million' if large else ''}"
