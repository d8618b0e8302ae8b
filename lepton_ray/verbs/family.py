"""The verbs for a family by its name: an ordinary bundle over the table, searched by ``LeptonClassifier``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from lepton_ray.errors import UsageError
from lepton_ray.estimators import LeptonClassifier, LeptonRegressor
from lepton_ray.models.registry import family
from lepton_ray.training.metrics import METRICS
from lepton_ray.verbs.data import Data
from lepton_ray.verbs.estimator import says_of
from lepton_ray.verbs.said import Fitted
from lepton_ray.verbs.work import SEALING_SECONDS, Work


class ByName:
    """A family and what is known of it."""

    def __init__(self, name: str, data: Data, *, seed: int) -> None:
        """Look it up.

        Raises:
            UsageError: there is none, its package is lacking, or it cannot learn this.
        """
        self.name = name
        self._data, self._seed = data, seed
        found = family(name)
        if data.train.kind not in ("array", "frame"):
            raise UsageError(f"The family {name} reads one array or frame, and X_train is a {data.train.kind}.")
        data.settle(None)
        if data.problem.task not in found.tasks:
            raise UsageError(f"The family {name} does not learn {data.problem.task.value} targets.", "Choose another.")

    def train(self, work: Work, *, settings: Mapping[str, Any], **other: Any) -> Fitted:
        """Fit its first configuration in this process; how long is found out by cross-validation."""
        if settings:
            raise UsageError(f"Settings of the family {self.name} cannot be given.", "optimize() chooses them.")
        work.notes.append(f"epochs and batch_size are a network's of yours: the family {self.name} has its own.")
        return self._found(work, {"max_trials": 1})

    def optimize(self, work: Work, *, space: Mapping[str, Any] | None) -> Fitted:
        """Search its configurations, as ``LeptonClassifier`` does."""
        if space is not None:
            raise UsageError(f"The family {self.name} has its own space.", "Leave space out.")
        work.need(SEALING_SECONDS, "The least that a search takes,")
        return self._found(work, {"deadline": work.wall - work.meter.clock() - 0.5})

    def _found(self, work: Work, limits: Mapping[str, Any]) -> Fitted:
        data, problem = self._data, self._data.problem
        kind = LeptonRegressor if data.target.labels is None else LeptonClassifier
        work.enter("search")
        X, _, X_test, _ = data.given
        y = data.target.values if data.target.labels is None else data.target.labels[data.target.values]
        fitted = kind(families=[self.name], random_state=self._seed, metric=problem.metric, **limits).fit(X, y)
        work.enter("finish")
        bundle = fitted.to_bundle(work.bundle)
        score = METRICS[problem.metric].score(data.y_test, says_of(fitted, X_test, data.target.labels))
        board = fitted.leaderboard_
        tried = board[board["family"] != "constant"]
        settings = dict(tried.iloc[0]["config"]) if len(tried) else {}
        trials = int(np.unique(tried["trial"]).size)
        self.fitted = fitted
        alone = "its first configuration was fitted, for as long as cross-validation said"
        ended = alone if trials == 1 else fitted.stopped_because_
        return Fitted(
            self.name,
            score,
            problem.metric,
            ended,
            settings,
            trials,
            work.folder,
            bundle,
            work.end(),
            tuple(work.notes),
        )
