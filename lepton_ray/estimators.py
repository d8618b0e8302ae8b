"""scikit-learn's door: ``LeptonClassifier`` and ``LeptonRegressor``, ordinary estimators with a wall in dollars.

Where a search happens. With ``max_trials``, and in any case with fewer than 2,000 rows or less than 30 s, it
happens in the calling process, on one core. Beyond 20,000 rows or 60 s it is a supervised run in
a process of its own (``lepton_ray.run``), with all cores and a wall that holds whatever a model does; or, where the
caller has a Ray open on this machine with cores to spare, it is that Ray's guest. Between the two it stays here.
In the calling process nothing is killed: a model is asked to end, and may take about a second longer.

scikit-learn's rules come first: no row is left out, neither to learn from nor to be answered; every number is used as
it is; a weight of 0 is an absent row; nothing is written into the working folder. It knows nothing about how a search
goes: that is ``on_host.in_process`` and ``runs``.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import Tags, assert_all_finite, check_array, check_consistent_length, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.carried import Carried
from lepton_ray.errors import DataError, UsageError
from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_host import in_process
from lepton_ray.on_host.given import (
    Given,
    class_names,
    dealt_folds,
    each_fold_has_all,
    free_name,
    plan_of,
    prepare_given,
    table_of_array,
)
from lepton_ray.on_host.in_process import Found, Limits
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.on_ray import guest
from lepton_ray.runs import leaderboard_of, run
from lepton_ray.spec import RunSpec, Surroundings
from lepton_ray.table.frames import table_of
from lepton_ray.table.profile import profile_block
from lepton_ray.table.schema import Problem, Task
from lepton_ray.training.metrics import default_metric, metric_named

HANDING_OVER_SECONDS = 0.5
"""From the end of a run in a process of its own to a fitted estimator."""


class UnfitData(DataError, ValueError):
    """Rows that cannot be learned from; a ``ValueError``, as scikit-learn wants it."""


class _Lepton(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share."""

    def __init__(
        self,
        *,
        budget: Any = None,
        deadline: str | float | None = None,
        max_trials: int | None = None,
        random_state: Any = None,
        metric: str = "auto",
        families: Sequence[str] | str | None = None,
        price: Any = None,
    ) -> None:
        self.budget = budget
        self.deadline = deadline
        self.max_trials = max_trials
        self.random_state = random_state
        self.metric = metric
        self.families = families
        self.price = price

    _carried: Carried
    _columns: tuple[str, ...]
    _numeric: bool

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.non_deterministic = self.max_trials is None or self.budget is not None or self.deadline is not None
        return tags

    @property
    def bundle_(self) -> Bundle:
        """The fitted model with all that a prediction needs, as ``lepton serve`` and ``lepton predict`` take it."""
        check_is_fitted(self, "_carried")
        return self._carried.bundle

    def to_bundle(self, folder: str | os.PathLike[str]) -> Bundle:
        """Write the fitted model into a new folder, as a bundle for ``lepton serve`` and ``lepton predict``.

        Raises:
            BundleError: the folder exists. EnvironmentFault: the disk refused.
        """
        check_is_fitted(self, "_carried")
        return self._carried.unpack(Path(folder).expanduser())

    def _features(self, X: Any, *, reset: bool) -> pa.Table:
        """The features as a table, every row and column of them; what scikit-learn refuses is refused in its words.

        ``reset``: they are the first of a new fit, and what was fitted before is forgotten.
        """
        if reset:
            self.__dict__.pop("_carried", None)
        if hasattr(X, "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            table, numeric = table_of(X), False
        else:
            cells = validate_data(self, X, reset=reset, dtype=None, ensure_all_finite=False)
            table, numeric = table_of_array(cells, None if reset else self._numeric)
        if table.num_rows == 0:
            raise UnfitData(f"Found array with 0 sample(s) (shape={X.shape}) while a minimum of 1 is required.")
        for name in table.column_names:
            if pa.types.is_floating(table.schema.field(name).type):
                assert_all_finite(table.column(name).to_numpy(), allow_nan=True, input_name="X")
        if reset:
            self._columns, self._numeric = tuple(table.column_names), numeric
        return table.rename_columns(list(self._columns))

    def _learn(self, table: pa.Table, y: NDArray[Any], weight: Any, *, names: tuple[str, ...], started: float) -> Self:
        """Find a model for rows that all weigh something; ``names`` of the classes whose codes ``y`` holds, if it does.

        ``started``: ``time.monotonic()`` at which the fit began.
        """
        seed = 0 if self.random_state is None else int(check_random_state(self.random_state).randint(2**31 - 1))
        folds = dealt_folds(table, y if names else np.zeros(len(y), np.int64), seed)
        task = Task.REGRESSION if not names else Task.BINARY if len(names) == 2 else Task.MULTICLASS
        metric = self._metric_for(task, everywhere=not names or each_fold_has_all(folds, y, len(names)))
        positive = names[1] if task is Task.BINARY else None
        problem = Problem(free_name("target", table), task, names, metric, positive)
        given = Given(table, y, weight, folds, problem, self._numeric)
        spec = RunSpec(
            table="the rows of a fit",
            target=problem.target,
            metric=metric,
            weight=None if weight is None else free_name("weight", table),
            families=_names(self.families),
            seed=seed,
            price=None if self.price is None else str(self.price),
        )
        around = replace(Surroundings.read(), started=started, run_id=f"fit-{os.getpid():x}", wall_fd=None)
        return self._keep(_searched(given, spec, around, self._limits(spec, around)), metric)

    def _metric_for(self, task: Task, *, everywhere: bool) -> str:
        """The metric that was asked for, or the task's own; if not every fold has every class, one that needs no pairs
        of them."""
        if self.metric != "auto":
            return metric_named(self.metric, task).name
        return default_metric(task) if everywhere else "log_loss"

    def _limits(self, spec: RunSpec, around: Surroundings) -> Limits:
        """What was asked for; without any limit, a run's usual time."""
        if self.max_trials is not None and not (isinstance(self.max_trials, Integral) and self.max_trials >= 1):
            raise UsageError(f"max_trials is {self.max_trials!r}.", "Give a whole number from 1 up, or None.")
        if self.max_trials is not None and self.budget is None and self.deadline is None:
            return Limits(None, int(self.max_trials))
        budget = Budget.resolve(self.budget, self.deadline, spec.machine(around).per_hour)
        return Limits(budget, None if self.max_trials is None else int(self.max_trials))

    def _keep(self, found: Found, metric: str) -> Self:
        self._carried = found.carried
        self.metric_ = metric
        self.best_score_ = found.score
        self.leaderboard_ = leaderboard_of(found.outcomes)
        self.receipt_ = found.receipt
        self.spent_: Dollars = found.receipt.total.dollars
        self.stopped_because_ = found.stopped_because
        return self

    def _answers(self, X: Any) -> pa.Table:
        """One row of answers for each row of ``X``."""
        check_is_fitted(self, "_carried")
        return self._carried.bundle.predict_block(self._features(X, reset=False))


class LeptonClassifier(ClassifierMixin, _Lepton):  # type: ignore[misc]
    """The best classifier that a budget buys before a deadline.

    Parameters
    ----------
    budget : str or number of US dollars, default=None
        What ``fit`` may cost at the price of this machine: ``0.02``, ``"0.02 usd"``.
    deadline : str or number of seconds, default=None
        How long ``fit`` may take: ``"30s"``, ``"5m"``. With neither limit nor ``max_trials``, 60 seconds.
    max_trials : int, default=None
        How many configurations are tried at most, the constant not counted. Without budget and deadline no clock has a
        say: the same rows give the same model.
    random_state : int, RandomState or None, default=None
        None is the same as 0: a fit is repeatable as far as its limits allow.
    metric : str, default="auto"
        What the configurations are compared by; by default "roc_auc" for two classes, "log_loss" for more, or where a
        class is too rare to be in each fold of the cross-validation.
    families : list of str, default=None
        The model families to try, also your own as ``"module:Class"``; by default all that are installed.
    price : str or number of US dollars, default=None
        What an hour of this machine costs; by default its share of a documented reference price.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes as they were given, sorted.
    n_features_in_, feature_names_in_
        As in every estimator; names only where all are strings.
    best_score_ : float
        The best configuration's score by ``metric_``, from cross-validation (from rows held out where the search was
        a run of its own).
    leaderboard_ : DataFrame
        All trials, the best first.
    receipt_ : Receipt
        What the search cost, line by line; ``spent_`` is its total, in Dollars.
    stopped_because_ : str
        Why the search ended.
    bundle_ : Bundle
        The fitted model as ``lepton serve`` takes it; ``to_bundle`` writes it into a folder.

    Notes
    -----
    A frame (pandas, polars, Arrow) may hold numbers, words, dates and texts, with gaps; an array of numbers may hold
    NaN. Sparse matrices are refused.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.model_selection import train_test_split
    >>> from lepton_ray import LeptonClassifier
    >>> X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    >>> model = LeptonClassifier(budget="0.002 usd", deadline="2s").fit(X_train, y_train)
    >>> bool(model.score(X_test, y_test) > 0.9)
    True
    >>> bool(model.spent_ <= model.receipt_.budget.dollars)
    True
    >>> model.predict_proba(X_test).shape
    (143, 2)
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Search for the best model of these rows within the limits, and fit it on all of them.

        Args:
            X: (n, d) frame or array.
            y: (n,) classes of any type that can be sorted.
            sample_weight: (n,) of 0 or more; families that know no weights are left out then.

        Raises:
            ValueError: the rows cannot be learned from. LeptonError: a limit makes no sense, or no model was found.
        """
        started = time.monotonic()
        y = validate_data(self, X="no_validation", y=y)
        table = self._features(X, reset=True)
        check_consistent_length(table, y)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        rows, weight = _weighed(self, sample_weight, codes)
        table, codes = table.filter(rows), codes[rows].astype(np.int64)
        if len(np.unique(codes)) < 2:
            raise UnfitData(
                f"{type(self).__name__} needs rows of at least two classes, but all are of one class.",
                "Give rows of another class, with a weight above zero.",
            )
        return self._learn(table, codes, weight, names=class_names(self.classes_), started=started)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return (n, n_classes) probabilities in the order of ``classes_``."""
        answers = self._answers(X)
        columns = [answers.column(place).to_numpy() for place in range(1, answers.num_columns)]
        return np.column_stack(columns)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (n,) classes as they were given: the likeliest for each row."""
        said = self.predict_proba(X)
        return np.asarray(self.classes_[np.argmax(said, axis=1)])


class LeptonRegressor(RegressorMixin, _Lepton):  # type: ignore[misc]
    """The best regressor that a budget buys before a deadline.

    Parameters, attributes and notes are those of :class:`LeptonClassifier`, but for the classes; ``metric`` is "rmse"
    by default.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from lepton_ray import LeptonRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LeptonRegressor(max_trials=2)).fit(X, y)
    >>> bool(model.score(X, y) > 0.4)
    True
    >>> model[-1].stopped_because_
    '2 configurations were tried, as many as you asked for'
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Search for the best model of these rows within the limits, and fit it on all of them.

        Args:
            X: (n, d) frame or array.
            y: (n,) finite numbers.
            sample_weight: (n,) of 0 or more; families that know no weights are left out then.

        Raises:
            ValueError: the rows cannot be learned from. LeptonError: a limit makes no sense, or no model was found.
        """
        started = time.monotonic()
        y = validate_data(self, X="no_validation", y=y, y_numeric=True)
        table = self._features(X, reset=True)
        check_consistent_length(table, y)
        y = np.asarray(y, dtype=np.float64)
        rows, weight = _weighed(self, sample_weight, y)
        return self._learn(table.filter(rows), y[rows], weight, names=(), started=started)

    def predict(self, X: Any) -> NDArray[np.float64]:
        """Return (n,) values."""
        return np.asarray(self._answers(X).column(0).to_numpy(), dtype=np.float64)


def _searched(given: Given, spec: RunSpec, around: Surroundings, limits: Limits) -> Found:
    """Search here, as a guest of the caller's Ray, or in a process of its own."""
    apart = limits.apart(len(given.y))
    if apart and not guest.is_open():
        return _run_apart(given, spec, limits, around)
    elsewhere = guest.search if apart else None
    return in_process.search(prepare_given(given), spec, around, limits, elsewhere=elsewhere)


def _run_apart(given: Given, spec: RunSpec, limits: Limits, around: Surroundings) -> Found:
    """A supervised run in a process of its own, which leaves nothing but what is returned."""
    assert limits.budget is not None
    table, problem = given.table, given.problem
    y = pa.array(given.y)
    if problem.classes:
        y = pa.array(problem.classes, pa.string()).take(y)
    table = table.append_column(problem.target, y)
    if spec.weight is not None:
        table = table.append_column(spec.weight, pa.array(given.weight))
    plan = replace(plan_of(given, profile_block(given.table)), weight=spec.weight)
    left = limits.budget.wall_seconds - (time.monotonic() - around.started) - HANDING_OVER_SECONDS
    with tempfile.TemporaryDirectory(prefix="lepton-fit-", ignore_cleanup_errors=True) as place:
        done = run(
            table,
            target=problem.target,
            deadline=left,
            plan=plan,
            weight=spec.weight,
            price=spec.price,
            families=spec.families,
            seed=spec.seed,
            out=Path(place) / "run",
            quiet=True,
        )
        carried = Carried.of(done.folder / "bundle", trust=[name for name in spec.families if ":" in name])
        trials = tuple(RunFolder(done.folder).trials())
        return Found(carried, done.score, trials, done.receipt, str(done.result["stopped_because"]))


def _weighed(
    estimator: _Lepton, sample_weight: Any, y: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.float64] | None]:
    """Which rows weigh anything, and their weights."""
    weight = None
    rows = np.ones(len(y), dtype=bool)
    if sample_weight is not None:
        weight = check_array(sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight")
        if weight.ndim != 1:
            raise UnfitData(f"Sample weights must be a 1D array, but have the shape {weight.shape}.", "Give one a row.")
        check_consistent_length(weight, y)
        check_non_negative(weight, f"`sample_weight` of {type(estimator).__name__}")
        rows = weight > 0
        weight = weight[rows]
    if rows.sum() < 2:
        count = int(rows.sum())
        raise UnfitData(
            f"Found {count} sample{'s' if count != 1 else ''} with a weight other than zero.",
            "At least 2 are required.",
        )
    return rows, weight


def _names(families: Sequence[str] | str | None) -> tuple[str, ...]:
    return () if families is None else (families,) if isinstance(families, str) else tuple(families)
