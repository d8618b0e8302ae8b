"""A profile is exact, and the same for every partition and order of the rows."""

import math
import random
import statistics
from collections import Counter
from fractions import Fraction
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.errors import DataError
from lepton_ray.table import sums, tally
from lepton_ray.table.hashing import hash_values
from lepton_ray.table.profile import merge, profile_block, quantiles
from tests.examples import examples

CELLS = st.sampled_from(
    ["", " ", "NA", "none", "1", "1.0", "2.5", "-3", "1,200", "3,5", "$4", "5 %", "1e300", "-1e300", "1e-300", "inf"]
    + ["007", "98765432109876543210", "2024-02-30", "2024-02-28", "28/02/2024", "1 May 2024", "x", "true", "ü", "长"]
)
FLOATS = st.one_of(st.none(), st.floats(width=64), st.sampled_from([0.0, -0.0, 1e16, -999.0]))
ROWS = st.lists(
    st.tuples(CELLS, FLOATS, st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1))), min_size=1, max_size=60
)


def table(rows: list[tuple[object, ...]]) -> pa.Table:
    text, number, integer = zip(*rows, strict=True)
    return pa.table(
        {
            "text": pa.array(text, pa.string()),
            "number": pa.array(number, pa.float64()),
            "integer": pa.array(integer, pa.int64()),
        }
    )


@examples(40)
@given(ROWS, st.randoms(use_true_random=False), st.integers(1, 9))
def test_any_partition_in_any_order_gives_the_same_profile(
    rows: list[tuple[object, ...]], rng: random.Random, parts: int
) -> None:
    whole = profile_block(table(rows))
    rng.shuffle(rows)
    blocks = [table(rows[i::parts]) for i in range(parts) if rows[i::parts]]
    rng.shuffle(blocks)
    profiles = [profile_block(block) for block in blocks]
    while len(profiles) > 1:  # a tree of merges in any shape
        a = profiles.pop(rng.randrange(len(profiles)))
        b = profiles.pop(rng.randrange(len(profiles)))
        profiles.append(merge(a, b))
    assert profiles[0].columns == whole.columns  # bit for bit: nan never gets in
    assert profiles[0].to_dict() == whole.to_dict()


@pytest.mark.exam
def test_partition_does_not_matter_beyond_the_bounds_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "ROWS_SIZE", 1000)
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 5000, 20_000)
    block = pa.table({"n": numbers, "t": [f"word {n}" for n in numbers]})
    whole = profile_block(block)
    merged = reduce(merge, (profile_block(block.slice(start, 1234)) for start in range(0, 20_000, 1234)))
    assert whole.columns == merged.columns and whole.to_dict() == merged.to_dict()
    distinct = len(set(numbers.tolist()))
    for column in whole.columns:
        assert not column.values.exact and len(column.values.entries) == tally.SIZE
        assert column.values.distinct == pytest.approx(distinct, rel=0.1)
    true_counts = Counter(numbers.tolist())
    assert all(true_counts[int(text)] == count for _, text, count in whole.column("n").values.entries)
    assert not whole.duplicates_are_exact
    assert whole.duplicates == pytest.approx(20_000 - distinct, rel=0.1)


@examples(60)
@given(st.lists(st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 1000)), max_size=50))
def test_sums_are_exact(pairs: list[tuple[float, int]]) -> None:
    numbers = np.array([number for number, _ in pairs], dtype=np.float64)
    counts = np.array([count for _, count in pairs], dtype=np.int64)
    exact = sum((Fraction(number) * count for number, count in pairs), Fraction())
    assert sums.as_fraction(sums.exact_sum(numbers, counts)) == exact


def test_facts_of_a_column() -> None:
    cells = ["1", "2.5", " 2.50 ", "", "NA", "n/a", "oops", "1,200", "-4", "1e2"]
    column = profile_block(pa.table({"c": cells})).columns[0]
    assert (column.rows, column.missing, column.words, column.present) == (10, 1, {"NA": 1, "n/a": 1}, 7)
    numbers = [1.0, 2.5, 2.5, 1200.0, -4.0, 100.0]
    assert column.numbers.count == 6 and column.numbers.mean == statistics.fmean(numbers)
    assert column.numbers.deviation == pytest.approx(statistics.pstdev(numbers), rel=1e-12)
    assert column.numbers.lowest == ((-4.0, 1), (1.0, 1), (2.5, 2))
    assert column.numbers.highest == ((1200.0, 1), (100.0, 1), (2.5, 2))
    assert quantiles(column, (0, 0.5, 1)) == [-4.0, 2.5, 1200.0]
    assert math.isnan(quantiles(profile_block(pa.table({"c": ["x"]})).columns[0], (0.5,))[0])


def test_duplicates_and_empty_columns() -> None:
    block = pa.table({"a": [1, 1, 2, 1], "b": ["x", "x", "x", "x"], "c": pa.nulls(4)})
    profile = profile_block(block)
    assert profile.duplicates == 2 and profile.duplicates_are_exact
    assert profile.column("c").physical == "empty" and profile.column("c").present == 0


def test_blocks_whose_types_differ_are_one_column() -> None:
    parts = [pa.table({"a": [1, 2]}), pa.table({"a": [2.0, 2.5]}), pa.table({"a": pa.nulls(1)})]
    column = reduce(merge, map(profile_block, parts)).column("a")
    assert (column.physical, column.rows, column.values.counts()) == ("number", 5, {"2": 2, "1": 1, "2.5": 1})


def test_blocks_of_other_columns_are_refused() -> None:
    with pytest.raises(DataError, match="different columns: 'a', 'b'"):
        merge(profile_block(pa.table({"a": [1]})), profile_block(pa.table({"b": [1]})))


def test_hashes_never_change() -> None:
    """The split of every table hangs on them, in every process and version."""
    assert hash_values(pa.array(["a", "größe", ""])).tolist() == [
        12418542894396108084,
        16844086589523020948,
        4665252752983498235,
    ]
    assert hash_values(pa.array([0.0, -0.0, 1.5])).tolist() == [
        7905728728188956330,
        7905728728188956330,
        658398224460890564,
    ]
    assert hash_values(pa.array([1, 2**62 + 1])).tolist()[0] == hash_values(pa.array([1.0])).tolist()[0]
