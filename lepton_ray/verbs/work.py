"""One verb at work: its folder, its ledger and its wall, which is soft. It knows no model."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_ray.errors import MoneyError
from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.meter import Meter
from lepton_ray.money.prices import machine_price
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host.run_folder import claimed
from lepton_ray.spec import Surroundings
from lepton_ray.table.place import RUNS_FOLDER

SEALING_SECONDS = 3.0
"""Kept for the end of a verb: the model is drawn, sealed and scored."""


@dataclass(slots=True)
class Work:
    """A verb that runs.

    Attributes:
        wall: seconds that it may take, as far as it can tell; infinite where nobody has said.
        notes: sentences for the user.
    """

    verb: str
    folder: Path
    meter: Meter
    budget: Budget | None
    around: Surroundings
    price: Dollars | None
    notes: list[str] = field(default_factory=list)

    @classmethod
    def begin(cls, verb: str, out: Any, *, budget: Any, deadline: Any, price: Any, default: float | None) -> Work:
        """Make the folder and open the ledger.

        Args:
            default: seconds where neither budget nor deadline is given; None: no wall.

        Raises:
            MoneyError: a limit makes no sense. UsageError: the folder holds a run.
            EnvironmentFault: it cannot be written.
        """
        started, around = time.monotonic(), Surroundings.read()
        override = None if price is None else Dollars.parse(price, name="price")
        machine = machine_price(around.vcpus, override)
        limited = budget is not None or deadline is not None or default is not None
        limits = Budget.resolve(budget, deadline, machine.per_hour, default or 60.0) if limited else None
        name = time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(4)
        place = Path(RUNS_FOLDER, name) if out is None else Path(out).expanduser()
        with claimed(place) as folder:
            ledger = Ledger.create(folder.ledger, name, machine, time.time())
        ledger.enter(verb, 0.0)
        if limits is not None:
            ledger.note("budget", limits.to_dict())
        return cls(verb, folder.path, Meter(ledger, lambda: time.monotonic() - started), limits, around, override)

    @property
    def bundle(self) -> Path:
        return self.folder / "bundle"

    @property
    def scratch(self) -> Path:
        """What is of use while the verb runs; it is removed at the end."""
        return self.folder / ".work"

    @property
    def wall(self) -> float:
        return float("inf") if self.budget is None else self.budget.wall_seconds

    def enter(self, stage: str) -> None:
        self.meter.enter(stage)

    def reopen(self) -> None:
        """Take up the ledger again that somebody else has written to."""
        self.meter = Meter(Ledger.open(self.meter.ledger.path), self.meter.clock)

    def need(self, seconds: float, what: str) -> None:
        """Refuse what cannot end before the wall.

        Raises:
            MoneyError: it cannot.
        """
        if self.meter.clock() + seconds > self.wall:
            raise MoneyError(
                f"{what} takes about {seconds:.0f} s, and the wall is at {self.wall:.0f} s.",
                "Give a larger budget or a later deadline.",
            )

    def has_left(self, seconds: float) -> bool:
        """Whether so many seconds fit before the wall, and the sealing after them."""
        return self.meter.clock() + seconds + SEALING_SECONDS <= self.wall

    def end(self) -> Receipt:
        """Close the books."""
        self.meter.close()
        return Receipt.from_ledger(self.meter.ledger)
