"""The meter: writes into a ledger what a clock says. It decides nothing and trusts nothing that a worker reports."""

from collections.abc import Callable
from dataclasses import dataclass

from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.usage import Usage


@dataclass(frozen=True, slots=True)
class Meter:
    """A ledger and the run's one clock, which returns seconds since the start of the run."""

    ledger: Ledger
    clock: Callable[[], float]

    def enter(self, stage: str) -> None:
        """Close the open stage and open this one, now."""
        self.ledger.enter(stage, self.clock())

    def trial(
        self,
        trial: str,
        *,
        started: float,
        cpus: float,
        family: str,
        driver: str,
        outcome: str,
        stage: str = "search",
        node: str = "",
        lost: float = 0.0,
    ) -> Usage:
        """Book a trial that held ``cpus`` of ``node`` from ``started`` until now, and ``lost`` so many seconds of it;
        ``stage`` is the one that pays for it."""
        ended = max(started, self.clock())
        about = {"family": family, "driver": driver, "outcome": outcome, "node": node}
        usage = Usage(stage, trial, started, ended, cpus, **about, lost=min(lost, ended - started))
        self.ledger.attribute(usage)
        return usage

    def spent(self) -> Dollars:
        """What the run has been billed until now."""
        return self.ledger.spent(self.clock())

    def close(self) -> None:
        """End the run, or the endpoint's service, now."""
        self.ledger.close(self.clock())
