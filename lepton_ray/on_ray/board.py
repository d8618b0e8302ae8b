"""Where the scaling policy writes what it has decided, and each replica reads it: Ray's own key-value store.

The policy runs in Serve's controller, a request is answered in a replica, and Serve carries nothing from one to the
other. It knows nothing about how a decision comes about.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from math import inf

from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from lepton_ray.serving.standing import Scale

PERIOD = 2.0

log = logging.getLogger("lepton_ray.serving")


def write(application: str, scale: Scale) -> None:
    """Write how large this application's endpoint is now."""
    _internal_kv_put(_key(application), json.dumps(scale.plain()).encode())


def read(application: str) -> Scale | None:
    """What was written last; None: nothing yet."""
    told = _internal_kv_get(_key(application))
    return Scale.from_plain(json.loads(told)) if told else None


def follow(
    application: str, say: Callable[[Scale], None], pause: Callable[[float], object] = time.sleep, reads: float = inf
) -> None:
    """Say each change in how many replicas are wanted and in what binds, after the first word; for ever by default."""
    last: Scale | None = None
    while reads > 0:
        try:
            scale = read(application)
        except Exception as error:  # the head is away: the endpoint's own tests of life say so, not this
            log.warning("The size of the endpoint is not known: %s", type(error).__name__)
            scale = last
        if scale is not None and last is not None and (scale.wanted, scale.bound) != (last.wanted, last.bound):
            say(scale)
        last, reads = scale, reads - 1
        pause(PERIOD)


class Board:
    """What was written last, kept up to date from within a replica."""

    def __init__(self, application: str) -> None:
        self.now: Scale | None = None
        self._application = application
        self._watching: asyncio.Task[None] | None = None

    def replicas(self, most: int) -> int:
        """How many run; until that is known ``most``: of what is shared out nobody takes too much."""
        return most if self.now is None else max(1, self.now.running)

    def watch(self) -> None:
        """Begin to read, in the loop that runs."""
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        fails = False
        while True:
            try:
                self.now = await asyncio.to_thread(read, self._application)
                fails = False
            except Exception as error:  # the head is away: the last word holds
                if not fails:
                    log.warning("The size of the endpoint is not known anew: %s", type(error).__name__)
                fails = True
            await asyncio.sleep(PERIOD)


def _key(application: str) -> bytes:
    return f"lepton_ray.scale.{application}".encode()
