"""A run joins a cluster: it connects, sees which nodes there are, and that each of them says its price.

It knows nothing about trials, and holds no node yet: see ``crew``.
"""

from dataclasses import dataclass

from lepton_ray.errors import MoneyError, UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.prices import MachinePrice, PriceSheet
from lepton_ray.on_ray import session
from lepton_ray.on_ray.crew import place_of
from lepton_ray.on_ray.nodes import Node, of_a_cluster, price_here
from lepton_ray.report.wording import plural
from lepton_ray.search.places import Place
from lepton_ray.spec import RunSpec


@dataclass(frozen=True, slots=True)
class Joined:
    """A cluster that this process has connected to; ``machine`` is the price of the node that it is on."""

    address: str
    machine: MachinePrice
    nodes: tuple[Node, ...]

    @property
    def places(self) -> tuple[Place, ...]:
        """Where trials could run."""
        return tuple(place_of(node, self.machine.per_hour) for node in self.nodes)

    @property
    def sentence(self) -> str:
        cores, spot = sum(node.cpus for node in self.nodes), sum(node.spot for node in self.nodes)
        return f"joined the cluster at {self.address}: {plural(len(self.nodes), 'node')} ({spot} spot), {cores} cores"


def join(spec: RunSpec) -> Joined | None:
    """The cluster that the run is to join, if any.

    Raises:
        UsageError: an endpoint is wanted as well. EnvironmentFault: there is none. MoneyError: the run has no dollars,
            or a node no price.
    """
    if spec.address is None:
        return None
    if spec.budget is None:
        raise MoneyError(
            "A run that joins a cluster needs a budget: what its nodes will cost together nobody knows before.",
            "Give --budget in dollars, and --deadline where it must end by a time.",
        )
    if spec.serves:
        raise UsageError(
            "A run that joins a cluster brings up no endpoint (--address with --serve).",
            "Leave --serve out; lepton serve BUNDLE serves its model on this machine.",
        )
    session.join(spec.address)
    nodes = of_a_cluster()
    override = None if spec.price is None else Dollars.parse(spec.price, name="price")
    return Joined(spec.address, price_here(nodes, PriceSheet.shipped(), override), tuple(nodes))
