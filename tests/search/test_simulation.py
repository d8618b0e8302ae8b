"""Virtual time: every trial is accounted for, money is rate × time, and what is interrupted is not lost."""

from statistics import median

import pytest

from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.search.asha import Asha, Halving
from lepton_ray.search.cost import CostModel
from lepton_ray.search.places import Means, Place, worth_holding
from lepton_ray.search.policy import interleave
from lepton_ray.search.priors import shipped_priors
from lepton_ray.search.records import Config, RecordedTable, recorded_tables
from lepton_ray.search.simulation import Node, Story, World, desk_over, simulate
from lepton_ray.search.trial import DONE, PARTIAL
from tests.examples import one_in
from tests.search.recording import facts, record, small_tables

CENT = Node(Dollars(10_000))
ONE = World((CENT,))
COSTS = CostModel.begin(shipped_priors().costs)


def made(n_configs: int = 40, *, seconds: float = 10.0) -> RecordedTable:
    """A table whose n-th configuration has error 1/n at both rungs and takes ``seconds`` a fold on all rows."""
    table, records = facts("made", 4000), []
    for rung in (0, 1):
        for fold in (0, 1):
            records.append(record(table, {}, family="constant", rung=rung, fold=fold, seconds=0.01, error=2.0))
            for n in range(1, n_configs + 1):
                taken, error = seconds * (1.0 if rung else 0.25), 1.0 / n + 0.001 * fold
                records.append(record(table, {"n": n}, rung=rung, fold=fold, seconds=taken, error=error))
    return recorded_tables(records)[0]


def space_of(table: RecordedTable) -> list[tuple[str, Config]]:
    return [(run.family, run.config) for run in table.everywhere().values()]


def asha(table: RecordedTable, world: World, *, wall: float = 1e9, seed: int = 0) -> Story:
    searcher = Asha(space_of(table), rungs=2, wall_seconds=wall, seed=seed)
    return simulate(searcher, table, world, seed=seed)


def ours(table: RecordedTable, world: World, *, wall: float = 3600.0, seed: int = 0) -> Story:
    budget = Budget.resolve(None, wall, world.per_hour)
    lists: dict[str, list[Config]] = {}
    for family, config in space_of(table):
        lists.setdefault(family, []).append(config)
    return simulate(
        desk_over(table, world, budget, portfolio=interleave(lists), costs=COSTS, seed=seed), table, world, seed=seed
    )


@pytest.mark.parametrize("search", one_in(2, [asha, ours]))
def test_the_same_seed_gives_the_same_story(search: object) -> None:
    table = made()
    world = World((CENT, Node(Dollars(3_000), spot=True)), hazard=60.0)
    assert search(table, world, seed=3) == search(table, world, seed=3)  # type: ignore[operator]


@pytest.mark.parametrize("workers", [1, 7, 1000])
def test_money_is_rate_times_time_and_time_is_shared_out(workers: int) -> None:
    table, world = made(), World((CENT,) * workers)
    story = asha(table, world)
    assert story.billed[-1] == pytest.approx(workers * 0.01 * story.seconds / 3600)
    worked = sum(outcome.seconds for outcome in story.outcomes)
    assert story.attributed[-1] == pytest.approx(0.01 * worked / 3600)
    assert worked <= workers * story.seconds * (1 + 1e-9)
    assert {outcome.state for outcome in story.outcomes} == {DONE}


def test_asha_tries_everything_once_and_continues_the_best_quarter_or_so() -> None:
    table = made(100)
    first = [one for one in asha(table, ONE).outcomes if one.trial.rung == 0]
    second = [one for one in asha(table, ONE).outcomes if one.trial.rung == 1]
    assert len(first) == len({one.trial.id for one in first}) == 101
    assert 101 / 4 * 0.7 < len(second) < 101 / 4 * 1.8
    assert min(one.error or 9.0 for one in second) == pytest.approx(1 / 100 + 0.0005)
    assert {one.trial.parent for one in second} <= {one.trial.id for one in first}


def test_the_first_of_a_rung_goes_on_and_the_last_rung_ends() -> None:
    halving = Halving(2)
    assert halving.goes_on("a", 0, 0.5)
    assert not halving.goes_on("b", 0, 0.6)
    assert halving.goes_on("c", 0, 0.5)  # no worse than the cut
    assert not halving.goes_on("a", 1, 0.1)


@pytest.mark.exam
def test_a_search_with_money_to_spare_comes_to_all_that_was_recorded() -> None:
    table = made(150)
    listed = space_of(table)[:5]
    budget = Budget.resolve(None, 36000.0, ONE.per_hour)
    story = simulate(desk_over(table, ONE, budget, portfolio=listed, costs=COSTS), table, ONE)
    tried = {one.trial.config.get("n") for one in story.outcomes if one.trial.rung == 0}
    assert tried == {None, *range(1, 151)}, "draws that were tried already are no end of the space"


def test_a_family_of_which_nothing_that_is_listed_was_recorded_is_tried_all_the_same() -> None:
    table, budget = made(8), Budget.resolve(None, 36000.0, ONE.per_hour)
    story = simulate(desk_over(table, ONE, budget, portfolio=[("constant", {})], costs=COSTS), table, ONE)
    assert {one.trial.config.get("n") for one in story.outcomes} == {None, *range(1, 9)}


def test_our_search_ends_by_itself_and_keeps_the_best() -> None:
    table = made()
    story = ours(table, ONE)
    assert story.why
    assert story.held_errors(table, ONE)[-1] == pytest.approx(1 / 40 + 0.0005, rel=0.1)
    assert story.spend_to_reach(1.0, table, ONE) < story.billed[-1]  # type: ignore[operator]
    assert story.spend_to_reach(0.0, table, ONE) is None


@pytest.mark.parametrize("wall", one_in(3, [12.0, 60.0, 300.0]))
@pytest.mark.parametrize("workers", [1, 4])
def test_no_search_goes_beyond_its_wall(wall: float, workers: int) -> None:
    story = ours(made(), World((CENT,) * workers), wall=wall)
    assert story.seconds <= wall + 1e-9
    assert any(outcome.usable for outcome in story.outcomes)


def test_a_promotion_on_the_same_rows_fits_the_other_folds_only() -> None:
    table, world = made(8), World((CENT,), overhead=0.0, levels=((1, 1), (1, 2)))
    for story in (asha(table, world), ours(table, world)):
        promoted = [outcome for outcome in story.outcomes if outcome.trial.rung == 1 and outcome.trial.config]
        assert promoted
        assert {(one.fits, len(one.fold_errors)) for one in promoted} == {(1, 2)}
        assert all(one.seconds == pytest.approx(10.0) for one in promoted)


def test_a_lease_that_ends_between_folds_keeps_the_first_fold() -> None:
    table = made(4)
    world = World((CENT,), levels=((1, 2), (1, 2)))
    story = simulate(Asha(space_of(table)[1:], rungs=2, wall_seconds=15.0), table, world)
    cut = [outcome for outcome in story.outcomes if outcome.state == PARTIAL]
    assert cut and all(len(outcome.fold_errors) == 1 for outcome in cut)
    assert story.seconds == pytest.approx(15.0)


@pytest.mark.parametrize("hazard", [20.0, 200.0])
def test_an_interruption_costs_no_more_than_the_fold_that_ran(hazard: float) -> None:
    table = made()
    world = World((CENT, Node(Dollars(3_000), spot=True), Node(Dollars(3_000), spot=True)), hazard=hazard, overhead=0.0)
    story, calm = asha(table, world), asha(table, World(world.nodes, overhead=0.0))
    assert story.interruptions > 0
    assert story.lost_seconds <= 10.0 * story.interruptions
    assert len(story.outcomes) >= 41 and {outcome.state for outcome in story.outcomes} == {DONE}
    assert calm.interruptions == 0 and calm.lost_seconds == 0.0
    first = sorted(outcome.trial.id for outcome in story.outcomes if outcome.trial.rung == 0)
    assert first == sorted(outcome.trial.id for outcome in calm.outcomes if outcome.trial.rung == 0)


def test_a_node_that_is_away_is_not_billed() -> None:
    table = made(5)
    world = World((Node(Dollars(3_600_000), spot=True),), hazard=30.0, away=1e6, overhead=0.0)
    story = asha(table, world, seed=1)
    assert story.interruptions > 0 and story.seconds > 1e6
    assert story.billed[-1] == pytest.approx(story.attributed[-1], rel=1e-6)


def test_what_is_billed_never_falls_while_nodes_are_away() -> None:
    world = World((CENT, *(Node(Dollars(900_000), spot=True),) * 4), hazard=200.0, away=300.0)
    billed = ours(made(), world, wall=600.0).billed
    assert list(billed) == sorted(billed) and billed[0] > 0


def test_a_fast_node_takes_less_time() -> None:
    table = made(10)
    slow, fast = asha(table, ONE), asha(table, World((Node(Dollars(10_000), speed=4.0),)))
    assert slow.seconds == pytest.approx(4 * fast.seconds)


@pytest.mark.exam
def test_the_recorded_tables_of_the_repository_can_be_searched() -> None:
    tables = small_tables()
    assert len(tables) >= 8
    for table in tables:
        floor = table.rungs[-1]["constant", "{}"].held_error
        for workers in (1, 8):
            story = ours(table, World((CENT,) * workers))
            assert story.held_errors(table, ONE)[-1] < floor
            assert len(story.outcomes) > 20


@pytest.mark.exam
def test_holding_what_is_worth_its_price_reaches_the_same_error_for_less() -> None:
    """Money binds: a search on all nodes, and one on those that are worth holding, with the same dollars and spots that
    are interrupted."""
    prices = {"": 10_000, "spot 1": 3_000, "spot 2": 3_000, "dear 1": 90_000, "dear 2": 90_000}
    places = [Place(name, Dollars(price), 1, spot=name.startswith("spot")) for name, price in prices.items()]
    money = Dollars.of_rate(Dollars(sum(prices.values())), 60.0)
    held = worth_holding(places[:1], places[1:], Means(money, 3600.0))
    assert {place.name for place in held} == {"spot 1", "spot 2"}
    ratios = []
    for table in small_tables():
        stories = {}
        for chosen in (places, [places[0], *held]):
            world = World(tuple(Node(place.per_hour, place.spot) for place in chosen), hazard=30.0)
            stories[len(chosen)] = ours(table, world, wall=min(3600.0, money.buys(world.per_hour))), world
        reached = max(story.held_errors(table, world)[-1] for story, world in stories.values())
        spent = {many: story.spend_to_reach(reached, table, world) for many, (story, world) in stories.items()}
        ratios.append(spent[3] / spent[5])  # type: ignore[operator]
    assert median(ratios) < 0.6, sorted(ratios)
