import asyncio
import json
import logging
import math
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.errors import UsageError
from lepton_ray.serving.app import build_app
from lepton_ray.serving.http import MAX_BODY, answered, app_of
from lepton_ray.serving.metrics import Metrics
from tests.examples import one_in
from tests.sealed import ROW, raw_table, seal

Ask = Callable[..., httpx.Response]
INFER = "/v2/models/churn/infer"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return seal(tmp_path_factory.mktemp("sealed") / "churn")


@pytest.fixture(scope="module")
def ask(bundle: Bundle) -> Ask:
    transport = httpx.ASGITransport(build_app(bundle, "churn"))

    def request(method: str, path: str, **options: Any) -> httpx.Response:
        async def send() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
                return await client.request(method, path, **options)

        return asyncio.run(send())

    return request


def tensors(**changes: Any) -> list[dict[str, Any]]:
    """One tensor per column, two rows; a change replaces keys of one tensor, None removes it."""
    inputs: dict[str, dict[str, Any]] = {
        "tenure": {"datatype": "FP64", "data": [12, 3.0]},
        "city": {"datatype": "BYTES", "data": ["Ulm", "Bonn"]},
        "joined": {"datatype": "BYTES", "data": ["2024-03-05", None]},
        "note": {"datatype": "BYTES", "data": [ROW["note"], "all is well"]},
    }
    whole = {name: {"name": name, "shape": [2], **values} for name, values in inputs.items()}
    return [values | changes.get(name, {}) for name, values in whole.items() if changes.get(name, {}) is not None]


def columns() -> list[dict[str, Any]]:
    """The rows that ``tensors`` holds."""
    return [
        ROW | {"tenure": 12},
        {"tenure": 3, "city": "Bonn", "joined": None, "note": "all is well"},
    ]


def test_rows_in_every_shape_get_the_bundles_answer(ask: Ask, bundle: Bundle) -> None:
    rows = columns()
    expected = bundle.predict(rows).to_pylist()
    for body in (rows, {"rows": rows}):
        reply = ask("POST", "/predict", json=body)
        assert reply.status_code == 200, reply.text
        assert reply.json() == {"model": "churn", "bundle": bundle.id, "predictions": expected}
    assert ask("POST", "/predict", json=rows[0]).json()["predictions"] == expected[:1]


def test_a_whole_table_over_the_wire_is_the_batch_bit_for_bit(ask: Ask, bundle: Bundle) -> None:
    rows = raw_table().to_pylist()
    assert ask("POST", "/predict", json=rows).json()["predictions"] == bundle.predict(raw_table()).to_pylist()


def test_infer_gives_the_bundles_answer_and_echoes_the_id(ask: Ask, bundle: Bundle) -> None:
    expected = bundle.predict(columns())
    reply = ask("POST", INFER, json={"id": "nine", "inputs": tensors()})
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("nine", "churn", bundle.id[:12])
    assert {tensor["name"]: tensor["data"] for tensor in answer["outputs"]} == expected.to_pydict()
    assert [tensor["shape"] for tensor in answer["outputs"]] == [[2]] * 3
    assert [tensor["datatype"] for tensor in answer["outputs"]] == ["BYTES", "FP64", "FP64"]


@pytest.mark.parametrize(
    "changes",
    [
        {"tenure": {"shape": [2, 1], "data": [[12], [3]]}},
        {"tenure": {"shape": [2, 1]}},
        {"tenure": {"datatype": "INT64", "data": [12, 3]}},
        {"tenure": {"datatype": "BYTES", "data": ["12", " 3.0 "]}},
        {"city": {"parameters": {"any": 1}}},
        {"city": {"shape": [2, 1], "data": [["Ulm"], ["Bonn"]]}},
    ],
    ids=str,
)
def test_infer_takes_every_legal_spelling(ask: Ask, changes: dict[str, Any]) -> None:
    plain = ask("POST", INFER, json={"inputs": tensors()}).json()
    reply = ask("POST", INFER, json={"inputs": [*reversed(tensors(**changes))]})
    assert reply.json() == plain


def test_infer_gives_the_outputs_asked_for(ask: Ask) -> None:
    body = {"inputs": tensors(), "outputs": [{"name": "probability_yes"}]}
    assert [tensor["name"] for tensor in ask("POST", INFER, json=body).json()["outputs"]] == ["probability_yes"]


def test_explanations_add_up_to_what_is_predicted(ask: Ask, bundle: Bundle) -> None:
    rows = [*columns(), ROW | {"city": "Atlantis"}, dict.fromkeys(ROW)]
    reply = ask("POST", "/explain", json=rows)
    assert reply.status_code == 200, reply.text
    answer = reply.json()
    assert (answer["model"], answer["bundle"], answer["scale"]) == ("churn", bundle.id, "log-odds")
    assert [one["prediction"] for one in answer["explanations"]] == bundle.predict(rows).to_pylist()
    for one in answer["explanations"]:
        assert one["of"] == "yes" and list(one["contributions"]) == list(ROW)
        assert sum(one["contributions"].values()) == pytest.approx(one["value"] - one["base"], abs=1e-6)
        probability = one["prediction"]["probability_yes"]
        assert one["value"] == pytest.approx(math.log(probability / (1 - probability)), abs=1e-6)
    assert ask("POST", "/explain", json=rows).json() == answer


def test_an_explanation_at_work_holds_up_no_other_request() -> None:
    """One at a time, in a thread; what is quick is answered meanwhile, in another of the guard's places."""
    begun, may_end = threading.Event(), threading.Event()

    def slow(body: bytes) -> bytes:
        begun.set()
        assert may_end.wait(30)
        return b"{}"

    routes = [
        Route("/slow", answered(slow, alone=True), methods=["POST"]),
        Route("/quick", answered(lambda body: b"[]"), methods=["POST"]),
    ]

    app = app_of(routes, Metrics("slow", "0"), guide="/")

    async def send() -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as one:
            first = asyncio.create_task(one.post("/slow", json={}))
            await asyncio.to_thread(begun.wait, 30)
            refused = await one.post("/slow", json={})
            assert (refused.status_code, refused.headers["retry-after"]) == (429, "1") and "Another" in refused.text
            assert (await one.post("/quick", json={})).status_code == 200
            may_end.set()
            return [(await first).status_code, (await one.post("/slow", json={})).status_code]

    assert asyncio.run(send()) == [200, 200]


def test_unseen_and_missing_values_answer_as_in_batch(ask: Ask, bundle: Bundle) -> None:
    rows = [ROW | {"city": "Atlantis"}, dict.fromkeys(ROW), ROW | {"tenure": ""}, ROW | {"tenure": "?", "city": True}]
    assert ask("POST", "/predict", json=rows).json()["predictions"] == bundle.predict(rows).to_pylist()


def test_metadata_and_health(ask: Ask, bundle: Bundle) -> None:
    assert ask("GET", "/v2").json()["name"] == "lepton_ray"
    assert ask("GET", "/v2/health/live").json() == {"live": True}
    assert ask("GET", "/v2/health/ready").json()["ready"] is True
    assert ask("GET", "/v2/models/churn/ready").json()["ready"] is True
    about = ask("GET", "/v2/models/churn").json()
    assert about["versions"] == [bundle.id[:12]]
    assert {(tensor["name"], tensor["datatype"]) for tensor in about["inputs"]} == {
        ("tenure", "FP64"),
        ("city", "BYTES"),
        ("joined", "BYTES"),
        ("note", "BYTES"),
    }
    assert [tensor["name"] for tensor in about["outputs"]] == ["prediction", "probability_no", "probability_yes"]


def test_an_id_goes_back_as_it_came(ask: Ask) -> None:
    for name in ("a b", "ä", "half \ud800 of one"):
        body = json.dumps({"id": name, "inputs": tensors()}).encode()
        assert ask("POST", INFER, content=body, headers=JSON).json()["id"] == name


def refused_row(**changes: Any) -> dict[str, Any]:
    return {"json": [ROW, ROW | changes]}


def refused_tensor(**changes: Any) -> dict[str, Any]:
    return {"json": {"inputs": tensors(**changes)}}


JSON = {"content-type": "application/json"}
REFUSED: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "no body": ("/predict", {"content": b"", "headers": JSON}, 400, "not JSON"),
    "not JSON": ("/predict", {"content": b'{"rows": [', "headers": JSON}, 400, "line 1"),
    "not UTF-8": ("/predict", {"content": b'{"city": "\xe9"}', "headers": JSON}, 400, "UTF-8"),
    "NaN": ("/predict", {"content": b'[{"tenure": NaN}]', "headers": JSON}, 400, "NaN"),
    "infinity": ("/predict", {"content": b'[{"tenure": -Infinity}]', "headers": JSON}, 400, "-Infinity"),
    "too deep": ("/predict", {"content": b"[" * 200_000, "headers": JSON}, 400, "deep"),
    "a name twice": (
        "/predict",
        {"content": b'[{"city": "Ulm", "city": "Bonn"}]', "headers": JSON},
        400,
        "'city' twice",
    ),
    "inputs twice": (INFER, {"content": b'{"inputs": [], "inputs": []}', "headers": JSON}, 400, "'inputs' twice"),
    "endless number": ("/predict", {"content": b"[" + b"9" * 5000 + b"]", "headers": JSON}, 400, "not JSON"),
    "other type": ("/predict", {"content": b"a=1", "headers": {"content-type": "text/html"}}, 415, "content-type"),
    "compressed": ("/predict", {"content": b"x", "headers": JSON | {"content-encoding": "gzip"}}, 415, "encoding"),
    "too large": ("/predict", {"content": b" " * (MAX_BODY + 1), "headers": JSON}, 413, "larger"),
    "too many to explain": ("/explain", {"json": [{}] * 33}, 413, "33 rows; one request may hold 32"),
    "too many rows": ("/predict", {"json": [{}] * 10_001}, 413, "10001"),
    "explain nothing": ("/explain", {"content": b"", "headers": JSON}, 400, "not JSON"),
    "explain a word": ("/explain", refused_row(tenure="many"), 422, "Row 1, column `tenure`"),
    "no rows": ("/predict", {"json": []}, 422, "`rows` holds no row"),
    "no rows in rows": ("/predict", {"json": {"rows": []}}, 422, "`rows` holds no row"),
    "a number": ("/predict", {"json": 7}, 422, "list of rows"),
    "a row is a list": ("/predict", {"json": [[1, 2]]}, 422, "rows[0]"),
    "column missing": ("/predict", {"json": [ROW, {"tenure": 1}]}, 422, "`city`"),
    "word for a number": ("/predict", refused_row(tenure="many"), 422, "Row 1, column `tenure`"),
    "true for a number": ("/predict", refused_row(tenure=True), 422, "`tenure`"),
    "overflow": (
        "/predict",
        {"content": json.dumps(ROW).replace("12", "1e999").encode(), "headers": JSON},
        422,
        "`tenure`",
    ),
    "huge integer": ("/predict", refused_row(tenure=10**400), 422, "`tenure`"),
    "list for a category": ("/predict", refused_row(city=["Ulm"]), 422, "`city`"),
    "object for a text": ("/predict", refused_row(note={"a": 1}), 422, "`note`"),
    "half a character": (
        "/predict",
        {"content": json.dumps(ROW | {"city": "X"}).replace("X", "\\ud800").encode(), "headers": JSON},
        422,
        "`city`",
    ),
    "number for a date": ("/predict", refused_row(joined=20240305), 422, "`joined`"),
    "no such day": ("/predict", refused_row(joined="2024-02-31"), 422, "`joined`"),
    "infer a list": (INFER, {"json": []}, 422, "`inputs`"),
    "no inputs": (INFER, {"json": {}}, 422, "`inputs`"),
    "id a number": (INFER, {"json": {"id": 5, "inputs": tensors()}}, 422, "`id`"),
    "nameless tensor": (INFER, {"json": {"inputs": [{"shape": [1]}]}}, 422, "inputs[0]"),
    "column twice": (INFER, {"json": {"inputs": tensors() + tensors()}}, 422, "`tenure` a second time"),
    "half a name twice": (
        INFER,
        {"content": json.dumps({"inputs": [{"name": "\ud800"}] * 2}).encode(), "headers": JSON},
        422,
        "inputs[1]",
    ),
    "tensor missing": (INFER, refused_tensor(city=None), 422, "`city`"),
    "a tensor too many": (
        INFER,
        {"json": {"inputs": [*tensors(), {"name": "citty", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}]}},
        422,
        "inputs[4] (`citty`) is no input of this model; it has `city`",
    ),
    "unknown datatype": (INFER, refused_tensor(tenure={"datatype": "FP99"}), 422, "FP99"),
    "datatype a list": (INFER, refused_tensor(tenure={"datatype": ["FP64"]}), 422, "`tenure`"),
    "number for a text": (INFER, refused_tensor(note={"datatype": "INT64", "data": [1, 2]}), 422, "`note`"),
    "wrong type": (INFER, refused_tensor(tenure={"data": [1, "x"]}), 422, "data[1]"),
    "bool as FP64": (INFER, refused_tensor(tenure={"data": [1, True]}), 422, "data[1]"),
    "out of range": (INFER, refused_tensor(tenure={"datatype": "INT8", "data": [1, 128]}), 422, "data[1]"),
    "half an integer": (INFER, refused_tensor(tenure={"datatype": "INT8", "data": [1, 1.5]}), 422, "data[1]"),
    "unreadable text": (INFER, refused_tensor(tenure={"datatype": "BYTES", "data": ["1", "x"]}), 422, "`tenure`"),
    "no shape": (INFER, refused_tensor(tenure={"shape": None}), 422, "`shape`"),
    "two wide": (INFER, refused_tensor(tenure={"shape": [2, 2]}), 422, "`shape`"),
    "negative": (INFER, refused_tensor(tenure={"shape": [-1]}), 422, "`shape`"),
    "shape of a bool": (INFER, refused_tensor(tenure={"shape": [True]}), 422, "`shape`"),
    "shape of nothing": (INFER, refused_tensor(tenure={"shape": [0], "data": []}), 422, "no row"),
    "too many": (INFER, refused_tensor(tenure={"shape": [10_001]}), 413, "10001"),
    "too few values": (INFER, refused_tensor(tenure={"data": [1]}), 422, "1 values"),
    "other rows": (INFER, refused_tensor(city={"shape": [1], "data": ["Ulm"]}), 422, "1 rows"),
    "data an object": (INFER, refused_tensor(city={"data": {}}), 422, "`data`"),
    "nested in [n]": (INFER, refused_tensor(city={"data": [["Ulm"], ["Bonn"]]}), 422, "data[0]"),
    "binary data": (
        INFER,
        {"content": b"{}", "headers": JSON | {"inference-header-content-length": "2"}},
        415,
        "Binary",
    ),
    "outputs": (INFER, {"json": {"inputs": tensors(), "outputs": [{"name": "sky"}]}}, 422, "outputs[0]"),
    "outputs an object": (INFER, {"json": {"inputs": tensors(), "outputs": {}}}, 422, "`outputs`"),
    "other model": ("/v2/models/other/infer", {"json": {}}, 404, "no such model"),
    "no route": ("/nowhere", {"json": {}}, 404, "no such route"),
    "slash": ("/predict/", {"json": {}}, 404, "no such route"),
}


@pytest.mark.parametrize("name", one_in(2, REFUSED))
def test_a_wrong_request_is_told_what_is_wrong(ask: Ask, caplog: pytest.LogCaptureFixture, name: str) -> None:
    path, options, status, said = REFUSED[name]
    caplog.set_level(logging.DEBUG, "lepton_ray")
    reply = ask("POST", path, **options)
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert list(reply.json()) == ["error"]
    assert said in reply.json()["error"], reply.json()
    assert not caplog.records
    assert ask("POST", "/predict", json=ROW).status_code == 200


def test_another_method_is_told_which_to_use(ask: Ask) -> None:
    for method, path, allowed in (("GET", "/predict", "POST"), ("DELETE", "/v2", "GET"), ("PUT", INFER, "POST")):
        reply = ask(method, path)
        assert reply.status_code == 405
        assert allowed in reply.headers["allow"] and allowed in reply.json()["error"]


def test_a_body_without_a_length_is_bounded_too(ask: Ask) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 2**20 + 1):
            yield b" " * 2**20

    assert ask("POST", "/predict", content=chunks(), headers=JSON).status_code == 413


def test_a_model_that_fails_says_so_and_logs_no_value(bundle: Bundle, caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def predict(self, block: Any) -> None:
            raise RuntimeError(f"cannot digest {block.to_pylist()}")

    broken = Bundle(bundle.folder, bundle.id, bundle.manifest, bundle.plan, Broken())  # type: ignore[arg-type]
    transport = httpx.ASGITransport(build_app(broken, "churn"))

    async def send() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return await client.post("/predict", json=ROW)

    reply = asyncio.run(send())
    assert (reply.status_code, list(reply.json())) == (500, ["error"])
    assert "RuntimeError" in caplog.text and "Ulm" not in caplog.text + reply.text


def test_metrics_count_routes_and_rows(bundle: Bundle) -> None:
    transport = httpx.ASGITransport(build_app(bundle, "churn"))

    async def send() -> str:
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            await client.post("/predict", json=[ROW, ROW])
            await client.post("/predict", json=[])
            await client.get("/wp-admin.php")
            return (await client.get("/metrics")).text

    text = asyncio.run(send())
    assert 'lepton_requests_total{route="/predict",status="200"} 1.0' in text
    assert 'lepton_requests_total{route="/predict",status="422"} 1.0' in text
    assert 'lepton_requests_total{route="other",status="404"} 1.0' in text
    assert "lepton_rows_total 2.0" in text
    assert f'lepton_model_info{{bundle="{bundle.id}",model="churn"}} 1.0' in text
    assert "wp-admin" not in text


def test_pages_load_nothing_from_elsewhere(ask: Ask) -> None:
    for path in ("/", "/docs"):
        page = ask("GET", path)
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")
        assert "://" not in page.text.replace("http://here", "")
        assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js"):
        assert f"/docs/{name}" in ask("GET", "/docs").text
        assert ask("GET", f"/docs/{name}").status_code == 200


def test_the_documents_examples_are_answered(ask: Ask, bundle: Bundle) -> None:
    document = ask("GET", "/openapi.json").json()
    assert document["openapi"].startswith("3.0.")
    posts = {path: item["post"] for path, item in document["paths"].items() if "post" in item}
    assert set(posts) == {"/predict", "/explain", INFER, f"/v2/models/churn/versions/{bundle.id[:12]}/infer"}
    for path, operation in posts.items():
        example = operation["requestBody"]["content"]["application/json"]["example"]
        assert ask("POST", path, json=example).status_code == 200
    for path, item in document["paths"].items():
        assert "get" not in item or ask("GET", path).status_code == 200


def test_the_first_page_is_safe_against_its_own_columns(tmp_path: Path, bundle: Bundle) -> None:
    evil = seal(tmp_path / "evil", example=ROW | {"city": "</code><script>alert(1)</script>'"})
    transport = httpx.ASGITransport(build_app(evil, "churn"))

    async def send() -> str:
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return (await client.get("/")).text

    assert "<script>" not in asyncio.run(send())


def test_a_name_that_makes_no_route_is_refused(bundle: Bundle) -> None:
    for name in ("", "a/b", "{x}", "a b"):
        with pytest.raises(UsageError, match="name of a model"):
            build_app(bundle, name)
