"""The policy, asked about every history it could meet: it never repeats, never promotes a floor, and always ends."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.search.policy import PromotionPolicy, Snapshot, Start, Stop, Wait, interleave, near
from lepton_ray.search.trial import BROKEN_OFF, DONE, FAILED, KILLED, PARTIAL, Outcome, Trial
from tests.examples import examples

ALWAYS = lambda trial: True  # noqa: E731
NEVER = lambda trial: False  # noqa: E731
LISTS = {"constant": [{}], "linear": [{"C": 1.0}, {"C": 0.1}], "trees": [{"n": n} for n in (1, 2, 3, 4)]}


def draw(family: str, rng: np.random.Generator, near: Any) -> dict[str, Any] | None:
    """A space of twelve points for each family but the constant."""
    return None if family == "constant" else {"x": int(rng.integers(12))}


def policy(last_rung: int = 0, *, seed: int = 0, draws: Any = draw) -> PromotionPolicy:
    return PromotionPolicy(tuple(interleave(LISTS)), draws, one_in=(3,) * last_rung, seed=seed)


def outcome(name: str, error: float | None, *, family: str = "trees", rung: int = 0, **more: Any) -> Outcome:
    trial = Trial(name, family, {"n": name}, rung, more.pop("parent", None))
    state = DONE if error is not None else FAILED
    folds = () if error is None else (error,)
    return Outcome(trial, state, "host", 0.0, 1.0, error=error, score=error, fold_errors=folds, **more)


@dataclass
class Play:
    """A search played out against a policy: what was started, and how it ended."""

    policy: PromotionPolicy
    fits: Any = ALWAYS
    outcomes: list[Outcome] = field(default_factory=list)
    running: list[Trial] = field(default_factory=list)
    spent: float = 0.0
    early: list[Trial] = field(default_factory=list)

    def ask(self) -> Any:
        """``early`` are the promotions for which something new had to wait."""
        seen = Snapshot(tuple(self.outcomes), tuple(self.running), self.spent)
        decision = self.policy.decide(seen, self.fits)
        if isinstance(decision, Start):
            if decision.trial.parent is not None and any(True for _ in self.policy._new(seen, self.started(), "new")):
                self.early.append(decision.trial)
            self.running.append(decision.trial)
        return decision

    def end(self, which: int, error: float | None, state: str = DONE) -> None:
        trial = self.running.pop(which % len(self.running))
        folds = () if error is None else (error,)
        self.outcomes.append(Outcome(trial, state, "ray", 0.0, 1.0, error=error, score=error, fold_errors=folds))

    def started(self) -> list[Trial]:
        return [*(one.trial for one in self.outcomes), *self.running]


ends = st.tuples(st.integers(0, 3), st.none() | st.floats(0, 1), st.sampled_from([DONE, PARTIAL, FAILED, KILLED]))


@examples(150)
@given(st.lists(ends, max_size=80), st.integers(1, 4), st.integers(0, 2), st.integers(0, 2**32 - 1))
def test_over_any_history(story: list[tuple[int, float | None, str]], workers: int, last_rung: int, seed: int) -> None:
    play = Play(policy(last_rung, seed=seed))
    ahead = iter(story)
    for _ in range(400):
        decision = play.ask() if len(play.running) < workers else None
        if isinstance(decision, Stop):
            break
        if decision is None or isinstance(decision, Wait):
            assert play.running, "waiting for nobody"
            which, error, state = next(ahead, (0, 0.5, DONE))
            play.end(which, None if state in (FAILED, KILLED) else error, state)
    else:
        raise AssertionError("it never ends")
    started = play.started()
    assert len({trial.id for trial in started}) == len(started)
    fresh = Counter((trial.family, str(sorted(trial.config.items()))) for trial in started if trial.parent is None)
    assert max(fresh.values(), default=0) <= 1, "a trial was started twice"
    promoted = [trial for trial in started if trial.parent is not None]
    assert len({trial.parent for trial in promoted}) == len(promoted), "a trial was promoted twice"
    for trial in promoted:
        (parent,) = [one for one in play.outcomes if one.trial.id == trial.parent]
        assert parent.usable and trial.rung == parent.trial.rung + 1 <= last_rung
        assert (trial.family, trial.config) == (parent.trial.family, parent.trial.config)
        assert trial.family != "constant"
    for rung in range(last_rung):
        usable = [one for one in play.outcomes if one.usable and one.trial.rung == rung]
        families = len({one.trial.family for one in usable})
        early = [trial for trial in play.early if trial.rung == rung + 1]
        assert len(early) <= len(usable) // 3 + families


@given(st.lists(ends, max_size=20), st.integers(0, 5))
def test_the_same_snapshot_gives_the_same_answer(story: list[tuple[int, float | None, str]], seed: int) -> None:
    one, other = Play(policy(1, seed=seed)), Play(policy(1, seed=seed))
    for which, error, state in story:
        if one.ask() != other.ask() or not one.running:
            assert one.started() == other.started()
            break
        for play in (one, other):
            play.end(which, error, state)
    assert one.started() == other.started()


def test_the_floor_first_then_the_families_turn_by_turn() -> None:
    play = Play(policy())
    for _ in range(7):
        play.ask()
    names = [(trial.family, trial.config) for trial in play.running]
    assert names[:3] == [("constant", {}), ("linear", {"C": 1.0}), ("trees", {"n": 1})]
    assert [family for family, _ in names[3:]] == ["linear", "trees", "trees", "trees"]
    assert [trial.id for trial in play.running] == [f"t{n:03d}" for n in range(7)]


def test_a_second_of_a_family_waits_for_the_first_to_be_judged_while_others_are_left() -> None:
    order = [("constant", {}), ("slow", {"n": 1}), ("slow", {"n": 2}), ("trees", {"n": 1}), ("trees", {"n": 2})]
    play = Play(PromotionPolicy(tuple(order), lambda *asked: None, one_in=(), seed=0))
    for _ in range(2):
        play.ask()
    play.end(0, 0.9)
    begun = [play.ask().trial for _ in range(3)]
    assert [(one.family, one.config["n"]) for one in begun] == [("trees", 1), ("slow", 2), ("trees", 2)]
    again = Play(play.policy)
    for _ in range(2):
        again.ask()
    again.end(0, 0.9)
    again.end(0, 0.5)
    assert again.ask().trial.config == {"n": 2} and again.running[0].family == "slow", "its first is known"


def test_interleave_keeps_the_order_of_each_list() -> None:
    assert interleave({"a": [{"n": 1}, {"n": 2}], "b": [], "c": [{"n": 3}]}) == [
        ("a", {"n": 1}),
        ("c", {"n": 3}),
        ("a", {"n": 2}),
    ]


def test_the_best_third_is_promoted_as_soon_as_it_is_known() -> None:
    rung = [outcome("t000", 0.5, family="constant"), *(outcome(f"t00{n}", 0.4 - 0.1 * n) for n in (1, 2, 3))]
    found = policy(1).decide(Snapshot(tuple(rung), ()), ALWAYS)
    assert isinstance(found, Start)
    assert (found.trial.parent, found.trial.rung, found.trial.id) == ("t003", 1, "t004")
    again = policy(1).decide(Snapshot(tuple(rung), (found.trial,)), ALWAYS)
    assert isinstance(again, Start) and again.trial.parent is None


def test_a_promotion_that_failed_is_not_tried_again() -> None:
    rung = [outcome(f"t00{n}", 0.1 * n) for n in range(3)]
    gone = outcome("t003", None, rung=1, parent="t000")
    found = policy(1).decide(Snapshot((*rung, gone), ()), ALWAYS)
    assert isinstance(found, Start) and found.trial.rung == 0


def test_a_rung_that_costs_ten_times_as_much_gets_a_tenth() -> None:
    dear = replace(policy(1), one_in=(10,))
    rung = [outcome(f"t{n:03d}", 0.1 + n / 100) for n in range(9)]
    first = dear.decide(Snapshot(tuple(rung), ()), ALWAYS)
    assert isinstance(first, Start) and first.trial.rung == 0
    second = dear.decide(Snapshot((*rung, outcome("t009", 0.5)), ()), ALWAYS)
    assert isinstance(second, Start) and second.trial.parent == "t000"


def test_a_promotion_that_was_cheap_leaves_room_for_another() -> None:
    rung = [outcome(f"t{n:03d}", 0.1 + n / 100) for n in range(10)]
    dear = replace(policy(1), one_in=(8,))
    for seconds, parent in ((8.0, None), (1.0, "t001")):
        up = replace(outcome("t010", 0.1, rung=1, parent="t000"), seconds=seconds)
        found = dear.decide(Snapshot((*rung, up), ()), ALWAYS)
        assert isinstance(found, Start) and found.trial.parent == parent
    running = Trial("t010", "trees", {"n": "t000"}, 1, "t000")
    found = dear.decide(Snapshot(tuple(rung), (running,)), ALWAYS)
    assert isinstance(found, Start) and found.trial.parent is None, (
        "one that runs counts as what it is expected to take"
    )


def test_a_family_that_is_behind_leaves_the_list_to_the_others() -> None:
    seen = [outcome("t000", 0.9, family="constant"), outcome("t001", 0.2, family="trees")]
    once, twice = (tuple(outcome(f"t{2 + n:03d}", 0.5, family="linear") for n in range(times)) for times in (1, 2))
    lists = (("constant", {}), ("linear", {"C": 9.0}), ("trees", {"n": 9}))
    told = replace(policy(), portfolio=lists, draw=lambda family, rng, near: None)
    assert told.decide(Snapshot((*seen, *once), ()), ALWAYS).trial.family == "constant"
    names = [one.trial.family for one in _offered(told, (*seen, *once))]
    assert names == ["constant", "linear", "trees"]
    assert [one.trial.family for one in _offered(told, (*seen, *twice))] == ["constant", "trees", "linear"]


def _offered(told: PromotionPolicy, seen: tuple[Outcome, ...]) -> list[Start]:
    """What the policy starts one after the other, nothing of which ends."""
    found: list[Start] = []
    for _ in range(3):
        decision = told.decide(Snapshot(seen, tuple(one.trial for one in found)), ALWAYS)
        assert isinstance(decision, Start)
        found.append(decision)
    return found


def test_the_constant_is_never_promoted_even_when_it_leads() -> None:
    rung = [outcome("t000", 0.1, family="constant"), *(outcome(f"t00{n}", 0.4 - 0.1 * n) for n in (1, 2, 3))]
    for spent in (0.0, 0.9):
        play = Play(policy(1), outcomes=list(rung), spent=spent)
        for _ in range(6):
            play.ask()
        assert "t000" not in {trial.parent for trial in play.running} > {None}


def test_the_best_of_each_better_family_goes_on_first_and_late_the_best_few_do() -> None:
    rung = [outcome(f"t{n:03d}", 0.1 + n / 100) for n in range(4)]
    rung += [outcome("t004", 0.14, family="linear"), *(outcome(f"t{n:03d}", 0.5) for n in range(5, 9))]
    rung += [outcome("t009", 0.6, family="slow")]
    early, late = (Play(policy(1), outcomes=list(rung), spent=spent) for spent in (0.5, 0.7))
    for _ in range(6):
        early.ask(), late.ask()
    assert [trial.parent for trial in early.running if trial.parent] == ["t000", "t004", "t001"]
    assert [trial.parent for trial in late.running if trial.parent] == ["t000", "t004", "t001", "t002"]


def test_what_is_cheap_begins_at_the_top_unless_its_family_is_behind() -> None:
    rung = [outcome("t000", 0.5, family="linear"), outcome("t001", 0.1)]
    takes = lambda trial: 1.0 if trial.rung == 0 else 6.0  # noqa: E731

    def first(known: list[Outcome], at_once: float, rungs: int = 1) -> Trial:
        no_promotion = (99,) * rungs
        asked = replace(policy(rungs), portfolio=(("trees", {"n": 3}),), at_once=at_once, one_in=no_promotion)
        decision = asked.decide(Snapshot(tuple(known), ()), ALWAYS, takes)
        assert isinstance(decision, Start)
        return decision.trial

    assert (first(rung, 6.0).rung, first(rung, 6.0, rungs=2).rung) == (1, 2)
    assert first(rung, 5.9).rung == first(rung, 0.0).rung == 0, "too long, or there are no other rows"
    assert first([], 6.0).rung == 0, "the first model is to be there soon"
    assert first(rung[:1], 6.0).rung == 1, "a family that was not seen is behind nobody"
    again = outcome("t002", 0.2)
    behind = [replace(rung[0], error=0.05), rung[1], again]
    assert first(behind, 6.0).rung == 0
    above = [replace(one, trial=replace(one.trial, rung=1), error=e) for one, e in zip(rung, (0.5, 0.7), strict=True)]
    there = first([*rung, *above], 6.0)
    assert (there.family, there.rung) == ("linear", 1), "where families began on all rows, that is what counts"
    assert first([replace(rung[0], error=0.05), rung[1]], 6.0).rung == 1, "one first look does not tell"


def test_a_trial_that_began_at_the_top_puts_off_no_promotion() -> None:
    rung = [outcome(f"t{n:03d}", 0.1 + n / 100) for n in range(4)]
    top = [replace(outcome(f"t{n:03d}", 0.05, rung=1), seconds=100.0) for n in range(4, 8)]
    for known, parent in ((rung, "t000"), ([*rung, *top], "t000")):
        decision = policy(1).decide(Snapshot(tuple(known), ()), ALWAYS)
        assert isinstance(decision, Start) and decision.trial.parent == parent
    promoted = [replace(one, trial=replace(one.trial, parent="t000")) for one in top]
    decision = policy(1).decide(Snapshot((*rung, *promoted), ()), ALWAYS)
    assert isinstance(decision, Start) and decision.trial.parent is None, "the upper rung has had its time"


def test_with_nothing_new_left_the_rest_goes_on_best_first() -> None:
    lists = {"constant": [{}], "trees": [{"n": n} for n in range(6)]}
    play = Play(PromotionPolicy(tuple(interleave(lists)), lambda *_: None, one_in=(100,), seed=0))
    while not isinstance(play.ask(), Stop):
        trial = play.running[0]
        play.end(0, 1.0 if trial.family == "constant" else 0.1 * trial.config["n"])
    assert [(trial.config.get("n"), trial.rung) for trial in play.started()[1:]] == [
        *((n, 0) for n in range(6)),
        *((n, 1) for n in range(6)),
    ]


def test_with_one_rung_nothing_is_promoted() -> None:
    rung = [outcome(f"t{n:03d}", 0.1 + n) for n in range(9)]
    found = policy(0).decide(Snapshot(tuple(rung), ()), ALWAYS)
    assert isinstance(found, Start) and found.trial.parent is None


def test_only_what_fits_is_started() -> None:
    found = policy().decide(Snapshot((), ()), lambda trial: trial.family == "trees")
    assert isinstance(found, Start) and found.trial.family == "trees"
    rung = [outcome(f"t00{n}", 0.1 * n) for n in range(3)]
    small = policy(1).decide(Snapshot(tuple(rung), ()), lambda trial: trial.rung == 0)
    assert isinstance(small, Start) and small.trial.rung == 0


def test_when_nothing_fits_it_waits_for_what_runs_and_then_stops() -> None:
    running = Trial("t000", "trees", {"n": 1}, 0)
    assert policy().decide(Snapshot((), (running,)), NEVER) == Wait()
    stop = policy().decide(Snapshot((), ()), NEVER)
    assert isinstance(stop, Stop) and "fits" in stop.reason


def test_draws_come_after_the_lists_without_repeats_and_prefer_the_better_family() -> None:
    wide = policy(draws=lambda name, rng, near: None if name == "constant" else {"x": float(rng.uniform())}, seed=5)
    play = Play(wide)
    for _ in range(47):
        decision = play.ask()
        assert isinstance(decision, Start)
        family = decision.trial.family
        play.end(0, {"constant": 0.9, "linear": 0.5, "trees": 0.1}[family] + 1e-4 * (50 - len(play.outcomes)))
    drawn = Counter(one.trial.family for one in play.outcomes if one.trial.config not in LISTS[one.trial.family])
    assert sum(drawn.values()) == 40 and drawn["constant"] == 0
    assert drawn["trees"] > drawn["linear"] > 0


def test_a_family_without_a_usable_trial_is_not_drawn_from() -> None:
    play = Play(policy())
    while isinstance(play.ask(), Start):
        family = play.running[0].family
        play.end(0, None if family == "trees" else 0.5, FAILED if family == "trees" else DONE)
    assert {one.trial.family for one in play.outcomes if "x" in one.trial.config} == {"linear"}


class Enough:
    """An economy that has an opinion."""

    def verdict(self, outcomes: Any) -> str:
        return "enough"


def test_a_search_that_is_not_worth_it_stops_once_every_family_was_tried() -> None:
    told = replace(policy(1), economy=Enough())
    seen = [outcome("t000", 0.5, family="constant"), outcome("t001", 0.3, family="linear")]
    assert isinstance(told.decide(Snapshot(tuple(seen), ()), ALWAYS), Start), "trees may be better than all that were"
    seen.append(outcome("t002", 0.3, family="trees"))
    assert told.decide(Snapshot(tuple(seen), ()), ALWAYS) == Stop("enough")
    assert isinstance(policy(1).decide(Snapshot(tuple(seen), ()), ALWAYS), Start)


def test_a_draw_near_the_best_keeps_most_of_it() -> None:
    leader, drawn = {"a": 1, "b": 2, "c": 3, "only": 4}, {"a": 10, "b": 20, "c": 3, "new": 5}
    for seed in range(50):
        found = near(leader, drawn, np.random.default_rng(seed))
        assert found != leader and found["c"] == 3
        assert all(found[name] in (leader.get(name), drawn.get(name)) for name in found)
    assert near(leader, leader, np.random.default_rng(0)) == leader


def test_what_was_broken_off_with_its_run_is_tried_again_once() -> None:
    """Not for ever: it may be what breaks the run."""
    floor = [outcome("t000", 0.9, family="constant"), outcome("t001", 0.5, family="linear")]
    floor = [replace(one, trial=replace(one.trial, config=LISTS[one.trial.family][0])) for one in floor]
    lost = replace(outcome("t002", None), state=BROKEN_OFF, trial=Trial("t002", "trees", {"n": 1}, 0))
    again = replace(lost, trial=replace(lost.trial, id="t007"))
    ask = lambda *seen: policy().decide(Snapshot((*floor, *seen), ()), ALWAYS).trial  # noqa: E731
    assert ask(lost) == Trial("t003", "trees", {"n": 1}, 0)
    assert ask(lost, again) == Trial("t008", "linear", {"C": 0.1}, 0), "ids go on after the highest"


def test_a_promotion_that_was_broken_off_is_made_again() -> None:
    seen = [outcome(f"t00{n}", 0.1 * (n + 1)) for n in range(3)]
    lost = Outcome(Trial("t003", "trees", {"n": "t000"}, 1, "t000"), BROKEN_OFF, "ray", 0.0, 0.0)
    found = policy(last_rung=1).decide(Snapshot((*seen, lost), ()), ALWAYS)
    assert found.trial == Trial("t004", "trees", {"n": "t000"}, 1, "t000")
    twice = replace(lost, trial=replace(lost.trial, id="t004"))
    assert policy(last_rung=1).decide(Snapshot((*seen, lost, twice), ()), ALWAYS).trial.rung == 0
