"""The scale of a target: what the trials of one family tell is used by the others, and only where they agree."""

from lepton_ray.search.target_scale import better_scale, on_scale
from lepton_ray.search.trial import DONE, PARTIAL, Outcome, Trial


def told(family: str, scale: str | None, error: float, *, rung: int = 0, state: str = DONE) -> Outcome:
    config = {} if scale is None else {"target": scale}
    trial = Trial(f"{family}{scale}{rung}", family, config, rung)
    return Outcome(trial, state, "host", 0.0, 1.0, error=error, score=error, fold_errors=(error,))


LINEAR = (told("linear", None, 10.0), told("linear", "log1p", 7.0))


def test_one_family_tells_the_others() -> None:
    assert better_scale(LINEAR) == "log1p"
    assert better_scale(LINEAR[:1]) is None
    assert better_scale([*LINEAR, told("trees", "plain", 5.0)]) == "log1p"


def test_who_disagrees_is_heard() -> None:
    against = (told("trees", "plain", 4.0), told("trees", "log1p", 5.0))
    assert better_scale([*LINEAR, *against]) is None
    more = (told("forest", None, 4.0), told("forest", "log1p", 5.0))
    assert better_scale([*LINEAR, *against, *more]) == "plain"


def test_more_rows_alone_are_no_reason() -> None:
    assert better_scale([told("trees", None, 1.0), told("trees", "log1p", 0.85, rung=1)]) is None
    assert better_scale([told("trees", None, 1.0), told("trees", "log1p", 0.7, rung=1)]) == "log1p"
    assert better_scale([told("trees", None, 1.0, rung=1), told("trees", "log1p", 0.9)]) == "log1p"
    promoted = told("trees", None, 0.6, rung=1)
    assert better_scale([told("trees", None, 1.0), promoted, told("trees", "log1p", 0.7, rung=1)]) == "plain"


def test_what_is_nearly_equal_or_was_cut_short_tells_nothing() -> None:
    assert better_scale([told("trees", None, 1.0), told("trees", "log1p", 0.985)]) is None
    assert better_scale([told("trees", None, 9.0, state=PARTIAL), told("trees", "log1p", 1.0)]) is None


def test_a_family_keeps_its_places() -> None:
    log = {"target": "log1p"}
    listed = [("a", {}), ("b", {"n": 1}), ("a", {"n": 2}), ("b", log), ("a", log), ("a", {"target": "plain"})]
    assert on_scale(listed, None) == listed
    found = on_scale(listed, "log1p")
    assert found == [("a", log), ("b", log), ("a", {}), ("b", {"n": 1}), ("a", {"n": 2}), ("a", {"target": "plain"})]
    assert on_scale(found, "plain")[:2] == [("a", {}), ("b", {"n": 1})]
