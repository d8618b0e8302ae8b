"""An account is billed by ticks at the rate of the moment, and says when the money ends."""

import math
import pickle

import pytest

from lepton_ray.errors import MoneyError
from lepton_ray.money.account import Account
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.rates import Rates

HOUR = Dollars.parse("0.36")  # a hundredth of a cent each second
DOUBLE = Dollars.parse("0.72")


def test_rates_cost_step_by_step() -> None:
    rates = Rates(((0.0, HOUR),)).then(10.0, DOUBLE).then(10.0, DOUBLE).then(20.0, HOUR)
    assert [float(rates.cost(at)) for at in (0, 10, 15, 20, 30)] == [0, 0.001, 0.002, 0.003, 0.004]
    assert len(rates.steps) == 3 and rates.now == HOUR
    with pytest.raises(ValueError, match="at 0"):
        Rates(((1.0, HOUR),))


def test_it_bills_what_runs_between_ticks_at_the_price_before() -> None:
    account = Account("0.003 usd", None)
    assert account.left_seconds == math.inf and account.spent == Dollars(0)
    account.tick(100.0, HOUR)
    account.tick(110.0, DOUBLE)
    assert (account.seconds, float(account.spent), account.left_seconds) == (10.0, 0.001, 10.0)
    account.tick(119.0, DOUBLE)
    assert account.stopped_because is None
    account.tick(120.5, DOUBLE)
    assert account.stopped_because == "$0.0031 of $0.003 are spent"


def test_a_pause_and_a_clock_that_runs_backwards_cost_nothing() -> None:
    account = Account(None, 60)
    account.tick(0.0, HOUR)
    account.tick(5.0, HOUR)
    account.pause()
    account.tick(1000.0, HOUR)
    account.tick(990.0, HOUR)
    account.tick(995.0, HOUR)
    assert account.seconds == 10.0 and account.left_seconds == 50.0
    account.reserve_seconds = 49.9
    assert 0 < account.share_left < 0.02
    account.tick(995.2, HOUR)
    assert account.stopped_because == "the deadline of 1m has come" and account.share_left == 0.0


def test_what_was_spent_survives_a_pickle_and_the_time_away_is_free() -> None:
    account = Account("1 usd", "1h")
    account.tick(0.0, HOUR)
    account.tick(30.0, HOUR)
    account.stop("a node has no price")
    back: Account = pickle.loads(pickle.dumps(account))
    assert back.stopped_because is None
    back.tick(5000.0, HOUR)
    back.tick(5001.0, HOUR)
    assert back.seconds == 31.0 and float(back.spent) == 0.0031
    account.catch_up(back.seconds, back.rates)
    assert account.spent == back.spent and account.stopped_because is None


def test_its_budget_is_held_exactly_when_it_was() -> None:
    account = Account("0.003 usd", None)
    with pytest.raises(ValueError, match="no price"):
        account.budget()
    account.tick(0.0, HOUR)
    assert account.budget().bought_seconds == 30.0
    account.tick(10.0, DOUBLE)
    account.tick(19.0, DOUBLE)
    budget = account.budget()
    assert account.spent <= budget.dollars and account.seconds <= budget.deadline_seconds


@pytest.mark.parametrize(
    ("dollars", "deadline", "says"),
    [(None, None, "Neither"), (0, None, "not above zero"), ("much", None, "not an amount"), (None, -1, "longer")],
)
def test_a_limit_that_is_none_is_refused(dollars: object, deadline: object, says: str) -> None:
    with pytest.raises(MoneyError, match=says):
        Account(dollars, deadline)  # type: ignore[arg-type]
