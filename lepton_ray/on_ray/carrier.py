"""Carries files between a run's machine and benches elsewhere, through Ray's object store. It knows no trial."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lepton_ray.on_host import luggage
from lepton_ray.on_host.luggage import Files


class Carrier:
    """At home: an actor on the run's own machine, which reads and writes in its scratch folder."""

    def __init__(self, scratch: str) -> None:
        self._scratch = Path(scratch)
        self._needed: Any = None

    def needed(self) -> Any:
        """A reference to what every bench loads: put into the object store once, whoever asks."""
        if self._needed is None:
            self._needed = ray.put(luggage.read(self._scratch, luggage.NEEDED))
        return self._needed

    def fetch(self, names: Sequence[str]) -> Files:
        return luggage.read(self._scratch, names)

    def bring(self, files: Files) -> None:
        luggage.write(self._scratch, files)

    def asked(self) -> Sequence[str]:
        return luggage.flags(self._scratch)


class ByRay:
    """Elsewhere: a post that asks the carrier."""

    def __init__(self, name: str) -> None:
        self._carrier = ray.get_actor(name)

    def needed(self) -> Files:
        reference: Any = ray.get(self._carrier.needed.remote())
        return dict(ray.get(reference))

    def fetch(self, names: Sequence[str]) -> Files:
        return dict(ray.get(self._carrier.fetch.remote(list(names))))

    def bring(self, files: Files) -> None:
        ray.get(self._carrier.bring.remote(dict(files)))

    def asked(self) -> Sequence[str]:
        return list(ray.get(self._carrier.asked.remote()))


def start_carrier(scratch: Path, name: str) -> Any:
    """Start the carrier on this machine; it ends with the handle that is returned."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Carrier).options(name=name, num_cpus=0, scheduling_strategy=here).remote(str(scratch))
