"""Estimators without a pickle: what comes back says the same, and nothing foreign comes in."""

import subprocess
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io
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

from lepton_ray.bundle.estimator_file import read_estimator, write_estimator
from lepton_ray.errors import BundleError, UsageError

X, Y = (part[:150] for part in load_breast_cancer(return_X_y=True))
X = np.ascontiguousarray(X[:, :8])


def back(fitted: Any, folder: Path) -> Any:
    write_estimator(folder / "estimator.skops", fitted)
    return read_estimator(folder / "estimator.skops")


def same(fitted: Any, rows: Any, folder: Path) -> bool:
    other = back(fitted, folder)
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
def test_an_estimator_comes_back(estimator: Any, tmp_path: Path) -> None:
    assert same(estimator.fit(X, Y), X, tmp_path)


def test_a_pipeline_over_columns_comes_back_with_its_words(tmp_path: Path) -> None:
    frame = pd.DataFrame(X).rename(columns=str)
    frame["place"] = np.where(X[:, 0] > 14, "Ulm", "Bonn")
    numbers = make_pipeline(SimpleImputer(), FunctionTransformer(np.log1p), StandardScaler())
    columns = ColumnTransformer([("n", numbers, list(frame.columns[:8])), ("c", OneHotEncoder(), ["place"])])
    fitted = make_pipeline(columns, LogisticRegression()).fit(frame, np.where(Y, "yes", "no"))
    assert same(fitted, frame, tmp_path) and back(fitted, tmp_path).classes_.tolist() == ["no", "yes"]


@pytest.mark.exam
def test_nearly_all_of_scikit_learn_comes_back(tmp_path: Path) -> None:
    kept = 0
    warnings.simplefilter("ignore")
    for name, kind in [pair for sort in ("classifier", "regressor") for pair in all_estimators(type_filter=sort)]:
        try:
            fitted = kind().fit(X, Y)
        except Exception:  # it wants more than rows
            continue
        assert same(fitted, X, tmp_path), name
        kept += 1
    assert kept >= 70


class Own(ClassifierMixin, BaseEstimator):
    def fit(self, X: Any, y: Any) -> "Own":
        return self


def test_what_is_not_scikit_learns_is_named(tmp_path: Path) -> None:
    file = tmp_path / "estimator.skops"
    with pytest.raises(UsageError, match="Own cannot be carried .* it holds tests.bundle.test_estimator_file.Own"):
        write_estimator(file, Own().fit(X, Y))
    with pytest.raises(UsageError, match="lambda"):
        write_estimator(file, FunctionTransformer(lambda rows: rows))
    assert not file.exists()


@pytest.mark.parametrize("foreign", [Own(), FunctionTransformer(np.load), FunctionTransformer(subprocess.getoutput)])
def test_what_was_tampered_with_is_refused(foreign: Any, tmp_path: Path) -> None:
    file = tmp_path / "estimator.skops"
    file.write_bytes(skops.io.dumps(foreign))
    with pytest.raises(BundleError, match="not scikit-learn's"):
        read_estimator(file)
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(BundleError, match="cannot be read"):
        read_estimator(file)
    file.unlink()
    with pytest.raises(BundleError, match="cannot be read"):
        read_estimator(file)
