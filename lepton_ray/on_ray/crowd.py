"""How many replicas an endpoint has now, as Serve's controller says. It knows nothing about what is shared out.

Serve tells a replica no number that follows autoscaling, so each asks the controller every two seconds. Until it has
answered once, the largest number that may be is taken: of what is shared out nobody takes too much.
"""

import asyncio
import logging

PERIOD = 2.0

log = logging.getLogger("lepton_ray.serving")


class Crowd:
    """The number of replicas, kept up to date from within one of them."""

    def __init__(self, most: int) -> None:
        self.now = most
        self._watching: asyncio.Task[None] | None = None

    def watch(self) -> None:
        """Begin to ask, in the loop that runs."""
        if self._watching is None:
            self._watching = asyncio.get_running_loop().create_task(self._watch())

    async def _watch(self) -> None:
        fails = False
        while True:
            try:
                self.now = max(1, await asyncio.to_thread(_running))
                fails = False
            except Exception as error:  # the controller is restarted: the last number holds
                if not fails:
                    log.warning("The number of replicas is not known anew: %s", type(error).__name__)
                fails = True
            await asyncio.sleep(PERIOD)


def _running() -> int:
    from ray import serve

    here = serve.get_replica_context()
    states = serve.status().applications[here.app_name].deployments[here.deployment].replica_states
    return sum(count for state, count in states.items() if state == "RUNNING")
