"""Which nodes a search holds, and which of its trials is where: looked at each second, while nodes come and go.

What is worth holding and where a trial goes best is decided in ``search/places.py``; what it costs is booked by the
course. Here Ray is asked who lives. A node that goes away gives its trials back to the desk, one that is about to go
away is given no new trial and the ones it has are asked for their best so far. It knows nothing about Tune.
"""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from math import inf
from pathlib import Path

from lepton_ray.errors import MoneyError
from lepton_ray.models.wish import Wish
from lepton_ray.money.budget import LARGEST_BUDGET
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import LONGEST_SECONDS
from lepton_ray.money.lives import Hired
from lepton_ray.money.prices import PriceSheet
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.out_of_fold import path_of, since_kept
from lepton_ray.on_ray.nodes import LOOK_SECONDS, Node, hired
from lepton_ray.search.desk import Assignment, Desk
from lepton_ray.search.places import HOST, Means, Place, place_for, worth_holding
from lepton_ray.search.trial import Trial

LEAVING_SECONDS = 5.0
"""How long a trial may take to hand in its best once its node is about to go away."""
FRESH_SECONDS = 6.0
"""With less than this left to the search a node is not taken on: a process there would hardly have begun."""
GONE, LEFT, TOO_DEAR, OVER = (
    "it went away",
    "it was about to go away",
    "it was not worth its price",
    "until the search was over",
)


class Crew:
    """The machine that a run began on and, in a cluster, the nodes that it holds beside it.

    Of its threads one looks and the others ask: what they ask for is answered from the last look, without a lock, for
    the desk asks while it holds its own.
    """

    def __init__(
        self,
        course: Course,
        desk: Desk,
        *,
        wishes: Mapping[str, Wish],
        nodes: Callable[[], list[Node]] | None = None,
    ) -> None:
        """Args:
        wishes: family -> what its trials need.
        nodes: who is asked which nodes of a cluster live; None: there is this machine and no other.
        """
        self._course, self._desk, self._wishes = course, desk, wishes
        self._ask, self._sheet = nodes, PriceSheet.shipped() if nodes else None
        self._looked = -inf
        self._looking = threading.RLock()
        self._at: dict[str, str] = {}
        self._held: dict[str, Place] = {HOST: course.host}
        self._leaving: frozenset[str] = frozenset()
        self._shut: frozenset[str] = frozenset()
        self._open: tuple[Place, ...] = tuple(self._held.values())
        self._ids: dict[str, str] = {}

    @property
    def joined(self) -> bool:
        """Whether there may be other nodes than this machine."""
        return self._ask is not None

    @property
    def manned(self) -> bool:
        """Whether there is a core at all: where there is none the search waits for a node, and is not over."""
        return any(place.cpus for place in self._open)

    def wish(self, trial: Trial) -> Wish:
        """What such a trial needs."""
        return self._wishes[trial.family]

    def able(self, trial: Trial) -> bool:
        """Whether there is a place for such a trial now."""
        return self._room(trial) is not None

    def place(self, trial: Trial) -> Place | None:
        """Give the trial a place; None where the last one has just gone."""
        found = self._room(trial)
        if found is not None:
            self._at[trial.id] = found.name
            self._flag(trial.id).unlink(missing_ok=True)
        return found

    def node_id(self, place: Place) -> str:
        """The id by which Ray knows a place."""
        return self._ids[place.name]

    def where(self, trial_id: str) -> str:
        """The name of the place that a trial was given."""
        return self._at.get(trial_id, HOST)

    def gone(self, trial_id: str) -> bool:
        """Whether the node of this trial has gone away, or is about to."""
        self.look(at_once=True)
        return self.where(trial_id) not in self._held or self.where(trial_id) in self._leaving

    def look(self, *, at_once: bool = False) -> None:
        """See who has come and who has gone, at most once a second."""
        if self._ask is None or (not at_once and time.monotonic() - self._looked < LOOK_SECONDS):
            return
        with self._looking:
            there = {HOST if node.here else node.name: node for node in self._ask()}
            self._looked = time.monotonic()
            self._ids = {name: node.id for name, node in there.items()}
            before = set(self._held)
            for name in before - there.keys():
                self._lose(name)
            self._held[HOST] = replace(place_of(there.pop(HOST), self._held[HOST].per_hour), name=HOST)
            self._hold(there)
            if set(self._held) != before:
                self._desk.reprice(self._course.budget, sum(place.cpus for place in self._held.values()))

    def disband(self) -> None:
        """Let every node go but the machine that the run began on: the search is over."""
        with self._looking:
            for name in self._held.keys() - {HOST}:
                self._drop(name, OVER)

    def interrupt(self, trial_id: str) -> None:
        """Give a trial back to the desk, whose node went away; what was kept of its folds stays."""
        kept = since_kept(path_of(self._course.folder.scratch, trial_id))
        self._desk.interrupted(trial_id, self._course.clock(), "ray", reason="its node went away", kept=kept)

    def _hold(self, there: dict[str, Node]) -> None:
        """Take on what is worth its price; the rest is given nothing more, and let go at a later look if idle."""
        late = self._desk.search_end() - self._course.clock() < FRESH_SECONDS
        able = {name: node for name, node in there.items() if name in self._held or not late}
        offers = {name: one for name, node in able.items() if (one := self._offer(node)) is not None}
        places = {name: place_of(there[name], one.machine.per_hour) for name, one in offers.items()}
        host = self._held[HOST]
        chosen = {one.name for one in worth_holding(host, places.values(), self._means(), needed=self._wishes.values())}
        if new := chosen - self._held.keys():
            self._course.take_on([offers[name] for name in sorted(new)])
        for name in chosen:
            self._held[name] = places[name]
        self._open = tuple(place for name, place in self._held.items() if name in {HOST, *chosen})
        leaving = frozenset(name for name, node in there.items() if node.leaving and name in self._held)
        for name in leaving - self._leaving:
            self._hasten(name)
        self._leaving = leaving
        shut = self._held.keys() - chosen - {HOST}
        for name in (shut & self._shut) - self._busy():
            self._drop(name, LEFT if name in leaving else TOO_DEAR)
        self._shut = frozenset(shut)

    def _offer(self, node: Node) -> Hired | None:
        """A node that trials could be given to, at its price; one that has none is left alone."""
        place = place_of(node, Dollars(0))
        if self._sheet is None or node.leaving or not any(place.suits(wish) for wish in self._wishes.values()):
            return None
        try:
            return hired(node, self._sheet)
        except MoneyError:
            return None

    def _means(self) -> Means:
        """What is left, if the reserve is paid at the price of this machine."""
        course, reserve = self._course, self._desk.reserve_seconds()
        dollars, seconds = LARGEST_BUDGET, LONGEST_SECONDS
        if "budget" in course.spec.limits:
            kept = Dollars.of_rate(self._held[HOST].per_hour, max(0.0, reserve))
            dollars = max(Dollars(0), course.budget.dollars - course.meter.spent() - kept)
        if course.spec.limits != ("budget",):
            seconds = course.budget.deadline_seconds - course.clock() - reserve
        return Means(dollars, seconds)

    def _room(self, trial: Trial) -> Place | None:
        """No trial waits for a place in a cluster: Tune gives an actor that is free to the one that came last."""
        places, wish = self._open, self.wish(trial)
        if self._ask is None:
            return places[0] if places[0].suits(wish) else None
        load: dict[str, tuple[int, int]] = {}
        others = (given for given in self._desk.running() if given.trial.id != trial.id)
        for given in others:
            name, asked = self.where(given.trial.id), self.wish(given.trial)
            cpus, gpus = load.get(name, (0, 0))
            load[name] = cpus + asked.cpus, gpus + asked.gpus
        return place_for(wish, places, load)

    def _on(self, name: str) -> list[Assignment]:
        return [given for given in self._desk.running() if self.where(given.trial.id) == name]

    def _busy(self) -> set[str]:
        return {self.where(given.trial.id) for given in self._desk.running()}

    def _lose(self, name: str) -> None:
        """A node went away, and its trials with it."""
        for given in self._on(name):
            self.interrupt(given.trial.id)
        self._drop(name, GONE)

    def _hasten(self, name: str) -> None:
        """A node is about to go away: ask its trials for their best so far, and give back those that have not begun."""
        for given in self._on(name):
            if given.begun:
                self._desk.shorten(given.trial.id, self._course.clock() + LEAVING_SECONDS)
                self._flag(given.trial.id).touch()
            else:
                self.interrupt(given.trial.id)

    def _drop(self, name: str, why: str) -> None:
        del self._held[name]
        self._open = tuple(place for place in self._open if place.name != name)
        self._course.let_go(name, why)

    def _flag(self, trial_id: str) -> Path:
        return self._course.folder.scratch / f"stop-{trial_id}"


def place_of(node: Node, per_hour: Dollars) -> Place:
    """A node as a place for trials."""
    return Place(node.name, per_hour, node.cpus, node.gpus, node.spot, node.labels)
