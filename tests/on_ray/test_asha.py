"""The comparison's rule against Tune's own scheduler, on streams of reports."""

from types import SimpleNamespace

import numpy as np
import pytest

from lepton_ray.search.asha import ETA, Halving

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("rungs", [2, 3])
@pytest.mark.parametrize("seed", range(5))
def test_the_decisions_are_tune_s(rungs: int, seed: int) -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler

    longest = int(ETA) ** (rungs - 1)
    tune = AsyncHyperBandScheduler(time_attr="t", metric="error", mode="min", max_t=longest, reduction_factor=ETA)
    ours = Halving(rungs)
    rng = np.random.default_rng(seed)
    waiting = {f"t{number}": 0 for number in range(80)}
    for name in waiting:
        tune.on_trial_add(None, SimpleNamespace(trial_id=name))  # type: ignore[arg-type]
    continued = 0
    while waiting:
        name = str(rng.choice(sorted(waiting)))
        rung, error = waiting.pop(name), float(np.round(rng.random(), 2))  # ties happen
        report = {"t": int(ETA) ** rung, "error": error}
        said = tune.on_trial_result(None, SimpleNamespace(trial_id=name), report)  # type: ignore[arg-type]
        assert ours.goes_on(name, rung, error) == (said == TrialScheduler.CONTINUE)
        if said == TrialScheduler.CONTINUE:
            waiting[name] = rung + 1
            continued += 1
    assert continued > 5
