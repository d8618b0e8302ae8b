"""What an operator asks of the guard, as plain values that travel to the replicas. It knows no request."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lepton_ray.serving.access_log import AccessLog
from lepton_ray.serving.guard import Guard
from lepton_ray.serving.keys import KeyFile, KeyRing
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.recent import Recent


@dataclass(frozen=True, slots=True)
class Guarding:
    """How an endpoint is guarded.

    Attributes:
        keys: the file of keys; "" lets everybody ask. log: the folder of the access log; "" keeps none.
        probe: the digest of the key by which who deploys it proves that it answers.
    """

    limits: Limits = Limits()
    keys: str = ""
    log: str = ""
    probe: str = ""

    @classmethod
    def of(cls, *, limits: str | Mapping[str, Any] = "", keys: str = "", log: str = "") -> "Guarding":
        """Read what was given, and see that the file of keys can be used; paths become absolute.

        Raises:
            UsageError, EnvironmentFault: the limits make no sense, or the keys cannot be read.
        """
        if keys:
            KeyFile(keys).read()
        return cls(Limits.of(limits), _whole(keys), _whole(log))

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        return asdict(self)

    @classmethod
    def from_plain(cls, given: Mapping[str, Any]) -> "Guarding":
        """What ``plain`` gave."""
        return cls(**{**given, "limits": Limits(**given["limits"])})

    def guard(self, replica: int, replicas: Callable[[], int], recent: Recent) -> Guard:
        """The guard of the replica of this number, which tells ``recent``; ``replicas``: how many there are now."""
        ring = KeyRing(self.keys, time.monotonic, probe=self.probe) if self.keys else None
        log = AccessLog(Path(self.log) / f"access-{replica}.log") if self.log else None
        return Guard(self.limits, ring, log, replicas=replicas, front=True, recent=recent)


def _whole(path: str) -> str:
    return str(Path(path).expanduser().resolve()) if path else ""
