"""The economic stop: it ends what is solved, not what still improves, and says what a cent more would buy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.money.dollars import Dollars
from lepton_ray.search.economics import FEWEST, IN_A_ROW, Economy, Outlook, Worth, default_worth
from lepton_ray.search.trial import DONE, Outcome, Trial

HOUR = Dollars(96_000)
AUC, RMSE = default_worth(True), default_worth(False)


def economy(worth: Worth = AUC, per_hour: Dollars = HOUR) -> Economy:
    return Economy(worth, per_hour, 2, "roc_auc")


def story(errors: list[float | None], *, seconds: float = 1.0, constant: float = 0.5) -> list[Outcome]:
    first = Outcome(Trial("t000", "constant", {}, 0), DONE, "host", 0.0, 0.1, error=constant)
    rest = [
        Outcome(Trial(f"t{at + 1:03d}", "trees", {"n": at}, 0), DONE, "host", 0.0, seconds, error=error)
        for at, error in enumerate(errors)
    ]
    return [first, *rest]


def test_a_solved_table_stops_after_a_few_trials() -> None:
    assert economy().verdict(story([0.0] * (IN_A_ROW - 1))) is None
    assert economy().verdict(story([0.0] * (IN_A_ROW + 1))) is not None
    assert economy(RMSE).verdict(story([1e-12] * 6, constant=5.0)) is not None


def test_what_still_improves_goes_on() -> None:
    errors = [0.2 * 0.9**at for at in range(40)]
    for length in range(1, 40):
        assert economy().verdict(story(errors[:length])) is None
        assert economy(RMSE).verdict(story(errors[:length])) is None


def test_noise_goes_on_as_long_as_luck_is_worth_its_price() -> None:
    rng = np.random.default_rng(0)
    noisy = (0.15 + rng.normal(0, 0.002, 60)).tolist()
    assert economy().verdict(story(noisy)) is None
    dear = economy(per_hour=Dollars(500_000_000_000))
    assert dear.verdict(story(noisy, seconds=60.0)) is not None


def test_trials_that_are_all_the_same_gain_nothing_but_only_after_enough_of_them() -> None:
    assert economy().verdict(story([0.2] * (FEWEST + IN_A_ROW - 2))) is None
    reason = economy().verdict(story([0.2] * (FEWEST + IN_A_ROW)))
    assert reason is not None and "the next cent buys 0 ± 0 roc_auc" in reason and "$100 for 0.01" in reason


def test_one_trial_that_says_otherwise_is_enough_to_go_on() -> None:
    flat = [0.2] * (FEWEST + IN_A_ROW)
    assert economy().verdict(story([*flat, 0.1])) is None


def test_failures_and_higher_rungs_do_not_speak() -> None:
    assert economy().verdict(story([None] * 30)) is None
    promoted = Outcome(Trial("t099", "trees", {}, 1), DONE, "ray", 0.0, 1.0, error=0.01)
    flat = story([0.2] * 30)
    assert economy().verdict([*flat, promoted]) == economy().verdict(flat) is not None


@pytest.mark.exam
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.floats(0.01, 100.0))
def test_the_outlook_is_the_mean_gain_of_a_normal(errors: list[float], seconds: float) -> None:
    seen = economy().outlook(story(errors, seconds=seconds))
    assert seen.gain >= 0.0 and seen.spread >= 0.0 and seen.dollars > 0.0
    latest = np.array(errors[-12:])
    if latest.std() > 1e-3:
        drawn = np.random.default_rng(0).normal(latest.mean(), latest.std(), 200_000)
        gains = np.maximum(0.0, min(errors) - drawn)
        assert seen.gain == pytest.approx(gains.mean(), abs=0.02 * latest.std())
        assert seen.spread == pytest.approx(gains.std(), abs=0.03 * latest.std())


def test_worth_is_per_score_or_per_share_of_the_loss() -> None:
    assert AUC.of(0.01, 0.2, 0.5) == pytest.approx(100.0)
    assert RMSE.of(2.0, 200.0, 500.0) == pytest.approx(100.0)
    assert RMSE.of(1e-9, 1e-9, 500.0) < 1e-3, "a thousandth of nothing is not worth a hundred dollars"
    assert str(AUC) == "$100 for 0.01 of the score" and str(RMSE) == "$100 for 1% of the loss"


def test_a_cent_buys_as_many_trials_as_it_pays_for() -> None:
    assert Outlook(0.0001, 0.001, 0.001).in_words("roc_auc") == "the next cent buys 0.001 ± 0.0032 roc_auc"
