from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.money.dollars import Dollars
from lepton_ray.serving.unit_cost import unit_cost

HOUR = Dollars.parse("0.096")


def test_a_million_rows_in_an_hour_cost_the_hour() -> None:
    cost = unit_cost(HOUR, rows=1_000_000, seconds=3600)
    assert cost.per_million == HOUR
    assert cost.rows_per_second == 1_000_000 / 3600


def test_no_rows_have_no_price() -> None:
    assert unit_cost(HOUR, rows=0, seconds=10).per_million is None


@given(st.integers(1, 10**9), st.floats(0.001, 10**5))
def test_more_rows_in_the_same_time_are_never_dearer(rows: int, seconds: float) -> None:
    fewer, more = (unit_cost(HOUR, rows=n, seconds=seconds).per_million for n in (rows, rows + 1))
    assert fewer is not None and more is not None and more <= fewer
