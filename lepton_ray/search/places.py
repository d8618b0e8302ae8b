"""Where trials run: which nodes are worth their price, and which of them a trial goes to.

A run pays for the nodes that it holds, idle or not. So money is saved by holding the right ones: where dollars end the
search before the deadline does, a node that costs more per core than the others shortens it by more than it adds; where
the deadline comes first, every node that can be paid for is worth holding. What is held stays held until it goes away
or the search is over: where money and deadline end a search at nearly the same time, the best answer for what is left
turns with every second, and each turn would cost a start of processes. Pure: it knows neither Ray nor clocks.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from lepton_ray.models.wish import Wish
from lepton_ray.money.dollars import Dollars

HOST = ""
"""The name of the machine that a run began on."""
Load = Mapping[str, tuple[int, int]]
"""Place -> the cores and GPUs of it that trials have been given."""


@dataclass(frozen=True, slots=True)
class Place:
    """A node where trials can run, with what it has for them.

    Attributes:
        name: ``HOST`` for the machine that the run began on, which is held in any case.
    """

    name: str
    per_hour: Dollars
    cpus: int
    gpus: int = 0
    spot: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    def suits(self, wish: Wish) -> bool:
        """Whether it could carry out such a trial, if it had nothing else to do."""
        enough = wish.cpus <= self.cpus and wish.gpus <= self.gpus
        return enough and (wish.spot or not self.spot) and wish.labels.items() <= self.labels.items()

    @property
    def price_of_a_core(self) -> float:
        return self.per_hour.micros / max(self.cpus, 1)


@dataclass(frozen=True, slots=True)
class Means:
    """What is left for a search, finishing not included: dollars, and seconds until the deadline."""

    dollars: Dollars
    seconds: float

    def lasts(self, per_hour: Dollars) -> float:
        """How long the search can go on at this price."""
        return max(0.0, min(self.seconds, self.dollars.buys(per_hour)))


def worth_holding(
    held: Sequence[Place], offers: Collection[Place], means: Means, *, needed: Collection[Wish] = (), idle: float = 0.0
) -> tuple[Place, ...]:
    """Of the nodes on offer those to take on: the cheapest per core, as many as buy the most core-seconds of search.

    Args:
        held: the machine that the run began on and the nodes beside it, which are paid for in any case.
        needed: wishes of which each should have a node that suits, dear or not.
        idle: seconds for which a node is billed and of no use, while it begins and while it is let go. None is taken on
            with which the search would be over by then.
    """
    ranked = sorted((one for one in offers if one.cpus), key=lambda one: (one.price_of_a_core, one.spot, one.name))

    def bought(nodes: list[Place]) -> float:
        seconds = means.lasts(Dollars.total(one.per_hour for one in (*held, *nodes)))
        if nodes and seconds <= idle:
            return 0.0
        return seconds * sum(one.cpus for one in held) + (seconds - idle) * sum(one.cpus for one in nodes)

    chosen = max([ranked[:count] for count in range(len(ranked) + 1)], key=bought)
    for wish in needed:
        able = next((one for one in ranked if one.suits(wish)), None)
        if able is not None and not any(one.suits(wish) for one in (*held, *chosen)) and bought([*chosen, able]) > 0:
            chosen.append(able)
    return tuple(chosen)


def place_for(wish: Wish, places: Collection[Place], load: Load) -> Place | None:
    """The place that has room for such a trial and costs the least per core; None where none has."""

    def has_room(place: Place) -> bool:
        cpus, gpus = load.get(place.name, (0, 0))
        return cpus + wish.cpus <= place.cpus and gpus + wish.gpus <= place.gpus

    free = [one for one in places if one.suits(wish) and has_room(one)]
    return min(free, key=lambda one: (one.price_of_a_core, one.name), default=None)
