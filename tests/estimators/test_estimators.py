"""The estimators in use: frames, arrays, pipelines, copies; what is refused, and what nothing may do to a row."""

import doctest
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lepton_ray import LeptonClassifier, LeptonRegressor, estimators
from lepton_ray.bundle.bundle import Bundle
from lepton_ray.datasets import load_builtin_dataset
from lepton_ray.errors import LeptonError, MoneyError, UsageError
from lepton_ray.models.linear import LinearFamily
from lepton_ray.money.dollars import Dollars
from tests.examples import one_in

Frame = tuple[pd.DataFrame, pd.Series]


@pytest.fixture(scope="module")
def customers() -> Frame:
    frame = load_builtin_dataset("crm-churn", rows=400).frame.to_pandas()
    return frame, frame.pop("churned")


@pytest.fixture(scope="module")
def fitted(customers: Frame) -> LeptonClassifier:
    return LeptonClassifier(max_trials=2).fit(*customers)


def rows(n_rows: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(seed).normal(size=(n_rows, 3))
    return X, X[:, 0] + X[:, 1] ** 2


@pytest.mark.exam
def test_the_examples_run() -> None:
    failed, tried = doctest.testmod(estimators)
    assert not failed and tried > 10


def test_a_business_table(fitted: LeptonClassifier, customers: Frame) -> None:
    X, y = customers
    assert fitted.score(X, y) > 0.75 and fitted.best_score_ > 0.55 and fitted.metric_ == "roc_auc"
    assert fitted.classes_.tolist() == ["No", "Yes"]
    assert fitted.feature_names_in_.tolist() == list(X.columns) and fitted.n_features_in_ == X.shape[1]
    families = set(fitted.leaderboard_["family"])
    assert "constant" in families and len(families) == len(fitted.leaderboard_) == 3
    assert fitted.spent_ == fitted.receipt_.total.dollars > Dollars(0)
    assert "as many as you asked for" in fitted.stopped_because_
    left_out = {column.name for column in fitted.bundle_.plan.columns if not column.use}
    assert left_out == {"customer_id", "currency"}, "only what nothing can be learned from"


def test_no_row_is_lost_and_none_depends_on_its_neighbours(fitted: LeptonClassifier, customers: Frame) -> None:
    X, _ = customers
    again = pd.concat([X.iloc[:50], X.iloc[:50], X.iloc[:1]])
    said = fitted.predict_proba(again)
    assert said.shape == (101, 2) and np.array_equal(said[:50], said[50:100]) and np.array_equal(said[0], said[100])
    assert np.allclose(said.sum(axis=1), 1.0)
    empty = pd.DataFrame(None, index=range(3), columns=X.columns)
    assert np.isfinite(fitted.predict_proba(empty)).all()


@pytest.mark.exam
@pytest.mark.parametrize("form", [pl.from_pandas, lambda frame: pa.Table.from_pandas(frame, preserve_index=False)])
def test_other_frames_say_the_same(fitted: LeptonClassifier, customers: Frame, form: Any) -> None:
    X, y = customers
    other = LeptonClassifier(max_trials=2).fit(form(X), y)
    assert other.feature_names_in_.tolist() == fitted.feature_names_in_.tolist()
    assert np.array_equal(other.predict_proba(form(X)), fitted.predict_proba(X))


@pytest.mark.exam
def test_a_copy_and_a_second_fit_say_the_same(fitted: LeptonClassifier, customers: Frame) -> None:
    X, y = customers
    said = fitted.predict_proba(X)
    assert np.array_equal(pickle.loads(pickle.dumps(fitted)).predict_proba(X), said)
    assert np.array_equal(clone(fitted).fit(X, y).predict_proba(X), said)


@pytest.mark.process
def test_another_process_says_the_same() -> None:
    code = (
        "import sys, numpy as np; from lepton_ray import LeptonRegressor\n"
        "X = np.random.default_rng(0).normal(size=(80, 3)); y = X[:, 0] + X[:, 1] ** 2\n"
        "print(LeptonRegressor(max_trials=2).fit(X, y).predict(X).tobytes().hex(), 'ray' in sys.modules)"
    )
    X, y = rows()
    here = LeptonRegressor(max_trials=2).fit(X, y).predict(X)
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert there == [here.tobytes().hex(), "False"]


@pytest.mark.process
def test_pipelines_and_parallel_cross_validation() -> None:
    code = (
        "from sklearn.model_selection import cross_val_score\n"
        "from tests.estimators.test_estimators import LeptonClassifier, StandardScaler, make_pipeline, rows\n"
        "X, y = rows(120)\n"
        "model = make_pipeline(StandardScaler(), LeptonClassifier(max_trials=1))\n"
        "assert (cross_val_score(model, X, y > 1, cv=2, n_jobs=2) > 0.6).all()"
    )
    root = Path(__file__).parents[2]  # joblib's processes live as long as the one that asked for them
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    X, y = rows(120)
    model = make_pipeline(StandardScaler(), LeptonClassifier(max_trials=1))
    families = {"families": ["constant", "linear"]}
    found = GridSearchCV(LeptonRegressor(max_trials=1), families, cv=2).fit(X, X[:, 0])
    assert found.best_params_ == {"families": "linear"}
    assert is_classifier(model) and is_regressor(found)


@pytest.mark.parametrize(
    "labels",
    one_in(
        3,
        [
            np.array([False, True]),
            np.array([-1.0, 7.0]),
            np.array(["nan", "?"]),
            np.array(["a", "b"], dtype=object),
            pd.Series(["x", "y"], dtype="category"),
            np.array([3, 5, 9]),
        ],
    ),
    ids=str,
)
def test_classes_come_back_as_given(labels: Any) -> None:
    X, y = rows()
    codes = np.digitize(y, np.quantile(y, [0.4, 0.7])) % len(labels)
    given = np.asarray(labels)[codes]
    model = LeptonClassifier(max_trials=1).fit(X, given)
    said = model.predict(X)
    assert said.dtype == model.classes_.dtype == np.unique(given).dtype and set(said) <= set(given)
    assert model.predict_proba(X).shape == (80, len(labels))


def test_columns_of_an_array_are_no_identifiers() -> None:
    X = np.column_stack([np.arange(100), np.full(100, 999.0)])
    model = LeptonRegressor(max_trials=2).fit(X, 2.0 * X[:, 0])
    assert abs(model.predict([[50, 999]])[0] - 100) < 5
    frame = pd.DataFrame(X.astype(int), columns=["row", "weight"])
    named = LeptonRegressor(max_trials=2).fit(frame, 2.0 * X[:, 0], sample_weight=np.ones(100))
    assert abs(named.predict(frame)[50] - 100) < 5


def test_an_array_of_words_is_a_table() -> None:
    X = np.array([["red", 1.0, None], ["blue", 2.0, "x"]] * 20, dtype=object)
    model = LeptonClassifier(max_trials=1).fit(X, ["hot", "cold"] * 20)
    assert model.predict([["red", 1.0, ""], ["blue", 2, "x"]]).tolist() == ["hot", "cold"]


@pytest.mark.exam
def test_a_weight_of_zero_is_an_absent_row() -> None:
    X, y = rows()
    weight = np.where(np.arange(80) < 60, 2.0, 0.0)
    some = LeptonRegressor(max_trials=2).fit(X, y, sample_weight=weight)
    fewer = LeptonRegressor(max_trials=2).fit(X[:60], y[:60], sample_weight=weight[:60])
    assert np.array_equal(some.predict(X), fewer.predict(X))


@pytest.mark.parametrize("n_rows", one_in(3, [2, 3, 7]))
def test_hardly_any_rows(n_rows: int) -> None:
    X, y = rows(n_rows)
    classes = np.arange(n_rows) % 2
    assert np.isfinite(LeptonRegressor(max_trials=2).fit(X, y).predict(X)).all()
    model = LeptonClassifier(max_trials=2).fit(X, classes)
    assert model.metric_ == "log_loss", "AUC is not defined in every fold"
    assert np.isfinite(model.predict_proba(X)).all()


@pytest.mark.parametrize("cell", one_in(2, [np.nan, 1.0]))
def test_equal_rows(cell: float) -> None:
    X = np.full((40, 2), cell)
    assert np.allclose(LeptonRegressor(max_trials=2).fit(X, np.arange(40)).predict(X), 19.5)
    assert np.allclose(LeptonClassifier(max_trials=2).fit(X, np.arange(40) % 2).predict_proba(X), 0.5, atol=1e-6)


@pytest.mark.exam
def test_a_class_that_is_there_once() -> None:
    X, _ = rows()
    model = LeptonClassifier(max_trials=2).fit(X, ["common"] * 78 + ["once", "twice"])
    assert model.predict_proba(X).shape == (80, 3)


@pytest.mark.process
def test_a_wall_holds_and_is_in_the_receipt() -> None:
    X, y = rows(300)
    model = LeptonRegressor(budget="0.01 usd", deadline="2.5s", price="7.2 usd").fit(X, y)
    assert model.receipt_.held and model.spent_ <= Dollars.parse("0.01")
    assert model.receipt_.total.seconds <= 2.5 and len(model.leaderboard_) > 2
    assert model.score(X, y) > 0.5


@pytest.mark.exam
def test_a_clock_has_no_say_where_there_is_no_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def fit(self: Any, train: Any, valid: Any, config: Any, *, stop: Any, **rest: Any) -> Any:
        asked.append(stop())
        return original(self, train, valid, config, stop=stop, **rest)

    original = LinearFamily.fit
    monkeypatch.setattr(LinearFamily, "fit", fit)
    monkeypatch.setattr("lepton_ray.search.desk.LEASE_FACTOR", 0.0)
    monkeypatch.setattr("lepton_ray.search.desk.SHORTEST_LEASE_SECONDS", 0.0)
    monkeypatch.setattr("lepton_ray.on_host.in_process.SHORTEST_LEASE_SECONDS", 0.0)
    LeptonRegressor(max_trials=1).fit(*rows())
    assert asked and not any(asked)
    LeptonRegressor(max_trials=1, deadline="5s").fit(*rows())
    assert any(asked)


def test_families_and_metric_as_asked() -> None:
    X, y = rows()
    model = LeptonClassifier(max_trials=3, families="linear", metric="brier").fit(X, y > 1)
    tried = model.leaderboard_[model.leaderboard_["rung"] == 0]["family"]
    assert sorted(tried) == ["constant", "linear", "linear", "linear"]
    assert model.metric_ == "brier" and 0 < model.best_score_ < 0.25


def test_a_bundle_for_the_endpoint(fitted: LeptonClassifier, customers: Frame, tmp_path: Path) -> None:
    X, _ = customers
    written = fitted.to_bundle(tmp_path / "model")
    said = Bundle.load(tmp_path / "model", expected_id=fitted.bundle_.id).predict(X)
    assert written.id == fitted.bundle_.id
    assert np.array_equal(said.column("probability_Yes").to_numpy(), fitted.predict_proba(X)[:, 1])
    with pytest.raises(LeptonError, match="exists already"):
        fitted.to_bundle(tmp_path / "model")


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    before = {place: set(os.listdir(place)) for place in ("/dev/shm", "/tmp") if os.path.isdir(place)}
    LeptonRegressor(max_trials=1).fit(*rows())
    mine = f"lepton-{os.getpid():x}-"
    assert not os.listdir(tmp_path)
    assert not [name for place in before for name in set(os.listdir(place)) - before[place] if name.startswith(mine)]


@pytest.mark.parametrize(
    ("options", "fault", "words"),
    [
        ({"budget": "-1"}, MoneyError, "negative"),
        ({"deadline": "soon"}, MoneyError, "deadline 'soon'"),
        ({"max_trials": 0}, UsageError, "max_trials is 0"),
        ({"max_trials": 2.5}, UsageError, "max_trials is 2.5"),
        ({"max_trials": 1, "families": ["nope"]}, UsageError, "no model family 'nope'"),
        ({"max_trials": 1, "metric": "rmse"}, UsageError, "'rmse' does not fit"),
        ({"max_trials": 1, "price": "free"}, MoneyError, "price"),
    ],
)
def test_options_are_refused_at_fit(options: dict[str, Any], fault: type[Exception], words: str) -> None:
    X, y = rows()
    model = LeptonClassifier(**options)
    with pytest.raises(fault, match=words):
        model.fit(X, y > 1)


def test_rows_are_refused_in_scikit_learns_words(fitted: LeptonClassifier, customers: Frame) -> None:
    X, y = rows()
    model = LeptonClassifier(max_trials=1)
    with pytest.raises(ValueError, match="one class") as fault:
        model.fit(X, np.ones(80))
    assert isinstance(fault.value, LeptonError)
    with pytest.raises(ValueError, match="infinity"):
        model.fit(pd.DataFrame({"a": [1.0, np.inf] * 40}), y > 1)
    for weight, words in ((np.full(80, -1.0), "Negative"), (np.ones(79), "inconsistent"), (np.zeros(80), "zero")):
        with pytest.raises(ValueError, match=words):
            model.fit(X, y > 1, sample_weight=weight)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(X, y[:50] > 1)
    with pytest.raises(ValueError, match="Feature names must be in the same order"):
        fitted.predict(customers[0].iloc[:, ::-1])
    with pytest.raises(ValueError, match="0 sample"):
        fitted.predict(customers[0].iloc[:0])
    refitted = clone(fitted).fit(*rows()[:1], rows()[1] > 1)
    with pytest.raises(ValueError, match="one class"):
        refitted.fit(X[:, :2], np.ones(80))
    with pytest.raises(NotFittedError):  # a fit that fails forgets the one before
        refitted.predict(X)
    for attribute in (lambda: model.bundle_, lambda: model.predict(X), lambda: model.to_bundle("nowhere")):
        with pytest.raises(NotFittedError):
            attribute()
