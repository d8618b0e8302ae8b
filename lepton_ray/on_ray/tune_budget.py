"""A budget in dollars for anybody's own ``tune.Tuner``: a soft stop, and a callback that makes it hard.

    stop = BudgetStopper("0.02 usd", deadline="5m")
    Tuner(…, run_config=RunConfig(stop=stop, callbacks=[BudgetCallback(stop)]))

Billed is what the nodes cost x the wall time of the experiment, idle nodes included. The stopper alone asks Tune to
stop once the money is gone, and Tune waits at least ten seconds for a trial that does not listen. With the callback the
experiment is asked to stop while there is still money to end it, and whatever trial lives after its grace is killed.

It knows nothing about search spaces, tables or our own searches. Three facts about Tune 2.60 shaped it: an experiment
that was asked to stop ends within 50 ms of the death of its last actor; a callback is given the trials, but an actor
that has not ended its setup is in none of them; and a restored experiment has its stopper from one pickle and its
callbacks from another.
"""

import inspect
import logging
import threading
import time
import uuid
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.stopper import Stopper

from lepton_ray.errors import EnvironmentFault, MoneyError, UsageError
from lepton_ray.money.account import Account
from lepton_ray.money.dollars import Amount, Dollars
from lepton_ray.money.duration import duration_text
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.prices import MachinePrice
from lepton_ray.money.receipt import SEARCH, Receipt
from lepton_ray.on_ray.nodes import Fleet
from lepton_ray.on_ray.spells import Best, Spells

WATCH_SECONDS = 0.05
GRACE_SECONDS = 0.5
"""How long a trial that was asked to stop may clean up before its actor is killed."""
ENDING_SECONDS = 0.5
"""What ending an experiment takes beside the grace and one more round of Tune's loop; 0.05 measured, busy."""
LONGEST_ROUND_SECONDS = 2.0
"""A longer round of Tune's loop was a searcher with nothing to suggest."""
SMALLEST_SECONDS = 2.0
"""No actor starts in less."""
LEDGER = "lepton-ledger.jsonl"

_log = logging.getLogger(__name__)
_accounts: "weakref.WeakValueDictionary[str, Account]" = weakref.WeakValueDictionary()
"""One experiment has one account in a process, however often Tune copies and pickles its stopper."""


class BudgetStopper(Stopper):
    """Stops an experiment when its dollars or its time are used up, softly: see ``BudgetCallback``.

    What was spent survives ``Tuner.restore``, and the time in between is not billed. After a driver that died hard,
    what Tune had not written down yet (it does so every ten seconds) is known only to the callback's ledger.

    Args:
        budget: dollars, like ``"0.02 usd"`` or ``0.02``.
        deadline: billed time, like ``"5m"`` or seconds.
        price: dollars per hour of everything that runs, where the nodes' labels do not say it.

    Raises:
        MoneyError: neither limit is given, or one is no amount or no time.
    """

    def __init__(
        self,
        budget: Amount | Dollars | None = None,
        deadline: str | float | None = None,
        *,
        price: Amount | Dollars | None = None,
    ) -> None:
        self.account = Account(budget, deadline)
        self.fleet = Fleet(price)
        self._id = uuid.uuid4().hex
        self._said = False
        _accounts[self._id] = self.account

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        self.tick()
        reason = self.account.stopped_because
        if reason is not None and not self._said:
            _log.info("Stopping the experiment: %s.", reason)
            self._said = True
        return reason is not None

    def tick(self) -> float:
        """Bill until now; returns the billed seconds. A node without a price ends the experiment."""
        try:
            machine = self.fleet.look()
        except MoneyError as error:
            if self.fleet.machine is None:
                raise
            machine = self.fleet.machine
            self.account.stop(str(error))
        return self.account.tick(time.monotonic(), machine.per_hour)

    @property
    def spent(self) -> Dollars:
        """What the experiment has been billed until it was last looked at."""
        return self.account.spent

    @property
    def stopped_because(self) -> str | None:
        """Why the experiment was stopped; None where it was not, or not by its budget."""
        return self.account.stopped_because

    def __getstate__(self) -> dict[str, Any]:
        return {"id": self._id, "account": self.account, "fleet": self.fleet}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._id, self.fleet, self._said = state["id"], state["fleet"], False
        self.account = _accounts.setdefault(self._id, state["account"])
        self.account.pause()
        self.account.catch_up(state["account"].seconds, state["account"].rates)


class BudgetCallback(tune.Callback):
    """Makes a ``BudgetStopper`` hard, writes the ledger and keeps the best result so far.

    From a thread of its own it sees the wall come, has Tune stop the experiment, and after a grace kills every actor
    that the experiment still has: one that never reports, ignores signals, holds the interpreter's lock or hangs in
    its setup. Metrics reported before stay in the ResultGrid. What it cannot do: guard a driver that itself hangs in
    C, or end a daemon that a trial forked twice.

    Args:
        stopper: the same object as in ``RunConfig(stop=…)``.
        metric, mode: what ``best`` is judged by.
        ledger: a file of its own; without it ``lepton-ledger.jsonl`` in the experiment's folder. One that is there
            already is continued: what it has seen billed counts as spent.
        grace_seconds: how long a stopped trial may clean up.
    """

    def __init__(
        self,
        stopper: BudgetStopper,
        *,
        metric: str | None = None,
        mode: str = "min",
        ledger: str | Path | None = None,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        if not isinstance(stopper, BudgetStopper):
            raise UsageError(
                "BudgetCallback needs the experiment's BudgetStopper.",
                "Write stop = BudgetStopper(…), then RunConfig(stop=stop, callbacks=[BudgetCallback(stop)]).",
            )
        if mode not in ("min", "max"):
            raise UsageError(f"There is no mode {mode!r}.", "It is min or max.")
        self._stopper = stopper
        self._metric, self._mode = metric, mode
        self._given = None if ledger is None else Path(ledger)
        self._grace = grace_seconds
        self._longest_round = 0.0
        self._ended = threading.Event()
        self._spells: Spells | None = None
        self.best: Best | None = None

    def receipt(self) -> Receipt:
        """What the experiment has cost, stage by stage and trial by trial; also while it runs.

        Raises:
            MoneyError: it has not begun.
        """
        if self._spells is None:
            raise MoneyError("There is no receipt before the experiment has begun.", "Call it after fit().")
        account, ledger = self._stopper.account, self._spells.ledger
        return Receipt.from_ledger(ledger, at=None if ledger.closed else account.seconds, budget=account.budget())

    def setup(self, *given: Any, **info: Any) -> None:
        """Called by Tune before its first step: from here on time is billed."""
        controller = _controller()
        stopper, account = self._stopper, self._stopper.account
        if not any(isinstance(one, BudgetStopper) and one.account is account for one in _parts(controller._stopper)):
            raise UsageError(
                "The experiment does not stop by the BudgetStopper of its BudgetCallback.",
                "Give the same object as RunConfig(stop=…), alone or in a list.",
            )
        path = self._given or _folder(controller._storage) / LEDGER
        before = Ledger.open(path) if path.exists() else None
        if before is not None:
            account.catch_up(max((charge.ended for charge in before.charges()), default=0.0), before.rates)
        now = stopper.tick()
        machine = stopper.fleet.look()
        account.reserve_seconds = self._reserve()
        if account.left_seconds < account.reserve_seconds + SMALLEST_SECONDS:
            raise MoneyError(
                f"At {machine.per_hour} per hour the budget lasts {duration_text(max(0.0, account.left_seconds))}, "
                f"and starting and ending an experiment takes {account.reserve_seconds + SMALLEST_SECONDS:.1f} s.",
                "Give a larger budget or a later deadline.",
            )
        ledger = before or self._new_ledger(path, machine)
        self._spells = Spells(ledger, account, stopper.fleet)
        self._spells.follow_prices()
        ledger.enter(SEARCH, now)
        self._ended = threading.Event()
        watch = threading.Thread(
            target=self._watch, args=(controller._actor_manager, self._ended), name="budget", daemon=True
        )
        watch.start()

    def _new_ledger(self, path: Path, machine: MachinePrice) -> Ledger:
        """A ledger that starts where the account does, which may have had a life before."""
        account = self._stopper.account
        assert account.rates is not None
        ledger = Ledger.create(
            path, path.parent.name, replace(machine, per_hour=account.rates.steps[0][1]), time.time()
        )
        if account.seconds > 0:
            ledger.enter("before it was restored", 0.0)
        return ledger

    def _watch(self, manager: Any, ended: threading.Event) -> None:
        """Until the experiment has ended: bill, and after the wall's grace kill whatever lives."""
        account, asked = self._stopper.account, None
        while not ended.wait(WATCH_SECONDS):
            try:
                self._stopper.tick()
                account.reserve_seconds = self._reserve()
            except Exception as error:
                if account.stopped_because is None:
                    _log.exception("The budget cannot be watched any more; the experiment ends.")
                account.stop(f"its cost could no longer be watched ({error})")
            if account.stopped_because is not None:
                asked = asked or time.monotonic()
                if time.monotonic() - asked >= self._grace:
                    for actor, _ in list(manager._live_actors_to_ray_actors_resources.values()):
                        ray.kill(actor)

    def _reserve(self) -> float:
        return self._grace + ENDING_SECONDS + min(self._longest_round, LONGEST_ROUND_SECONDS)

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._round_began = time.monotonic()

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self._longest_round = max(self._longest_round, time.monotonic() - self._round_began)
        self._books.look(self._stopper.account.seconds)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._books.begin(trial, self._stopper.tick())

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        if self._metric is not None:
            self.best = Best.of(self.best, trial, result, metric=self._metric, mode=self._mode)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._books.end(trial, self._stopper.tick(), "done")

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._books.end(trial, self._stopper.tick(), "failed, to be tried again")

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._books.end(trial, self._stopper.tick(), "failed")

    def on_experiment_end(self, trials: list[Any], **info: Any) -> None:
        """The last word of Tune: the books are closed."""
        now, account = self._stopper.tick(), self._stopper.account
        self._ended.set()
        self._books.close(now, "stopped, " + (account.stopped_because or "the experiment has ended"))
        account.pause()

    @property
    def _books(self) -> Spells:
        assert self._spells is not None, "Tune calls setup first"
        return self._spells

    def get_state(self) -> dict[str, Any]:
        return {"best": self.best}

    def set_state(self, state: dict[str, Any]) -> None:
        self.best = state["best"]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_ended", "_spells")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _ended=threading.Event(), _spells=None)


def _controller() -> TuneController:
    """The loop that calls us. Tune hands its callbacks no way to the actors, which must die even during their setup."""
    frame = inspect.currentframe()
    while frame is not None:
        caller = frame.f_locals.get("self")
        if isinstance(caller, TuneController):
            return caller
        frame = frame.f_back
    raise EnvironmentFault("BudgetCallback was not set up by Tune's controller.", "Use it with the Ray that is pinned.")


def _parts(stopper: Stopper) -> list[Stopper]:
    """A stopper, or those that it is combined of."""
    inner = getattr(stopper, "_stoppers", None)
    return [stopper] if inner is None else [part for one in inner for part in _parts(one)]


def _folder(storage: Any) -> Path:
    """The experiment's folder where it is on this machine, else the one that Tune uploads from."""
    local = storage.storage_filesystem.type_name == "local"
    folder = Path(storage.experiment_fs_path if local else storage.experiment_driver_staging_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder
