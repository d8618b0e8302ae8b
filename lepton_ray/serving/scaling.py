"""How many replicas an endpoint should have: a pure function from what was seen to a decision, with its reason.

It knows no clock, no Serve and no cluster: what it remembers it hands back in the decision, to be given again. It grows
within a few seconds when requests queue or the promised p99 is in danger, and shrinks slowly, to what would have
sufficed all along, but not to what was too few for this load before. It never asks for more than the cap pays for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.recent import SHORT, WINDOW, Beat
from lepton_ray.serving.terms import Terms

NEAR = 0.8
"""A p99 above so much of the promise is in danger."""
FULL = 0.7
"""A replica busier than this keeps no promise about its slowest hundredth: its queue grows without bound towards 1."""
EASY = 0.5
"""Fewer replicas suffice if each would be no busier than this."""
ALONE = 0.3
"""Below so much work a slow answer is slow by itself: another replica would be as slow."""
ENOUGH_ANSWERS = 20
"""Of fewer, the slowest is no p99."""
DRAIN = 5.0
"""Seconds in which a queue is to be worked off."""
STEP = 4
"""It grows to so many times what runs at once, and not further."""
UP_DELAY = 0.5
"""Seconds for which it must be in danger before it grows."""
DOWN_DELAY = 60.0
"""Seconds for which fewer must suffice before it shrinks."""
TOO_FEW = 1800.0
"""Seconds for which it remembers how many were too few, and for which load."""
AS_MUCH = 0.8
"""So much of that load counts as the same."""
HOLD = 10.0
"""Seconds for which a bound is said to bind after it last did: its standing does not flicker."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was seen of an endpoint.

    Attributes:
        now: seconds of a clock that does not jump.
        running: replicas that answer. wanted: replicas that were asked for last.
        ongoing: requests inside the endpoint. queued: those of them that wait.
        rate: requests a second. each: seconds of work that one takes; 0.0 where that is not known.
        busy: replicas' worth of work done at once, at most ``running``.
        p50, p99: seconds to answer lately, of all replicas together; None where too few were answered.
        nodes: machines that the replicas stand on; 0 where that is not known.
    """

    now: float
    running: int
    wanted: int
    ongoing: float = 0.0
    queued: float = 0.0
    rate: float = 0.0
    each: float = 0.0
    busy: float = 0.0
    p50: float | None = None
    p99: float | None = None
    nodes: int = 0

    @classmethod
    def of(cls, now: float, wanted: int, beats: Sequence[Beat], *, outside: float = 0.0, nodes: int = 0) -> "Snapshot":
        """Add up what each replica that runs says of itself, and what waits ``outside`` for one of them."""
        queued, busy = outside + sum(beat.waiting for beat in beats), sum(beat.busy for beat in beats)
        done = sum(beat.done for beat in beats)
        p50, p99 = _pooled(beats)
        return cls(
            now,
            len(beats),
            wanted,
            ongoing=queued + busy,
            queued=queued,
            rate=sum(beat.rate for beat in beats),
            each=busy / done if done else 0.0,
            busy=busy,
            p50=p50,
            p99=p99,
            nodes=nodes,
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """What the policy wants to be told again; times are those of the snapshots, None: not so now.

    Attributes:
        running, changed: replicas that ran last, and since when so many.
        tight: since when more are needed. easy: since when fewer suffice, and the most of them that were needed since.
        quiet: since when nobody has asked. too_few: how many were, for how many replicas' worth of work, and when.
        spread: whether replicas were seen on more machines than they need.
        bound, bound_at: what kept it from more, and when it last did.
    """

    running: int = -1
    changed: float = -math.inf
    tight: float | None = None
    easy: tuple[float, int] | None = None
    quiet: float | None = None
    too_few: tuple[int, float, float] = (0, 0.0, -math.inf)
    spread: bool = False
    bound: str = ""
    bound_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class Decision:
    """So many replicas, and why.

    Attributes:
        bound: what keeps it from more: "cap", the dollars; "most", the number; "" where nothing does.
    """

    replicas: int
    reason: str
    bound: str = ""
    memory: Memory = Memory()


def decide(terms: Terms, fleet: Fleet, seen: Snapshot, memory: Memory) -> Decision:
    """Decide how many replicas there should be now."""
    memory = _noticed(fleet, seen, memory)
    wish, reason, memory = _wish(terms, seen, memory)
    top, bound = allowed(terms, fleet, memory.spread)
    count = min(max(wish, terms.least), top)
    if wish > top:
        reason += f"; {_said(terms, top, bound)}"
        memory = replace(memory, bound=bound, bound_at=seen.now)
    elif seen.now - memory.bound_at >= HOLD:
        memory = replace(memory, bound="")
    if count != seen.wanted:
        memory = replace(memory, tight=None, easy=None)
    return Decision(count, reason, memory.bound, memory)


def _pooled(beats: Sequence[Beat]) -> tuple[float | None, float | None]:
    """The median and p99 of all answers, as near as those of each replica tell: their means, weighed by answers.

    A replica with more than 2 of 100 answers has more than 1 of 100 above its own median, so the p99 is no less.
    """
    total = sum(beat.answered for beat in beats)
    if total < ENOUGH_ANSWERS:
        return None, None
    p50 = sum(beat.p50 * beat.answered for beat in beats) / total
    p99 = sum(beat.p99 * beat.answered for beat in beats) / total
    return p50, max([p99, *(beat.p50 for beat in beats if beat.answered > 0.02 * total)])


def allowed(terms: Terms, fleet: Fleet, spread: bool = False) -> tuple[int, str]:
    """The most replicas that may be, and whether the dollars or the number says so."""
    paid = None if terms.cap is None else fleet.affords(terms.cap, spread)
    if paid is not None and paid < terms.most:
        return paid, "cap"
    return terms.most, "most"


def _noticed(fleet: Fleet, seen: Snapshot, memory: Memory) -> Memory:
    """Take down what has changed by itself."""
    if seen.running != memory.running:
        changed = memory.changed if memory.running < 0 else seen.now
        memory = replace(memory, running=seen.running, changed=changed, quiet=None)
    if seen.nodes > fleet.nodes(seen.running):
        memory = replace(memory, spread=True)
    asked = seen.rate > 0 or seen.ongoing > 0 or seen.queued > 0
    quiet = None if asked else seen.now if memory.quiet is None else memory.quiet
    return replace(memory, quiet=quiet)


def _wish(terms: Terms, seen: Snapshot, memory: Memory) -> tuple[int, str, Memory]:
    """What it would be without bounds."""
    if not seen.running:
        if seen.queued or seen.ongoing or seen.wanted:  # who woke it may have gone, and will ask again
            return max(1, seen.wanted), "somebody has asked for the first replica", memory
        return 0, "nobody asks", memory
    if terms.idle is not None and memory.quiet is not None and seen.now - memory.quiet >= terms.idle:
        return 0, f"nobody has asked for {seen.now - memory.quiet:.0f} s", memory
    danger = _danger(terms, seen, memory)
    if danger:
        tight = seen.now if memory.tight is None else memory.tight
        memory = replace(memory, tight=tight, easy=None)
        if seen.now - tight < UP_DELAY:
            return seen.wanted, f"{danger}, since a moment ago", memory
        memory = replace(memory, too_few=(seen.running, _load(seen), seen.now))
        more = max(seen.wanted, seen.running) + (seen.wanted == seen.running)
        return max(more, _needed(seen)), danger, memory
    memory = replace(memory, tight=None)
    fewer = _fewer(terms, seen, memory)
    if fewer >= seen.wanted:
        return seen.wanted, _state(terms, seen), replace(memory, easy=None)
    since, most = memory.easy or (seen.now, 0)
    if 3 * fewer < most:  # much less came from here on
        since, most = seen.now, 0
    memory = replace(memory, easy=(since, max(most, fewer)))
    if seen.now - since < DOWN_DELAY:
        return seen.wanted, _state(terms, seen), memory
    return max(most, fewer), f"fewer have sufficed for {seen.now - since:.0f} s: {_state(terms, seen)}", memory


def _danger(terms: Terms, seen: Snapshot, memory: Memory) -> str:
    """Why more replicas are needed, or ""; what was measured before the last change of their number does not count."""
    settled = seen.now - memory.changed
    if seen.queued >= seen.running and settled >= SHORT:
        return f"{seen.queued:.0f} requests wait"
    if terms.p99 is None or settled < SHORT:
        return ""
    each = seen.busy / seen.running
    if each > FULL:
        return f"the replicas are {each:.0%} busy, too much for a p99 of {_ms(terms.p99)}"
    slow = seen.p99 is not None and seen.p99 > NEAR * terms.p99
    if slow and each > ALONE and settled >= WINDOW + UP_DELAY:
        return f"the p99 of {_ms(seen.p99)} nears the promised {_ms(terms.p99)}"
    return ""


def _load(seen: Snapshot) -> float:
    """The replicas' worth of work that comes: what is done says too little of a crowd."""
    return max(seen.busy, seen.rate * seen.each)


def _needed(seen: Snapshot) -> int:
    """The replicas for what comes, and for what waits."""
    load = max(seen.busy, (seen.rate + seen.queued / DRAIN) * seen.each)
    return min(math.ceil(load / FULL - 1e-9), STEP * seen.running)


def _fewer(terms: Terms, seen: Snapshot, memory: Memory) -> int:
    """The fewest replicas that would keep the promise with ease, or as many as run."""
    if seen.queued > 0.2 * seen.running:
        return seen.running
    count, load, when = memory.too_few
    again = seen.now - when < TOO_FEW and _load(seen) >= AS_MUCH * load
    fewest = max(1, terms.least, math.ceil(seen.busy / EASY - 1e-9), count + 1 if again else 1)
    return next((number for number in range(fewest, seen.running) if _keeps(terms, seen, number)), seen.running)


def _keeps(terms: Terms, seen: Snapshot, count: int) -> bool:
    """Whether so many would keep the p99: what is seen now, and what the longer queue adds to it."""
    if terms.p99 is None or seen.p99 is None:
        return True
    now, then = seen.busy / seen.running, seen.busy / count
    if now <= ALONE and seen.p99 > NEAR * terms.p99:
        return True  # slow by itself: more replicas do not help
    return seen.p99 + seen.each * (_tail(then, count) - _tail(now, seen.running)) <= NEAR * terms.p99


def _tail(busy: float, count: int) -> float:
    """The wait of the slowest hundredth before replicas so busy, in works of steady length (Kingman, 1961).

    Of several the router takes the emptier of two, so only who finds both at work waits (Mitzenmacher, 2001).
    """
    waits = busy if count == 1 else busy**2
    return math.log(max(1.0, 100 * waits)) / (2 * (1 - busy)) if busy < 1 else math.inf


def _state(terms: Terms, seen: Snapshot) -> str:
    each = seen.busy / seen.running
    said = f"{each:.0%} busy"
    if seen.p99 is not None:
        said += f", p99 {_ms(seen.p99)}"
        if terms.p99 is not None:
            said += f" of {_ms(terms.p99)}"
            if seen.p99 > terms.p99 and each <= ALONE:
                said += ": slow without load, so more replicas would not help"
    return said


def _said(terms: Terms, top: int, bound: str) -> str:
    count = f"{top} replica{'s' * (top != 1)}"
    return f"the cap of {terms.cap} per hour pays for {count}" if bound == "cap" else f"{count} at most were asked for"


def _ms(seconds: float | None) -> str:
    return f"{1000 * (seconds or 0.0):.3g} ms"
