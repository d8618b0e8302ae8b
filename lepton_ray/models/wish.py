"""Where a family's trials may run: what a node must have for them. It knows no cluster and no price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lepton_ray.errors import UsageError


@dataclass(frozen=True, slots=True)
class Wish:
    """What a trial needs of a node. A family that needs more than one core says so in an attribute ``wish``.

    Attributes:
        cpus: cores, at least one: as many threads is it told to use.
        gpus: whole ones.
        spot: whether it may run where it can be interrupted.
        labels: that the node must have, as ``ray start --labels`` or a cluster's YAML sets them.
    """

    cpus: int = 1
    gpus: int = 0
    spot: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.gpus < 0:
            raise ValueError(f"a wish is for at least one core and no negative number of GPUs, got {self!r}")

    @property
    def sentence(self) -> str:
        gpus = [f"{self.gpus} GPU"] if self.gpus else []
        labels = [f"{name}={value}" for name, value in sorted(self.labels.items())]
        return ", ".join([f"{self.cpus} CPU", *gpus, *([] if self.spot else ["no spot"]), *labels])


ANYWHERE = Wish()


def wish_of(family: Any) -> Wish:
    """What a family wishes; one that says nothing needs a single core anywhere."""
    wish = getattr(family, "wish", ANYWHERE)
    if not isinstance(wish, Wish):
        raise UsageError(
            f"The wish of the family '{family.name}' is {wish!r:.60}.", "Make it a lepton_ray.models.wish.Wish."
        )
    return wish
