"""What one replica has seen lately: how often it was asked, how long that took, how busy it was. It knows no HTTP.

Everything lies in a ring of slots of a second each, so a second that is over costs nothing and memory is bounded; times
are counted in buckets of a tenth each, so a quantile is right to 10 %.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

WINDOW = 10
"""Seconds that a quantile looks back over."""
SHORT = 3
"""Seconds that rates look back over."""

_FIRST, _GROWTH = 1e-4, math.log(1.1)
_BUCKETS = 145  # up to 100 s


@dataclass(frozen=True, slots=True)
class Beat:
    """What a replica says of itself.

    Attributes:
        rate: requests a second, of any kind. done: answers a second that were worked for.
        busy: the part of the time in which it worked on something, 0 to 1.
        waiting: requests that waited for their turn, on average.
        p50, p99: seconds to answer, over the last ten; 0.0 where nothing was answered.
        answered: how many answers these two come from.
    """

    rate: float = 0.0
    done: float = 0.0
    busy: float = 0.0
    waiting: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    answered: int = 0


@dataclass(slots=True)
class _Slot:
    second: int = -1
    came: int = 0
    busy: float = 0.0
    waited: float = 0.0
    took: list[int] = field(default_factory=lambda: [0] * _BUCKETS)


class Recent:
    """The last seconds of one replica.

    Args:
        clock: seconds of a clock that does not jump.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._began = clock, clock()
        self._slots = [_Slot() for _ in range(WINDOW + 1)]
        self._working = self._waiting = 0
        self._since = self._began

    def came(self) -> None:
        """Count a request."""
        self._slot(self._clock()).came += 1

    def answered(self, seconds: float) -> None:
        """Count an answer that was worked for, and how long it took from the request's coming."""
        place = int(math.log(max(seconds, _FIRST) / _FIRST) / _GROWTH)
        self._slot(self._clock()).took[min(place, _BUCKETS - 1)] += 1

    def now(self, working: int, waiting: int) -> None:
        """Take down how many requests are worked on and how many wait, from now on."""
        self._account(self._clock())
        self._working, self._waiting = working, waiting

    def beat(self) -> Beat:
        """Say what was seen until now."""
        now = self._clock()
        self._account(now)
        second = int(now)
        lately = [slot for slot in self._slots if second - SHORT <= slot.second]
        span = max(1e-3, min(now - self._began, now - second + SHORT))
        took = [slot.took for slot in self._slots if second - WINDOW <= slot.second]
        counts = [sum(bucket) for bucket in zip(*took, strict=True)] if took else []
        return Beat(
            rate=sum(slot.came for slot in lately) / span,
            done=sum(sum(slot.took) for slot in lately) / span,
            busy=min(1.0, sum(slot.busy for slot in lately) / span),
            waiting=sum(slot.waited for slot in lately) / span,
            p50=_quantile(counts, 0.5),
            p99=_quantile(counts, 0.99),
            answered=sum(counts),
        )

    def _account(self, now: float) -> None:
        """Book the time since the last change, each second to its own slot; what lies before the window is over."""
        at = max(self._since, now - WINDOW)
        self._since = now
        if not (self._working or self._waiting):
            return
        while at < now:
            ends = min(now, math.floor(at) + 1.0)
            slot = self._slot(at)
            slot.busy += (ends - at) * bool(self._working)
            slot.waited += (ends - at) * self._waiting
            at = ends

    def _slot(self, now: float) -> _Slot:
        second = int(now)
        slot = self._slots[second % len(self._slots)]
        if slot.second != second:
            slot = self._slots[second % len(self._slots)] = _Slot(second)
        return slot


def _quantile(counts: list[int], share: float) -> float:
    """The upper end of the bucket in which this share of all lies; 0.0 of none."""
    needed = share * sum(counts)
    seen = 0
    for place, count in enumerate(counts):
        seen += count
        if count and seen >= needed:
            return float(_FIRST * math.exp((place + 1) * _GROWTH))
    return 0.0
