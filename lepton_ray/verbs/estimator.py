"""The verbs for a scikit-learn estimator: fitted here, tuned on Ray Tune, kept without a pickle."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.utils import _safe_indexing

from lepton_ray.bundle.tensors import Says, write_tensors
from lepton_ray.errors import DataError, SearchError, UsageError
from lepton_ray.on_host.in_process import FEWEST_CONFIGURATIONS, ROWS_PER_CONFIGURATION, SMALL_ROWS
from lepton_ray.search.rungs import N_FOLDS
from lepton_ray.training.metrics import METRICS
from lepton_ray.verbs.data import Data
from lepton_ray.verbs.said import Fitted
from lepton_ray.verbs.work import SEALING_SECONDS, Work

REFIT_SHARE = 0.2
"""Of the wall: kept for fitting the best again on all rows."""


class Estimator:
    """An estimator and what is known of it."""

    def __init__(self, estimator: Any, data: Data, *, seed: int) -> None:
        """Look at it.

        Raises:
            UsageError: it neither classifies nor predicts values, or wants what was not given.
        """
        self.name = type(estimator).__name__
        self._estimator, self._data, self._seed = estimator, data, seed
        if not (is_classifier(estimator) or is_regressor(estimator)):
            raise UsageError(f"{self.name} is neither a classifier nor a regressor.", "Give one that predicts.")
        if data.train.kind not in ("array", "frame"):
            raise UsageError(f"{self.name} reads one array or frame, and X_train is a {data.train.kind}.", "Give one.")
        data.settle(None)
        if is_classifier(estimator) != (data.target.labels is not None):
            kind = "classes" if is_classifier(estimator) else "values"
            data.retell(kind)

    def train(self, work: Work, *, settings: Mapping[str, Any], **other: Any) -> Fitted:
        """Fit it in this process."""
        work.notes.append(f"epochs and batch_size are a network's: {self.name} was fitted in one go, in this process.")
        work.enter("training")
        return self._finish(work, self._fit(settings), settings, 1, "it was fitted on all of X_train")

    def optimize(self, work: Work, *, space: Mapping[str, Any] | None) -> Fitted:
        """Search its settings on rows set aside of X_train, and fit the best again on all of them.

        Raises:
            SearchError: no settings could be fitted.
        """
        from lepton_ray.on_ray.at_hand import boot_seconds
        from lepton_ray.on_ray.tuning import estimator_space, tune_estimator

        wanted = space or estimator_space(self._estimator)
        work.need(boot_seconds() + 2 * SEALING_SECONDS, "Starting Ray and a first trial")
        work.enter("start Ray")
        found = tune_estimator(
            self._estimator,
            self._folds(),
            wanted,
            folder=work.folder,
            begin=lambda: work.enter("search"),
            price=work.price,
            until=work.wall * (1.0 - REFIT_SHARE) - SEALING_SECONDS,
            cpus=work.around.cpus,
            seed=self._seed,
            most=max(FEWEST_CONFIGURATIONS, len(self._data.train) // ROWS_PER_CONFIGURATION),
        )
        work.reopen()
        if not found.settings:
            raise SearchError(f"No settings of {self.name} could be fitted ({found.ended}).", "Give another space.")
        work.enter("refit")
        return self._finish(work, self._fit(found.settings), found.settings, found.trials, found.ended)

    def _folds(self) -> list[Fold]:
        """Where settings are compared: folds of a cross-validation of few rows, else rows set aside once."""
        from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold, StratifiedShuffleSplit

        X, y, *_ = self._data.given
        codes, labels = self._data.target.values, self._data.target.labels
        spread = labels is not None and np.unique(codes, return_counts=True)[1].min() >= N_FOLDS
        if len(codes) < SMALL_ROWS:
            kind = StratifiedKFold if spread else KFold
            cuts = kind(min(N_FOLDS, len(codes)), shuffle=True, random_state=self._seed)
        else:
            kind = StratifiedShuffleSplit if spread else ShuffleSplit
            cuts = kind(1, test_size=1.0 / N_FOLDS, random_state=self._seed)
        metric = self._data.problem.metric
        return [
            Fold(_of(X, fit), _of(y, fit), _of(X, apart), codes[apart], metric=metric, labels=labels)
            for fit, apart in cuts.split(codes, codes)
        ]

    def _fit(self, settings: Mapping[str, Any]) -> Any:
        X, y, *_ = self._data.given
        try:
            return clone(self._estimator).set_params(**settings).fit(X, y)
        except ValueError as fault:
            said = str(fault).strip().splitlines()[0].rstrip(".")
            raise DataError(
                f"{self.name} cannot be fitted: {said}.", "Its settings or the rows are not fit."
            ) from fault

    def _finish(self, work: Work, fitted: Any, settings: Mapping[str, Any], trials: int, ended: str) -> Fitted:
        work.enter("finish")
        shutil.rmtree(work.scratch, ignore_errors=True)
        problem, features = self._data.problem, self._data.train
        said = says_of(fitted, self._data.given[2], self._data.target.labels)
        score = METRICS[problem.metric].score(self._data.y_test, said)
        bundle = None
        says: Says = "values" if self._data.target.labels is None else "probabilities"
        rows: dict[str, NDArray[Any]] = {name: one[:1] for name, one in features.arrays.items()}
        frame = features.kind == "frame"
        try:
            bundle = write_tensors(
                work.bundle,
                fitted,
                problem=problem,
                says=says,
                rows=rows,
                frame=frame,
                facts={"settings": dict(settings), "ended": ended},
                created=time.time(),
            )
        except UsageError as fault:
            work.notes.append(f"It can be used here, and not be deployed: {fault}")
        self.fitted = fitted
        notes = tuple(work.notes)
        return Fitted(
            self.name, score, problem.metric, ended, dict(settings), trials, work.folder, bundle, work.end(), notes
        )


def _of(given: Any, rows: NDArray[np.int64]) -> Any:
    """These rows of a frame, an array or a list."""
    return _safe_indexing(given, rows)


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows to fit on, and rows to judge by; it travels to trials."""

    X: Any
    y: Any
    X_judged: Any
    codes: NDArray[Any]
    metric: str
    labels: NDArray[Any] | None

    def error(self, fitted: Any) -> float:
        """How wrong a fitted estimator is on the rows to judge by, lower is better."""
        return METRICS[self.metric].error(self.codes, says_of(fitted, self.X_judged, self.labels))


def says_of(fitted: Any, X: Any, labels: NDArray[Any] | None) -> NDArray[np.float64]:
    """Probabilities (n, classes) in the order of ``labels``, 0 or 1 from one that knows none; or values (n,)."""
    if labels is None:
        return np.asarray(fitted.predict(X), dtype=np.float64).reshape(-1)
    if hasattr(fitted, "predict_proba"):
        return np.asarray(fitted.predict_proba(X), dtype=np.float64)
    return np.asarray(np.asarray(fitted.predict(X))[:, None] == labels[None, :], dtype=np.float64)
