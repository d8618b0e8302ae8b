"""Carries files between a run's machine and benches elsewhere, through Ray's object store. It knows no trial."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from lepton_ray.errors import EnvironmentFault
from lepton_ray.on_host import luggage
from lepton_ray.on_host.luggage import Files


class Carrier:
    """At home: an actor on the run's own machine, which reads and writes in its scratch folder."""

    def __init__(self, scratch: str) -> None:
        self._scratch = Path(scratch)
        self._needed: Any = None

    def now(self) -> float:
        """Seconds since the run's start, by the clock of its own machine."""
        started: float = json.loads((self._scratch / "setup.json").read_text(encoding="utf-8"))["started"]
        return time.monotonic() - started

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

    def now(self) -> float:
        return float(self._ask("now"))

    def needed(self) -> Files:
        return dict(_got(self._ask("needed")))

    def fetch(self, names: Sequence[str]) -> Files:
        return dict(self._ask("fetch", list(names)))

    def bring(self, files: Files) -> None:
        self._ask("bring", dict(files))

    def asked(self) -> Sequence[str]:
        return list(self._ask("asked"))

    def _ask(self, what: str, *given: Any) -> Any:
        return _got(getattr(self._carrier, what).remote(*given))


def _got(reference: Any) -> Any:
    """What was asked for."""
    try:
        return ray.get(reference)
    except RayError as error:
        reason = str(error).strip().splitlines()[-1]
        raise EnvironmentFault(
            f"The machine that the run is on does not answer: {reason}",
            "Look whether it still runs and can be reached.",
        ) from error


def start_carrier(scratch: Path, name: str) -> Any:
    """Start the carrier on this machine; it ends with the handle that is returned."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Carrier).options(name=name, num_cpus=0, scheduling_strategy=here).remote(str(scratch))
