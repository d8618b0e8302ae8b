"""How often each key may ask: one token bucket a key, filled by a clock that is handed in. It knows no HTTP.

The rate is the endpoint's. Each of N replicas holds the N-th part of it and of the burst, but never less than one whole
token to spend; a client whose requests are dealt out evenly gets the whole rate, one that is always sent to the same
replica gets a part. When N changes, the parts follow as soon as the replica is told; what has been spent stays spent.
"""

from collections.abc import Callable


class Rate:
    """The buckets of one replica.

    Args:
        rate: requests per second of one key over all replicas; 0 is no limit. burst: requests at once, over all.
        clock: seconds of a clock that does not jump. share: how many replicas there are now.
    """

    def __init__(self, rate: float, burst: float, clock: Callable[[], float], share: Callable[[], int]) -> None:
        self._rate, self._burst, self._clock, self._share = rate, burst, clock, share
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, key: str) -> float:
        """Take a token of this key: 0.0 where there was one, else the seconds until there is."""
        if not self._rate:
            return 0.0
        replicas, now = max(1, self._share()), self._clock()
        rate, most = self._rate / replicas, max(1.0, self._burst / replicas)
        level, since = self._buckets.get(key, (most, now))
        level = min(most, level + (now - since) * rate)
        taken = level >= 1.0
        self._buckets[key] = (level - taken, now)
        return 0.0 if taken else (1.0 - level) / rate
