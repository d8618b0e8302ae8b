"""``LeptonModel``: one family by its name, fitted and asked like an estimator. It knows no Ray and no bundle."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lepton_ray.errors import DataError, UsageError
from lepton_ray.estimators import LeptonClassifier, LeptonRegressor
from lepton_ray.models.hinge import Hinge, fit_hinge
from lepton_ray.models.registry import family
from lepton_ray.verbs.given import Features, Target

KERNELS = ("linear", "rbf", "poly", "sigmoid")
EPOCHS, BATCH_SIZE = 50, 32


class LeptonModel:
    """A model family: ``LeptonModel("svm", C=1.0, kernel="linear").fit(X, y, epochs=50, batch_size=32).predict(X)``.

    "svm" takes ``C`` and ``kernel``. The linear one is learned by mini-batches, so ``epochs`` and ``batch_size`` act;
    the others ("rbf", "poly", "sigmoid") are scikit-learn's ``SVC``, which has neither and refuses both. All scale the
    columns first, and learn classes. Any other family is fitted with its first configuration, as
    ``LeptonClassifier(max_trials=1)`` does, takes no settings, and refuses both as well.
    """

    def __init__(self, name: str, **settings: Any) -> None:
        """Name the family and its settings.

        Raises:
            UsageError: there is none of that name, or no such setting.
        """
        self.name = name
        if name != "svm":
            family(name)
            if settings:
                raise UsageError(
                    f"The family {name} takes no settings here, and {min(settings)} was given.",
                    "LeptonClassifier and LeptonRegressor search them.",
                )
        unknown = settings.keys() - {"C", "kernel"}
        if unknown:
            raise UsageError(f"The family svm has no setting {min(unknown)}.", "It has C and kernel.")
        self.C, self.kernel = settings.get("C", 1.0), settings.get("kernel", "linear" if name == "svm" else "")
        if not isinstance(self.C, Real) or not 0 < float(self.C) < float("inf"):
            raise UsageError(f"C is {self.C!r}.", "Give a number above 0.")
        if name == "svm" and self.kernel not in KERNELS:
            raise UsageError(f"There is no kernel {self.kernel!r}.", f"Choose one of {', '.join(KERNELS)}.")
        self._fitted: Any = None

    def fit(self, X: Any, y: Any, *, epochs: int | None = None, batch_size: int | None = None, seed: int = 0) -> Self:
        """Learn from rows.

        Args:
            X: (n, d) array or frame; of numbers for "svm". y: (n,) classes; of other families also values.
            epochs, batch_size: of the linear svm, by default 50 and 32; every other model refuses them.

        Raises:
            UsageError: this model has no epochs or batches. DataError: the rows cannot be learned from.
        """
        given = {"epochs": epochs, "batch_size": batch_size}
        for name, value in given.items():
            if value is not None and self.kernel != "linear":
                what = f"svm with the kernel {self.kernel}" if self.name == "svm" else f"family {self.name}"
                raise UsageError(
                    f"The {what} knows no {name}: it is fitted in one go.",
                    f'Leave {name} out, or take LeptonModel("svm", kernel="linear").',
                )
            if value is not None and (not isinstance(value, Integral) or value < 1):
                raise UsageError(f"{name} is {value!r}.", "Give a whole number from 1 up.")
        if self.name != "svm":
            self._fitted = self._by_search(X, y, seed)
            return self
        rows, target = _rows(X, "X"), Target.of(y, "classes")
        assert target.labels is not None
        if len(rows) != len(target.values):
            raise DataError(f"X has {len(rows)} rows, and y {len(target.values)} values.", "Give one a row.")
        self.classes_ = target.labels
        if self.kernel == "linear":
            sizes = {"epochs": int(epochs or EPOCHS), "batch_size": int(batch_size or BATCH_SIZE)}
            self._fitted = fit_hinge(rows, target.values, C=float(self.C), seed=seed, **sizes)
            self.coef_, self.intercept_ = self._fitted.weights, self._fitted.offsets
        else:
            from sklearn.pipeline import make_pipeline
            from sklearn.preprocessing import StandardScaler
            from sklearn.svm import SVC

            machine = SVC(C=float(self.C), kernel=self.kernel, random_state=seed)
            self._fitted = make_pipeline(StandardScaler(), machine).fit(rows, target.values)
        return self

    def predict(self, X: Any) -> NDArray[Any]:
        """Return (n,) classes as they were given, or values.

        Raises:
            UsageError: it has not learned yet. DataError: the rows are others than it learned from.
        """
        if self._fitted is None:
            raise UsageError(f"LeptonModel({self.name!r}) has learned nothing yet.", "Call fit(X, y) first.")
        if self.name != "svm":
            return np.asarray(self._fitted.predict(X))
        rows = _rows(X, "X")
        wide = self._fitted.weights.shape[1] if isinstance(self._fitted, Hinge) else self._fitted.n_features_in_
        if rows.shape[1] != wide:
            raise DataError(f"X has {rows.shape[1]} columns, and it learned from {wide}.", "Give the same columns.")
        codes = self._fitted.codes(rows) if isinstance(self._fitted, Hinge) else self._fitted.predict(rows)
        return np.asarray(self.classes_[codes])

    def _by_search(self, X: Any, y: Any, seed: int) -> Any:
        labels = Target.of(y, None).labels
        kind = LeptonRegressor if labels is None else LeptonClassifier
        return kind(families=[self.name], max_trials=1, random_state=seed).fit(X, np.asarray(y))


def _rows(X: Any, what: str) -> NDArray[np.float64]:
    """(n, width) finite numbers."""
    features = Features.of(X, what).for_network(what)
    found = next(iter(features.arrays.values()))
    if len(features.arrays) > 1 or found.ndim != 2:
        raise DataError(f"{what} has the shape {found.shape}.", "Give rows of numbers, as (rows, columns).")
    given = np.column_stack(list(Features.of(X, what).arrays.values())) if features.kind == "frame" else X
    return np.asarray(given, dtype=np.float64)
