"""The client: what it gives is the bundle's, and what it does when the endpoint is busy, gone or says no."""

import datetime
import json
import random
import socket
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars
import pyarrow as pa
import pytest

import lepton_ray
from lepton_ray.bundle.bundle import Bundle
from lepton_ray.errors import DataError, ServingError, UsageError
from lepton_ray.serving import client as room
from lepton_ray.serving.app import build_app
from lepton_ray.serving.client import Client
from lepton_ray.serving.guard import Guard
from lepton_ray.serving.keys import KeyFile, KeyRing
from lepton_ray.serving.limits import Limits
from tests.sealed import ROW, raw_table, seal
from tests.serving.asking import Clock, listening


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return seal(tmp_path_factory.mktemp("sealed") / "churn")


@pytest.fixture(scope="module")
def url(bundle: Bundle) -> Iterator[str]:
    with listening(build_app(bundle, "churn", guard=Guard(Limits(rows=100)))) as port:
        yield f"http://127.0.0.1:{port}"


def typed() -> pd.DataFrame:
    """The table as pandas holds it: numbers, days, what is missing."""
    frame = raw_table().to_pandas()
    frame["tenure"] = pd.to_numeric(frame["tenure"])
    frame["joined"] = pd.to_datetime(frame["joined"])
    frame["city"] = frame["city"].astype("category")
    return frame


@pytest.mark.parametrize("form", ["pandas", "arrow", "polars", "rows", "one row"])
def test_it_gives_what_the_bundle_gives(url: str, bundle: Bundle, form: str) -> None:
    rows: Any = {
        "pandas": typed(),
        "arrow": raw_table(),
        "polars": polars.from_arrow(raw_table()),
        "rows": raw_table().to_pylist(),
        "one row": ROW,
    }[form]
    with Client(url) as client:
        assert client.predict(rows).equals(bundle.predict(rows))


def test_a_frame_may_hold_what_the_model_has_never_met(url: str, bundle: Bundle) -> None:
    frame = typed().assign(shoe=range(240))
    with Client(url) as client:
        assert client.predict(frame).equals(bundle.predict(frame))


def test_an_endpoint_that_knows_no_arrow_is_sent_json() -> None:
    kinds = b'{"error":"The content-type is not application/json."}'
    script = Script(reply(415, kinds, CLOSE), reply(200, GOOD, CLOSE))
    client, waits = client_of(script)
    assert client.predict(pa.table({"a": [1]})) == pa.table({"prediction": ["yes"]})
    assert (script.heard, waits) == (2, [])


def test_a_table_is_cut_where_the_endpoint_wants_it(url: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    with Client(url) as client:  # 240 rows, and the endpoint takes 100
        assert client.predict(raw_table()).num_rows == 240
        monkeypatch.setattr(room, "ROWS", 64)
        assert client.predict(raw_table()).equals(bundle.predict(raw_table()))
        rows = raw_table().to_pylist()
        rows[200]["tenure"] = "many"
        with pytest.raises(DataError, match=r"from row 192 .*Row 8, column `tenure`"):
            client.predict(rows)


def test_cells_of_other_libraries_are_sent_as_json(url: str, bundle: Bundle) -> None:
    rows = [
        {**ROW, "tenure": np.float64(12), "city": None, "joined": datetime.date(2024, 3, 5)},
        {**ROW, "tenure": Decimal("12.5"), "city": np.str_("Ulm"), "joined": datetime.datetime(2024, 3, 5, 1, 2)},
        {**ROW, "tenure": float("nan"), "joined": np.datetime64("2024-03-05")},
    ]
    plain = [
        {**ROW, "tenure": 12.0, "city": None},
        {**ROW, "tenure": 12.5, "joined": "2024-03-05 01:02:00"},
        {**ROW, "tenure": None},
    ]
    assert Client(url).predict(rows).equals(bundle.predict(plain))


def test_a_key_opens_and_what_is_wrong_is_said(tmp_path: Path, bundle: Bundle, url: str) -> None:
    file = KeyFile(tmp_path / "keys.json")
    key = file.add("shop", ["predict"], "now")
    with listening(build_app(bundle, "churn", guard=Guard(ring=KeyRing(file.path, Clock())))) as port:
        there = f"http://127.0.0.1:{port}/"
        assert lepton_ray.Client(there, key).predict(ROW).equals(bundle.predict(ROW))
        for wrong in (None, "lepton_wrong"):
            with pytest.raises(ServingError, match="right key"):
                Client(there, wrong).predict(ROW)
        assert key not in repr(Client(there, key))
    with pytest.raises(DataError, match="`tenure`"):
        Client(url).predict({"city": "Ulm"})
    with pytest.raises(DataError, match="no rows"):
        Client(url).predict([])
    with pytest.raises(DataError, match="not a table"):
        Client(url).predict(7)
    with pytest.raises(ServingError, match="404"):
        Client(f"{url}/elsewhere").predict(ROW)


@pytest.mark.parametrize("given", [("ftp://here", None, 1.0), ("here:80", None, 1.0), ("http://h", "a\nb", 1.0)])
def test_what_cannot_be_a_client_is_refused(given: tuple[str, str | None, float]) -> None:
    with pytest.raises(UsageError):
        Client(given[0], given[1], timeout=given[2])
    with pytest.raises(UsageError, match="timeout"):
        Client("http://here", timeout=0)


GOOD = b'{"predictions":[{"prediction":"yes"}]}'


def reply(status: int, body: bytes, *lines: str) -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status} X", f"content-length: {len(body)}", *lines, "", ""))
    return head.encode() + body


class Script:
    """An endpoint that does what is written: one answer for each request, b"" to cut the connection."""

    def __init__(self, *answers: bytes) -> None:
        self.answers, self.heard = list(answers), 0
        self.wire = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.wire.getsockname()[1]}"
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while self.answers:
            try:
                wire, _ = self.wire.accept()
            except OSError:
                return
            with wire:
                hear_request(wire)
                self.heard += 1
                wire.sendall(self.answers.pop(0))


def hear_request(wire: socket.socket) -> None:
    """Read a request whole."""
    text = b""
    while b"\r\n\r\n" not in text:
        text += wire.recv(65536)
    head, _, body = text.partition(b"\r\n\r\n")
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    while len(body) < length:
        body += wire.recv(65536)


def client_of(script: Script, timeout: float = 60.0) -> tuple[Client, list[float]]:
    """A client whose time passes only while it waits, and how long it has waited each time."""
    clock, waits = Clock(), list[float]()

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        clock.now += seconds

    return Client(script.url, timeout=timeout, clock=clock, sleep=sleep, rng=random.Random(3)), waits


CLOSE = "connection: close"
BUSY = reply(429, b'{"error":"Too many"}', "retry-after: 7", CLOSE)
AWAY = reply(503, b'{"error":"Away"}', CLOSE)


def test_it_tries_again_after_429_and_503_and_cut_connections() -> None:
    cut = reply(200, GOOD)[:-9]
    script = Script(BUSY, AWAY, b"", cut, AWAY, reply(200, GOOD, CLOSE))
    client, waits = client_of(script)
    assert client.predict({"a": 1}) == pa.table({"prediction": ["yes"]})
    assert script.heard == 6
    assert waits[0] == 7.0
    assert all(0.05 * 2**step <= wait <= 0.1 * 2**step for step, wait in enumerate(waits[1:], 1))


def test_its_patience_is_bounded() -> None:
    script = Script(*[AWAY] * 50)
    client, waits = client_of(script, timeout=10.0)
    with pytest.raises(ServingError, match=r"within 10 s; the last it said: 503: Away"):
        client.predict({"a": 1})
    assert sum(waits) <= 10.0 and max(waits) <= 5.0 and script.heard == len(waits) + 1
    script.wire.close()


def test_it_does_not_wait_for_what_comes_too_late() -> None:
    client, waits = client_of(Script(BUSY), timeout=5.0)
    with pytest.raises(ServingError, match="429: Too many"):
        client.predict({"a": 1})
    assert waits == []


def test_what_is_wrong_is_not_tried_again() -> None:
    for status in (400, 401, 404, 500):
        script = Script(reply(status, b"no JSON", CLOSE))
        client, waits = client_of(script)
        with pytest.raises((DataError, ServingError), match="no reason given"):
            client.predict({"a": 1})
        assert (script.heard, waits) == (1, [])


def test_an_answer_of_another_length_is_no_prediction() -> None:
    client, _ = client_of(Script(reply(200, GOOD, CLOSE)))
    with pytest.raises(ServingError, match="another number"):
        client.predict([{"a": 1}, {"a": 2}])


@pytest.mark.exam
def test_a_server_that_says_nothing_ends_the_call_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as wire:
        client = Client(f"http://127.0.0.1:{wire.getsockname()[1]}", timeout=0.3)
        with pytest.raises(ServingError, match="within 0.3 s"):
            client.predict({"a": 1})


def test_the_headers_it_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as wire:
        answers: list[bytes] = []

        def once() -> None:
            there, _ = wire.accept()
            with there:
                answers.append(there.recv(65536))
                there.sendall(reply(200, GOOD, CLOSE))

        thread = threading.Thread(target=once)
        thread.start()
        Client(f"http://127.0.0.1:{wire.getsockname()[1]}", " lepton_k ").predict({"a": 1})
        thread.join(10)
    head, _, body = answers[0].partition(b"\r\n\r\n")
    assert b"authorization: Bearer lepton_k\r\n" in head + b"\r\n" and b"POST /predict " in head
    assert body == b"" or json.loads(body) == {"rows": [{"a": 1}]}
