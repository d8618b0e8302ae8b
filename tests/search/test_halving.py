"""Promotion by expected gain per dollar: who may go on, who goes first."""

import numpy as np
import pytest

from lepton_ray.search.halving import Judged, hopeless, promotion


def judged(*scores: float, cost: float = 1.0) -> list[Judged]:
    return [Judged(chr(97 + place), score, cost) for place, score in enumerate(scores)]


def test_one_in_three_goes_on_and_the_best_first() -> None:
    assert promotion(judged(0.3, 0.2), {"a", "b"}, {}, one_in=3) is None
    six = judged(0.3, 0.2, 0.4, 0.1, 0.5, 0.6)
    assert promotion(six, set("abcdef"), {}, one_in=3) == "d"
    assert promotion(six, set("abcef"), {"d": None}, one_in=3) == "b"
    assert promotion(six, set("acef"), {"d": None}, one_in=3) is None, "the next best is not among the best third"
    assert promotion(six, set("acef"), {"d": 0.1, "b": None}, one_in=3) is None


def test_who_is_far_from_a_place_need_not_wait() -> None:
    nine = judged(*(0.1 * n for n in range(9)))
    assert hopeless(nine, set("abcdefghi"), one_in=3) == ["g", "h", "i"]
    assert hopeless(nine, {"b", "h"}, one_in=3) == ["h"]
    assert hopeless(judged(0.1, 0.2, 0.3, 0.4), set("abcd"), one_in=3) == []


def test_the_cheaper_of_nearly_equals_goes_first_until_money_runs_out() -> None:
    rivals = [Judged("dear", 0.10, 10.0), Judged("cheap", 0.11, 1.0), *judged(0.5, 0.6, 0.7, 0.8)]
    assert promotion(rivals, {"dear", "cheap"}, {}, one_in=3, share_left=1.0) == "cheap"
    assert promotion(rivals, {"dear", "cheap"}, {}, one_in=3, share_left=0.0) == "dear"


def test_what_went_on_teaches_what_going_on_is_worth() -> None:
    """Two that gained nothing leave only the one that is ahead already worth its cost."""
    field = [
        Judged("far", 0.4, 1.0),
        Judged("near", 0.21, 3.0),
        *judged(0.2, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2),
    ]
    assert promotion(field, {"far", "near"}, {}, one_in=3) == "far"
    assert promotion(field, {"far", "near"}, {"a": 0.2, "b": 0.3, "z": None}, one_in=3) == "near"


def test_equal_scores_and_free_trials_are_no_fault() -> None:
    assert promotion(judged(0.5, 0.5, 0.5, cost=0.0), {"c", "a"}, {}, one_in=3) == "a"


def test_it_spends_less_than_running_everything_and_loses_little() -> None:
    """Thirty make-believe trials whose first score says much of the last one, at a cost that varies tenfold."""
    lost = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        last = rng.uniform(0.1, 1.0, 30)
        first = [Judged(str(n), float(last[n] + rng.normal(0, 0.05)), float(rng.uniform(1, 10))) for n in range(30)]
        promoted: dict[str, float | None] = {}
        while (name := promotion(first, {one.name for one in first}, promoted, one_in=3)) is not None:
            promoted[name] = float(last[int(name)])
        assert len(promoted) == 10
        lost.append(min(score for score in promoted.values() if score is not None) - last.min())
    assert float(np.mean(lost)) < 0.01


def test_a_score_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Judged("a", float("nan"), 1.0)
