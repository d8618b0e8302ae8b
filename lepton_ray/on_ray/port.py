"""A TCP port on loopback: found, checked and held. Knows nothing about what will listen there, nor about Ray."""

import socket
import sys

from lepton_ray.errors import EnvironmentFault

HOST = "127.0.0.1"
DEFAULT = 8000


class Port:
    """A TCP port on loopback that was free a moment ago, and that no other lepton_ray takes while this one lives.

    Serve binds with SO_REUSEPORT: on a taken port it would not fail but share the traffic, so this is found out before.
    """

    def __init__(self, number: int, claim: socket.socket | None) -> None:
        self.number = number
        self.asked = False
        self._claim = claim

    @classmethod
    def reserve(cls, asked: int | None = None, *, first: int = DEFAULT) -> "Port":
        """Reserve the port asked for, or ``first``, or any free one where none was asked for.

        Raises:
            EnvironmentFault: the port asked for is taken.
        """
        if asked:
            if not 0 < asked < 65536:
                raise EnvironmentFault(f"{asked} is no port.", "Name one between 1 and 65535.")
            port = cls._try(asked)
            if port is None:
                raise EnvironmentFault(
                    f"Port {asked} on {HOST} is taken.", "Name another one, or none to have a free one chosen."
                )
            port.asked = True
            return port
        candidates = [first, *(_any_port() for _ in range(8))]
        for number in candidates:
            port = cls._try(number)
            if port is not None:
                return port
        raise EnvironmentFault(f"No free port was found on {HOST}.", "Name one yourself.")

    def close(self) -> None:
        """Let others have it."""
        if self._claim is not None:
            self._claim.close()

    @classmethod
    def _try(cls, number: int) -> "Port | None":
        claim = None
        if sys.platform == "linux":
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                claim.bind(f"\0lepton-ray-port-{number}")
            except OSError:
                claim.close()
                return None
        if port_free(number):
            return cls(number, claim)
        if claim is not None:
            claim.close()
        return None


def port_free(number: int) -> bool:
    """Whether nobody listens on this port, on loopback or on all interfaces."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
            probe.listen(1)
        except (OSError, OverflowError):
            return False
    return True


def _any_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
