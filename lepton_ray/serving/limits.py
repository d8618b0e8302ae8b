"""What one endpoint takes at most: numbers, their defaults, and how they are written in words. It counts nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from lepton_ray.errors import UsageError


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of an endpoint.

    Attributes:
        body: bytes of one request's body; more is a 413.
        rows: of one request; more is a 413.
        read: seconds until the whole body has come; longer is a 408.
        time: seconds from a request's coming to its answer; longer is a 503.
        work: requests that one replica works on at once; the others wait.
        queue: requests that wait in one replica, and in one proxy of Serve; one more is a 429 at once.
        rate: requests per second of one key, over all replicas; 0 is no limit. More is a 429.
        burst: requests of one key that may come at once, over all replicas; 0 is one second of the rate.
    """

    body: int = 8 << 20
    rows: int = 10_000
    read: float = 10.0
    time: float = 25.0
    work: int = 2
    queue: int = 64
    rate: float = 0.0
    burst: float = 0.0

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> "Limits":
        """Read ``rate=50,rows=1000``, or the same as a mapping; what is not named keeps its default.

        Raises:
            UsageError: there is no such limit, or its value is no number or too small.
        """
        pairs = given.items() if isinstance(given, Mapping) else _pairs(given)
        found: dict[str, Any] = {}
        kinds: dict[str, type[int] | type[float]] = {
            field.name: int if isinstance(field.default, int) else float for field in fields(cls)
        }
        for name, value in pairs:
            if name not in kinds:
                raise UsageError(f"There is no limit {name!r}.", f"There are {', '.join(kinds)}.")
            try:
                found[name] = kinds[name](value)
            except (ValueError, TypeError, OverflowError):
                raise UsageError(
                    f"The limit {name}={value} is no {'whole ' * (kinds[name] is int)}number.", f"Write {name}=NUMBER."
                ) from None
            least = 0 if name in ("queue", "rate", "burst") else 1 if kinds[name] is int else 0.01
            if not least <= found[name] < 1e15:
                raise UsageError(f"The limit {name}={value} makes no sense.", f"Give at least {least:g}.")
        return replace(cls(), **found)

    @property
    def at_once(self) -> float:
        """Requests of one key that may come at once."""
        return self.burst or max(1.0, self.rate)


def _pairs(text: str) -> list[tuple[str, str]]:
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    return [(name.strip(), value.strip()) for name, _, value in pairs]
