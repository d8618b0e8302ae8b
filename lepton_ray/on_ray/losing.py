"""Whether a search's Ray is still of use, and the end of what is left of it where it is not.

A Ray whose processes die takes half a minute to say so, if it does at all, and Tune waits for it without a word. It
knows neither trials nor money.
"""

from collections.abc import Callable, Hashable

from lepton_ray.on_host import processes
from lepton_ray.on_host.processes import Process

STILL_SECONDS = 15.0
"""With nothing in hand and nothing new for so long Ray is of no use; actors start in 2 to 8, on a busy machine."""
ACTOR = b"ray::TrialActor"
"""How the process of an actor that carries out trials calls itself."""


class Watch:
    """Looks at a search on Ray from time to time.

    Args:
        ended: what of Ray's own processes has ended, in words; None: nothing that is known of.
    """

    def __init__(self, ended: Callable[[], str | None], now: float) -> None:
        self._ended = ended
        self._seen: Hashable = None
        self._moved = now

    def lost(self, now: float, seen: Hashable, *, idle: bool) -> str | None:
        """Why Ray is of no use any more, None while it is.

        Args:
            seen: changes whenever anything has come about; ``idle``: nothing is in hand.
        """
        if seen != self._seen or not idle:
            self._seen, self._moved = seen, now
        if now - self._moved >= STILL_SECONDS:
            return f"nothing has begun for {STILL_SECONDS:.0f} s"
        return self._ended()


def crash_of(fault: BaseException) -> str:
    """How Tune ended, in one line."""
    told = (str(fault).strip() or type(fault).__name__).splitlines()[0][:200]
    return f"Tune ended with {type(fault).__name__}: {told}"


def end_actors(root: int) -> list[Process]:
    """Kill the actors among the descendants of a process without asking Ray; return what is left of them."""
    return processes.sweep(lambda: [one for one in processes.tree(root) if _is_actor(one)])


def _is_actor(process: Process) -> bool:
    try:
        with open(f"/proc/{process.pid}/cmdline", "rb") as file:
            return file.read().startswith(ACTOR)
    except OSError:
        return False
