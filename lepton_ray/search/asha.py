"""What Ray Tune does on the same trials: random draws under asynchronous successive halving. It is there to compare.

The rule is that of ``ray.tune.schedulers.AsyncHyperBandScheduler`` (Ray 2.60, one bracket, the authors' η = 4; Li et
al. 2020, arXiv:1810.05934): a trial that reports at a rung goes on unless it is worse than the best quarter of those
that reported there before it; the rung remembers it either way. A trial that goes on keeps its worker. Ray itself is
not imported: a test holds the decisions against Tune's own.
"""

from collections.abc import Sequence

import numpy as np

from lepton_ray.money.lease import Lease
from lepton_ray.search.desk import Assignment
from lepton_ray.search.policy import Stop, Wait
from lepton_ray.search.records import Config
from lepton_ray.search.trial import DONE, Outcome, Trial

ETA = 4.0


class Halving:
    """The rungs of one bracket, lowest first; each remembers who reported what."""

    def __init__(self, rungs: int, eta: float = ETA) -> None:
        self._eta = eta
        self._reported: list[dict[str, float]] = [{} for _ in range(rungs)]

    def goes_on(self, trial: str, rung: int, error: float) -> bool:
        """Whether a trial that reports this error at this rung is continued; at the last one none is."""
        reported = self._reported[rung]
        before = list(reported.values())
        reported[trial] = error
        worse = bool(before) and error > float(np.nanpercentile(before, 100.0 / self._eta))
        return not worse and rung + 1 < len(self._reported)


class Asha:
    """A searcher like ``Desk``: every configuration once in random order, until all are tried or the wall comes."""

    def __init__(
        self, space: Sequence[tuple[str, Config]], *, rungs: int, wall_seconds: float, seed: int = 0, eta: float = ETA
    ) -> None:
        order = np.random.default_rng(seed).permutation(len(space))
        self._waiting = [space[number] for number in order[::-1]]
        self._halving = Halving(rungs, eta)
        self._wall = wall_seconds
        self._continued: list[Trial] = []
        self._running = 0
        self._started = 0

    def next_step(self, now: float) -> Assignment | Wait | Stop:
        """A trial that goes on, else the next draw."""
        if now < self._wall and (self._continued or self._waiting):
            self._running += 1
            return Assignment(trial := self._next(), Lease(trial.id, now, self._wall), None)
        return Wait() if self._running else Stop("every configuration was tried, or the time is over")

    def _next(self) -> Trial:
        if self._continued:
            return self._continued.pop(0)
        self._started += 1
        family, config = self._waiting.pop()
        return Trial(f"t{self._started - 1:03d}", family, config, rung=0)

    def finish(self, outcome: Outcome) -> None:
        """Decide whether the trial goes on."""
        self._running -= 1
        trial = outcome.trial
        if outcome.error is None or outcome.state != DONE:
            return
        first, above = trial.parent or trial.id, trial.rung + 1
        if self._halving.goes_on(first, trial.rung, outcome.error):
            self._continued.append(Trial(f"{first}+{above}", trial.family, trial.config, above, first))
