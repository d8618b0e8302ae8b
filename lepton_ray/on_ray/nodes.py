"""The nodes of a running Ray: which live, and what they cost an hour. It knows nothing about Tune, trials or budgets.

A node says what it is by its labels (``ray start --labels``, or ``labels:`` in a cluster's YAML), one of

    lepton.price-usd-h   its dollars per hour, where no price sheet has it
    lepton.instance      its row of the price sheet; with lepton.region where the type is in several regions, and
                         ray.io/market-type=spot where that is the market

A cluster without a single such label is priced by its vCPUs at the sheet's reference row, but of a cluster that a run
of ours joins each node must say its price. A node that cannot be priced (no label beside labelled ones, or with a GPU)
is an error: money is never guessed.

Ray calls a node dead 15 s after its raylet was killed, and 0 s is what its port takes to refuse: both are asked.
"""

import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from lepton_ray.errors import EnvironmentFault, MoneyError
from lepton_ray.money.dollars import Amount, Dollars
from lepton_ray.money.lives import Hired
from lepton_ray.money.prices import MachinePrice, Market, PriceSheet, machine_price

PRICE, INSTANCE, REGION, MARKET = "lepton.price-usd-h", "lepton.instance", "lepton.region", "ray.io/market-type"
LOOK_SECONDS = 1.0
"""How long a look at the nodes stays good."""
PATIENCE_SECONDS = 0.2
"""How long a raylet may take to accept a connection."""
KNOCKS = 32
"""Raylets that are asked at once."""
NAME_LETTERS = 12
_LABEL_EACH = f"Start each with --labels {PRICE}=DOLLARS or {INSTANCE}=TYPE; --price is that of the machine you are on."
_LABEL_IT = f"Label it with {INSTANCE} or {PRICE}, or give price= in dollars per hour of the whole cluster."


@dataclass(frozen=True, slots=True)
class Node:
    """A living node.

    Attributes:
        name: the beginning of its id.
        labels: what it says of itself.
        vcpus: that are paid for; cpus: that Ray gives out.
        raylet: host and port of its raylet.
        here: whether it is the driver's own.
        leaving: whether it is about to go away, by ``ray drain-node`` or the autoscaler's word.
    """

    name: str
    labels: dict[str, str]
    vcpus: int
    gpus: int = 0
    cpus: int = 0
    id: str = ""
    raylet: tuple[str, int] = ("", 0)
    here: bool = False
    leaving: bool = False

    @property
    def spot(self) -> bool:
        return self.labels.get(MARKET) == "spot"

    @property
    def labelled(self) -> bool:
        return PRICE in self.labels or INSTANCE in self.labels

    def price(self, sheet: PriceSheet) -> MachinePrice:
        """What its labels, or its vCPUs, say that it costs; MoneyError where they say nothing."""
        if text := self.labels.get(PRICE):
            per_hour = Dollars.parse(text, name=f"price of node {self.name}")
            return MachinePrice(per_hour, max(1, self.vcpus), f"{per_hour}/h by the label of {self.name}", "")
        if instance := self.labels.get(INSTANCE):
            market: Market = "spot" if self.spot else "on_demand"
            per_hour = sheet.hourly(instance, self.labels.get(REGION), market)
            return MachinePrice(per_hour, max(1, self.vcpus), f"{per_hour}/h, the row {instance} {market}", sheet.as_of)
        if self.gpus or not self.vcpus:
            has = f"{self.gpus} GPUs" if self.gpus else "no vCPU"
            raise MoneyError(f"The node {self.name} has {has} and no price.", _LABEL_IT)
        return machine_price(self.vcpus, sheet=sheet)


def price_of_all(nodes: Sequence[Node], sheet: PriceSheet, override: Dollars | None = None) -> MachinePrice:
    """The nodes as one machine, what they cost together: by the user's word, else node by node."""
    vcpus = max(1, sum(node.vcpus for node in nodes))
    if override is not None:
        return MachinePrice(override, vcpus, f"{override}/h by price=", "")
    if any(node.labelled for node in nodes):
        for node in nodes:
            if not node.labelled:
                raise MoneyError(f"The node {node.name} has no price, though others have one.", _LABEL_IT)
    prices = [node.price(sheet) for node in nodes]
    if len(prices) == 1:
        return prices[0]
    says = ", ".join(sorted({price.source for price in prices}))
    return MachinePrice(Dollars.total(price.per_hour for price in prices), vcpus, f"{len(nodes)} nodes: {says}", "")


def living_nodes() -> list[Node]:
    """The nodes that Ray counts as alive; the driver's own has the vCPUs of its machine, whatever Ray was told."""
    import ray

    own = ray.get_runtime_context().get_node_id()
    found = []
    for facts in ray.nodes():  # type: ignore[no-untyped-call]
        if facts["Alive"]:
            has, here = facts["Resources"], facts["NodeID"] == own
            cpus = int(has.get("CPU", 0))
            found.append(
                Node(
                    facts["NodeID"][:NAME_LETTERS],
                    {str(key): str(value) for key, value in facts["Labels"].items()},
                    vcpus=(os.cpu_count() or 1) if here else cpus,
                    gpus=int(has.get("GPU", 0)),
                    cpus=cpus,
                    id=facts["NodeID"],
                    raylet=(facts["NodeManagerAddress"], int(facts["NodeManagerPort"])),
                    here=here,
                )
            )
    return found


def of_a_cluster() -> list[Node]:
    """The nodes of a cluster that a run has joined, those left out whose raylet has gone.

    Raises:
        EnvironmentFault: the head has gone.
    """
    from ray._private.state import state
    from ray.exceptions import RayError

    try:
        leaving, nodes = state.get_draining_nodes(), living_nodes()
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise EnvironmentFault(f"the cluster does not answer: {reason}", "Look whether its head still runs.") from error
    with ThreadPoolExecutor(KNOCKS) as pool:  # many that say nothing are not waited for one after the other
        there = [node for node, here in zip(nodes, pool.map(answers, nodes), strict=True) if here or node.here]
    return [replace(node, leaving=node.id in leaving) for node in there]


def answers(node: Node) -> bool:
    """Whether the raylet of a node still has its port; a host that says nothing gets the benefit of the doubt."""
    try:
        socket.create_connection(node.raylet, timeout=PATIENCE_SECONDS).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return True
    return True


def hired(node: Node, sheet: PriceSheet) -> Hired:
    """A node with the price that it says.

    Raises:
        MoneyError: it says none.
    """
    if not node.labelled:
        raise MoneyError(f"The node {node.name} of the cluster has no price.", _LABEL_EACH)
    return Hired(node.name, node.price(sheet), "spot" if node.spot else "on_demand")


def price_here(nodes: Sequence[Node], sheet: PriceSheet, override: Dollars | None = None) -> MachinePrice:
    """What the driver's own node costs, if every other one has a price, too; alone it may be priced by its vCPUs.

    Raises:
        MoneyError: one has none.
    """
    (here,) = [node for node in nodes if node.here]
    for other in nodes:
        if not other.here:
            hired(other, sheet)
    if override is not None:
        return MachinePrice(override, max(1, here.vcpus), f"{override}/h by --price", "")
    return here.price(sheet) if len(nodes) == 1 else hired(here, sheet).machine


class Fleet:
    """The price of the running cluster, looked up at most once a second; may be asked from any thread."""

    def __init__(self, override: Amount | Dollars | None = None) -> None:
        self._override = None if override is None else Dollars.parse(override, name="price")
        self._sheet: PriceSheet | None = None
        self._looked = -LOOK_SECONDS
        self._lock = threading.Lock()
        self.machine: MachinePrice | None = None
        self.gpus = 0

    def look(self) -> MachinePrice:
        """The nodes that live now, as one machine.

        Raises:
            MoneyError: one of them has no price; the one seen last stays in ``machine``.
        """
        with self._lock:
            if self.machine is None or time.monotonic() - self._looked >= LOOK_SECONDS:
                self._sheet = self._sheet or PriceSheet.shipped()
                nodes = living_nodes()
                self.machine = price_of_all(nodes, self._sheet, self._override)
                self.gpus = sum(node.gpus for node in nodes)
                self._looked = time.monotonic()
            return self.machine

    def __getstate__(self) -> dict[str, object]:
        return {"override": self._override}

    def __setstate__(self, state: dict[str, object]) -> None:
        override = state["override"]
        Fleet.__init__(self, override if isinstance(override, Dollars) else None)
