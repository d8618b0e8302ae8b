"""A budget in somebody's own Tuner, seen by an outside clock, with trials that mean harm.

Ray is imported in functions: it reads its environment once, and the session writes that first.
"""

import copy
import gc
import os
import pickle
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lepton_ray
from lepton_ray.errors import MoneyError, UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.on_ray.session import Session, short_temp_dir

LEFT_SECONDS = 5.0
"""The wall comes this long after all trials are where they mean to be: how long they take there is no matter."""
PRICE = "0.36 usd"  # an hour: a hundredth of a cent each second
KINDS = ["silent", "talks, then holds", "says no more", "stopped", "raises"]


pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    session = Session(short_temp_dir(), cpus=2, object_store_bytes=0).start()
    session.wait(60)
    yield
    session.stop()


def fit(name: str, place: Path, *, kinds: list[str], running: dict[str, Any], **tuning: Any) -> Any:
    """Run the experiment of one trainable of ``trainables``, a trial for each kind, all at once."""
    from ray import tune

    from tests.on_ray import trainables

    (place / "pids").mkdir(exist_ok=True)
    tuner = tune.Tuner(
        tune.with_resources(getattr(trainables, name), {"cpu": 0.1}),
        param_space={"kind": tune.grid_search(kinds), "pids": str(place / "pids")},
        tune_config=tune.TuneConfig(metric="loss", mode="min", **tuning),
        run_config=tune.RunConfig(storage_path=str(place), verbose=0, **running),
    )
    return tuner.fit()


class Wall:
    """Moves an experiment's wall to shortly after the moment when so many have begun and so many have spoken."""

    def __init__(self, stop: Any, place: Path, *, begun: int, spoken: int) -> None:
        self._stop, self._pids, self._begun = stop, place / "pids", begun
        self._silent = spoken
        self.at = float("inf")
        threading.Thread(target=self._wait, daemon=True).start()

    def heard(self) -> None:
        self._silent -= 1

    def _wait(self) -> None:
        while self._silent > 0 or not self._pids.exists() or len(list(self._pids.iterdir())) < self._begun:
            time.sleep(0.05)
        account = self._stop.account
        self.at = time.monotonic() + LEFT_SECONDS
        if account.dollars is not None:
            account.dollars = account.spent + Dollars.of_rate(account.rates.now, LEFT_SECONDS)
        else:
            account.deadline = account.seconds + LEFT_SECONDS


def check_all_are_gone(place: Path) -> None:
    """Every process that left its pid ends soon after the experiment."""
    pids = [int(file.name) for file in (place / "pids").iterdir()]
    until = time.monotonic() + 5
    while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert pids and not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def test_functions_that_mean_harm_end_within_the_budget_and_keep_what_they_said(tmp_path: Path) -> None:
    from tests.on_ray.trainables import AtResult

    stop = lepton_ray.BudgetStopper("0.02 usd", price=PRICE)
    callback = lepton_ray.BudgetCallback(stop, metric="loss")
    wall = Wall(stop, tmp_path, begun=len(KINDS), spoken=len(KINDS) - 1)
    running = {"stop": stop, "callbacks": [callback, AtResult(wall.heard)]}
    results = fit("harm", tmp_path, kinds=KINDS, running=running)
    assert time.monotonic() <= wall.at < float("inf")
    check_all_are_gone(tmp_path)
    said = {result.metrics["kind"]: result for result in results if "kind" in result.metrics}
    assert set(said) == set(KINDS) - {"silent"} and len(results) == len(KINDS)
    assert [kind for kind, result in said.items() if result.error] == ["raises"]
    assert callback.best is not None and callback.best.metrics["loss"] == 0.5
    assert stop.stopped_because is not None and "are spent" in stop.stopped_because
    receipt = callback.receipt()
    assert receipt.closed and receipt.held and receipt.total.dollars == stop.spent
    assert len(receipt.trials) == len(KINDS) and receipt.unexplained.seconds == 0
    assert {trial.outcome.split(",")[0] for trial in receipt.trials} == {"failed", "stopped"}
    assert 0 < float(receipt.attributed) <= float(receipt.total.dollars)


def test_actors_that_hang_in_setup_or_step_are_killed_too(tmp_path: Path) -> None:
    from tests.on_ray.trainables import AtResult

    stop = lepton_ray.BudgetStopper(deadline=200)
    ledger = tmp_path / "own.jsonl"
    callback = lepton_ray.BudgetCallback(stop, metric="loss", ledger=ledger)
    wall = Wall(stop, tmp_path, begun=3, spoken=5)
    kinds = ["good", "hangs in setup", "hangs in step"]
    running = {"stop": [stop], "callbacks": [callback, AtResult(wall.heard)]}
    results = fit("Actor", tmp_path, kinds=kinds, running=running, reuse_actors=True)
    assert time.monotonic() <= wall.at < float("inf")
    check_all_are_gone(tmp_path)
    assert sorted(result.metrics.get("loss", 9.0) for result in results) == [0.25, 1.0, 9.0]
    assert callback.best is not None and callback.best.config["kind"] == "good"
    assert Ledger.open(ledger).spent() == stop.spent > Dollars(0)
    assert "deadline" in str(stop.stopped_because)


def test_what_was_spent_survives_a_restore_and_the_time_between_is_free(tmp_path: Path) -> None:
    stop = lepton_ray.BudgetStopper("1 usd", price=PRICE)
    running = {"stop": stop, "callbacks": [lepton_ray.BudgetCallback(stop, metric="loss")], "name": "one"}
    assert not fit("Actor", tmp_path, kinds=["good", "good"], running=running).errors
    spent, seconds, account = stop.spent, stop.account.seconds, weakref.ref(stop.account)
    del stop, running  # as in a process of its own
    gc.collect()
    assert account() is None
    from ray import tune

    from tests.on_ray.trainables import Actor

    tuner = tune.Tuner.restore(str(tmp_path / "one"), tune.with_resources(Actor, {"cpu": 0.1}), restart_errored=True)
    callback = tuner._local_tuner.get_run_config().callbacks[0]
    away = time.monotonic()
    assert Dollars(0) < callback._stopper.spent <= spent, "what Tune wrote last, if not at the very end"
    tuner.fit()
    assert spent <= callback._stopper.spent
    assert callback._stopper.account.seconds - seconds <= time.monotonic() - away
    assert callback.receipt().total.dollars == callback._stopper.spent
    assert callback.best.metrics["loss"] == 0.25


def test_what_cannot_hold_is_refused_before_it_starts(tmp_path: Path) -> None:
    stop = lepton_ray.BudgetStopper(deadline="1m")
    for given, says in (
        ({}, "does not stop by"),
        ({"stop": lepton_ray.BudgetStopper(deadline="1m")}, "does not stop by"),
    ):
        with pytest.raises(UsageError, match=says):
            fit("harm", tmp_path, kinds=["raises"], running={**given, "callbacks": [lepton_ray.BudgetCallback(stop)]})
    short = lepton_ray.BudgetStopper("0.0001 usd", price=PRICE)
    with pytest.raises(MoneyError, match="lasts 1s"):
        fit(
            "harm", tmp_path, kinds=["raises"], running={"stop": short, "callbacks": [lepton_ray.BudgetCallback(short)]}
        )
    assert not any((tmp_path / "pids").iterdir())


def test_copies_of_a_stopper_share_one_account() -> None:
    stop = lepton_ray.BudgetStopper("1 usd")
    stop.account.tick(0.0, Dollars.parse(PRICE))
    stop.account.tick(30.0, Dollars.parse(PRICE))
    written = pickle.dumps(stop)
    assert copy.deepcopy(stop).account is stop.account is pickle.loads(written).account
    spent = stop.spent
    stop.account.tick(1000.0, Dollars.parse(PRICE))
    assert stop.spent == spent, "it was paused by being read"
    del stop
    gc.collect()
    back = pickle.loads(written)
    assert back.spent == spent == Dollars.parse("0.003")


def test_a_callback_needs_its_stopper() -> None:
    with pytest.raises(UsageError, match="BudgetStopper"):
        lepton_ray.BudgetCallback("0.02 usd")
    with pytest.raises(UsageError, match="mode"):
        lepton_ray.BudgetCallback(lepton_ray.BudgetStopper(1), mode="best")
    with pytest.raises(MoneyError, match="before the experiment"):
        lepton_ray.BudgetCallback(lepton_ray.BudgetStopper(1)).receipt()
