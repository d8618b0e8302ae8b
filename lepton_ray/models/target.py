"""The scale on which values are learned, and the way back. It knows nothing about models."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lepton_ray.features.graph import Wire
from lepton_ray.features.matrix import Floats
from lepton_ray.table.schema import Problem, Task


@dataclass(frozen=True, slots=True)
class Scale:
    """Values become ``(t - centre) / spread``, where t is the value itself or log(1 + value).

    The mean of a logarithm is not the logarithm of the mean: on the way back 1 + value is multiplied by ``smear``, the
    factor with the least squared error on the training rows. A logarithm is not followed beyond the values seen there.
    """

    log: bool
    centre: float
    spread: float
    low: float
    high: float
    smear: float = 1.0

    def there(self, values: Floats) -> Floats:
        t = np.log1p(values) if self.log else values
        return np.asarray((t - self.centre) / self.spread, dtype=np.float64)

    def back(self, scores: Floats) -> Floats:
        t = scores * self.spread + self.centre
        if not self.log:
            return np.asarray(t, dtype=np.float64)
        return np.asarray(np.exp(np.clip(t, self.low, self.high)) * self.smear - 1.0, dtype=np.float64)

    def drawn_back(self, scores: Wire) -> Wire:
        """Draw ``back``."""
        t = scores * self.spread + self.centre
        return t.clip(self.low, self.high).apply("Exp") * self.smear - 1.0 if self.log else t

    def within(self, scores: Floats) -> Floats:
        """Return the scores bounded to those of the training rows: for a model that would follow a line beyond them."""
        low, high = ((end - self.centre) / self.spread for end in (self.low, self.high))
        return np.clip(scores, low, high)

    def drawn_within(self, scores: Wire) -> Wire:
        """Draw ``within``."""
        low, high = ((end - self.centre) / self.spread for end in (self.low, self.high))
        return scores.clip(low, high)

    def corrected(self, values: Floats, scores: Floats, weight: Floats) -> Scale:
        """Return the scale with the smear that these training rows ask for."""
        if not self.log:
            return self
        said = replace(self, smear=1.0).back(scores) + 1.0
        smear = float(np.sum(weight * (values + 1.0) * said) / np.sum(weight * said * said))
        return replace(self, smear=smear)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def scale_for(values: Floats, weight: Floats, target: str) -> Scale:
    """Return the scale for these values; a logarithm that they do not allow (a value below 0) is not taken."""
    log = target == "log1p" and bool(np.min(values) >= 0.0)
    t = np.log1p(values) if log else values
    centre = float(np.sum(t * weight) / np.sum(weight))
    spread = float(np.sqrt(np.sum(weight * (t - centre) ** 2) / np.sum(weight)))
    return Scale(log, centre, spread if spread > 0 else 1.0, float(np.min(t)), float(np.max(t)))


def needs_mean(problem: Problem) -> bool:
    """Whether the metric is best at the mean; MAE and MAPE are best at a median, which a logarithm leaves alone."""
    return problem.metric not in ("mae", "mape")


def scale_wanted(problem: Problem, values: Floats, weight: Floats, target: str) -> Scale | None:
    """Return the scale to learn this problem on: None for classes, values as they are for plain relative errors."""
    if problem.task is not Task.REGRESSION:
        return None
    if problem.metric == "mape" and target == "plain":
        return Scale(False, 0.0, 1.0, 0.0, 0.0)  # relative errors need the target's own zero
    return scale_for(np.asarray(values, dtype=np.float64), weight, target)
