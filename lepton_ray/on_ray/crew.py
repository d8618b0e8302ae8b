"""Which nodes a search holds, and which of its trials is where: looked at each second, while nodes come and go.

What is worth holding and where a trial goes best is decided in ``search/places.py``; what it costs is booked by the
course. Here Ray is asked who lives. A node that goes away gives its trials back to the desk, one that is about to go
away is given no new trial and the ones it has are asked for their best so far. It knows nothing about Tune.

To hold a node is to have processes there, or the right to start them. A run is billed from hold to release and not for
the whole cluster: that is brought up, and paid for while it is idle, by somebody else, and others may use what is left
alone. So that this is no way to use what is not billed, a node is held before it is given its first trial, and the
run's processes on it are ended before it is let go.
"""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

from lepton_ray.errors import EnvironmentFault, MoneyError
from lepton_ray.models.wish import Wish
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.lives import Hired
from lepton_ray.money.prices import PriceSheet
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.out_of_fold import path_of, since_kept
from lepton_ray.on_ray.losing import end_actors
from lepton_ray.on_ray.nodes import LOOK_SECONDS, Node, hired
from lepton_ray.search.desk import LETTING_GO_SECONDS, Assignment, Desk
from lepton_ray.search.places import HOST, Means, Place, place_for, worth_holding
from lepton_ray.search.trial import Trial

LEAVING_SECONDS = 5.0
"""How long a trial may take to hand in its best once its node is about to go away."""
BEGINNING_SECONDS = 6.0
"""From the second in which a node is taken on until its first trial has begun, about."""
ENDING_SECONDS = 1.0
"""How long the processes on a node that is let go may take to tidy up before they are killed."""
ANSWER_SECONDS = 5.0
"""How long the head of a cluster may take to say who lives, before the run goes on without the cluster."""
LOST = "Ray was lost while it was in hand"
GONE, LEFT, OVER = "it went away", "it was about to go away", "until the search was over"


class Crew:
    """The machine that a run began on and, in a cluster, the nodes that it holds beside it.

    Whoever looks, or gives a trial its place, has the crew's lock, and may ask the desk for its own. The desk asks
    ``able`` while it holds its own: that is answered from the last look, without the crew's.

    Attributes:
        lost: why nobody looks any more, where the cluster does not answer or does not know this machine.
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
        self.lost: str | None = None
        self._ask, self._sheet = nodes, PriceSheet.shipped() if nodes else None
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="nodes")
        self._looked = -inf
        self._lock = threading.RLock()
        self._at: dict[str, str] = {}
        self._actors: dict[str, set[Any]] = {}
        self._held: dict[str, Place] = {HOST: course.host}
        self._leaving: set[str] = set()
        self._refused: set[str] = set()
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
        with self._lock:
            found = self._room(trial)
            if found is not None:
                self._at[trial.id] = found.name
                self._flag(trial.id).unlink(missing_ok=True)
            return found

    def begun(self, trial_id: str, actor: Any) -> None:
        """Know the process that carries out a trial at its place."""
        with self._lock:
            self._actors.setdefault(self.where(trial_id), set()).add(actor)

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
        with self._lock:
            there = self._there()
            if there is None:
                return
            self._looked = time.monotonic()
            self._ids |= {name: node.id for name, node in there.items()}
            before = set(self._held)
            self._lose(before - there.keys())
            here = place_of(there.pop(HOST), self._held[HOST].per_hour)
            self._held[HOST] = replace(here, name=HOST, spot=False)  # without it there is no run to be interrupted
            self._part({name for name, node in there.items() if node.leaving and name in self._held})
            self._take_on(there)
            self._open = tuple(place for name, place in self._held.items() if name not in self._leaving)
            if set(self._held) != before:
                self._desk.reprice(self._course.budget, sum(place.cpus for place in self._held.values()))

    def disband(self) -> None:
        """Let every node go but the machine that the run began on: the search is over."""
        with self._lock:
            names = self._held.keys() - {HOST}
            if self.lost is not None:
                self._actors.clear()  # whom to ask to end them?
            self._let_go(names, self.lost or OVER)

    def give_up(self) -> None:
        """Take back all that is in hand, for Ray is of no use any more, and end what carries it out on this machine."""
        supervised = self._course.around.wall_fd is not None  # what Ray's end orphans is the supervisor's
        end_actors(os.getppid() if supervised else os.getpid())
        for given in self._desk.running():
            self._flag(given.trial.id).unlink(missing_ok=True)
            self.interrupt(given.trial.id, LOST)

    def interrupt(self, trial_id: str, why: str = "its node went away") -> None:
        """Give a trial back to the desk, whose node went away; what was kept of its folds stays."""
        kept = since_kept(path_of(self._course.folder.scratch, trial_id))
        self._desk.interrupted(trial_id, self._course.clock(), "ray", reason=why, kept=kept)

    def _there(self) -> dict[str, Node] | None:
        """The nodes by their names, as the cluster says; None where it is lost."""
        if self._ask is None or self.lost is not None:
            return None
        try:
            there = {
                HOST if node.here else node.name: node for node in self._asking.submit(self._ask).result(ANSWER_SECONDS)
            }
        except TimeoutError:
            self.lost = f"the cluster did not answer for {ANSWER_SECONDS:.0f} s"
        except EnvironmentFault as fault:
            self.lost = fault.what
        else:
            if HOST in there:
                return there
            self.lost = "the cluster counted this machine among its nodes no longer"
        return None

    def _take_on(self, there: Mapping[str, Node]) -> None:
        """Hold what is worth its price from now on."""
        fresh = {name: node for name, node in there.items() if name not in self._held}
        offers = {name: one for name, node in fresh.items() if (one := self._offer(node)) is not None}
        places = {name: place_of(fresh[name], one.machine.per_hour) for name, one in offers.items()}
        chosen = worth_holding(
            tuple(self._held.values()),
            places.values(),
            self._means(),
            needed=self._wishes.values(),
            idle=BEGINNING_SECONDS + LETTING_GO_SECONDS,
        )
        if chosen:
            self._course.take_on([offers[place.name] for place in chosen])
            self._held |= {place.name: place for place in chosen}

    def _offer(self, node: Node) -> Hired | None:
        """A node that trials could be given to, at its price; one that has none is left alone."""
        suits = any(place_of(node, Dollars(0)).suits(wish) for wish in self._wishes.values())
        if self._sheet is None or node.leaving or node.name in self._refused or not suits:
            return None
        try:
            return hired(node, self._sheet)
        except MoneyError as fault:
            self._refused.add(node.name)
            self._course.screen.say(f"! left alone: {fault.what}")
            return None

    def _means(self) -> Means:
        """What is left, if the reserve is paid at the price of this machine."""
        course, reserve = self._course, max(0.0, self._desk.reserve_seconds())
        kept = Dollars.of_rate(self._held[HOST].per_hour, reserve)
        dollars = max(Dollars(0), course.budget.dollars - course.meter.spent() - kept)
        return Means(dollars, course.budget.deadline_seconds - course.clock() - reserve)

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

    def _lose(self, names: Collection[str]) -> None:
        """Nodes went away, and their trials with them."""
        for name in names:
            for given in self._on(name):
                self.interrupt(given.trial.id)
            self._actors.pop(name, None)
        announced = self._leaving & set(names)  # Ray ends a node that is to go away as soon as nothing runs on it
        self._let_go(announced, LEFT)
        self._let_go(set(names) - announced, GONE)

    def _part(self, leaving: set[str]) -> None:
        """Ask the trials of nodes that are about to go away for their best so far, give back those that have not begun,
        and let go what has nothing to do any more."""
        for given in (given for name in leaving - self._leaving for given in self._on(name)):
            if given.begun:
                self._desk.shorten(given.trial.id, self._course.clock() + LEAVING_SECONDS)
                self.call_in(given.trial.id)
            else:
                self.interrupt(given.trial.id)
        self._leaving = leaving
        self._let_go({name for name in leaving if not self._on(name)}, LEFT)

    def _let_go(self, names: Collection[str], why: str) -> None:
        """Hold these no longer; what the run has there is ended before."""
        end([actor for name in names for actor in self._actors.pop(name, ())])
        for name in names:
            del self._held[name]
            self._course.let_go(name, why)

    def call_in(self, trial_id: str) -> None:
        """Ask a trial for its best so far."""
        self._flag(trial_id).touch()

    def _flag(self, trial_id: str) -> Path:
        return self._course.folder.scratch / f"stop-{trial_id}"


def end(actors: Collection[Any]) -> None:
    """Let processes on nodes tidy up, as far as they still answer, and end them."""
    if actors:
        import ray

        ray.wait([actor.stop.remote() for actor in actors], num_returns=len(actors), timeout=ENDING_SECONDS)
        for actor in actors:
            ray.kill(actor)


def place_of(node: Node, per_hour: Dollars) -> Place:
    """A node as a place for trials."""
    return Place(node.name, per_hour, node.cpus, node.gpus, node.spot, node.labels)
