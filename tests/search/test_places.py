"""Which nodes are worth holding, and where a trial goes: pure answers to given prices."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.errors import UsageError
from lepton_ray.models.registry import family
from lepton_ray.models.wish import Wish, wish_of
from lepton_ray.money.dollars import Dollars
from lepton_ray.search.places import HOST, Means, Place, place_for, worth_holding

ANY = Wish()


def place(name: str, dollars: str, cpus: int = 2, **more: object) -> Place:
    return Place(name, Dollars.parse(dollars), cpus, **more)  # type: ignore[arg-type]


HERE = place(HOST, "0.2")
SPOT, PLAIN, DEAR = place("spot", "0.06", spot=True), place("plain", "0.2"), place("dear", "2")
OFFERS = (DEAR, PLAIN, SPOT)


def held(dollars: str, seconds: float, offers: tuple[Place, ...] = OFFERS, **more: object) -> set[str]:
    means = Means(Dollars.parse(dollars), seconds)
    return {one.name for one in worth_holding([HERE], offers, means, **more)}  # type: ignore[arg-type]


def test_with_money_to_spare_every_node_is_held() -> None:
    assert held("100", 3600) == {"spot", "plain", "dear"}


def test_where_money_ends_first_what_costs_more_per_core_than_the_rest_is_not_held() -> None:
    assert held("0.1", 36000) == {"spot"}
    assert held("0.1", 36000, (place("same", "0.1"), DEAR)) == {"same"}


def test_between_the_two_as_many_are_held_as_the_deadline_lets_the_money_pay() -> None:
    assert held("0.3", 3600) == {"spot"}
    assert held("0.46", 3600) == {"spot", "plain"}
    assert held("2.46", 3600) == {"spot", "plain", "dear"}


def test_nothing_is_held_where_nothing_is_left() -> None:
    assert held("0", 3600) == held("1", 0.0) == set()


def test_what_a_family_needs_is_held_though_it_is_dear() -> None:
    gpu = place("gpu", "5", gpus=1)
    assert held("0.1", 36000, (*OFFERS, gpu)) == {"spot"}
    assert held("0.1", 36000, (*OFFERS, gpu), needed=[ANY, Wish(gpus=1)]) == {"spot", "gpu"}
    assert held("0.1", 36000, OFFERS, needed=[Wish(gpus=1)]) == {"spot"}, "nobody has it"


def test_what_is_held_already_is_paid_for_in_any_case() -> None:
    means = Means(Dollars.parse("0.1"), 36000)
    assert worth_holding([HERE, DEAR], [PLAIN, SPOT], means) == (SPOT, PLAIN), "both cost less than what is held"
    assert worth_holding([HERE, SPOT], [PLAIN, DEAR], means) == ()


def test_no_node_is_taken_on_that_would_end_the_search_before_it_is_of_use() -> None:
    huge = place("huge", "50", 1000)
    assert held("0.1", 36000, (huge,)) == {"huge"}, "7 s of many cores are more than half an hour of two"
    assert held("0.1", 36000, (huge,), idle=10.0) == set()
    assert held("0.1", 36000, (huge,), idle=10.0, needed=[Wish(cpus=500)]) == set()
    assert held("0.5", 36000, (huge,), idle=10.0) == {"huge"}, "36 s"
    assert held("100", 9.0, (PLAIN,), idle=10.0) == set() and held("100", 11.0, (PLAIN,), idle=10.0) == {"plain"}


offers = st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 64)), min_size=0, max_size=7)


@given(offers, st.integers(1, 10**8), st.floats(1, 1e5))
def test_no_shorter_list_by_price_buys_more(nodes: list[tuple[int, int]], dollars: int, seconds: float) -> None:
    there = [Place(f"n{at}", Dollars(price), cpus) for at, (price, cpus) in enumerate(nodes)]
    means = Means(Dollars(dollars), seconds)

    def bought(some: list[Place]) -> float:
        all_of_them = (HERE, *some)
        rate = Dollars.total(one.per_hour for one in all_of_them)
        return means.lasts(rate) * sum(one.cpus for one in all_of_them)

    chosen = list(worth_holding([HERE], there, means))
    ranked = sorted(there, key=lambda one: one.price_of_a_core)
    assert bought(chosen) == pytest.approx(max(bought(ranked[:count]) for count in range(len(ranked) + 1)))


def test_a_trial_goes_where_a_core_is_cheapest_of_those_with_room() -> None:
    places = (HERE, SPOT, DEAR)
    assert place_for(ANY, places, {}) == SPOT
    assert place_for(ANY, places, {"spot": (2, 0)}) == HERE
    assert place_for(ANY, places, {"spot": (2, 0), HOST: (2, 0), "dear": (1, 0)}) == DEAR
    assert place_for(ANY, places, {"spot": (2, 0), HOST: (2, 0), "dear": (2, 0)}) is None


@pytest.mark.parametrize(
    ("wish", "where"),
    [
        (Wish(cpus=3), "big"),
        (Wish(gpus=1), "big"),
        (Wish(spot=False), ""),
        (Wish(labels={"zone": "b"}), "zoned"),
        (Wish(cpus=64), None),
        (Wish(gpus=1, labels={"zone": "b"}), None),
    ],
)
def test_a_wish_is_obeyed(wish: Wish, where: str | None) -> None:
    places = (HERE, SPOT, place("big", "9", 8, gpus=1), place("zoned", "3", labels={"zone": "b", "rack": "7"}))
    found = place_for(wish, places, {})
    assert (None if found is None else found.name) == where


def test_a_gpu_that_is_taken_is_not_given_twice() -> None:
    gpu = place("gpu", "5", 8, gpus=1)
    assert place_for(Wish(gpus=1), (gpu,), {}) == gpu
    assert place_for(Wish(gpus=1), (gpu,), {"gpu": (1, 1)}) is None


class Greedy:
    name, wish = "greedy", Wish(cpus=4)


class Confused:
    name, wish = "confused", {"cpus": 4}


def test_a_family_that_wishes_nothing_gets_a_core_anywhere() -> None:
    assert wish_of(family("linear")) == ANY and wish_of(Greedy()).cpus == 4
    with pytest.raises(UsageError, match="wish of the family 'confused'"):
        wish_of(Confused())
    with pytest.raises(ValueError, match="at least one core"):
        Wish(cpus=0)
