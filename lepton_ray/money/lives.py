"""The nodes that a run holds beside the machine it began on: from when until when, and what each of them cost.

A run is billed for a node from the moment that it takes it on until it lets it go or the node goes away, idle or not.
It knows neither Ray nor trials, and no clock.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from lepton_ray.money.dollars import Dollars
from lepton_ray.money.prices import MachinePrice, Market
from lepton_ray.money.rates import Rates


@dataclass(frozen=True, slots=True)
class Hired:
    """A node that a run takes on: its name in the cluster, its price, and the market it was bought on."""

    name: str
    machine: MachinePrice
    market: Market = "on_demand"

    @property
    def sentence(self) -> str:
        return f"{self.name} ({self.market.replace('_', '-')}, {self.machine.vcpus} vCPU, {self.machine.sentence})"

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name, "market": self.market, "machine": self.machine.to_dict()}

    @classmethod
    def from_dict(cls, facts: dict[str, Any]) -> Self:
        market: Market = "spot" if facts["market"] == "spot" else "on_demand"
        return cls(str(facts["name"]), MachinePrice.from_dict(facts["machine"]), market)


@dataclass(frozen=True, slots=True)
class Life:
    """The time for which a run held a node, in seconds since its start; ``why`` it ended, if it did."""

    node: Hired
    joined: float
    left: float = math.inf
    why: str = ""

    def ended(self, at: float, why: str) -> Self:
        """The same, ended at ``at``, but not before it began."""
        return replace(self, left=max(self.joined, at), why=why)


def cost_of_each(rates: Rates, lives: Sequence[Life], until: float) -> tuple[Dollars, tuple[Dollars, ...]]:
    """What the machine that a run began on has cost until ``until``, and each of its nodes: together ``rates.cost``.

    Args:
        rates: of all of them; each life's beginning and end is the beginning of a step.
    """
    host, nodes = Dollars(0), [Dollars(0)] * len(lives)
    for at, end, per_hour in rates.spans(until):
        there = [number for number, life in enumerate(lives) if life.joined <= at < life.left]
        together = Dollars.total(lives[number].node.machine.per_hour for number in there)
        rate = per_hour - together
        before = Dollars.of_rate(rate, end - at)
        host += before
        for number in there:  # differences of rounded sums, so that they add up to the step's cost to the micro-dollar
            rate += lives[number].node.machine.per_hour
            after = Dollars.of_rate(rate, end - at)
            nodes[number] += after - before
            before = after
    return host, tuple(nodes)
