"""scikit-learn's own examination of an estimator, all of it, with limits that let it end soon."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from lepton_ray import LeptonClassifier, LeptonRegressor

EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "features are scaled by quantiles of rows, and trees count the rows of a leaf: a weight of 2 moves neither as "
        "a second row does"
    )
}
EXPECTED_WITH_CLOCK = EXPECTED | {
    "check_fit_idempotent": "how much is tried before the wall depends on what else the machine does"
}


@pytest.mark.exam
@parametrize_with_checks(
    [LeptonClassifier(max_trials=2), LeptonRegressor(max_trials=2)], expected_failed_checks=lambda estimator: EXPECTED
)
def test_with_max_trials(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kind", [LeptonClassifier, LeptonRegressor])
def test_with_a_wall(kind: Any) -> None:
    """A wall so far off that tables this small are searched to their end."""
    check_estimator(kind(deadline="60s"), expected_failed_checks=EXPECTED_WITH_CLOCK, on_skip=None)
