"""The pictures of a report, each one inline SVG that follows the page's light or dark colours.

It knows numbers and labels, nothing about runs. Colours are placeholders while matplotlib draws and become CSS
variables of the page afterwards; so do fonts. The same numbers give the same bytes. No pyplot, no global state kept.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from numpy.typing import NDArray

from lepton_ray.report.curves import Bin, pareto, thinned
from lepton_ray.report.predictions import Floats, Predictions

WIDTH, HEIGHT = 420.0, 300.0  # CSS pixels at full size; text is 12 of them, so it stays readable on a phone
LEFT, RIGHT, TOP, BOTTOM = 50.0, 12.0, 30.0, 42.0
INK, MUTED, LINE, ACCENT, PAPER, LOSS = "#000001", "#000002", "#000003", "#000004", "#000005", "#000006"
SERIES = tuple(f"#00001{i}" for i in range(1, 8))
MARKS = ("o", "s", "^", "D", "v", "P", "X")
MARK_SIGNS = ("●", "■", "▲", "◆", "▼", "✚", "✖")
COLOURS = {INK: "ink", MUTED: "muted", LINE: "line", ACCENT: "accent", PAPER: "paper", LOSS: "loss"}
COLOURS |= {colour: f"series-{i}" for i, colour in enumerate(SERIES, start=1)}
CELL = 9.0  # side of a square of the density picture
MOST_DOTS = 600
ROOM = 0.02
BELOW = 0.07
SIZES = (46, 40, 54, 36, 54, 54, 48)

STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.size": 12,
    "font.family": ["sans-serif"],
    "font.sans-serif": ["DejaVu Sans"],
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.unicode_minus": True,
    "grid.color": LINE,
    "grid.linewidth": 0.7,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "lines.linewidth": 2,
}
_STATEFUL = {"backend", "backend_fallback", "interactive", "toolbar", "date.epoch", "figure.raise_window"}
_NOISE = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Point:
    """One trial in the picture of quality against cost. ``family`` counts from 0 and picks colour and mark."""

    dollars: float
    score: float
    family: int
    won: bool
    full: bool  # judged on the last rung, not on an early one


def _draw(name: str, label: str, paint: Callable[[Axes], None], height: float = HEIGHT) -> Markup:
    """Paint on a fresh figure and return it as SVG that a page can hold; ``label`` is what a screen reader says."""
    plain: dict[Any, Any] = {key: value for key, value in matplotlib.rcParamsDefault.items() if key not in _STATEFUL}
    with matplotlib.rc_context(plain | STYLE | {"svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        FigureCanvasSVG(figure)
        axes = figure.add_axes(
            (LEFT / WIDTH, BOTTOM / height, (WIDTH - LEFT - RIGHT) / WIDTH, (height - TOP - BOTTOM) / height)
        )
        paint(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return _inline(file.getvalue(), label)


def _inline(svg: str, label: str) -> Markup:
    """Strip a file down to what belongs inside a page, and let the page decide on colours and fonts."""
    svg = _NOISE.sub("", svg)
    wanted = set(re.findall(r'(?:href="|url\()#([^")]*)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in wanted else "", svg)
    svg = re.sub(r" transform=\"rotate\(-0 [^)]*\)\"|font-family: [^;\"]*;? ?", "", svg)
    svg = re.sub(r"\s*\n\s*", " ", svg).replace("xlink:href", "href").replace("> <", "><")
    for colour, name in COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    size = re.search(r'viewBox="([^"]*)"', svg)
    head = f'<svg viewBox="{size[1] if size else ""}" role="img" aria-label="{escape(label)}">'
    return Markup(re.sub(r"<svg.*?>", lambda _: head, svg, count=1).strip())


def _name_axes(axes: Axes, x: str, y: str) -> None:
    """Name both axes in reading direction: y above the picture, x below its right end."""
    axes.set_title(y, loc="left", x=-(LEFT - 4) / (WIDTH - LEFT - RIGHT), fontsize=12, color=MUTED, pad=12)
    axes.set_xlabel(x, loc="right", fontsize=12, labelpad=5)


def _shares(axes: Axes) -> None:
    """Both axes run from 0 to 100 %."""
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25", "50", "75", "100 %"])
    axes.set_xlim(-ROOM, 1 + ROOM)
    axes.set_ylim(-ROOM, 1 + ROOM)


def _usd_tick(value: float, _: object = None) -> str:
    """A tick in dollars, thousands marked, no trailing zeros."""
    text = f"{abs(value):,.6f}".rstrip("0").rstrip(".")
    return f"−${text}" if value < 0 else f"${text}"


def score_floor(scores: Sequence[float], greater_is_better: bool) -> float:
    """Where to cut the score axis so that a few bad trials do not flatten the others; infinite where nothing is cut."""
    away = -1.0 if greater_is_better else 1.0  # a larger loss is worse
    lost = np.sort(away * np.asarray(scores))
    reach = 4 * (float(np.quantile(lost, 0.6)) - lost[0])
    kept = lost[lost <= lost[0] + reach]
    if not 0 < reach < (lost[-1] - lost[0]) / 2:
        return away * np.inf
    return float(away * (kept[-1] + BELOW * (kept[-1] - kept[0])))


def trials_picture(points: Sequence[Point], metric: str, greater_is_better: bool, label: str) -> Markup:
    """Quality against cost, one mark per trial, with the line of the best quality for at most that cost."""
    dollars, scores = [p.dollars for p in points], [p.score for p in points]
    floor = score_floor(scores, greater_is_better)
    beyond = floor + 2 * BELOW * (floor - (max if greater_is_better else min)(scores))  # where what is cut off is drawn
    cut = [s < floor if greater_is_better else s > floor for s in scores]
    shown = [beyond if off else score for off, score in zip(cut, scores, strict=True)]

    def paint(axes: Axes) -> None:
        front = pareto(dollars, shown, greater_is_better)
        steps = [dollars[i] for i in front] + [max(dollars)]
        axes.step(steps, [shown[i] for i in front] + [shown[front[-1]]], where="post", color=ACCENT, lw=1.6, zorder=2)
        for family in sorted({p.family for p in points}):
            colour, mark = SERIES[family % len(SERIES)], MARKS[family % len(MARKS)]
            for full in (True, False):
                index = [i for i, p in enumerate(points) if p.family == family and p.full is full]
                x, y = [dollars[i] for i in index], [shown[i] for i in index]
                face = colour if full else PAPER
                edge, area = PAPER if full else colour, SIZES[family % len(SIZES)]
                axes.scatter(x, y, s=area, marker=mark, facecolor=face, edgecolor=edge, zorder=3)
        if any(cut):
            axes.axhline(floor + (beyond - floor) / 2, color=MUTED, lw=1, ls=(0, (4, 3)))
        won = [i for i, p in enumerate(points) if p.won]
        axes.scatter(
            [dollars[i] for i in won], [shown[i] for i in won], s=170, facecolor="none", edgecolor=INK, zorder=4
        )
        if min(dollars) > 0 and max(dollars) > 20 * min(dollars):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(numticks=5))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_minor_formatter(NullFormatter())
        else:
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(FuncFormatter(_usd_tick))
        kept = [score for off, score in zip(cut, scores, strict=True) if not off]
        ticks = MaxNLocator(5).tick_values(min(kept), max(kept))
        if any(cut):
            ticks = [tick for tick in ticks if (tick > floor if greater_is_better else tick < floor)]
        axes.margins(y=0.1)
        limits = axes.get_ylim()
        axes.set_yticks([tick for tick in ticks if limits[0] <= tick <= limits[1]])
        if not greater_is_better:
            axes.invert_yaxis()
        _name_axes(axes, "cost of the trial", f"{metric} (higher up is better)")

    return _draw("trials", label, paint, HEIGHT + 30)


def roc_picture(x: Floats, y: Floats, mark: tuple[float, float] | None, label: str) -> Markup:
    """Hits against false alarms along every threshold."""
    return _curve_picture("roc", (x, y), mark, ("false alarms among negatives", "found among positives"), label=label)


def recall_picture(x: Floats, y: Floats, mark: tuple[float, float] | None, label: str) -> Markup:
    """Precision against recall along every threshold."""
    return _curve_picture(
        "recall", (x, y), mark, ("found among positives", "right among those named positive"), label=label
    )


def _curve_picture(
    name: str, line: tuple[Floats, Floats], mark: tuple[float, float] | None, axes_names: tuple[str, str], *, label: str
) -> Markup:
    def paint(axes: Axes) -> None:
        if name == "roc":
            axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
        x, y = thinned(*line)
        axes.fill_between(x, y, color=ACCENT, alpha=0.10, linewidth=0)
        axes.plot(x, y, color=ACCENT)
        if mark:
            axes.scatter(*mark, s=60, color=INK, zorder=4)
        _shares(axes)
        _name_axes(axes, *axes_names)

    return _draw(name, label, paint)


def calibration_picture(bins: Sequence[Bin], label: str) -> Markup:
    """What was seen against what was predicted, with the 95 % range of each bin."""

    def paint(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)))
        x = [b.predicted for b in bins]
        axes.vlines(x, [b.low for b in bins], [b.high for b in bins], color=ACCENT, lw=5, alpha=0.28)
        axes.plot(x, [b.observed for b in bins], color=ACCENT, marker="o", ms=5.5, lw=1.4)
        _shares(axes)
        _name_axes(axes, "predicted probability", "how often it was so")

    return _draw("calibration", label, paint)


def values_picture(held_out: Predictions, limits: tuple[float, float], label: str) -> Markup:
    """True against predicted values: dots where they are few, squares as dark as they are full where they are many."""
    low, high = limits

    def paint(axes: Axes) -> None:
        axes.plot(limits, limits, color=MUTED, lw=1, ls=(0, (4, 3)))
        x, y = held_out.values, np.asarray(held_out.y, dtype=np.float64)
        inside = (x >= low) & (x <= high) & (y >= low) & (y <= high)
        if inside.sum() <= MOST_DOTS:
            axes.scatter(x[inside], y[inside], s=20, color=ACCENT, alpha=0.5, linewidth=0)
        else:
            _density(axes, x[inside], y[inside], limits)
        room = 0.02 * (high - low)
        axes.set_xlim(low - room, high + room)
        axes.set_ylim(low - room, high + room)
        _amounts(axes, "x")
        _amounts(axes, "y")
        _name_axes(axes, "predicted", "true value")

    return _draw("values", label, paint)


def _density(axes: Axes, x: Floats, y: Floats, limits: tuple[float, float]) -> None:
    """Fill squares by how many rows fall into each, in seven shades of one colour."""
    across, up = int((WIDTH - LEFT - RIGHT) / CELL), int((HEIGHT - TOP - BOTTOM) / CELL)
    rows, x_edges, y_edges = np.histogram2d(x, y, bins=(across, up), range=(limits, limits))
    i, j = np.nonzero(rows)
    shade = np.ceil(7 * np.sqrt(rows[i, j] / rows.max())) / 7
    colours = np.tile(to_rgba(ACCENT), (len(i), 1))
    colours[:, 3] = np.round(0.12 + 0.88 * shade, 2)
    middle_x, middle_y = (x_edges[:-1] + x_edges[1:]) / 2, (y_edges[:-1] + y_edges[1:]) / 2
    axes.scatter(middle_x[i], middle_y[j], s=(CELL - 1) ** 2, c=colours, marker="s", linewidth=0)


def errors_picture(held_out: Predictions, label: str, groups: int = 10) -> Markup:
    """The error of each tenth of the rows, in the order of their predictions: the middle one and the middle 80 %."""

    def paint(axes: Axes) -> None:
        order = np.argsort(held_out.values, kind="stable")
        error = (held_out.values - held_out.y)[order]
        parts: list[NDArray[Any]] = [part for part in np.array_split(error, groups) if len(part)]
        low, middle, high = np.array([np.quantile(part, (0.1, 0.5, 0.9)) for part in parts]).T
        x = np.arange(1, len(parts) + 1)
        axes.axhline(0, color=MUTED, lw=1, ls=(0, (4, 3)))
        axes.vlines(x, low, high, color=ACCENT, lw=9, alpha=0.28)
        axes.plot(x, middle, color=ACCENT, marker="o", ms=5.5, lw=0)
        axes.set_xticks(x)
        axes.tick_params(axis="x", length=0)
        axes.grid(visible=False, axis="x")
        _amounts(axes, "y")
        _name_axes(axes, "tenth of the rows, smallest predictions first", "predicted minus true")

    return _draw("errors", label, paint)


def profit_picture(
    curve: Sequence[tuple[float, float]], threshold: float, per_year: float, constant: float, label: str
) -> Markup:
    """Dollars a year at every threshold, the chosen one marked; ``constant``, per decision, is the line to beat."""

    def paint(axes: Axes) -> None:
        x, y = np.array(curve).T
        y = y * per_year
        axes.axhline(constant * per_year, color=MUTED, lw=1, ls=(0, (4, 3)))
        axes.plot(x, y, color=ACCENT)
        place = min(threshold, 1.0)
        axes.axvline(place, color=INK, lw=1)
        axes.scatter([place], [float(np.interp(place, x, y))], s=60, color=INK, zorder=4)
        axes.set_xlim(-ROOM, 1 + ROOM)
        axes.xaxis.set_ticks([0, 0.25, 0.5, 0.75, 1.0], ["0", "25", "50", "75", "100 %"])
        axes.margins(y=0.08)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        unit, sign = _unit(float(max(np.abs(y).max(), abs(constant * per_year))))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _usd_tick(round(v / unit, 3)) + (sign if v else "")))
        _name_axes(axes, "act from this probability up", "dollars a year, before costs")

    return _draw("profit", label, paint)


def _unit(largest: float) -> tuple[float, str]:
    """Thousands or millions, so that a tick label stays short."""
    for unit, sign in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if largest >= 2 * unit:
            return unit, sign
    return 1.0, ""


def _amounts(axes: Axes, which: str) -> None:
    """Ticks of one axis in thousands or millions where its numbers are that large."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(MaxNLocator(5))
    unit, sign = _unit(max(abs(v) for v in (axes.get_xlim() if which == "x" else axes.get_ylim())))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / unit:,.6g}".replace("-", "−") + (sign if v else "")))
