"""Rows in every form, over a real socket: what they are answered, and in which form."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import polars
import pyarrow as pa
import pyarrow.csv as pa_csv
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.predictor import predict_file
from lepton_ray.serving.app import build_app
from lepton_ray.serving.guard import Guard
from lepton_ray.serving.keys import KeyFile, KeyRing
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.media import ARROW, CSV, JSON, wanted
from lepton_ray.serving.openapi import document
from tests.sealed import ROW, raw_table, seal
from tests.serving.asking import Clock, listening
from tests.serving.malformed import Heard, Malformed, send, whole
from tests.serving.tables import HEAD, LINE, csv_of, stream_of, two


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return seal(tmp_path_factory.mktemp("sealed") / "churn")


@pytest.fixture(scope="module")
def port(bundle: Bundle) -> Iterator[int]:
    with listening(build_app(bundle, "churn")) as number:
        yield number


def ask(port: int, body: bytes, kind: str, *lines: str) -> Heard:
    return send(port, Malformed(whole(f"content-type: {kind}", *lines, body=body), 200), "none")


def table_in(heard: Heard) -> pa.Table:
    """The predictions of an answer, by what it says that it is."""
    assert heard.status == 200, heard
    if heard.headers["content-type"] == ARROW:
        return pa.ipc.open_stream(heard.body).read_all()
    if heard.headers["content-type"] == CSV:
        return pa_csv.read_csv(io.BytesIO(heard.body))
    return pa.Table.from_pylist(json.loads(heard.body)["predictions"])


@pytest.mark.parametrize("accept", [JSON, CSV, ARROW])
@pytest.mark.parametrize("kind", [JSON, CSV, ARROW])
def test_each_form_is_answered_in_each_form_bit_for_bit(port: int, bundle: Bundle, kind: str, accept: str) -> None:
    table = raw_table()
    body = {JSON: json.dumps(table.to_pylist()).encode(), CSV: csv_of(table), ARROW: stream_of(table)}[kind]
    heard = ask(port, body, kind, f"accept: {accept}")
    assert heard.headers["content-type"] == accept
    assert table_in(heard).equals(bundle.predict(table))


def test_a_csv_body_is_answered_as_lepton_predict_answers_the_file(port: int, bundle: Bundle, tmp_path: Path) -> None:
    rows = (
        'city;tenure ;note;joined;leaves\r\nÜlm;" 12.0 ";"slow; ""loud""";2024-03-05;yes\r\n'
        "Bonn;?;;2024-03-05 10:00;no\r\n;1e1;-;NA;\r\n"
    )
    for name, encoding in (("a.csv", "utf-8-sig"), ("b.csv", "utf-16"), ("c.csv", "latin-1")):
        body = rows.encode(encoding)
        (tmp_path / name).write_bytes(body)
        predict_file(bundle.folder, tmp_path / name, tmp_path / "out.csv")
        heard = ask(port, body, "Text/CSV; charset=whatever", "accept: text/csv")
        assert heard.body == (tmp_path / "out.csv").read_bytes()


def test_arrow_types_are_read_as_the_same_values_are_from_elsewhere(port: int, bundle: Bundle) -> None:
    typed = raw_table().to_pandas()
    typed["tenure"] = typed["tenure"].replace("", None).astype(float)
    typed["joined"] = typed["joined"].astype("datetime64[ns]")
    typed["city"] = typed["city"].astype("category")
    frame = polars.from_pandas(typed)
    sink = io.BytesIO()
    frame.write_ipc_stream(sink)  # views of texts, a dictionary of them
    for body in (stream_of(pa.Table.from_pandas(typed)), sink.getvalue()):
        heard = ask(port, body, ARROW, f"accept: {ARROW}")
        assert table_in(heard).equals(bundle.predict(typed))
        assert table_in(heard).schema.metadata == {b"model": b"churn", b"bundle": bundle.id.encode()}


def test_columns_that_the_model_has_met_or_that_do_not_matter_go_through(port: int, bundle: Bundle) -> None:
    met = two(leaves=["yes", ""], level=["low", "x"])  # the target, and a column that was left out
    strange = two(shoe=[44, 45])
    assert table_in(ask(port, stream_of(met), ARROW)).equals(bundle.predict([ROW, ROW]))
    assert ask(port, csv_of(strange), CSV).status == 422
    for lines in (("prefer: handling=lenient",), ("prefer: wait=10, Handling=Lenient",)):
        assert table_in(ask(port, csv_of(strange), CSV, *lines)).equals(bundle.predict([ROW, ROW]))


def test_unseen_and_missing_cells_answer_as_in_batch(port: int, bundle: Bundle) -> None:
    body = HEAD + b"?,Atlantis,,\n" + LINE
    expected = bundle.predict([dict.fromkeys(ROW) | {"city": "Atlantis"}, ROW | {"note": "slow line"}])
    assert table_in(ask(port, body, CSV)).equals(expected)


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("text/html", JSON),
        ("text/csv", CSV),
        ("Text/CSV; q=0.3", CSV),
        ("text/csv;q=0", JSON),
        ("text/csv;q=x, application/vnd.apache.arrow.stream;q=0.1", ARROW),
        ("application/json, text/csv", JSON),
        ("text/csv, */*", CSV),
        ("text/csv;q=0.5, application/json;q=0.9", JSON),
        ("text/*", CSV),
    ],
)
def test_what_accept_likes_best(accept: str, form: str) -> None:
    assert wanted(accept) == form


def test_a_refusal_is_json_whatever_was_wanted(port: int) -> None:
    heard = ask(port, HEAD, CSV, f"accept: {ARROW}")
    assert (heard.status, heard.headers["content-type"]) == (422, JSON)


def test_the_limits_hold_for_every_form(bundle: Bundle) -> None:
    guard = Guard(Limits(rows=3, body=600, work=1))
    with listening(build_app(bundle, "churn", guard=guard)) as number:
        for kind, body in ((CSV, HEAD + LINE * 4), (ARROW, stream_of(pa.table({name: pa.nulls(4) for name in ROW})))):
            heard = ask(number, body, kind)
            assert heard.status == 413 and b"one request may hold 3" in heard.body or len(body) > 600
        assert ask(number, HEAD + LINE * 3, CSV).status == 200
        assert ask(number, HEAD + LINE * 99, CSV).status == 413


def test_the_document_tells_every_form_and_who_needs_a_key(bundle: Bundle, port: int, tmp_path: Path) -> None:
    post = document(bundle.manifest, "churn")["paths"]["/predict"]["post"]
    content = post["requestBody"]["content"]
    assert set(content) == set(post["responses"]["200"]["content"]) == {JSON, CSV, ARROW}
    assert table_in(ask(port, content[CSV]["example"].encode(), CSV)).equals(bundle.predict(ROW))
    keys = KeyFile(tmp_path / "keys.json")
    key = keys.add("shop", ["predict"], "now")
    guard = Guard(ring=KeyRing(keys.path, Clock()))
    with listening(build_app(bundle, "churn", guard=guard)) as number:
        told = json.loads(send(number, Malformed(whole(start="GET /openapi.json HTTP/1.1", body=b""), 200), key).body)
    schemes = told["components"]["securitySchemes"]
    assert schemes["bearer"]["scheme"] == "bearer" and schemes["apiKey"]["name"] == "X-API-Key"
    assert told["security"] == [{"bearer": []}, {"apiKey": []}]
    unlocked = {path for path, item in told["paths"].items() if any(one.get("security") == [] for one in item.values())}
    assert unlocked == {"/v2/health/live", "/v2/health/ready"}
    assert "security" not in document(bundle.manifest, "churn")
