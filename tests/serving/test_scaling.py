"""The scaling policy: its laws for any snapshot, and what it does to queues in virtual time."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray.money.dollars import Dollars
from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.recent import WINDOW, Beat
from lepton_ray.serving.scaling import (
    DOWN_DELAY,
    HOLD,
    UP_DELAY,
    Decision,
    Memory,
    Snapshot,
    allowed,
    decide,
)
from lepton_ray.serving.terms import Terms
from tests.examples import one_in
from tests.serving.queueing import Lived, live, stepped

DIME = Dollars.parse("0.10")
FLEET = Fleet(DIME, 2)
PROMISE = Terms(p99=0.1, most=20)

amounts = st.floats(0, 1e4, allow_nan=False)
fleets = st.builds(Fleet, st.none() | st.integers(1, 10**7).map(Dollars), st.integers(1, 8), st.integers(0, 1))


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    idle = draw(st.none() | st.floats(1, 600))
    least = 0 if idle else draw(st.integers(1, 4))
    cap = draw(st.none() | st.integers(1, 10**8).map(Dollars))
    return Terms(draw(st.none() | st.floats(1e-3, 10)), cap, least, draw(st.integers(max(1, least), 30)), idle)


@st.composite
def snapshots(draw: st.DrawFn, now: float) -> Snapshot:
    running = draw(st.integers(0, 30))
    quantiles = draw(st.none() | st.tuples(st.floats(1e-4, 30), st.floats(1, 10)))
    p50, p99 = (None, None) if quantiles is None else (quantiles[0], quantiles[0] * quantiles[1])
    return Snapshot(
        now,
        running,
        draw(st.integers(0, 30)),
        ongoing=draw(amounts),
        queued=draw(amounts),
        rate=draw(amounts),
        each=draw(st.floats(0, 10)),
        busy=draw(st.floats(0, running)),
        p50=p50,
        p99=p99,
        nodes=draw(st.integers(0, 30)),
    )


@given(terms(), fleets, st.data())
def test_no_decision_costs_more_than_the_cap(terms: Terms, fleet: Fleet, data: st.DataObject) -> None:
    memory, now = Memory(), 0.0
    for _ in range(data.draw(st.integers(1, 12))):
        now += data.draw(st.floats(0, 700))
        seen = data.draw(snapshots(now))
        decision = decide(terms, fleet, seen, memory)
        memory = decision.memory
        top, _ = allowed(terms, fleet, memory.spread)
        assert min(terms.least, top) <= decision.replicas <= top <= terms.most and decision.reason
        if terms.cap is not None and fleet.per_node is not None and decision.replicas:
            nodes = decision.replicas if memory.spread else -(-decision.replicas // fleet.seats)
            assert nodes * fleet.per_node.micros <= terms.cap.micros


def after(seconds: float, seen: Snapshot, terms: Terms = PROMISE, fleet: Fleet = FLEET) -> Decision:
    """What is decided first, or at the end, when the same is seen for so long, twice a second."""
    memory, at = Memory(), 0.0
    while True:
        decision = decide(terms, fleet, replace(seen, now=at), memory)
        if at >= seconds or decision.replicas != seen.wanted:
            return decision
        memory, at = decision.memory, at + 0.5


@given(st.integers(1, 10), st.floats(0, 0.04), st.floats(1e-3, 0.05))
def test_an_idle_endpoint_never_grows_and_ends_at_the_fewest(running: int, busy: float, p99: float) -> None:
    seen = Snapshot(0.0, running, running, rate=5.0, each=busy / 5, busy=busy, p50=p99 / 2, p99=p99)
    assert after(DOWN_DELAY - 1, seen).replicas == running
    assert after(DOWN_DELAY + 1, seen).replicas == 1


@given(st.integers(1, 6), st.floats(1, 40))
def test_a_queue_makes_it_grow_within_five_seconds(running: int, waits: float) -> None:
    seen = Snapshot(0.0, running, running, queued=waits * running, rate=50.0, each=0.02, busy=float(running))
    assert after(0.0, seen).replicas == running
    assert after(5.0, seen).replicas > running and "wait" in after(5.0, seen).reason


def test_a_promise_in_danger_makes_it_grow_and_a_kept_one_does_not() -> None:
    seen = Snapshot(0.0, 2, 2, rate=50, each=0.02, busy=1.0, p50=0.03, p99=0.09)
    grown = after(WINDOW + 2 * UP_DELAY, seen)
    assert grown.replicas == 3 and grown.reason == "the p99 of 90 ms nears the promised 100 ms"
    assert after(600, replace(seen, p99=0.07)).replicas == 2
    assert after(600, replace(seen, busy=1.5), replace(PROMISE, p99=None)).replicas == 2
    assert "75% busy" in after(5, replace(seen, busy=1.5)).reason


def test_what_comes_up_or_goes_is_counted_before_more_is_asked_for() -> None:
    seen = Snapshot(0.0, 2, 3, queued=4, rate=60, each=0.02, busy=1.2, p50=0.03, p99=0.09)
    assert after(30, seen).replicas == 3
    assert after(5, replace(seen, running=4, wanted=3)).replicas == 4
    calm = after(DOWN_DELAY + 1, replace(seen, queued=0, busy=0.4, rate=20, p99=0.05))
    assert calm.replicas == 2 and "fewer have sufficed" in calm.reason


def test_slow_without_load_is_said_and_no_reason_to_grow() -> None:
    seen = Snapshot(0.0, 1, 1, rate=1, each=0.2, busy=0.2, p50=0.2, p99=0.25)
    decision = after(600, seen)
    assert decision.replicas == 1 and "more replicas would not help" in decision.reason
    assert after(600, replace(seen, running=3, wanted=3)).replicas == 1


def test_the_cap_and_the_number_bind_and_say_so() -> None:
    seen = Snapshot(0.0, 4, 4, queued=40, rate=200, each=0.02, busy=4.0)
    capped = after(5, seen, replace(PROMISE, cap=Dollars.parse("0.29")))
    assert (capped.replicas, capped.bound) == (4, "cap")
    assert capped.reason.endswith("; the cap of $0.29 per hour pays for 4 replicas")
    numbered = after(5, seen, replace(PROMISE, most=4))
    assert (numbered.bound, numbered.reason[-31:]) == ("most", "4 replicas at most were asked for")[:1] + (
        numbered.reason[-31:],
    )
    calm = replace(seen, queued=0.0, busy=0.5, now=5 + HOLD - 1)
    still = decide(replace(PROMISE, most=4), FLEET, calm, numbered.memory)
    assert still.bound == "most"
    assert decide(replace(PROMISE, most=4), FLEET, replace(calm, now=5 + HOLD + 1), still.memory).bound == ""


def test_replicas_that_are_spread_count_as_a_machine_each() -> None:
    terms = replace(PROMISE, cap=Dollars.parse("0.20"))
    seen = Snapshot(0.0, 4, 4, rate=10, each=0.02, busy=0.2, nodes=2)
    assert after(1, seen, terms).replicas == 4
    spread = decide(terms, FLEET, replace(seen, nodes=3), Memory())
    assert spread.replicas == 2
    assert decide(terms, FLEET, replace(seen, nodes=1, now=1.0), spread.memory).replicas == 2


def test_a_machine_that_is_kept_pays_for_any_number() -> None:
    laptop = Fleet(DIME, 2, kept=1)
    assert (laptop.nodes(0), laptop.nodes(2), laptop.nodes(3)) == (1, 1, 2)
    assert laptop.per_hour(2) == Dollars.parse("0.20") and Fleet().per_hour(2) is None
    assert Fleet(None, 2).affords(DIME) is None and Fleet(DIME, 2).affords(DIME, spread=True) == 1
    assert Fleet.from_plain(laptop.plain()) == laptop and Fleet.from_plain(Fleet().plain()) == Fleet()


def test_beats_add_up_and_few_answers_are_no_quantile() -> None:
    few = Beat(rate=3, done=2, busy=0.5, waiting=1, p50=0.1, p99=0.45, answered=20)
    many = Beat(rate=10, done=8, busy=0.5, waiting=0, p50=0.02, p99=0.05, answered=80)
    seen = Snapshot.of(7.0, 2, [few, many], outside=2)
    assert (seen.running, seen.rate, seen.queued, seen.busy, seen.each) == (2, 13, 3, 1.0, 0.1)
    assert seen.p50 == pytest.approx(0.036) and seen.p99 == pytest.approx(0.13) and seen.ongoing == 4.0
    stuck = replace(few, p50=0.4)
    assert Snapshot.of(7.0, 2, [stuck, many]).p99 == 0.4
    assert Snapshot.of(7.0, 1, [replace(few, answered=19)]).p99 is None
    assert Snapshot.of(7.0, 0, []).p99 is None


def turns(lived: Lived) -> int:
    """How often growing became shrinking or the other way round."""
    counts = lived.counts()
    signs = [after > before for before, after in zip(counts, counts[1:], strict=False)]
    return sum(one != other for one, other in zip(signs, signs[1:], strict=False))


@pytest.mark.parametrize("seed", one_in(4, range(4)))
def test_load_that_grows_tenfold_and_falls_again_keeps_its_p99(seed: int) -> None:
    lived = live(PROMISE, FLEET, stepped((0, 20), (60, 200), (240, 20)), 600, seed=seed)
    for since, until in ((20, 60), (100, 240), (250, 600)):
        assert lived.p99(since, until) <= 0.1, lived.counts()
    assert 6 <= max(lived.counts(100, 240)) <= 16 and lived.counts()[-1] <= 2
    assert turns(lived) <= 2, lived.counts()
    assert len(lived.counts()) <= 12 and lived.waiting < 5


@pytest.mark.exam
def test_a_promise_near_to_what_one_answer_takes_is_kept_without_wasting_replicas() -> None:
    lived = live(replace(PROMISE, p99=0.05), FLEET, stepped((0, 20), (60, 200), (240, 20)), 900)
    assert 2 <= lived.counts()[-1] <= 6 and max(lived.counts()) >= 8, lived.counts()
    for since, until in ((100, 240), (250, 900)):
        assert lived.p99(since, until) <= 0.05, lived.counts()


@pytest.mark.parametrize("rate", one_in(5, [5, 20, 33, 60, 100]))
def test_a_steady_load_does_not_make_it_flap(rate: float) -> None:
    lived = live(PROMISE, FLEET, stepped((0, rate)), 1800, seed=1)
    assert turns(lived) <= 3 and len(lived.counts(600)) <= 2, lived.counts()
    assert lived.p99(120, 1800) <= 0.1


def test_what_the_cap_does_not_pay_for_waits_and_is_said() -> None:
    terms = replace(PROMISE, cap=Dollars.parse("0.25"))
    lived = live(terms, FLEET, stepped((0, 20), (60, 250), (120, 20)), 400)
    assert max(lived.counts()) == 4 and FLEET.nodes(4) == 2
    bound = [at for at, _, decision in lived.decisions if decision.bound == "cap"]
    assert 61 < bound[0] < 90 and 120 < bound[-1] < 200
    assert lived.p99(250, 400) <= 0.1


def test_it_goes_on_waking_though_who_asked_has_gone() -> None:
    terms = replace(PROMISE, least=0, idle=30.0)
    asleep = decide(terms, FLEET, Snapshot(100.0, 0, 0), Memory(running=0, quiet=10.0))
    assert asleep.replicas == 0
    asked = decide(terms, FLEET, Snapshot(101.0, 0, 0, queued=1), asleep.memory)
    assert asked.replicas == 1
    gone = decide(terms, FLEET, Snapshot(102.0, 0, 1), asked.memory)
    assert gone.replicas == 1
    up = decide(terms, FLEET, Snapshot(105.0, 1, 1), gone.memory)
    assert up.replicas == 1
    assert decide(terms, FLEET, Snapshot(134.0, 1, 1), up.memory).replicas == 1
    assert decide(terms, FLEET, Snapshot(136.0, 1, 1), up.memory).replicas == 0


def test_it_sleeps_after_the_quiet_and_wakes_for_a_request() -> None:
    terms = replace(PROMISE, least=0, idle=30.0)
    lived = live(terms, FLEET, stepped((0, 10), (20, 0), (100, 10)), 200)
    assert lived.counts()[:3] == [1, 0, 1]
    asleep = [at for at, _, decision in lived.decisions if decision.replicas == 0]
    assert 49 < asleep[0] < 55 and 99 < asleep[-1] < 101
    first = min(took for came, took in lived.answers if 100 <= came < 100.5)
    assert first < 6 and lived.p99(120, 200) <= 0.1
