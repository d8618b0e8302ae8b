"""lepton serve from outside: what it prints, answers, refuses and leaves behind."""

import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.on_ray.port import Port, port_free
from lepton_ray.serving.client import Client
from tests.sealed import ROW, seal
from tests.serving.calling import call, typed_request, values

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return seal(tmp_path_factory.mktemp("sealed") / "churn")


@pytest.fixture
def serve(bundle: Bundle) -> Iterator[Start]:
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "lepton_ray", "serve", str(bundle.folder), *words]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def up(process: "subprocess.Popen[str]") -> tuple[str, list[psutil.Process]]:
    """Its address, and all its processes, once it has answered."""
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", url)
    return url, psutil.Process(process.pid).children(recursive=True)


def gone(family: list[psutil.Process], seconds: float) -> bool:
    psutil.wait_procs(family, timeout=seconds)
    return not [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def folders() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("lepton-*"))


def mine(before: set[Path], family: list[psutil.Process]) -> set[Path]:
    """The folders made since, that a process of this family uses."""
    lines = " ".join(" ".join(one.cmdline()) for one in family)
    return {path for path in folders() - before if str(path) in lines}


def get(url: str, body: Any = None) -> str:
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data, {"content-type": "application/json"})) as reply:
        return str(reply.read().decode())


@pytest.mark.ray
def test_it_answers_until_ctrl_c_and_leaves_nothing(serve: Start, bundle: Bundle) -> None:
    before, called = folders(), Port.reserve(first=9000)
    called.close()
    process = serve(
        *("--grpc-port", str(called.number), "--p99", "50ms", "--max-usd-per-hour", "100"),
        *("--scale-to-zero-after", "10m"),
    )
    url, family = up(process)
    made, port = mine(before, family), int(url.rsplit(":", 1)[1])
    assert made and not port_free(port)
    assert json.loads(get(f"{url}/v2/health/ready"))["ready"] is True
    answer = json.loads(get(f"{url}/predict", ROW))
    assert answer["bundle"] == bundle.id
    assert answer["predictions"] == bundle.predict(ROW).to_pylist()
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", get(f"{url}/docs"))
    ends = time.monotonic() + 10
    while "lepton_replicas_wanted 1.0" not in (said := get(f"{url}/metrics")):
        assert time.monotonic() < ends, said
        time.sleep(0.1)
    assert "lepton_cap_binds 0.0" in said
    taken = serve("--port", str(port))
    out, told = taken.communicate(timeout=30)
    assert (taken.returncode, out) == (8, "") and f"Port {port} on 127.0.0.1 is taken" in told
    assert values(call(called.number, "ModelInfer", typed_request(model="model"))) == bundle.predict(ROW).to_pydict()
    taken = serve("--grpc-port", str(called.number))
    out, told = taken.communicate(timeout=30)
    assert (taken.returncode, out) == (8, "") and f"Port {called.number} on 127.0.0.1 is taken" in told
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=30)
    assert f"gRPC at 127.0.0.1:{called.number}" in told and port_free(called.number)
    assert time.monotonic() - asked < 5
    assert (process.returncode, out) == (0, "") and "The endpoint served for" in told and "Traceback" not in told
    assert gone(family, 0) and port_free(port) and not made & folders()


@pytest.mark.ray
def test_killed_it_leaves_nothing_either(serve: Start) -> None:
    before = folders()
    process = serve()
    url, family = up(process)
    made = mine(before, family)
    process.kill()
    process.communicate(timeout=10)
    assert gone(family, 5) and port_free(int(url.rsplit(":", 1)[1]))
    ends = time.monotonic() + 5
    while made & folders():
        assert time.monotonic() < ends
        time.sleep(0.02)


@pytest.mark.ray
def test_ctrl_c_while_it_is_brought_up_ends_it_at_once(serve: Start) -> None:
    before = folders()
    process = serve()
    assert process.stderr is not None
    assert "bringing up" in process.stderr.readline()
    ends, family = time.monotonic() + 20, list[psutil.Process]()
    while not any("gcs_server" in one.name() for one in family):
        assert time.monotonic() < ends
        family = psutil.Process(process.pid).children(recursive=True)
    made = mine(before, family)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=30)
    assert time.monotonic() - asked < 5
    assert (process.returncode, out) == (130, "") and "before the endpoint was up" in told
    assert gone(family, 0) and not made & folders()


@pytest.mark.ray
def test_who_wakes_it_and_has_not_waited_long_enough_is_told_when_to_ask_again(serve: Start, bundle: Bundle) -> None:
    process = serve("--scale-to-zero-after", "3s", "--wake-timeout", "1s")
    url, _ = up(process)
    assert process.stderr is not None
    while "scaling: 0 replicas" not in (line := process.stderr.readline()):
        assert line
    asked = time.monotonic()
    with pytest.raises(urllib.error.HTTPError) as caught:
        get(f"{url}/predict", ROW)
    assert (caught.value.code, caught.value.headers["retry-after"]) == (503, "5")
    assert "asleep" in json.load(caught.value)["error"] and 0.9 < time.monotonic() - asked < 3
    with Client(url) as client:
        assert client.predict([ROW]).to_pylist() == bundle.predict(ROW).to_pylist()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--p99", "0"), 2, "Write it like --p99 50ms."),
        (("--max-usd-per-hour", "0.000001"), 4, "The smallest that would do is 0."),
        (("--min-replicas", "0"), 2, "Give --scale-to-zero-after 10m."),
    ],
)
def test_senseless_terms_are_refused_before_anything_starts(
    serve: Start, words: tuple[str, ...], code: int, said: str
) -> None:
    process = serve(*words)
    out, told = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "") and said in told and "bringing up" not in told
