"""The Open Inference Protocol over gRPC, over a real socket: answers, keys, limits and refusals as over HTTP."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from starlette.types import ASGIApp

from lepton_ray import __version__
from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.tensors import write_tensors
from lepton_ray.serving import open_inference_pb2 as wire
from lepton_ray.serving.app import build_app
from lepton_ray.serving.calls import METHODS, path_of
from lepton_ray.serving.guard import Guard
from lepton_ray.serving.keys import KeyFile, KeyRing
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.tensor_app import build_tensor_app
from lepton_ray.table.schema import Problem, Task
from tests.sealed import ROW, raw_table, seal
from tests.serving.asking import Clock, listening
from tests.serving.calling import WRONG, call, calling, raw, raw_request, refused, typed_request, values
from tests.serving.malformed import Malformed, send, whole

PROTO = Path(wire.__file__).with_name("open_inference.proto")


@dataclass(frozen=True)
class Served:
    """A bundle behind gRPC and behind HTTP."""

    grpc: int
    http: int
    bundle: Bundle


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    bundle = seal(tmp_path_factory.mktemp("sealed") / "churn")
    app = build_app(bundle, "churn")
    with calling(app) as grpc, listening(app) as http:
        yield Served(grpc, http, bundle)


def rows(count: int = 240) -> list[dict[str, Any]]:
    """Rows as a caller of gRPC holds them: numbers are doubles, those not known NaN."""
    table = raw_table(count).select(list(ROW)).to_pylist()
    return [row | {"tenure": float(row["tenure"] or "nan")} for row in table]


def over_http(served: Served, given: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """What the same tensors are answered over HTTP."""
    tensors = [
        {
            "name": name,
            "shape": [len(given)],
            "datatype": "FP64" if name == "tenure" else "BYTES",
            "data": [None if row[name] != row[name] else row[name] for row in given],
        }
        for name in ROW
    ]
    body = json.dumps({"inputs": tensors}).encode()
    heard = send(served.http, Malformed(whole(body=body, start="POST /v2/models/churn/infer HTTP/1.1"), 200), "none")
    return {tensor["name"]: tensor["data"] for tensor in json.loads(heard.body)["outputs"]}


def test_all_six_methods_answer(served: Served) -> None:
    version = served.bundle.id[:12]
    assert call(served.grpc, "ServerLive").live and call(served.grpc, "ServerReady").ready
    server = call(served.grpc, "ServerMetadata")
    assert (server.name, server.version, list(server.extensions)) == ("lepton_ray", __version__, [])
    for given in ("", version):
        assert call(served.grpc, "ModelReady", wire.ModelReadyRequest(name="churn", version=given)).ready
        about = call(served.grpc, "ModelMetadata", wire.ModelMetadataRequest(name="churn", version=given))
        assert (about.name, list(about.versions), about.platform) == ("churn", [version], "lepton_ray")
        told = {tensor.name: (tensor.datatype, list(tensor.shape)) for tensor in about.inputs}
        assert told == {name: ("FP64" if name == "tenure" else "BYTES", [-1]) for name in ROW}
        answer = call(served.grpc, "ModelInfer", typed_request(id="7", model_version=given))
        assert (answer.id, answer.model_name, answer.model_version) == ("7", "churn", version)
    assert len(METHODS) == 6


@pytest.mark.parametrize("made", [typed_request, raw_request], ids=["typed", "raw"])
def test_an_answer_is_that_over_http_and_the_bundles_bit_for_bit(served: Served, made: Any) -> None:
    answer = call(served.grpc, "ModelInfer", made(rows()))
    assert bool(answer.raw_output_contents) == (made is raw_request)
    expected = served.bundle.predict(raw_table()).to_pydict()
    assert values(answer) == over_http(served, rows()) == expected
    assert all(list(tensor.shape) == [240] for tensor in answer.outputs)


def test_one_matrix_and_the_outputs_asked_for(served: Served) -> None:
    table = raw_table().select(list(ROW))
    request = wire.ModelInferRequest(model_name="churn")
    request.inputs.add(name="table", datatype="BYTES", shape=[240, 4])
    request.raw_input_contents.append(raw(*(cell for row in table.to_pylist() for cell in row.values())))
    request.outputs.add(name="probability_yes")
    expected = served.bundle.predict(table).column("probability_yes").to_pylist()
    assert values(call(served.grpc, "ModelInfer", request)) == {"probability_yes": expected}


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "FP16", "INT64", "INT32", "INT16", "INT8", "UINT64", "UINT8"])
def test_every_datatype_of_a_number_is_read(served: Served, datatype: str) -> None:
    kind = {"F": "f", "I": "i", "U": "u"}[datatype[0]] + str(int(datatype.strip("FPUINT")) // 8)
    request = raw_request()
    request.inputs[0].datatype = datatype
    request.raw_input_contents[0] = np.array([12], f"<{kind}").tobytes()
    assert values(call(served.grpc, "ModelInfer", request)) == over_http(served, [ROW])


@pytest.mark.parametrize("name", WRONG)
def test_what_is_malformed_is_refused_in_words_and_the_next_is_answered(served: Served, name: str) -> None:
    request, code, said = WRONG[name]
    status, details, _ = refused(served.grpc, "ModelInfer", request)
    assert (status, said in details) == (code, True), (status, details)
    assert values(call(served.grpc, "ModelInfer", typed_request())) == served.bundle.predict(ROW).to_pydict()


def test_a_model_that_is_not_here_is_not_found(served: Served) -> None:
    for method, made in (("ModelReady", wire.ModelReadyRequest), ("ModelMetadata", wire.ModelMetadataRequest)):
        for request in (made(), made(name="other"), made(name="churn", version="1")):
            assert refused(served.grpc, method, request)[0] == "NOT_FOUND"


def guarded(bundle: Bundle, tmp_path: Path, **limits: Any) -> tuple[ASGIApp, KeyFile]:
    keys = KeyFile(tmp_path / "keys.json")
    for name, scope in (("shop", "predict"), ("boss", "admin")):
        (tmp_path / name).write_text(keys.add(name, [scope], "now"))
    return build_app(bundle, "churn", guard=Guard(Limits(**limits), KeyRing(keys.path, Clock()))), keys


def test_a_call_needs_a_key_as_a_request_does(served: Served, tmp_path: Path) -> None:
    app, _ = guarded(served.bundle, tmp_path)
    key, boss = ((tmp_path / name).read_text() for name in ("shop", "boss"))
    with calling(app) as port:
        assert call(port, "ServerLive").live and call(port, "ServerReady").ready
        for method in ("ServerMetadata", "ModelReady", "ModelMetadata", "ModelInfer"):
            code, said, _ = refused(port, method)
            assert (code, "needs a key" in said) == ("UNAUTHENTICATED", True)
        for metadata in ([("authorization", f"Bearer {key}")], [("x-api-key", key)]):
            assert values(call(port, "ModelInfer", typed_request(), metadata))["prediction"]
        assert refused(port, "ModelInfer", typed_request(), [("x-api-key", "lepton_wrong")])[0] == "UNAUTHENTICATED"
        twice = [("x-api-key", key), ("authorization", f"Bearer {key}")]
        assert refused(port, "ModelInfer", typed_request(), twice)[0] == "UNAUTHENTICATED"
        code, said, _ = refused(port, "ModelInfer", typed_request(), [("x-api-key", boss)])
        assert (code, "lacks the scope" in said) == ("PERMISSION_DENIED", True)


def test_rate_rows_and_bytes_are_limited_and_all_is_counted_and_named(served: Served, tmp_path: Path) -> None:
    app, _ = guarded(served.bundle, tmp_path, rate=0.001, burst=3, rows=2, body=2000)
    key = [("x-api-key", (tmp_path / "shop").read_text())]
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    with calling(app) as port, listening(app) as http:
        assert refused(port, "ModelInfer", typed_request([ROW] * 3), key)[1].endswith("one request may hold 2.")
        long = [ROW | {"note": "x" * 3000}]
        assert "larger than 2000 bytes" in refused(port, "ModelInfer", typed_request(long), key)[1]
        code, _, trailing = refused(port, "ModelInfer", wire.ModelInferRequest(), [*key, ("traceparent", parent)])
        assert code == "NOT_FOUND" and trailing["traceparent"][:35] == parent[:35]
        code, said, trailing = refused(port, "ModelInfer", typed_request(), key)
        assert (code, "more often than" in said, int(trailing["retry-after"]) > 1) == ("RESOURCE_EXHAUSTED", True, True)
        boss = (tmp_path / "boss").read_text()
        told = send(http, Malformed(whole(start="GET /metrics HTTP/1.1", body=b""), 200), boss).body.decode()
    for status, count in (("413", 2), ("404", 1), ("429", 1)):
        assert f'lepton_requests_total{{route="{path_of("ModelInfer")}",status="{status}"}} {count}.0' in told


def test_over_http_there_is_nothing_at_the_path_of_a_call(served: Served) -> None:
    for method in METHODS:
        body = typed_request().SerializeToString()
        heard = send(served.http, Malformed(whole(body=body, start=f"POST {path_of(method)} HTTP/1.1"), 404), "none")
        assert heard.status == 404


def test_a_bundle_of_tensors_is_called_too(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(40, 3))
    fitted = LogisticRegression().fit(x, (x[:, 0] > 0).astype(int))
    problem = Problem("target", Task.BINARY, ("no", "yes"), "roc_auc", "yes")
    about: Any = {"says": "probabilities", "rows": {"x": x}, "frame": False, "facts": {}, "created": 1.0}
    bundle = write_tensors(tmp_path / "bundle", fitted, problem=problem, **about)
    with calling(build_tensor_app(bundle)) as port:
        request = wire.ModelInferRequest(model_name="model")
        request.inputs.add(name="x", datatype="FP64", shape=[40, 3])
        request.raw_input_contents.append(x.astype("<f8").tobytes())
        assert values(call(port, "ModelInfer", request)) == bundle.predict({"x": x}).to_pydict()
        request.inputs[0].datatype = "FP32"
        assert "must be FP64" in refused(port, "ModelInfer", request)[1]


def test_the_python_of_the_protocol_is_made_from_its_proto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is made anew holds the same messages, fields and numbers, by whichever compiler it was made."""
    protoc = pytest.importorskip("grpc_tools.protoc", reason="needs grpcio-tools")
    monkeypatch.chdir(Path(wire.__file__).parents[2])
    assert not protoc.main(["protoc", "-I.", f"--python_out={tmp_path}", str(PROTO.relative_to(Path.cwd()))])
    (made,) = tmp_path.rglob("open_inference_pb2.py")
    assert descriptor(made) == descriptor(Path(wire.__file__))


def descriptor(file: Path) -> str:
    (line,) = (line for line in file.read_text("utf-8").splitlines() if line.startswith("DESCRIPTOR = "))
    return line
