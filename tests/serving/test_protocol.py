"""The Open Inference Protocol v2 over HTTP, over a real socket: its routes, versions, and one matrix for a table."""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray import __version__
from lepton_ray.bundle.bundle import Bundle
from lepton_ray.serving.app import build_app
from lepton_ray.table.cleaning import make_plan
from lepton_ray.table.profile import profile_block
from tests.sealed import ROW, fitted, raw_table, seal
from tests.serving.asking import listening
from tests.serving.malformed import Malformed, send, whole
from tests.serving.tables import matrix

MODEL = "/v2/models/churn"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return seal(tmp_path_factory.mktemp("sealed") / "churn")


@pytest.fixture(scope="module")
def port(bundle: Bundle) -> Iterator[int]:
    with listening(build_app(bundle, "churn")) as number:
        yield number


def ask(port: int, path: str, body: Any = None) -> Any:
    method = "GET" if body is None else "POST"
    sent = b"" if body is None else json.dumps(body).encode()
    heard = send(port, Malformed(whole(body=sent, start=f"{method} {path} HTTP/1.1"), 200), "none")
    assert heard.status == 200, heard
    return json.loads(heard.body)


def test_every_route_of_the_protocol_is_there_with_and_without_a_version(port: int, bundle: Bundle) -> None:
    version = bundle.id[:12]
    assert ask(port, "/v2") == {"name": "lepton_ray", "version": __version__, "extensions": []}
    assert ask(port, "/v2/health/live")["live"] and ask(port, "/v2/health/ready")["ready"]
    for model in (MODEL, f"{MODEL}/versions/{version}"):
        assert ask(port, f"{model}/ready") == {"name": "churn", "ready": True}
        about = ask(port, model)
        assert (about["name"], about["versions"]) == ("churn", [version])
        assert [tensor["name"] for tensor in about["inputs"]] == list(bundle.schema.names)
        answer = ask(port, f"{model}/infer", matrix() | {"id": "7"})
        assert (answer["id"], answer["model_name"], answer["model_version"]) == ("7", "churn", version)


@pytest.mark.parametrize("flat", [False, True], ids=["nested", "flat"])
def test_a_matrix_is_the_table_bit_for_bit(port: int, bundle: Bundle, flat: bool) -> None:
    table = raw_table().select(list(bundle.schema.names))
    cells = [list(row.values()) for row in table.to_pylist()]
    data = [cell for row in cells for cell in row] if flat else cells
    answer = ask(port, f"{MODEL}/infer", matrix(shape=[len(cells), 4], data=data))
    found = {tensor["name"]: tensor["data"] for tensor in answer["outputs"]}
    assert found == bundle.predict(table).to_pydict()


def test_a_matrix_of_numbers_for_a_table_of_numbers(tmp_path_factory: pytest.TempPathFactory) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(200, 3))
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": np.where(x.sum(1) > 0, "up", "down")})
    plan = make_plan(profile_block(table), target="y", types=dict.fromkeys("abc", "number"))
    numbers = seal(tmp_path_factory.mktemp("numbers") / "n", **fitted(table, plan, "lightgbm"))
    with listening(build_app(numbers, "churn")) as port:
        data = [*x[:3].ravel().tolist()[:-1], None]
        tensor = {"name": "x", "shape": [3, 3], "datatype": "FP64", "data": data}
        answer = ask(port, f"{MODEL}/infer", {"inputs": [tensor]})
    expected = numbers.predict(table.select(["a", "b", "c"]).slice(0, 2)).to_pydict()
    assert {one["name"]: one["data"][:2] for one in answer["outputs"]} == expected


def test_a_lone_tensor_of_a_column_is_no_matrix(port: int) -> None:
    body = {"inputs": [{"name": "tenure", "shape": [1, 4], "datatype": "FP64", "data": [1, 2, 3, 4]}]}
    heard = send(port, Malformed(whole(body=json.dumps(body).encode(), start=f"POST {MODEL}/infer HTTP/1.1"), 422), "")
    assert heard.status == 422 and b"neither [n] nor [n, 1]" in heard.body
    assert set(ROW) == {"tenure", "city", "joined", "note"}
