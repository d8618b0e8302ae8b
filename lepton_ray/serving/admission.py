"""Who may come in, and whose turn it is: a bounded number waits, a smaller one is worked on. It knows no HTTP.

A work of this endpoint holds the event loop or a thread. Whoever waits is woken one by one as works end, so between
two works the loop sees what has come meanwhile, and can refuse it at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from math import ceil


class Gate:
    """The gate of one replica.

    Args:
        work: requests worked on at once. queue: requests that wait for it.
        clock: seconds of a clock that does not jump.
        seen: is told, whenever it changes, how many are worked on and how many wait.
    """

    def __init__(
        self,
        work: int,
        queue: int,
        clock: Callable[[], float],
        seen: Callable[[int, int], None] = lambda working, waiting: None,
    ) -> None:
        self._free, self._most, self._clock, self._seen = work, work + queue, clock, seen
        self._working = 0
        self._work = work
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._inside = 0
        self._mean = 0.0

    @property
    def full(self) -> bool:
        """Whether nobody can come in now."""
        return self._inside >= self._most

    @property
    def free(self) -> bool:
        """Whether the next turn comes without waiting."""
        return self._free > 0

    def enter(self) -> bool:
        """Come in; False: it is full, and nobody came in."""
        if self.full:
            return False
        self._inside += 1
        self._tell()
        return True

    def leave(self) -> None:
        """Go out again, whatever became of the request."""
        self._inside -= 1
        self._tell()

    async def turn(self) -> float:
        """Wait for the turn to be worked on; return when it began. ``done`` must follow."""
        if self._free:
            self._free -= 1
        else:
            mine = asyncio.get_running_loop().create_future()
            self._waiting.append(mine)
            try:
                await mine
            except asyncio.CancelledError:
                if not mine.cancelled():  # it was woken, and will not work
                    self._free_one()
                raise
        self._working += 1
        self._tell()
        return self._clock()

    def done(self, began: float) -> None:
        """End the work that began then. The next one begins once the loop has looked around."""
        self._mean += 0.1 * (self._clock() - began - self._mean)
        self._working -= 1
        self._tell()
        asyncio.get_running_loop().call_soon(self._free_one)

    @property
    def wait(self) -> int:
        """Whole seconds in which those inside are likely to be gone, at least one."""
        return max(1, ceil(self._inside * self._mean / self._work))

    def _tell(self) -> None:
        self._seen(self._working, max(0, self._inside - self._working))

    def _free_one(self) -> None:
        while self._waiting:
            first = self._waiting.popleft()
            if not first.done():
                first.set_result(None)
                return
        self._free += 1
