"""The mergeable quantile sketch against numpy, and its exactness under merging."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lepton_ray.features import sketch as module
from lepton_ray.features.sketch import merge_sketches, quantiles, sketch

floats = st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60)


@settings(deadline=None)
@given(floats)
def test_quantiles_are_exact_while_all_values_fit(values: list[float]) -> None:
    array = np.array(values, dtype=np.float64)
    finite = array[np.isfinite(array)]
    if not len(finite):
        assert np.isnan(quantiles(sketch(array), (0.5,))[0])
        return
    at = (0.0, 0.1, 0.5, 0.9, 1.0)
    assert quantiles(sketch(array), at) == list(np.quantile(finite, at, method="inverted_cdf"))


@pytest.fixture
def tiny_capacity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CAPACITY", 8)


@pytest.mark.usefixtures("tiny_capacity")
@pytest.mark.parametrize("seed", range(20))
def test_coarsening_does_not_depend_on_the_partition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=200) * 10.0 ** rng.integers(-3, 4, 200)
    whole = sketch(values)
    assert 0 < len(whole["keys"]) <= 8
    parts = [sketch(part) for part in np.array_split(rng.permutation(values), rng.integers(1, 40))]
    merged = parts[0]
    for part in parts[1:]:
        merged = merge_sketches(part, merged)
    assert merged["dropped"] == whole["dropped"]
    assert np.array_equal(merged["keys"], whole["keys"])
    assert np.array_equal(merged["counts"], whole["counts"])


def test_a_large_column_keeps_four_digits() -> None:
    values = np.random.default_rng(0).normal(1000.0, 5.0, 200_000)
    told = quantiles(sketch(values), (0.01, 0.5, 0.99))
    assert told == pytest.approx(np.quantile(values, (0.01, 0.5, 0.99)), rel=1e-5)
