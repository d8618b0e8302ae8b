"""Nodes are priced by their labels, a cluster without any by its vCPUs, and nothing is guessed."""

import pytest

from lepton_ray.errors import MoneyError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.prices import PriceSheet
from lepton_ray.on_ray.nodes import INSTANCE, MARKET, PRICE, REGION, Node, price_of_all

SHEET = PriceSheet.shipped()
PLAIN = Node("plain", {"ray.io/node-id": "x"}, 4)
OWN = Node("own", {PRICE: "0.0385"}, 4)
ROW = Node("row", {INSTANCE: "g5.xlarge", REGION: "us-east-1"}, 4, 1)
SPOT = Node("spot", {INSTANCE: "m5.xlarge", MARKET: "spot"}, 4)


def test_labels_price_nodes_and_nodes_add_up() -> None:
    machine = price_of_all([OWN, ROW, SPOT], SHEET)
    assert machine.per_hour == Dollars.parse("0.0385") + Dollars.parse("1.006") + Dollars.parse("0.0638")
    assert machine.vcpus == 12 and "3 nodes" in machine.source


def test_without_labels_a_vcpu_has_the_reference_price() -> None:
    assert price_of_all([PLAIN], SHEET).per_hour == Dollars.parse("0.192")
    assert price_of_all([PLAIN, PLAIN], SHEET).per_hour == Dollars.parse("0.384")


def test_the_word_of_the_user_comes_first() -> None:
    assert price_of_all([PLAIN, OWN], SHEET, Dollars.parse("2")).per_hour == Dollars.parse("2")


@pytest.mark.parametrize(
    ("nodes", "says"),
    [
        ([OWN, PLAIN], "plain has no price"),
        ([Node("gpu", {}, 4, 1)], "gpu has 1 GPUs and no price"),
        ([Node("head", {}, 0)], "no vCPU"),
        ([Node("typo", {INSTANCE: "m5.xlarg"}, 4)], "has no price"),
        ([Node("free", {PRICE: "nothing"}, 4)], "price of node free"),
        ([Node("zero", {PRICE: "0"}, 4)], "above zero"),
    ],
)
def test_money_is_not_guessed(nodes: list[Node], says: str) -> None:
    with pytest.raises(MoneyError, match=says):
        price_of_all(nodes, SHEET)
