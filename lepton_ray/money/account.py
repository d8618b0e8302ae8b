"""An account: what a run may cost, what it has cost so far, and how long that lasts. It acts on nothing.

It is billed by ticks, each of which says what time it is and what an hour costs. Time between a pause and the next
tick is not billed: a run that was down cost nothing. It knows no clock; ticks may come from any thread.
"""

import math
import threading
from typing import Any, final

from lepton_ray.errors import MoneyError
from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Amount, Dollars
from lepton_ray.money.duration import duration_text, parse_duration
from lepton_ray.money.rates import Rates


@final
class Account:
    """The money of one run.

    Attributes:
        dollars, deadline: the limits; at least one of them is given.
        seconds: billed time so far.
        reserve_seconds: how much before its limits the run has to end.
        rates: what its machines have cost an hour; None before the first tick.
        stopped_because: why it has to end; None while it may go on.
    """

    def __init__(self, dollars: Amount | Dollars | None, deadline: str | float | None) -> None:
        if dollars is None and deadline is None:
            raise MoneyError("Neither a budget nor a deadline is given.", 'Give budget="0.02 usd", deadline="5m".')
        self.dollars = None if dollars is None else Dollars.parse(dollars, name="budget")
        self.deadline = None if deadline is None else parse_duration(deadline, name="deadline")
        if self.dollars is not None:
            Budget.resolve(self.dollars, self.deadline, Dollars(1))  # refuses what no run could have
        self.seconds = 0.0
        self.reserve_seconds = 0.0
        self.stopped_because: str | None = None
        self.rates: Rates | None = None
        self._last: float | None = None
        self._lock = threading.RLock()

    def tick(self, now: float, per_hour: Dollars) -> float:
        """Bill the time since the last tick, and this much an hour from here on; returns ``seconds``."""
        with self._lock:
            if self._last is not None:
                self.seconds += max(0.0, now - self._last)
            self._last = now
            self.rates = Rates(((0.0, per_hour),)) if self.rates is None else self.rates.then(self.seconds, per_hour)
            if self.stopped_because is None and self.left_seconds <= self.reserve_seconds:
                self.stopped_because = self._limit()
            return self.seconds

    def pause(self) -> None:
        """Bill nothing from the last tick to the next one."""
        with self._lock:
            self._last = None

    def stop(self, reason: str) -> None:
        """End the run for another reason than its limits; the first reason stays."""
        with self._lock:
            self.stopped_because = self.stopped_because or reason

    def catch_up(self, seconds: float, rates: Rates | None = None) -> None:
        """Go on where another book of the same run ended, if that is later; what stopped the run then is over."""
        with self._lock:
            self.stopped_because = None
            if seconds > self.seconds:
                self.seconds, self.rates = seconds, rates or self.rates

    @property
    def spent(self) -> Dollars:
        """What the billed time costs."""
        with self._lock:
            return Dollars(0) if self.rates is None else self.rates.cost(self.seconds)

    @property
    def left_seconds(self) -> float:
        """How long the run could go on at the present price, its reserve included; infinite before the first tick."""
        with self._lock:
            if self.rates is None:
                return math.inf
            left = math.inf if self.deadline is None else self.deadline - self.seconds
            if self.dollars is None:
                return left
            return min(left, (self.dollars - self.spent).buys(self.rates.now))

    @property
    def share_left(self) -> float:
        """How much of the time that the limits allow is left, from 1 at the start to 0."""
        left = self.left_seconds - self.reserve_seconds
        return 1.0 if math.isinf(left) else max(0.0, left) / (max(0.0, left) + self.seconds or 1.0)

    def budget(self) -> Budget:
        """Both limits at the average price so far; the one that was not given follows from the other."""
        with self._lock:
            if self.rates is None:
                raise ValueError("an account that has not been ticked has no price")
            average = self.rates.now
            if len(self.rates.steps) > 1 and self.seconds > 0:
                average = Dollars(max(1, round(self.spent.micros * 3600 / self.seconds)))
            return Budget.resolve(self.dollars, self.deadline, average)

    def _limit(self) -> str:
        if self.deadline is not None and self.deadline - self.seconds <= self.reserve_seconds:
            return f"the deadline of {duration_text(self.deadline)} has come"
        rest = ", the rest is for ending" if self.reserve_seconds else ""
        return f"{self.spent} of {self.dollars} are spent{rest}"

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            return {
                name: value for name, value in vars(self).items() if name not in ("_lock", "_last", "stopped_because")
            }

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock(), _last=None, stopped_because=None)
