"""Estimators without a pickle: what comes back says the same, and nothing foreign comes in."""

import json
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.utils import all_estimators

from lepton_ray.bundle.estimator_file import read, written
from lepton_ray.errors import BundleError, UsageError

X, Y = (part[:150] for part in load_breast_cancer(return_X_y=True))
X = np.ascontiguousarray(X[:, :8])


def back(fitted: Any) -> Any:
    facts, arrays = written(fitted)
    return read(json.loads(json.dumps(facts, allow_nan=False)), arrays)


def same(fitted: Any, rows: Any) -> bool:
    other = back(fitted)
    ask = "predict_proba" if hasattr(fitted, "predict_proba") else "predict"
    return bool(np.allclose(getattr(fitted, ask)(rows), getattr(other, ask)(rows)))


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(max_iter=500),
        RandomForestClassifier(5),
        HistGradientBoostingRegressor(max_iter=5),
        SGDClassifier(loss="log_loss"),
        KNeighborsClassifier(),
    ],
    ids=lambda one: type(one).__name__,
)
def test_an_estimator_comes_back(estimator: Any) -> None:
    assert same(estimator.fit(X, Y), X)


def test_a_pipeline_over_columns_comes_back_with_its_words() -> None:
    frame = pd.DataFrame(X).rename(columns=str)
    frame["place"] = np.where(X[:, 0] > 14, "Ulm", "Bonn")
    numbers = make_pipeline(SimpleImputer(), FunctionTransformer(np.log1p), StandardScaler())
    columns = ColumnTransformer([("n", numbers, list(frame.columns[:8])), ("c", OneHotEncoder(), ["place"])])
    fitted = make_pipeline(columns, LogisticRegression()).fit(frame, np.where(Y, "yes", "no"))
    assert same(fitted, frame) and back(fitted).classes_.tolist() == ["no", "yes"]


@pytest.mark.exam
def test_nearly_all_of_scikit_learn_comes_back() -> None:
    refused, kept = set(), 0
    warnings.simplefilter("ignore")
    for name, kind in [pair for sort in ("classifier", "regressor") for pair in all_estimators(type_filter=sort)]:
        try:
            fitted = kind().fit(X, Y)
        except Exception:  # it wants more than rows
            continue
        try:
            assert same(fitted, X), name
            kept += 1
        except UsageError:
            refused.add(name)
    assert kept >= 70 and len(refused) <= 4, refused


class Own(ClassifierMixin, BaseEstimator):
    def fit(self, X: Any, y: Any) -> "Own":
        return self


def test_what_is_not_scikit_learns_is_named() -> None:
    with pytest.raises(UsageError, match="Own cannot be carried .* it holds a tests.bundle.test_estimator_file.Own"):
        written(Own().fit(X, Y))
    with pytest.raises(UsageError, match="function"):
        written(FunctionTransformer(lambda rows: rows))


@pytest.mark.parametrize(
    "facts",
    [
        {"class": "os:PathLike", "state": None},
        {"class": "sklearn.base:os", "state": None},
        {"class": "sklearn.utils:Bunch", "args": ["x"], "state": None},
        {"class": "sklearn.linear_model:LogisticRegression", "state": None},
        {"ufunc": "load"},
        {"name": "subprocess:Popen"},
        {"dict": [], "kind": "sklearn.base:BaseEstimator"},
        {"array": "9", "fortran": False},
    ],
)
def test_what_was_tampered_with_is_refused(facts: Any) -> None:
    with pytest.raises(BundleError):
        read(facts, {})
