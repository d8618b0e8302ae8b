"""Estimators and families through the verbs that need no Ray: what they leave says what they say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from lepton_ray import Bundle, Lepton
from lepton_ray.bundle.tensors import TensorBundle
from lepton_ray.errors import DataError, MoneyError, UsageError
from lepton_ray.serving.terms import Asked

CANCER = load_breast_cancer(as_frame=True)
X, Y = CANCER.data, CANCER.target.map({0: "bad", 1: "good"})


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_pipeline_is_fitted_kept_and_ready_to_deploy(here: Path) -> None:
    pipe = make_pipeline(StandardScaler(), LogisticRegression())
    lepton = Lepton(pipe, X[:400], Y[:400], X[400:], Y[400:], epochs=50, batch_size=32)
    fitted = lepton.train()
    assert fitted.score > 0.98 and fitted.metric == "roc_auc" and fitted.receipt.closed
    assert "epochs and batch_size are a network's" in fitted.notes[0]
    assert isinstance(fitted.bundle, TensorBundle)
    said = fitted.bundle.predict({name: X[name].to_numpy()[400:] for name in X})
    own = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[:400], Y[:400])
    assert said.column("prediction").to_pylist() == own.predict(X[400:]).tolist()
    assert np.allclose(said.column("probability_good"), own.predict_proba(X[400:])[:, 1])
    deployed = lepton.deploy(start=False)
    assert deployed.url == "" and str(fitted.bundle.folder) in deployed.config.read_text()
    check_scaling(lepton)
    with pytest.raises(UsageError, match="Nothing is deployed"):
        lepton.monitor()
    assert fitted.folder.parent == Path("lepton-runs").resolve()
    told = json.loads((fitted.folder / "result.json").read_text())
    assert told["run"] == fitted.folder.name and told["score"] == fitted.score and told["bundle"]


def check_scaling(lepton: Lepton) -> None:
    """The YAML carries the terms that were asked for; what makes no sense is refused before a file is there."""
    asked = Asked(p99="50ms", max_usd_per_hour=100, max_replicas=3, scale_to_zero_after="10m")
    told = yaml.safe_load(lepton.deploy(start=False, scaling=asked).config.read_text())
    args = told["applications"][0]["args"]
    assert {name: args[name] for name in asked.given()} == asked.given()
    assert args["replicas_per_node"] >= 1 and float(args["price"]) > 0
    assert told["http_options"]["request_timeout_s"] == 60
    with pytest.raises(MoneyError, match="less than one machine of .* The smallest that would do is"):
        lepton.deploy(start=False, scaling=Asked(max_usd_per_hour="0.000001"))


def test_values_are_fitted_by_what_the_estimator_learns() -> None:
    rows, values = load_diabetes(return_X_y=True)
    fitted = Lepton(Ridge(), rows[:300], values[:300], rows[300:], values[300:]).train(out="here")
    assert fitted.metric == "rmse" and fitted.score < np.std(values) and fitted.folder.name == "here"
    with pytest.raises(UsageError, match="already holds a run"):
        Lepton(Ridge(), rows[:300], values[:300], rows[300:], values[300:]).train(out="here")


def test_what_cannot_leave_says_why() -> None:
    pipe = make_pipeline(FunctionTransformer(lambda rows: rows), StandardScaler(), LogisticRegression())
    lepton = Lepton(pipe, X[:400], Y[:400], X[400:], Y[400:])
    fitted = lepton.train()
    assert fitted.bundle is None and "lambda" in fitted.notes[-1] and fitted.score > 0.9
    with pytest.raises(UsageError, match="Pipeline cannot be deployed"):
        lepton.deploy(start=False)


def test_a_fault_of_the_estimator_is_a_sentence() -> None:
    gaps: Any = np.where(X > 1000, np.nan, X)
    with pytest.raises(DataError, match="LogisticRegression cannot be fitted: Input X contains NaN"):
        Lepton(LogisticRegression(), gaps, Y, gaps, Y).train()


@pytest.mark.exam
def test_a_family_is_fitted_by_its_name_and_searched_within_its_wall() -> None:
    lepton = Lepton("linear", X[:400], Y[:400], X[400:], Y[400:])
    fitted = lepton.train()
    assert isinstance(fitted.bundle, Bundle) and fitted.trials == 1 and fitted.score > 0.95
    found = lepton.optimize(deadline="4s")
    assert found.trials > 1 and found.seconds < 5 and found.folder != fitted.folder
    assert found.bundle is not None and found.bundle.predict(X[400:]).num_rows == len(X) - 400
    with pytest.raises(UsageError, match="has its own space"):
        lepton.optimize(space={"C": 1.0})
    with pytest.raises(UsageError, match="reads one array or frame"):
        Lepton("linear", (X, X), Y, (X, X), Y)
    assert pd.Series(found.settings).notna().all()
