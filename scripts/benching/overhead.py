"""Where the cores of a run were: CPU sampled from outside, held against the trials' own stamps and the ledger's stages.

Every core second of what was asked for is in one line of the account: in fits and scores of trials whose result was
used, elsewhere in a run's processes, or in none. It runs nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from benching.clock import Taken

WORKERS = ("lepton_ray.on_host.worker", "TrialActor", "Trainable")
"""What the processes that carry out trials call themselves: the host's, and Ray's while they have an actor."""
RAY = ("ray::", "raylet", "gcs_server", "/ray/", "ray/_private", "log_monitor", "dashboard")
DRIVER = ("lepton_ray.cli.main",)
FIRST_MODELS, FINISH = "first models", "finish"


@dataclass(frozen=True, slots=True)
class Span:
    """What a trial did from when until when, and in which process."""

    pid: int | None
    begin: float
    end: float
    what: str


def spans_of(trials: Iterable[Mapping[str, Any]]) -> list[Span]:
    """Of each trial the time in fit and score, and before and after; one without a result is one span."""
    found = []
    for one in trials:
        end, pid = one["started"] + one["seconds"], one.get("pid")
        if one["error"] is None or one.get("fit_started") is None:
            found.append(Span(pid, one["started"], end, "trials without a result"))
            continue
        begun, judged = one["fit_started"], one["fit_started"] + one["fit_seconds"]
        found.append(Span(pid, one["started"], begun, "features of trials"))
        found.append(Span(pid, begun, judged, "fit and score"))
        found.append(Span(pid, judged, end, "sealing of trials"))
    return found


def stages_of(ledger: Iterable[Mapping[str, Any]]) -> list[tuple[str, float, float]]:
    """(stage, begin, end) of a run that was not broken off."""
    marks = [(event["enter"], event["at"]) for event in ledger if "enter" in event]
    closed = [event["close"] for event in ledger if "close" in event]
    return [(name, at, until) for (name, at), (_, until) in pairwise([*marks, ("", closed[-1])])] if closed else []


def account(
    took: Taken,
    trials: Sequence[Mapping[str, Any]],
    stages: Sequence[tuple[str, float, float]],
    *,
    cores: int,
    wall: float,
) -> dict[str, float]:
    """Shares of ``cores`` x ``wall`` seconds, the largest first; they sum to 1, but for what was spent beyond the wall.

    The last moments of a process, between two looks, count as idle or as another's.

    Args:
        wall: the seconds that were asked for.
    """
    found: dict[str, float] = defaultdict(float)
    spans, edges = spans_of(trials), [0.0, *(end for _, _, end in stages), max(took.seconds, wall)]
    names = [*(name for name, _, _ in stages), "the end"] if stages else ["all"]
    for pid, points in took.samples.items():
        own = [span for span in spans if span.pid == pid]
        curve, kind = _Curve(points), "worker" if own else kind_of(took.commands.get(pid, ""))
        for span in own:
            found[span.what] += curve.gain(span.begin, span.end)
        for name, begin, end in zip(names, edges, edges[1:], strict=False):
            beside = curve.gain(begin, end) - sum(
                curve.gain(max(begin, span.begin), min(end, span.end)) for span in own if span.begin < end
            )
            found[f"{'refits and seals' if kind == 'worker' and name == FINISH else kind}, {name}"] += max(0.0, beside)
    for name, begin, end in zip(names, edges, edges[1:], strict=False):
        lived = max(0.0, min(end, took.seconds) - begin)
        busy = sum(_Curve(points).gain(begin, end) for points in took.samples.values())
        others = max(0.0, _Curve(took.machine).gain(begin, min(end, took.seconds)) - busy) if took.machine else 0.0
        unused = max(0.0, cores * lived - busy)
        found[f"others, {name}"] += min(others, unused)
        found[f"idle, {name}"] += max(0.0, unused - others)
    found["before the wall"] = cores * max(0.0, wall - took.seconds)
    shares = {what: round(seconds / (cores * wall), 4) for what, seconds in found.items()}
    return dict(sorted(((what, share) for what, share in shares.items() if share), key=lambda entry: -entry[1]))


def in_trials(shares: Mapping[str, float]) -> float:
    """The share that the issue asks for: in fits and scores of trials whose result was used."""
    return shares.get("fit and score", 0.0)


def kind_of(command: str) -> str:
    """Who a process is, from what it calls itself."""
    if any(mark in command for mark in WORKERS):
        return "worker"
    if any(mark in command for mark in DRIVER):
        return "driver"
    return "Ray" if any(mark in command for mark in RAY) else "supervisor"


class _Curve:
    """CPU seconds of one process over time, from 0 when it was first seen minus its gain until then."""

    def __init__(self, points: Sequence[tuple[float, float]]) -> None:
        first, used = points[0]
        self._at = np.array([max(0.0, first - max(used, 1e-3)), *(at for at, _ in points)])
        self._used = np.array([0.0, *(seconds for _, seconds in points)])

    def gain(self, begin: float, end: float) -> float:
        if end <= begin:
            return 0.0
        return float(np.diff(np.interp([begin, end], self._at, self._used))[0])
