"""Which families are tried no more, because all that they did was fail. It knows nothing about leases or workers.

A trial that raises, returns what is no prediction, or hangs until it is killed leaves nothing; one that hangs costs its
whole lease. What fails twice on a rung without a success there or above it is not tried there or above it again.
"""

from collections import Counter
from collections.abc import Iterable, Sequence

from lepton_ray.search.title import FLOOR
from lepton_ray.search.trial import FAILED, KILLED, Outcome, Trial

FAILURES = (FAILED, KILLED)
MOST_FAILURES = 2


def set_aside(trial: Trial, outcomes: Sequence[Outcome], running: Iterable[Trial] = ()) -> bool:
    """Whether a trial's family has failed so often that this one is not worth its lease.

    Args:
        running: what may still fail. Where one has failed and none succeeded, one more is tried, none beside it.
    """
    if trial.family == FLOOR:
        return False
    own = [one for one in outcomes if one.trial.family == trial.family]
    failed = Counter(one.trial.rung for one in own if one.state in FAILURES)
    if not failed:
        return False
    highest = max((one.trial.rung for one in own if one.usable), default=-1)
    beside = Counter(one.rung for one in running if one.family == trial.family)
    return any(highest < rung <= trial.rung and failed[rung] + beside[rung] >= MOST_FAILURES for rung in failed)


def reasons(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Of each family that was set aside without having left any model, why, in words."""
    able = {one.trial.family for one in outcomes if one.usable}
    last = {one.trial.family: one for one in outcomes if one.state in FAILURES and one.trial.family not in able}
    return {
        name: f"all that was tried of it failed, the last trial because: {one.reason.rstrip('.')}."
        for name, one in last.items()
        if set_aside(one.trial, outcomes)
    }
