"""The machines under an endpoint: what one costs an hour, and how many replicas stand on it. It knows no load.

Money counts whole machines: a replica that needs one more costs all of it, and one that finds a place costs nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lepton_ray.money.dollars import Dollars


@dataclass(frozen=True, slots=True)
class Fleet:
    """The machines that an endpoint may stand on, all alike.

    Attributes:
        per_node: dollars of one machine's hour; None where nobody said.
        seats: replicas that one machine takes.
        kept: machines that run whether or not a replica stands on them: a laptop is one.
    """

    per_node: Dollars | None = None
    seats: int = 1
    kept: int = 0

    def __post_init__(self) -> None:
        if self.seats < 1 or self.kept < 0:
            raise ValueError(f"a machine takes at least one replica, and none is kept or more, got {self!r}")

    def nodes(self, replicas: int, spread: bool = False) -> int:
        """How many machines so many replicas take; ``spread``: where each stands on one of its own."""
        return max(self.kept, replicas if spread else -(-replicas // self.seats))

    def per_hour(self, nodes: int) -> Dollars | None:
        """What so many machines cost an hour; None where the price of one is not known."""
        return None if self.per_node is None else Dollars(self.per_node.micros * nodes)

    def affords(self, cap: Dollars, spread: bool = False) -> int | None:
        """The most replicas whose machines cost no more than ``cap`` an hour; None: their number costs nothing."""
        if not self.per_node:
            return None
        nodes = cap.micros // self.per_node.micros
        return nodes * (1 if spread else self.seats)

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        micros = None if self.per_node is None else self.per_node.micros
        return {"per_node_micros": micros, "seats": self.seats, "kept": self.kept}

    @classmethod
    def from_plain(cls, given: Mapping[str, Any]) -> "Fleet":
        """What ``plain`` gave."""
        micros = given["per_node_micros"]
        return cls(None if micros is None else Dollars(micros), given["seats"], given["kept"])
