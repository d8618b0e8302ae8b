"""A network of anybody's through all four verbs: two workers of Ray Train, trials of Ray Tune, an endpoint on Serve."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from torch import nn  # noqa: E402

from lepton_ray import Lepton  # noqa: E402
from lepton_ray.errors import DataError, MoneyError, UsageError  # noqa: E402
from lepton_ray.on_ray.session import Session, short_temp_dir  # noqa: E402
from tests.verbs.networks import Branching, Pair, pair_rows  # noqa: E402

ROWS, VALUES = pair_rows(400)
TRAIN = {name: one[:300] for name, one in ROWS.items()}
TEST = {name: one[300:] for name, one in ROWS.items()}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def ray() -> Iterator[None]:
    session = Session(short_temp_dir(), cpus=2, object_store_bytes=0).start()
    session.wait(60)
    yield
    session.stop()


def pair(**more: Any) -> tuple[Pair, Lepton]:
    torch.manual_seed(0)
    network = Pair()
    return network, Lepton(network, TRAIN, VALUES[:300], TEST, VALUES[300:], **({"epochs": 12} | more))


@pytest.mark.ray
@pytest.mark.slow
def test_all_four_verbs(ray: None) -> None:
    network, lepton = pair()
    before = [one.clone() for one in network.parameters()]
    found = lepton.optimize(deadline="30s")
    assert found.trials >= 2 and set(found.settings) == {"rate", "decay", "batch_size"}
    assert found.seconds < 32 and found.receipt.trials and found.score < np.std(VALUES)
    fitted = lepton.train(workers=2)
    assert fitted.settings["rate"] == found.settings["rate"] and fitted.bundle is not None
    assert fitted.bundle.manifest.facts["workers"] == 2 and "all 12 epochs were run" in fitted.ended
    assert fitted.notes and "2 of its parameters have no say" in fitted.notes[0]
    assert any(not torch.equal(one, other) for one, other in zip(before, network.parameters(), strict=True))
    with torch.no_grad():
        here = network(torch.tensor(TEST["words"]), torch.tensor(TEST["numbers"], dtype=torch.float32)).numpy()
    said = fitted.bundle.predict(TEST).column(0).to_numpy()
    assert np.allclose(said, here, atol=1e-4) and fitted.metric == "rmse"
    assert fitted.score == pytest.approx(float(np.sqrt(np.mean((said - VALUES[300:]) ** 2))), rel=1e-6)
    watch(lepton, said)


def watch(lepton: Lepton, said: Any) -> None:
    """Ask the endpoint what the bundle was asked, and read what it counts."""
    with pytest.raises(UsageError, match="Nothing is deployed"):
        lepton.monitor()
    with lepton.deploy() as deployed:
        rows = [{"numbers": TEST["numbers"][n].tolist(), "words": TEST["words"][n].tolist()} for n in range(3)]
        found = [one["prediction"] for one in post(deployed.url, {"rows": rows})["predictions"]]
        assert np.allclose(found, said[:3], atol=1e-4)
        with pytest.raises(urllib.error.HTTPError, match="422"):
            post(deployed.url, {"rows": [{"numbers": [1.0, 2.0, 3.0]}]})
        seen = lepton.monitor()
        assert (seen.counted.refused, seen.counted.failed) == (1, 0) and seen.counted.rows >= 4
        assert seen.counted.p95 is not None and seen.dollars.micros > 0 and "not built yet" in str(seen)
        check_config(deployed.config)


def post(url: str, body: Any) -> Any:
    request = urllib.request.Request(f"{url}/predict", json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.load(reply)


def check_config(config: Path) -> None:
    """The YAML is what Serve takes, and what it names makes an application of this bundle."""
    from ray.serve.schema import ServeDeploySchema

    from lepton_ray.on_ray.application import application

    (one,) = ServeDeploySchema(**yaml.safe_load(config.read_text())).applications
    assert one.import_path == "lepton_ray.on_ray.application:application"
    assert application(one.args)._bound_deployment.user_config["folder"] == str(config.parent / "bundle")
    priced = application({**one.args, "price": "0.12"})._bound_deployment.user_config
    assert priced["per_hour_micros"] == 120_000
    with pytest.raises(UsageError, match="name no bundle"):
        application({})


def test_what_a_network_cannot_be_given_is_said_before_anything_starts() -> None:
    x, y = np.zeros((30, 3), np.float32), np.arange(30) % 2

    def refused(network: Any, kind: Any, said: str, rows: Any = x, target: Any = y) -> None:
        with pytest.raises(kind, match=said):
            Lepton(network, rows, target, rows, target)

    refused(nn.Linear(4, 2), UsageError, "Linear cannot be called with rows of X_train, \\(8, 3\\) float32")
    refused(nn.Linear(3, 5), UsageError, "5 outputs for each row, and y_train 2 classes", target=y.astype(str))
    refused(nn.LSTM(3, 2), UsageError, "The model returns tuple")
    refused(nn.Unflatten(1, (3, 1)), UsageError, "no parameter to learn")
    refused(nn.Linear(3, 2), DataError, "hold NaN", rows=x * np.nan)
    refused(nn.Bilinear(3, 3, 1), DataError, "y_train has 30 values for 29 rows", rows=(x[:29], x[:29]))


def test_verbs_out_of_order_are_refused() -> None:
    _, lepton = pair()
    with pytest.raises(UsageError, match="Nothing is fitted yet"):
        lepton.deploy()
    with pytest.raises(MoneyError, match="Starting Ray and its workers takes about"):
        lepton.train(deadline="5s")
    with pytest.raises(UsageError, match="layers is not searched"):
        lepton.optimize(space={"layers": 3})


@pytest.mark.ray
@pytest.mark.slow
def test_one_that_cannot_leave_is_trained_and_says_why(ray: None) -> None:
    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    lepton = Lepton(Branching(), x, x[:, 0] > 0, x, x[:, 0] > 0, epochs=2)
    fitted = lepton.train()
    assert fitted.bundle is None and "Branching cannot be carried into another process" in fitted.notes[0]
    with pytest.raises(UsageError, match="Branching cannot be deployed"):
        lepton.deploy()
    assert os.path.exists("lepton-runs")


@pytest.mark.ray
def test_what_is_searched_of_an_estimator_by_default() -> None:
    from sklearn.dummy import DummyClassifier
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import SGDClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import SVC

    from lepton_ray.on_ray.tuning import estimator_space

    assert estimator_space(make_pipeline(SVC())).keys() == {"svc__C"}
    assert estimator_space(SGDClassifier()).keys() == {"alpha", "eta0"}  # its learning_rate is a word
    assert {"max_features", "min_samples_leaf"} <= estimator_space(RandomForestClassifier()).keys()
    assert {"learning_rate", "max_leaf_nodes"} <= estimator_space(HistGradientBoostingClassifier()).keys()
    with pytest.raises(UsageError, match="None of the settings of DummyClassifier is searched by default"):
        estimator_space(DummyClassifier())


@pytest.mark.ray
@pytest.mark.slow
def test_an_estimators_settings_are_searched(ray: None) -> None:
    from sklearn.linear_model import Ridge

    x = np.random.default_rng(0).normal(size=(200, 3))
    lepton = Lepton(Ridge(alpha=100.0), x, x[:, 0], x, x[:, 0], price="1")
    before = lepton.train().score
    found = lepton.optimize(deadline="30s")
    assert found.trials == 10 and found.settings["alpha"] < 1 and found.score < before
    assert found.bundle is not None and found.receipt.machine.per_hour.micros == 1_000_000
    assert lepton.train().score == pytest.approx(found.score)
