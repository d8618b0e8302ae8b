"""The endpoint of a bundle of tensors, asked as a stranger would; and what it counts, read back."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from starlette.testclient import TestClient

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.kinds import load_any, manifest_of
from lepton_ray.bundle.tensors import TensorBundle, write_tensors
from lepton_ray.errors import BundleError, ServingError
from lepton_ray.serving.reading import Counted
from lepton_ray.serving.tensor_app import build_tensor_app
from lepton_ray.table.schema import Problem, Task

ROWS = np.random.default_rng(0).normal(size=(40, 3))
CODES = (ROWS[:, 0] > 0).astype(int)
BINARY = Problem("target", Task.BINARY, ("no", "yes"), "roc_auc", "yes")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> TensorBundle:
    fitted = LogisticRegression().fit(ROWS, CODES)
    place = tmp_path_factory.mktemp("sealed") / "bundle"
    about: Any = {"says": "probabilities", "rows": {"x": ROWS}, "frame": False, "facts": {}, "created": 1.0}
    return write_tensors(place, fitted, problem=BINARY, **about)


@pytest.fixture
def client(bundle: TensorBundle) -> TestClient:
    return TestClient(build_tensor_app(bundle))


def test_rows_are_answered_in_three_shapes(client: TestClient, bundle: TensorBundle) -> None:
    expected = bundle.predict({"x": ROWS[:2]}).to_pylist()
    for body in ({"rows": [{"x": row} for row in ROWS[:2].tolist()]}, [{"x": row} for row in ROWS[:2].tolist()]):
        assert client.post("/predict", json=body).json()["predictions"] == expected
    assert client.post("/predict", json=ROWS[:2].tolist()).json()["predictions"] == expected


def test_the_protocol_is_spoken(client: TestClient, bundle: TensorBundle) -> None:
    about = client.get("/v2/models/model").json()
    assert about["inputs"] == [{"name": "x", "datatype": "FP64", "shape": [-1, 3]}]
    for data in (ROWS[:2].tolist(), ROWS[:2].ravel().tolist()):
        tensor = {"name": "x", "shape": [2, 3], "datatype": "FP64", "data": data}
        answer = client.post("/v2/models/model/infer", json={"id": "a", "inputs": [tensor]}).json()
        assert answer["id"] == "a" and answer["model_version"] == bundle.id[:12]
        assert answer["outputs"][0]["data"] == bundle.predict({"x": ROWS[:2]}).column(0).to_pylist()


WRONG: dict[str, tuple[str, Any, str]] = {
    "no list": ("/predict", 7, "neither a list of rows"),
    "no row": ("/predict", [], "holds no row"),
    "a short row": ("/predict", [[1, 2]], "shape [2]"),
    "words": ("/predict", [["a", "b", "c"]], "not FP64"),
    "ragged": ("/predict", [[1, 2, 3], [1]], "not FP64"),
    "another input": ("/predict", [{"y": [1, 2, 3]}], "lacks the input `x`"),
    "not known": ("/predict", [[None, 1, 2]], "cannot answer these rows"),
    "no inputs": ("/v2/models/model/infer", {}, "`inputs` is not a list"),
    "a wrong type": ("/v2/models/model/infer", {"inputs": [{"name": "x", "datatype": "FP32"}]}, "must be FP64"),
    "no shape": ("/v2/models/model/infer", {"inputs": [{"name": "x", "datatype": "FP64"}]}, "not a list of sizes"),
    "too few": (
        "/v2/models/model/infer",
        {"inputs": [{"name": "x", "datatype": "FP64", "shape": [2, 3], "data": [1.0]}]},
        "holds 1 values",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_refused(client: TestClient, case: str) -> None:
    route, body, said = WRONG[case]
    answer = client.post(route, json=body)
    assert answer.status_code == 422 and said in answer.json()["error"]


def test_what_it_counts_is_read_back(client: TestClient, bundle: TensorBundle) -> None:
    assert Counted.read(client.get("/metrics").text) == Counted(0, 0, 0, 0, 0, None, None, bundle.id)
    client.post("/predict", json=ROWS[:5].tolist())
    client.post("/predict", json=[])
    seen = Counted.read(client.get("/metrics").text)
    assert (seen.requests, seen.refused, seen.failed, seen.rows) == (2, 1, 0, 5)
    assert seen.p50 is not None and seen.p95 is not None and seen.p50 <= seen.p95
    with pytest.raises(ServingError, match="no metrics of lepton_ray"):
        Counted.read("python_info 1.0\n")


def test_a_folder_says_of_which_kind_it_is(bundle: TensorBundle, tmp_path: Path) -> None:
    assert manifest_of(bundle.folder) == (bundle.id, bundle.manifest)
    assert load_any(bundle.folder).id == bundle.id
    with pytest.raises(BundleError, match="is a bundle of tensors"):
        Bundle.load(bundle.folder)
    (bundle.folder / "more").write_text("")
    with pytest.raises(BundleError, match="more"):
        load_any(bundle.folder)
    (bundle.folder / "more").unlink()
    with pytest.raises(BundleError, match="not a bundle"):
        load_any(tmp_path)


def test_values_of_a_frame_come_back(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(ROWS, columns=["a", "b", "c"])
    fitted = LinearRegression().fit(frame, ROWS.sum(1))
    problem = Problem("target", Task.REGRESSION, (), "rmse")
    rows = {name: frame[name].to_numpy() for name in frame}
    about: Any = {"says": "values", "rows": rows, "frame": True, "facts": {}, "created": 1.0}
    sealed = write_tensors(tmp_path / "bundle", fitted, problem=problem, **about)
    client = TestClient(build_tensor_app(sealed))
    answer = client.post("/predict", json={"a": 1.0, "b": 2.0, "c": 3.5}).json()
    assert answer["predictions"][0]["prediction"] == pytest.approx(6.5)
