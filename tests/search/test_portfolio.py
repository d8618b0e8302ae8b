"""The portfolio: mined the same from the same records, quick gains first, and an order for every table."""

import subprocess
import sys
from collections.abc import Sequence

import pytest

from lepton_ray.errors import DataError
from lepton_ray.search.portfolio import Place, Portfolio, ordered
from lepton_ray.search.portfolio_mining import LONGEST, mine_portfolio
from lepton_ray.search.priors import shipped_priors
from lepton_ray.search.records import Blends, Record, TableFacts, key_of, recorded_tables
from lepton_ray.table.schema import Problem, Task
from tests.search.recording import facts, record, small_tables

YES_NO = Problem("y", Task.BINARY, ("no", "yes"), "roc_auc")
NUMBER = Problem("y", Task.REGRESSION, (), "rmse")
SHIPPED = shipped_priors().portfolio


def trials(table: TableFacts, errors: Sequence[float], seconds: Sequence[float]) -> list[Record]:
    """The constant at error 1, and one configuration for each error."""
    pairs = zip(errors, seconds, strict=True)
    own = [record(table, {"n": n}, error=error, seconds=taken) for n, (error, taken) in enumerate(pairs)]
    return [record(table, {}, family="constant", error=1.0, seconds=0.01), *own]


def mined(*tables: list[Record], blends: dict[str, Blends] | None = None) -> Portfolio:
    return mine_portfolio(recorded_tables([one for table in tables for one in table]), blends or {})


def order(portfolio: Portfolio, rows: int, classes: int = 2) -> list[int]:
    return [config["n"] for _, config in portfolio.at(Place(rows, 10, classes))]


def test_gain_per_second_comes_first() -> None:
    portfolio = mined(trials(facts("a"), [0.2, 0.21, 0.5], [50.0, 1.0, 1.0]))
    assert order(portfolio, 1000) == [1, 0, 2]


def test_each_table_takes_the_order_of_tables_like_it() -> None:
    small = trials(facts("small", 300), [0.1, 0.3], [1.0, 1.0])
    large = trials(facts("large", 300_000), [0.3, 0.1], [1.0, 1.0])
    portfolio = mined(small, large)
    assert order(portfolio, 500)[0] == 0
    assert order(portfolio, 100_000)[0] == 1


def test_a_pair_that_blends_well_is_found() -> None:
    table = facts("a")
    keys = tuple(key_of("trees", {"n": n}) for n in range(3))
    blends = {"a": Blends("a", keys, (0.199, 0.1, 0.2))}  # of 0 and 1, 0 and 2, 1 and 2
    records = trials(table, [0.2, 0.201, 0.3], [1.0, 1.0, 1.0])
    assert order(mined(records), 1000) == [0, 1, 2]
    assert order(mined(records, blends=blends), 1000) == [0, 2, 1]


def test_a_regression_takes_no_order_of_classes() -> None:
    classes = trials(facts("a"), [0.2], [1.0])
    assert mined(classes).at(Place(1000, 10, 0)) == []
    both = mined(classes, trials(facts("b", classes=0), [0.2, 0.1], [1.0, 1.0]))
    assert order(both, 1000, 0) == [1, 0]
    assert order(both, 1000, 2) == [0]


@pytest.mark.exam
def test_mining_twice_gives_the_same() -> None:
    tables = small_tables()
    assert mine_portfolio(tables, {}).to_dict() == mine_portfolio(tables[::-1], {}).to_dict()
    assert Portfolio.from_dict(mine_portfolio(tables, {}).to_dict()) == mine_portfolio(tables, {})


def test_nothing_to_mine() -> None:
    with pytest.raises(DataError, match="no finished trial"):
        mine_portfolio([], {})


@pytest.mark.parametrize("problem", [YES_NO, NUMBER, Problem("y", Task.MULTICLASS, tuple("abcdefgh"), "log_loss")])
@pytest.mark.parametrize("rows", [50, 3_000, 1_000_000])
def test_the_shipped_order(problem: Problem, rows: int) -> None:
    found = ordered(SHIPPED, problem, rows, 20, families=["constant", "linear", "lightgbm"])
    assert found[0] == ("constant", {})
    assert len({key_of(*entry) for entry in found}) == len(found)
    assert {family for family, _ in found} == {"constant", "linear", "lightgbm"}
    assert 7 <= len(found) <= LONGEST + 1  # of three families; the rest of the list is the others'
    assert {family for family, _ in ordered(SHIPPED, problem, rows, 20, families=["linear"])} == {"linear"}


def test_what_is_returned_may_be_changed() -> None:
    ordered(SHIPPED, YES_NO, 1000, 10, families=["linear"])[0][1]["C"] = "changed"
    assert all(config.get("C") != "changed" for _, config in SHIPPED.configs)


def test_no_family_is_imported() -> None:
    code = (
        "import sys, lepton_ray.search.portfolio; print([m for m in sys.modules if m.startswith('lepton_ray.models')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_an_order_reaches_so_far_and_no_further() -> None:
    portfolio = Portfolio((("linear", {}),), ((Place(1_000, 10, 2), (0,)),))
    assert portfolio.reaches(Place(1_000, 10, 2)) and portfolio.reaches(Place(10_000, 10, 2))
    assert not portfolio.reaches(Place(100_000, 10, 2)) and not portfolio.reaches(Place(1_000, 10, 0))
