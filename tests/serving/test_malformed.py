"""The exam of malformed requests, over a real socket: each is refused in words, and the next right one is answered."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.serving.app import build_app
from lepton_ray.serving.guard import Guard
from lepton_ray.serving.keys import KeyFile, KeyRing
from lepton_ray.serving.limits import Limits
from tests.examples import one_in
from tests.sealed import ROW, seal
from tests.serving.asking import Clock, listening
from tests.serving.malformed import ALL, BODIES, READ_SECONDS, STALL, Malformed, send, whole

STALLED = [name for name, malformed in ALL.items() if STALL in malformed.pieces]
"""Each takes as long as a body is waited for."""
WAITING, QUICK = one_in(len(STALLED), STALLED), [name for name in ALL if name not in {*STALLED, *BODIES}]
REST = one_in(4, BODIES)
"""What is wrong in them, test_app.py asks within this process."""


@dataclass(frozen=True)
class Served:
    """A bundle that answers at a port of loopback, in a thread of this process."""

    port: int
    key: str
    bundle: Bundle


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("served")
    bundle, file = seal(folder / "churn"), KeyFile(folder / "keys.json")
    key = file.add("exam", ["predict"], "now")
    app = build_app(bundle, "churn", guard=Guard(Limits(read=READ_SECONDS), KeyRing(file.path, Clock())))
    with listening(app) as port:
        yield Served(port, key, bundle)


def right(served: Served) -> Any:
    """The answer to a right request."""
    heard = send(served.port, Malformed(whole(), 200), served.key)
    assert heard.status == 200, heard
    return json.loads(heard.body)["predictions"]


@pytest.mark.parametrize("name", WAITING + QUICK + REST)
def test_what_is_malformed_is_refused_in_words_and_the_next_is_answered(served: Served, name: str) -> None:
    malformed = ALL[name]
    heard = send(served.port, malformed, served.key)
    assert heard.status == malformed.status, heard
    if malformed.ours and malformed.status:
        assert heard.headers["content-type"] == "application/json"
        assert list(json.loads(heard.body)) == ["error"] and "traceparent" in heard.headers
        assert malformed.said in json.loads(heard.body)["error"]
    else:
        assert malformed.said in heard.body.decode()
    assert served.key.encode() not in heard.body
    assert right(served) == served.bundle.predict(ROW).to_pylist()


def test_the_exam_has_sixty_kinds_and_more() -> None:
    assert len({malformed.pieces for malformed in ALL.values()}) == len(ALL) >= 60
