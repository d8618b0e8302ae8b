"""The four parts that a verb learns and is judged with, checked once. It knows no model but by its outputs."""

from __future__ import annotations

from typing import Any

from lepton_ray.errors import DataError, UsageError
from lepton_ray.report.wording import plural
from lepton_ray.verbs.given import Features, Target


class Data:
    """X_train, y_train, X_test, y_test; the target is settled when the number of the model's outputs is known."""

    def __init__(self, X_train: Any, y_train: Any, X_test: Any, y_test: Any, *, task: str | None, metric: str) -> None:
        """Read the features.

        Raises:
            DataError: they cannot be read, or do not fit each other.
        """
        self.train, self.test = Features.of(X_train, "X_train"), Features.of(X_test, "X_test")
        self.train.fit_beside(self.test, "X_test")
        self.given = X_train, y_train, X_test, y_test
        self._task, self._metric = task, metric

    def for_network(self) -> Data:
        """Let features be what a torch module reads."""
        self.train, self.test = self.train.for_network("X_train"), self.test.for_network("X_test")
        return self

    def settle(self, outputs: int | None) -> None:
        """Read the targets.

        Raises:
            DataError, UsageError: they do not fit the rows, each other, or the model.
        """
        _, y_train, _, y_test = self.given
        self.target = Target.of(y_train, self._task, outputs)
        if len(self.target.values) != len(self.train):
            given, rows = plural(len(self.target.values), "value"), plural(len(self.train), "row")
            raise DataError(f"y_train has {given} for {rows}.", "Give one a row.")
        self.y_test = self.target.of_more(y_test, len(self.test), "y_test")
        self.problem = self.target.problem(self._metric)

    def retell(self, task: str) -> None:
        """Read the targets again as what the model says they are.

        Raises:
            DataError, UsageError: they are not, or something else was asked for.
        """
        if self._task is not None:
            raise UsageError(f'The model does not learn {self._task}, and task is "{self._task}".', "Leave task out.")
        self._task = task
        self.settle(None)
