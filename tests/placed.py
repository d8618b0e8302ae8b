"""A model family that takes its time, so that its node can go away meanwhile; in a host worker it is quick."""

import sys
import time
from typing import Any

import numpy as np

from lepton_ray.models.family import Batch, Stop
from lepton_ray.models.linear import LinearFamily
from lepton_ray.table.schema import Problem

FIT_SECONDS = 0.7


class Patient(LinearFamily):
    """Linear models of which each fit takes a while in a Ray worker, and ends early when it is asked to."""

    def configs(self, *given: Any) -> list[dict[str, Any]]:
        return [{"C": 0.001 * n} for n in range(1, 60)]

    def sample(self, problem: Problem, rng: np.random.Generator) -> dict[str, Any]:
        return {"C": 0.001 * float(rng.uniform())}

    def fit(self, train: Batch, valid: Batch | None, config: dict[str, Any], *, stop: Stop, **given: Any) -> Any:
        until = time.monotonic() + FIT_SECONDS
        while "ray" in sys.modules and time.monotonic() < until and not stop():
            time.sleep(0.02)
        return super().fit(train, valid, config, stop=stop, **given)


class Waiting(LinearFamily):
    """A linear model that is fitted only when it is asked to end."""

    def fit(self, train: Batch, valid: Batch | None, config: dict[str, Any], *, stop: Stop, **given: Any) -> Any:
        while not stop():
            time.sleep(0.02)
        return super().fit(train, valid, config, stop=stop, **given)
