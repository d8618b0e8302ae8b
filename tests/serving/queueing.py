"""An endpoint in virtual time: Poisson arrivals, queues, replicas that take seconds to come up, and the policy.

Each replica works on one request after another and keeps the same ``Recent`` as a real one.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.recent import Beat, Recent
from lepton_ray.serving.scaling import Decision, Memory, Snapshot, decide
from lepton_ray.serving.terms import Terms

START_SECONDS = 4.0
TICK_SECONDS = 0.5


@dataclass(slots=True)
class Server:
    recent: Recent
    queue: deque[float] = field(default_factory=deque)
    working: float | None = None
    beat: Beat = Beat()

    def took(self) -> None:
        self.recent.now(int(self.working is not None), len(self.queue))

    @property
    def load(self) -> int:
        return len(self.queue) + (self.working is not None)


@dataclass(frozen=True, slots=True)
class Lived:
    """What became of it: each answer as (when it came, seconds), each decision as (when, snapshot, decision)."""

    answers: list[tuple[float, float]]
    decisions: list[tuple[float, Snapshot, Decision]]
    waiting: int

    def p99(self, since: float, until: float) -> float:
        return float(np.quantile([took for came, took in self.answers if since <= came < until], 0.99))

    def counts(self, since: float = 0.0, until: float = np.inf) -> list[int]:
        """The numbers of replicas wanted, one after another."""
        found: list[int] = []
        for at, _, decision in self.decisions:
            if since <= at < until and (not found or found[-1] != decision.replicas):
                found.append(decision.replicas)
        return found


def live(
    terms: Terms, fleet: Fleet, rate: Callable[[float], float], seconds: float, *, service: float = 0.02, seed: int = 0
) -> Lived:
    """Live under ``rate`` requests a second; a work takes ``service`` seconds, give or take a quarter."""
    return _World(terms, fleet, service, np.random.default_rng(seed)).live(rate, seconds)


class _World:
    def __init__(self, terms: Terms, fleet: Fleet, service: float, rng: np.random.Generator) -> None:
        self.terms, self.fleet, self.service, self.rng = terms, fleet, service, rng
        self.now, self.wanted, self.memory = 0.0, max(1, terms.least), Memory()
        self.events: list[tuple[float, int, str, object]] = []
        self.servers: list[Server] = []
        self.outside: deque[float] = deque()
        self.starting = 0
        self.answers: list[tuple[float, float]] = []
        self.decisions: list[tuple[float, Snapshot, Decision]] = []
        self.number = self._numbers()

    def live(self, rate: Callable[[float], float], seconds: float) -> Lived:
        self.servers = [Server(Recent(lambda: self.now)) for _ in range(self.wanted)]
        self._at(0.0, "come", None)
        self._at(0.0, "tick", None)
        while self.events and self.events[0][0] <= seconds:
            self.now, _, kind, what = heapq.heappop(self.events)
            if kind == "come":
                asked = rate(self.now)
                self._at(self.rng.exponential(1 / asked) if asked else 0.1, "come", None)
                if asked:
                    self._come()
            elif kind == "done":
                assert isinstance(what, Server)
                self._done(what)
            elif kind == "up":
                self._up()
            else:
                self._tick()
        waiting = len(self.outside) + sum(server.load for server in self.servers)
        return Lived(self.answers, self.decisions, waiting)

    def _come(self) -> None:
        if not self.servers:
            self.outside.append(self.now)
            return
        two = self.rng.integers(len(self.servers), size=2)
        self._enter(min((self.servers[place] for place in two), key=lambda one: one.load), self.now)

    def _enter(self, server: Server, came: float) -> None:
        server.recent.came()
        server.queue.append(came)
        self._next(server)

    def _next(self, server: Server) -> None:
        if server.working is None and server.queue:
            server.working = server.queue.popleft()
            self._at(self.service * self.rng.gamma(16.0, 1 / 16.0), "done", server)
        server.took()

    def _done(self, server: Server) -> None:
        assert server.working is not None
        took = self.now - server.working
        server.recent.answered(took)
        self.answers.append((server.working, took))
        server.working = None
        self._next(server)

    def _up(self) -> None:
        if self.starting:
            self.starting -= 1
            self.servers.append(Server(Recent(lambda: self.now)))
            while self.outside:
                self._enter(self.servers[-1], self.outside.popleft())

    def _tick(self) -> None:
        self._at(TICK_SECONDS, "tick", None)
        beats = [server.recent.beat() for server in self.servers]
        seen = Snapshot.of(self.now, self.wanted, beats, outside=len(self.outside))
        decision = decide(self.terms, self.fleet, seen, self.memory)
        self.decisions.append((self.now, seen, decision))
        self.memory, self.wanted = decision.memory, decision.replicas
        for _ in range(self.wanted - len(self.servers) - self.starting):
            self.starting += 1
            self._at(START_SECONDS, "up", None)
        self.starting = min(self.starting, max(0, self.wanted - len(self.servers)))
        del self.servers[self.wanted :]  # what they have in hand they finish: their events are there

    def _at(self, after: float, kind: str, what: object) -> None:
        heapq.heappush(self.events, (self.now + after, next(self.number), kind, what))

    @staticmethod
    def _numbers() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1


def stepped(*steps: tuple[float, float]) -> Callable[[float], float]:
    """A rate that is, from each second on, so many requests a second."""

    def rate(now: float) -> float:
        return [many for since, many in steps if since <= now][-1]

    return rate
