"""A budget never lets a run outlive its money, and refuses what is not a budget."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from lepton_ray.errors import MoneyError
from lepton_ray.money.budget import LARGEST_BUDGET, Budget, Decision, Snapshot
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import LONGEST_SECONDS
from lepton_ray.money.lease import Lease

RATE = Dollars(96_000)
CONTINUE, STOP_LAUNCHING, STOP_ALL = Decision

rates = st.integers(1, 10**8).map(Dollars)
amounts = st.integers(1, 10**9).map(Dollars)
seconds = st.floats(min_value=0.01, max_value=LONGEST_SECONDS)


@given(rates, st.none() | amounts, st.none() | seconds)
def test_the_wall_costs_no_more_than_the_budget(rate: Dollars, dollars: Dollars | None, deadline: float | None) -> None:
    budget = Budget.resolve(dollars, deadline, rate)
    assert Dollars.of_rate(rate, budget.wall_seconds) <= budget.dollars
    assert 0 < budget.wall_seconds <= budget.deadline_seconds
    if deadline is not None:
        assert budget.deadline_seconds == deadline
    if dollars is not None:
        assert budget.dollars == dollars
    assert Budget.from_dict(budget.to_dict(), rate) == budget


@given(rates, seconds)
def test_a_derived_budget_never_binds(rate: Dollars, deadline: float) -> None:
    budget = Budget.resolve(None, deadline, rate)
    assert budget.binding == "deadline" and budget.wall_seconds == deadline
    assert Dollars(0) <= budget.dollars - Dollars.of_rate(rate, deadline) <= Dollars(1)


@given(rates, amounts)
def test_a_derived_deadline_never_binds(rate: Dollars, dollars: Dollars) -> None:
    assume(dollars.buys(rate) < LONGEST_SECONDS)
    budget = Budget.resolve(dollars, None, rate)
    assert budget.binding == "budget" and budget.wall_seconds == dollars.buys(rate)


def test_without_limits_a_run_has_a_minute() -> None:
    budget = Budget.resolve(None, None, RATE)
    assert (str(budget.dollars), budget.deadline_seconds, budget.binding) == ("$0.0016", 60.0, "deadline")
    assert Budget.resolve(None, None, RATE, default_seconds=30).wall_seconds == 30
    assert Budget.resolve(None, None, RATE, 30).dollars == Dollars(800)


def test_both_limits_are_read_and_the_earlier_binds() -> None:
    assert Budget.resolve("2 cents", "5m", RATE).binding == "deadline"
    tight = Budget.resolve("$0.001", "5m", RATE)
    assert tight.binding == "budget" and tight.wall_seconds == 37.5
    assert Budget.resolve(1000, None, RATE).wall_seconds == LONGEST_SECONDS


@pytest.mark.parametrize(
    ("dollars", "deadline", "word"),
    [
        ("-1", None, "budget '-1' is negative"),
        ("0", None, "budget .0.00 is not above zero"),
        ("0", "5m", "budget .0.00 is not above zero"),
        ("lots", None, "budget 'lots' is not an amount"),
        (float("nan"), None, "budget nan is not a finite"),
        (float("inf"), None, "budget inf is not a finite"),
        ("1000000.01", None, "absurdly large"),
        ("1e30", None, "absurdly large"),
        (None, "0", "deadline '0' is not longer"),
        (None, "-5m", "deadline '-5m' is not longer"),
        (None, "soon", "deadline 'soon' is not a time"),
        (None, "400d", "deadline '400d' is longer than 30 days"),
        (None, float("nan"), "deadline nan is not a finite"),
        (1, "soon", "deadline 'soon' is not a time"),
    ],
)
def test_bad_limits_get_one_sentence_and_exit_code_four(dollars: object, deadline: object, word: str) -> None:
    with pytest.raises(MoneyError, match=word) as caught:
        Budget.resolve(dollars, deadline, RATE)  # type: ignore[arg-type]
    assert caught.value.hint and caught.value.exit_code == 4


def test_a_free_machine_cannot_hold_a_budget() -> None:
    for dollars, deadline in ((None, "5m"), ("1", None), ("1", "5m")):
        with pytest.raises(MoneyError, match="price .0.00 per hour is not above zero"):
            Budget.resolve(dollars, deadline, Dollars(0))
    assert Budget(LARGEST_BUDGET, 1.0, RATE).wall_seconds == 1.0


@pytest.mark.parametrize(
    ("elapsed", "in_flight", "reserve", "decision"),
    [
        (0, 0, 10, CONTINUE),
        (30, 19, 10, CONTINUE),
        (30, 20, 10, STOP_LAUNCHING),
        (49.9, 0, 10, CONTINUE),
        (49.9, 5, 10, STOP_LAUNCHING),
        (50, 0, 10, STOP_ALL),
        (500, 0, 0, STOP_ALL),
        (0, 0, 60, STOP_ALL),
        (float("nan"), 0, 0, STOP_ALL),
        (0, float("nan"), 0, STOP_LAUNCHING),
    ],
)
def test_decisions(elapsed: float, in_flight: float, reserve: float, decision: Decision) -> None:
    assert Budget.resolve(None, 60, RATE).decide(Snapshot(elapsed, in_flight, reserve)) is decision


@given(seconds, seconds, seconds, seconds)
def test_what_is_admitted_fits_before_the_wall(wall: float, elapsed: float, q90: float, reserve: float) -> None:
    budget = Budget.resolve(None, wall, RATE)
    admitted = budget.admits(elapsed, q90, reserve)
    assert admitted == (elapsed + q90 + reserve <= wall)
    if admitted:
        assert budget.decide(Snapshot(elapsed, 0.0, reserve)) is CONTINUE


def test_what_is_not_known_is_not_admitted() -> None:
    assert not Budget.resolve(None, 60, RATE).admits(0.0, float("nan"), 1.0)


@given(rates, st.none() | amounts, st.none() | seconds, st.floats(0.1, 3600))
def test_the_smallest_limits_named_would_do(
    rate: Dollars, dollars: Dollars | None, deadline: float | None, least: float
) -> None:
    budget = Budget.resolve(dollars, deadline, rate)
    try:
        budget.refuse(least)
    except MoneyError as fault:
        words = fault.hint.split()
        better = {flag: words[words.index(flag) + 1] for flag in ("--budget", "--deadline") if flag in words}
        assert better
        after = Budget.resolve(better.get("--budget", dollars), better.get("--deadline", deadline), rate)
        after.refuse(least)
    else:
        assert budget.wall_seconds >= least


def test_a_refusal_reads_well() -> None:
    with pytest.raises(MoneyError) as caught:
        Budget.resolve("0.0001", "3s", RATE).refuse(7.2)
    assert caught.value.what == (
        "$0.0001 buys 3.8s at $0.096 per hour and the deadline is 3s, but the smallest run here needs 8s."
    )
    assert caught.value.hint == "Give --budget 0.000214 and --deadline 8s or more."
    with pytest.raises(MoneyError, match="^The deadline is 3s, but"):
        Budget.resolve("1", "3s", RATE).refuse(7.2)


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 2e6))
def test_a_lease_ends_when_nothing_is_left(started: float, length: float, now: float) -> None:
    lease = Lease("t1", started, started + length)
    assert lease.expired(now) == (lease.left(now) == 0.0)
    assert lease.left(lease.until) == 0.0 and lease.expired(lease.until)


def test_a_lease_ends_after_it_starts() -> None:
    with pytest.raises(ValueError, match="cannot end before"):
        Lease("t1", 2.0, 1.0)
