"""A search in virtual time: the real desk and policy, or another searcher, over trials that were recorded.

Nodes with prices of their own take trials; each lasts as long as it did and comes to what it came to. A spot node is
interrupted at random moments: the work since the last fold is lost, the rest is taken up by the next free node, before
anything new. Nothing here fits a model or reads a clock, so that a thousand searches take seconds.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from itertools import accumulate, pairwise
from typing import Protocol

import numpy as np

from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.search.cost import CostModel, Size
from lepton_ray.search.desk import Assignment, Desk
from lepton_ray.search.policy import Draw, PromotionPolicy, Stop, Wait
from lepton_ray.search.records import Config, Key, RecordedTable, key_of
from lepton_ray.search.rungs import Rung
from lepton_ray.search.title import best
from lepton_ray.search.trial import DONE, PARTIAL, Outcome, Trial, beats

FEW_NEAR = 8
"""Recorded configurations that count as near another one."""


class Searcher(Protocol):
    """Whoever says what is tried next: a ``Desk``, or ``asha.Asha``."""

    def next_step(self, now: float) -> Assignment | Wait | Stop: ...

    def finish(self, outcome: Outcome) -> None: ...


@dataclass(frozen=True, slots=True)
class Node:
    """One worker: its price, and how much faster it is than the machine that recorded."""

    per_hour: Dollars
    spot: bool = False
    speed: float = 1.0


@dataclass(frozen=True, slots=True)
class World:
    """What a search runs on.

    Attributes:
        overhead: seconds that a trial takes beside fitting and judging.
        hazard: interruptions of a spot node per hour; ``away``: seconds until it is back. It is not billed meanwhile.
        levels: which recorded rung, and how many of its folds, each rung of the search is.
    """

    nodes: tuple[Node, ...]
    overhead: float = 0.1
    hazard: float = 0.0
    away: float = 120.0
    levels: tuple[tuple[int, int], ...] = ((0, 2), (1, 2))

    @property
    def per_hour(self) -> Dollars:
        """The price of all nodes."""
        return sum((node.per_hour for node in self.nodes), Dollars(0))


@dataclass(frozen=True, slots=True)
class Story:
    """How a search went.

    Attributes:
        outcomes: in the order in which they ended.
        billed: dollars of all nodes up to the end of each outcome, idle ones too; ``attributed``: of work done alone.
        seconds: until the search ended; ``interruptions``: of spot nodes, ``lost_seconds`` their lost work.
        why: the reason for which the searcher stopped.
    """

    outcomes: tuple[Outcome, ...]
    billed: tuple[float, ...]
    attributed: tuple[float, ...]
    seconds: float
    interruptions: int
    lost_seconds: float
    why: str

    def held_errors(self, table: RecordedTable, world: World) -> tuple[float, ...]:
        """After each outcome, the held-out error of the best one so far; infinite while there is none."""
        errors: list[float] = []
        champion: Outcome | None = None
        for number, outcome in enumerate(self.outcomes, 1):
            champion = best((outcome,) if champion is None else (champion, outcome), self.outcomes[:number])
            errors.append(float("inf") if champion is None else held_error(champion, table, world))
        return tuple(errors)

    def spend_to_reach(self, error: float, table: RecordedTable, world: World) -> float | None:
        """Dollars billed until the best one's held-out error was no more than ``error``; None: never."""
        reached = zip(self.billed, self.held_errors(table, world), strict=True)
        return next((dollars for dollars, held in reached if held <= error), None)


def held_error(outcome: Outcome, table: RecordedTable, world: World) -> float:
    """The recorded error on rows that no decision saw, of an outcome that left a model."""
    trial = outcome.trial
    return table.rungs[world.levels[trial.rung][0]][key_of(trial.family, trial.config)].held_error


def known_folds(world: World, trial: Trial) -> int:
    """How many folds its parent has fitted on as many rows: they are not fitted again."""
    levels, rung = world.levels, trial.rung
    return levels[rung - 1][1] if trial.parent is not None and levels[rung - 1][0] == levels[rung][0] else 0


@dataclass(slots=True)
class _Job:
    """A trial on its way: what it will come to, and the seconds of each step that is still to do, at speed 1."""

    outcome: Outcome
    steps: list[float]
    begun: float = 0.0
    broken: bool = False


@dataclass(slots=True)
class _Play:
    """The state of a simulation."""

    searcher: Searcher
    table: RecordedTable
    world: World
    rng: np.random.Generator
    events: list[tuple[float, int, int]] = field(default_factory=list)
    jobs: dict[int, _Job] = field(default_factory=dict)
    requeued: list[_Job] = field(default_factory=list)
    idle: list[int] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    billed: list[float] = field(default_factory=list)
    attributed: list[float] = field(default_factory=list)
    order: int = 0
    worked: float = 0.0
    aways: list[tuple[float, float, float]] = field(default_factory=list)
    interruptions: int = 0
    lost: float = 0.0
    why: str = ""
    rate: float = 0.0

    def at(self, when: float, node: int) -> None:
        self.order += 1
        heappush(self.events, (when, self.order, node))

    def run(self) -> float:
        """Play until nothing happens any more; return when that is."""
        nodes = self.world.nodes
        self.rate = float(self.world.per_hour.micros) / 3.6e9
        self.idle = list(range(len(nodes)))[::-1]
        now = 0.0
        self.ask(now)
        while self.events:
            now, _, node = heappop(self.events)
            job = self.jobs.pop(node, None)
            if job is None:
                pass  # back from an interruption
            elif job.broken:
                self.interrupted(now, node, job)
                continue
            else:
                self.ended(now, node, job)
            self.idle.append(node)
            self.ask(now)
        return now

    def ask(self, now: float) -> None:
        """Give work to idle nodes until there is none."""
        while self.idle and not self.why:
            if self.requeued:
                self.start(self.idle.pop(), self.requeued.pop(0), now)
                continue
            step = self.searcher.next_step(now)
            if isinstance(step, Stop):
                self.why = step.reason
            if isinstance(step, Stop | Wait):
                return
            node = self.idle.pop()
            self.start(node, self.job_of(step, now, self.world.nodes[node].speed), now)

    def start(self, node: int, job: _Job, now: float) -> None:
        place = self.world.nodes[node]
        job.begun = now
        end = now + sum(job.steps) / place.speed
        broken = now + self.rng.exponential(3600.0 / self.world.hazard) if place.spot and self.world.hazard else end
        job.broken = broken < end
        self.jobs[node] = job
        self.at(min(end, broken), node)

    def ended(self, now: float, node: int, job: _Job) -> None:
        self.worked += (now - job.begun) * float(self.world.nodes[node].per_hour.micros) / 3.6e9
        outcome = replace(job.outcome, seconds=now - job.outcome.started)
        self.outcomes.append(outcome)
        self.billed.append(self.rate * now - self.unbilled(now))
        self.attributed.append(self.worked)
        self.searcher.finish(outcome)

    def unbilled(self, now: float) -> float:
        """What nodes would have cost while they were away."""
        return sum(rate * (min(back, now) - gone) for gone, back, rate in self.aways)

    def interrupted(self, now: float, node: int, job: _Job) -> None:
        """Keep the folds that were done; the rest waits for a node."""
        place = self.world.nodes[node]
        done = (now - job.begun) * place.speed
        self.worked += (now - job.begun) * float(place.per_hour.micros) / 3.6e9
        while job.steps and done >= job.steps[0]:
            done -= job.steps.pop(0)
        self.lost += done / place.speed
        self.interruptions += 1
        self.aways.append((now, now + self.world.away, float(place.per_hour.micros) / 3.6e9))
        self.requeued.append(job)
        self.at(now + self.world.away, node)
        self.ask(now)

    def job_of(self, given: Assignment, now: float, speed: float) -> _Job:
        """What the trial will come to under its lease."""
        trial, world = given.trial, self.world
        rung, folds = world.levels[trial.rung]
        run = self.table.rungs[rung][key_of(trial.family, trial.config)]
        known = known_folds(world, trial)
        steps = list(run.fold_seconds[known:folds]) or [0.0]
        steps[0] += world.overhead
        errors, state = run.fold_errors[:folds], DONE
        left = (given.lease.until - given.lease.started) * speed
        if sum(steps) > left:
            errors, state = self.cut(trial, errors, known + sum(end <= left for end in accumulate(steps))), PARTIAL
            steps = [left]
        error = float(np.mean(errors))
        sealed = "recorded" if given.beat is None or beats(errors, given.beat) else None
        outcome = Outcome(
            trial, state, "simulated", now, 0.0, error=error, fold_errors=errors, bundle=sealed, fits=len(steps)
        )
        return _Job(replace(outcome, score=error), steps)

    def cut(self, trial: Trial, errors: tuple[float, ...], finished: int) -> tuple[float, ...]:
        """The folds that were finished; a first fit cut short is taken to be as good as a rung below, or a constant."""
        if finished:
            return errors[:finished]
        rung, _ = self.world.levels[max(trial.rung - 1, 0)]
        below = key_of(trial.family, trial.config) if trial.rung else ("constant", "{}")
        found = self.table.rungs[rung].get(below)
        return (found.fold_errors if found is not None else (max(errors),))[:1]


def simulate(searcher: Searcher, table: RecordedTable, world: World, *, seed: int = 0) -> Story:
    """Play a search to its end; the same for the same seed."""
    play = _Play(searcher, table, world, np.random.default_rng(seed))
    seconds = play.run()
    return Story(
        tuple(play.outcomes),
        tuple(play.billed),
        tuple(play.attributed),
        seconds,
        play.interruptions,
        play.lost,
        play.why,
    )


def drawn_from(table: RecordedTable, ended: Collection[Key] = ()) -> Draw:
    """A policy's draw: the recorded configurations are the space, those with most settings in common are near.

    Args:
        ended: not drawn again while there are others: a real space is not used up.
    """
    spaces: dict[str, list[Config]] = {}
    for key, run in sorted(table.everywhere().items()):
        spaces.setdefault(key[0], []).append(run.config)

    def draw(family: str, rng: np.random.Generator, near: Config | None) -> Config | None:
        whole = spaces.get(family, [])
        space = [config for config in whole if key_of(family, config) not in ended] or whole
        if not space or family == "constant":
            return None
        if near is not None:
            space = sorted(space, key=lambda config: -len(near.items() & config.items()))[:FEW_NEAR]
        return space[int(rng.integers(len(space)))]

    return draw


def size_in(table: RecordedTable, world: World, trial: Trial) -> Size:
    """The size of a trial on a recorded table."""
    rung, folds = world.levels[trial.rung]
    run = table.rungs[rung][key_of(trial.family, trial.config)]
    fits = max(1, folds - known_folds(world, trial))
    return Size(run.work / len(run.fold_errors), run.train_rows, table.facts.columns, max(table.facts.classes, 1), fits)


def promotions_in(table: RecordedTable, world: World) -> tuple[int, ...]:
    """For each rung but the last: how many of its trials cost as much as one promotion."""
    seconds = [sum(sum(run.fold_seconds[:folds]) for run in table.rungs[rung].values()) for rung, folds in world.levels]
    return tuple(max(1, round(after / max(before, 1e-9))) for before, after in pairwise(seconds))


def desk_over(
    table: RecordedTable,
    world: World,
    budget: Budget,
    *,
    portfolio: Sequence[tuple[str, Config]],
    costs: CostModel,
    seed: int = 0,
    reserve: float = 0.0,
) -> Desk:
    """The desk of a run over a recorded table; what the portfolio names and was not recorded is left out. A family of
    which it names nothing else begins with its first recorded configuration: a run tries each family."""
    known, ended = table.everywhere(), set[Key]()
    listed = [entry for entry in portfolio if key_of(*entry) in known]
    unlisted = {run.family: run.config for key, run in sorted(known.items(), reverse=True)}
    for family, _ in listed:
        unlisted.pop(family, None)
    policy = PromotionPolicy(
        (*listed, *sorted(unlisted.items(), key=lambda entry: entry[0])),
        drawn_from(table, ended),
        one_in=promotions_in(table, world),
        seed=seed,
    )
    return Desk(
        policy,
        budget,
        rungs=tuple(Rung(None, folds) for _, folds in world.levels),
        size=lambda trial: size_in(table, world, trial),
        costs=costs,
        reserve=lambda outcome: reserve,
        on_outcome=lambda outcome: ended.add(key_of(outcome.trial.family, outcome.trial.config)),
    )
