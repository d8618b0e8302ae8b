"""Which trials held an actor from when until when, written into a ledger; and the best result they reported.

It knows trials of Tune by what they say of themselves, and no clock: now is an argument, in billed seconds.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Self

from lepton_ray.money.account import Account
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.receipt import SEARCH
from lepton_ray.money.usage import Usage
from lepton_ray.on_ray.nodes import Fleet

PAUSED = "PAUSED"


@dataclass(frozen=True, slots=True)
class Best:
    """The best result reported so far, with the configuration that reported it."""

    trial_id: str
    config: dict[str, Any]
    metrics: dict[str, Any]

    @classmethod
    def of(cls, champion: Self | None, trial: Any, result: dict[str, Any], *, metric: str, mode: str) -> Self | None:
        """The champion, or this result where it is better; one without a finite metric never is."""
        score = result.get(metric)
        if not isinstance(score, int | float) or not math.isfinite(score):
            return champion
        if champion is not None:
            gain = champion.metrics[metric] - score if mode == "min" else score - champion.metrics[metric]
            if not gain > 0:
                return champion
        return cls(trial.trial_id, dict(trial.config), dict(result))


class Spells:
    """The open spells of an experiment's trials, and the ledger that takes them when they end."""

    def __init__(self, ledger: Ledger, account: Account, fleet: Fleet) -> None:
        self.ledger = ledger
        self._account = account
        self._fleet = fleet
        self._open: dict[str, tuple[Any, float]] = {}

    def begin(self, trial: Any, now: float) -> None:
        """It has an actor now."""
        self._open[trial.trial_id] = (trial, now)

    def end(self, trial: Any, now: float, outcome: str) -> None:
        """It has none any more; a trial that never had one is no line."""
        self.follow_prices()
        _, began = self._open.pop(trial.trial_id, (trial, None))
        if began is not None:
            about = {"family": trial.trainable_name, "driver": "ray", "outcome": outcome}
            ended = max(began, now)
            self.ledger.attribute(Usage(SEARCH, trial.trial_id, began, ended, self._cpus(trial), **about))

    def look(self, now: float) -> None:
        """Tune says nothing when it pauses a trial, and Ray nothing when a node comes: end and follow them."""
        self.follow_prices()
        for trial, _ in list(self._open.values()):
            if trial.status == PAUSED:
                self.end(trial, now, "paused")

    def close(self, now: float, outcome: str) -> None:
        """Nothing runs any more."""
        for trial, _ in list(self._open.values()):
            self.end(trial, now, outcome)
        self.follow_prices()
        self.ledger.close(now)

    def follow_prices(self) -> None:
        """Tell the ledger of every change of price that the account has seen."""
        rates, machine = self._account.rates, self._fleet.machine
        if rates is not None and machine is not None:
            for at, per_hour in rates.steps[len(self.ledger.rates.steps) :]:
                self.ledger.reprice(replace(machine, per_hour=per_hour), at)

    def _cpus(self, trial: Any) -> float:
        """Its vCPUs, or its share of the GPUs where that is the larger part of the machine."""
        asked = trial.placement_group_factory.required_resources
        of_gpus = asked.get("GPU", 0.0) / self._fleet.gpus if self._fleet.gpus else 0.0
        return float(max(asked.get("CPU", 0.0), of_gpus * self.ledger.machine.vcpus))
