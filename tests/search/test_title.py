"""Who is best: the lower error on common folds, else what an error would be on as many, or on other rows as it is."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.search.title import Standing, best
from lepton_ray.search.trial import DONE, FAILED, Outcome, Trial, beats


def outcome(name: str, error: float | None, *, family: str = "trees", rung: int = 0, **more: Any) -> Outcome:
    trial = Trial(name, family, {"n": name}, rung, more.pop("parent", None))
    state = DONE if error is not None else FAILED
    folds = () if error is None else (error,)
    return Outcome(trial, state, "host", 0.0, 1.0, error=error, score=error, fold_errors=folds, **more)


def test_the_lowest_error_wins_and_a_promotion_follows_its_parent() -> None:
    low = [outcome("t000", 0.5, family="constant"), outcome("t001", 0.1), outcome("t002", 0.2)]
    assert best(low) is low[1]
    high = outcome("t003", 0.15, rung=1, parent="t001")
    assert best([*low, high]) is high
    assert best([low[0], replace(high, fold_errors=(0.6,))]) is low[0], "the floor is a model too"
    assert best([*low, replace(high, error=None)]) is low[1]
    assert best([]) is None


def test_to_be_judged_on_more_rows_is_no_merit_by_itself() -> None:
    """A cheap family that was promoted because the best one's promotion did not fit does not win by it."""
    first, second = outcome("t001", 0.1), outcome("t002", 0.2)
    high = outcome("t003", 0.15, rung=1, parent="t002")
    assert best([first, second, high]) is first
    higher = outcome("t005", 0.12, rung=2, parent="t003")
    assert best([first, second, high, higher]) is first
    assert best([second, high, higher]) is higher


def test_what_more_rows_might_make_of_a_model_is_no_merit() -> None:
    """All are compared as they are, for so they may be handed over."""
    first, lucky = outcome("t001", 0.20), outcome("t002", 0.19)
    thorough = outcome("t003", 0.10, rung=1, parent="t001")
    plain, also = outcome("t004", 0.40), outcome("t005", 0.13, rung=1, parent="t004")
    assert best([first, plain, also, lucky, thorough]) is thorough
    better = replace(lucky, error=0.11, fold_errors=(0.11,))
    assert best([first, plain, also, better]) is better


def test_nor_is_it_to_be_judged_on_fewer_folds() -> None:
    """A lucky first fold does not keep the title from the one that is best on all folds."""

    def whole(name: str, error: float, parent: str) -> Outcome:
        return replace(outcome(name, error, rung=1, parent=parent), fold_errors=(error, error))

    first, lucky = outcome("t001", 0.20), outcome("t002", 0.19)
    thorough = whole("t003", 0.10, "t001")
    plain, also = outcome("t004", 0.22), whole("t005", 0.13, "t004")
    assert best([first, plain, also, lucky, thorough]) is thorough, (
        "0.19 is 0.10 to 0.11 on all folds, as far as is known"
    )
    better = replace(lucky, error=0.15, fold_errors=(0.15,))
    assert best([first, plain, also, better, thorough]) is better


def test_a_trial_that_was_promoted_is_known_by_its_promotion() -> None:
    first, second = outcome("t001", 0.1), outcome("t002", 0.2)
    high = outcome("t003", 0.15, rung=1, parent="t002")
    disappointing = outcome("t004", 0.16, rung=1, parent="t001")
    assert best([first, second, high, disappointing]) is high
    assert best([first, second, high], [first, second, high, disappointing]) is high, "though it left no bundle"


def test_an_easy_first_fold_flatters_everyone() -> None:
    first = replace(outcome("t001", 0.30), fold_errors=(0.30,))
    whole = replace(outcome("t002", 0.40, rung=1, parent="t001"), fold_errors=(0.30, 0.50))
    slightly, much = (replace(outcome(name, e), fold_errors=(e,)) for name, e in (("t003", 0.31), ("t004", 0.20)))
    assert best([first, whole, slightly]) is whole
    assert best([first, whole, much]) is much


def test_errors_are_compared_on_common_folds() -> None:
    floor = replace(outcome("t000", 0.5, family="constant"), fold_errors=(0.5, 0.5))
    whole = replace(outcome("t001", 0.3), fold_errors=(0.2, 0.4))
    easy = replace(outcome("t002", 0.25), fold_errors=(0.25,))
    hard = replace(outcome("t003", 0.1), fold_errors=(0.1,))
    assert best([floor, whole, easy]) is whole, "lower only because its one fold was the easier one"
    assert best([floor, whole, easy, hard]) is hard
    assert best([floor, replace(easy, fold_errors=(0.6,))]) is floor


def test_of_equals_the_first_wins() -> None:
    tie = [outcome("t001", 0.1), outcome("t000", 0.1)]
    assert best(tie) is tie[0]


errors = st.floats(0.01, 1.0)


@given(st.lists(st.tuples(errors, st.none() | errors), min_size=1, max_size=8), errors, st.integers(0, 1))
def test_what_must_be_beaten_is_what_decides(story: list[tuple[float, float | None]], error: float, rung: int) -> None:
    """A trial that beats the bar it was given holds the title, if nothing ended in between."""
    known = [outcome("t000", 1.0, family="constant")]
    for low, high in story:
        known.append(outcome(f"t{len(known):03d}", low))
        if high is not None:
            known.append(outcome(f"t{len(known):03d}", high, rung=1, parent=known[-1].trial.id))
    champion = best(known)
    assert champion is not None
    new = outcome("t999", error, rung=rung)
    bar = Standing.of(known).to_beat(new.trial, champion, folds=1)
    assert bar is not None
    assert (best([champion, new], [*known, new]) is new) == beats(new.fold_errors, bar)


def test_the_champions_own_promotion_has_nothing_to_beat() -> None:
    known = [outcome("t000", 1.0, family="constant"), outcome("t001", 0.2)]
    standing = Standing.of(known)
    assert standing.to_beat(Trial("t002", "trees", {}, 1, "t001"), known[1], folds=5) is None
    assert standing.to_beat(Trial("t002", "trees", {}, 1, "t000"), known[1], folds=5) == (0.2,) * 5
