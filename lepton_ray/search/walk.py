"""A frugal walk through a space of settings: cheap first, then step by step where it gets better. It tries nothing.

Randomised direct search after Wu, Wang, Huang, "Frugal Optimization for Cost-related Hyperparameters" (AAAI 2021,
arXiv:2005.01571, FLOW²): from the best point so far try a random direction, then its opposite; shrink the step when
nothing has helped for a while, and start again near the beginning when it has become too small. A walk that starts at
a cheap point stays near the cheapest that is good enough. Departures: several tries may be under way at once, and of
two equally good points the cheaper one is the better.

Points lie in the unit cube, one ``Axis`` for each coordinate. It knows neither Tune nor money, nor a clock.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

FIRST_STEP = 0.15
"""Of a walk in one dimension; times the square root of the dimension."""
SMALLEST_STEP = 0.01
SHRINK = math.sqrt(0.5)
RESTART_WIDTH = 0.25
"""Standard deviation of a new start around the first one."""

Point = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Axis:
    """One setting: a number from ``lower`` to ``upper``, both included, or one of ``options``.

    Attributes:
        log: equal steps are equal ratios.
        quantum: values are whole multiples of it; 0 for any value.
    """

    lower: float = 0.0
    upper: float = 1.0
    log: bool = False
    quantum: float = 0.0
    integer: bool = False
    options: tuple[Any, ...] = ()

    def value(self, at: float) -> Any:
        """The setting at a coordinate from 0 to 1."""
        if self.options:
            return self.options[min(int(at * len(self.options)), len(self.options) - 1)]
        number = self.lower + at * (self.upper - self.lower)
        if self.log:
            number = math.exp(math.log(self.lower) + at * (math.log(self.upper) - math.log(self.lower)))
        if self.quantum:
            number = round(number / self.quantum) * self.quantum
        number = min(max(number, self.lower), self.upper)
        return round(number) if self.integer else number

    def at(self, value: Any) -> float:
        """The coordinate of a setting; ValueError where it is none of this axis."""
        if self.options:
            return (self.options.index(value) + 0.5) / len(self.options)
        if not self.lower <= value <= self.upper:
            raise ValueError(f"{value!r} does not lie between {self.lower:g} and {self.upper:g}")
        if self.upper == self.lower:
            return 0.0
        if self.log:
            return (math.log(value) - math.log(self.lower)) / (math.log(self.upper) - math.log(self.lower))
        return float((value - self.lower) / (self.upper - self.lower))


@dataclass(frozen=True, slots=True)
class Try:
    """A point to be tried, and the move that led there from ``origin``; no move at a start."""

    point: Point
    origin: int = 0
    move: Point = ()
    mirrored: bool = False


@dataclass(slots=True)
class Walk:
    """Where a walk stands; its fields are JSON values.

    Attributes:
        start: where it begins, and begins again.
        ordered: of each coordinate, whether near values are alike; the others are drawn anew in a step.
        mirrors: moves that did not help, whose opposites are still to be tried, with their origin.
        origin: number of the best point; a move from an older one is not mirrored.
    """

    start: Point
    ordered: tuple[bool, ...]
    best: Point | None = None
    score: float = math.inf
    cost: float = math.inf
    step: float = 0.0
    misses: int = 0
    origin: int = 0
    begun: bool = False
    mirrors: list[Point] = field(default_factory=list)

    @classmethod
    def from_dict(cls, state: dict[str, Any]) -> Self:
        """Read back what ``asdict`` made, from JSON too."""
        best, mirrors = state["best"], [tuple(move) for move in state["mirrors"]]
        points = {"start": tuple(state["start"]), "ordered": tuple(state["ordered"]), "mirrors": mirrors}
        return cls(**{**state, **points, "best": best and tuple(best)})

    def ask(self, rng: np.random.Generator) -> Try:
        """The next point to try; scattered around the start as long as nothing is known."""
        if self.best is None:
            first, self.begun = not self.begun, True
            return Try(self.start if first else self._scattered(rng), self.origin)
        if self.mirrors:
            move = tuple(-part for part in self.mirrors.pop())
            return Try(self._moved(move, rng), self.origin, move, mirrored=True)
        drawn = rng.normal(size=len(self.start)) * np.array(self.ordered)
        move = tuple(float(part) for part in drawn * self.step / (np.linalg.norm(drawn) or 1.0))
        return Try(self._moved(move, rng), self.origin, move)

    def anywhere(self, rng: np.random.Generator) -> Try:
        """A point of the whole cube, where the walk keeps to what is known."""
        return Try(tuple(float(x) for x in rng.uniform(size=len(self.start))), self.origin)

    def tell(self, tried: Try, score: float | None, cost: float) -> None:
        """What came of a try, lower is better; None where nothing did."""
        if score is not None and (score < self.score or (score == self.score and cost < self.cost)):
            fresh = self.best is None
            self.best, self.score, self.cost, self.misses = tried.point, score, cost, 0
            self.origin += 1
            self.mirrors.clear()
            if fresh:
                self.step = FIRST_STEP * math.sqrt(len(self.start))
            return
        if self.best is None or tried.origin != self.origin:
            return
        self.misses += 1
        if tried.move and not tried.mirrored:
            self.mirrors.append(tried.move)
        if self.misses >= 2 * len(self.start) + 2:
            self.misses, self.step = 0, self.step * SHRINK
            if self.step < SMALLEST_STEP * math.sqrt(len(self.start)):
                self._start_again()

    def _start_again(self) -> None:
        self.best, self.score, self.cost = None, math.inf, math.inf
        self.origin += 1
        self.mirrors.clear()

    def _scattered(self, rng: np.random.Generator) -> Point:
        near = np.clip(np.array(self.start) + rng.normal(scale=RESTART_WIDTH, size=len(self.start)), 0.0, 1.0)
        return tuple(float(x) for x in np.where(self.ordered, near, rng.uniform(size=len(self.start))))

    def _moved(self, move: Point, rng: np.random.Generator) -> Point:
        assert self.best is not None
        there = np.clip(np.array(self.best) + np.array(move), 0.0, 1.0)
        redrawn = rng.uniform(size=len(there)) < 1.0 / len(there)
        fresh = rng.uniform(size=len(there))
        return tuple(float(x) for x in np.where(np.array(self.ordered) | ~redrawn, there, fresh))


def seconds_at_most(points: Sequence[Point], seconds: Sequence[float], at: Point) -> float:
    """The 90 % quantile of what a point takes, log-linear in its coordinates: ridge regression with slopes around 0."""
    x, y = np.array(points, float), np.log(np.maximum(np.array(seconds, float), 1e-4))
    middle, mean = x.mean(0), y.mean()
    precision = (x - middle).T @ (x - middle) + 0.1 * np.eye(x.shape[1])
    slopes = np.linalg.solve(precision, (x - middle).T @ (y - mean))
    away = np.array(at) - middle
    left = y - mean - (x - middle) @ slopes
    variance = (left @ left + 0.25) / max(1, len(y))  # one guessed observation: half a log-unit off
    width = math.sqrt(variance * (1 + 1 / len(y) + away @ np.linalg.solve(precision, away)))
    return math.exp(min(mean + float(away @ slopes) + 1.28 * width, 20.0))
