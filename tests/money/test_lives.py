"""Nodes that come and go: each is billed its rate for its life, and together they are what the run is billed."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.lives import Hired, Life, cost_of_each
from lepton_ray.money.prices import MachinePrice
from lepton_ray.money.rates import Rates
from lepton_ray.money.receipt import INTERRUPTED, Receipt
from lepton_ray.money.usage import Leg, Usage


def machine(dollars: str, vcpus: int = 2) -> MachinePrice:
    return MachinePrice(Dollars.parse(dollars), vcpus, f"{dollars}/h", "")


SPOT = Hired("spot", machine("0.0385"), "spot")
DEAR = Hired("dear", machine("1.1", 4))


def opened(place: Path) -> Ledger:
    ledger = Ledger.create(place / "ledger.jsonl", "r", machine("0.36"), 1000.0)
    ledger.enter("search", 0.0)
    return ledger


def test_each_node_is_billed_for_its_life_and_all_of_them_are_the_total(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.join(SPOT, 10.0)
    ledger.join(DEAR, 12.0)
    ledger.attribute(Usage("search", "t001", 12.0, 20.0, 1, outcome=INTERRUPTED, node="spot", lost=3.0))
    ledger.attribute(Usage("search", "t002", 12.0, 20.0, 2, outcome="done", node="dear"))
    ledger.leave("spot", 20.0, "it went away")
    ledger.enter("finish", 40.0)
    ledger.leave("dear", 40.0, "the search was over")
    ledger.close(50.0)
    for book in (ledger, Ledger.open(ledger.path)):
        receipt = Receipt.from_ledger(book)
        host, spot, dear = receipt.nodes
        assert [line.node for line in receipt.nodes] == ["this machine", "spot", "dear"]
        assert (spot.joined, spot.seconds, dear.seconds, host.seconds) == (10.0, 10.0, 28.0, 50.0)
        assert float(spot.dollars) == pytest.approx(0.0385 * 10 / 3600, abs=2e-6)
        assert float(dear.dollars) == pytest.approx(1.1 * 28 / 3600, abs=2e-6)
        assert Dollars.total(line.dollars for line in receipt.nodes) == receipt.total.dollars
        assert (spot.interruptions, spot.lost) == (1, Dollars.of_rate(SPOT.machine.per_hour, 1.5))
        shares = {line.trial: line.dollars for line in receipt.trials}
        assert shares == {"t001": SPOT.machine.share(1, 8.0), "t002": DEAR.machine.share(2, 8.0)}
    said = receipt.to_text()
    assert "node spot" in said and "1 trial interrupted" in said and "Nodes: this machine is billed for the" in said
    assert json.loads(json.dumps(receipt.to_dict()))["nodes"][1]["market"] == "spot"


times = st.floats(0, 1e4)
prices = st.integers(1, 10**8).map(Dollars)


@given(prices, st.lists(st.tuples(prices, times, times), max_size=6), times)
def test_nodes_add_up_to_the_micro_dollar(
    alone: Dollars, spans: list[tuple[Dollars, float, float]], end: float
) -> None:
    events, lives = [], []
    for number, (price, one, other) in enumerate(spans):
        node = Hired(str(number), MachinePrice(price, 1, "", ""))
        lives.append(Life(node, min(one, other), max(one, other)))
        events += [(min(one, other), price), (max(one, other), -price)]
    rates = Rates(((0.0, alone),))
    for at, price in sorted(events, key=lambda event: event[0]):
        rates = rates.then(at, rates.now + price)
    host, each = cost_of_each(rates, lives, end)
    assert Dollars.total((host, *each)) == rates.cost(end)
    for life, dollars in zip(lives, each, strict=True):
        seconds = max(0.0, min(life.left, end) - life.joined)
        exact = life.node.machine.per_hour.micros * seconds / 3600
        assert abs(dollars.micros - exact) <= 1 + 2 * len(spans)


@given(prices, st.lists(st.tuples(st.floats(0, 1e4), prices), max_size=5), st.integers(0, 10**9).map(Dollars))
def test_what_dollars_last_for_is_what_they_pay(
    first: Dollars, later: list[tuple[float, Dollars]], some: Dollars
) -> None:
    rates = Rates(((0.0, first),))
    for at, price in sorted(later, key=lambda step: step[0]):
        rates = rates.then(at, price)
    until = rates.lasts(some)
    assert abs(rates.cost(until).micros - some.micros) <= 2 + len(later)


def test_a_node_that_comes_brings_the_wall_nearer_and_one_that_goes_moves_it_back() -> None:
    alone = Budget.resolve("0.01", None, Dollars.parse("0.36"))
    assert alone.wall_seconds == pytest.approx(100.0)
    rates = Rates(((0.0, Dollars.parse("0.36")),)).then(20.0, Dollars.parse("0.72"))
    both = alone.under(rates)
    assert both.wall_seconds == pytest.approx(60.0) and both.per_hour == Dollars.parse("0.72")
    assert both.latest(10.0) == pytest.approx(55.0), "what is kept for finishing is paid at the price of one machine"
    assert both.latest(10.0, 4.0) == pytest.approx(51.0)
    again = both.under(rates.then(40.0, Dollars.parse("0.36")))
    assert again.wall_seconds == pytest.approx(80.0)


def test_what_a_run_held_when_it_was_broken_off_is_not_held_when_it_goes_on(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.join(SPOT, 10.0)
    ledger.resume(Leg(30.0, 2000.0, 500.0))
    ledger.enter("start", 30.0)
    ledger.close(40.0)
    receipt = Receipt.from_ledger(Ledger.open(ledger.path))
    assert receipt.nodes[1].seconds == 20.0 and "broken off" in receipt.nodes[1].why
    assert ledger.held == () and Dollars.total(line.dollars for line in receipt.nodes) == receipt.total.dollars
    assert Dollars.total(leg.dollars for leg in receipt.legs) == receipt.total.dollars


def test_a_node_is_held_once_and_may_come_again(tmp_path: Path) -> None:
    ledger = opened(tmp_path)
    ledger.join(SPOT, 1.0)
    with pytest.raises(ValueError, match="holds spot already"):
        ledger.join(SPOT, 2.0)
    ledger.leave("spot", 3.0, "it went away")
    ledger.join(SPOT, 4.0)
    assert [life.node for life in ledger.lives] == [SPOT, SPOT] and ledger.held == (SPOT,)


def test_no_more_can_be_lost_than_was_used() -> None:
    with pytest.raises(ValueError, match="lost"):
        Usage("search", "t001", 1.0, 2.0, 1, lost=1.5)
