"""One Ray, one endpoint: booted once for the module, asked many things."""

import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.files import point
from lepton_ray.errors import BundleError, EnvironmentFault, ServingError
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_ray.port import Port, port_free
from lepton_ray.on_ray.serving import Endpoint, FrontDoor, deploy, first_request, start_serve
from lepton_ray.on_ray.session import Session, boot, short_temp_dir
from lepton_ray.serving import open_inference_pb2 as wire
from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.guarding import Guarding
from lepton_ray.serving.keys import KeyFile
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.standing import Scale
from lepton_ray.serving.terms import Scaling, Terms
from tests.outside import ROOT
from tests.sealed import ROW, raw_table, seal
from tests.serving.calling import WRONG, call, raw_request, refused, typed_request, values
from tests.serving.malformed import FRAMING, READ_SECONDS, Malformed, send, whole

GUARDING = Guarding(Limits(read=READ_SECONDS))
STEERED = (
    *("x-request-timeout-seconds: 0.001", "x-request-disconnect-disabled: ?1", "x-session-id: \xff", "X_Session_Id: a"),
    *("serve_multiplexed_model_id: \xff", "serve-multiplexed-model-id: evil", "x-request-id: a b"),
)

RATE = Dollars.parse("0.12")
SLEEPY = Terms(least=0, idle=3.0, wake=30.0)
"""After so little quiet the front takes the endpoint of this module for asleep; it sleeps in one test alone."""


def size_of(application: str) -> Scale | None:
    """What the scaling policy wrote last; only where Ray is loaded anyhow."""
    from lepton_ray.on_ray import board

    return board.read(application)


def test_a_taken_port_is_an_error() -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("0.0.0.0", 0))
        other.listen()
        number = other.getsockname()[1]
        assert not port_free(number)
        with pytest.raises(EnvironmentFault, match=f"Port {number} on 127.0.0.1 is taken") as caught:
            Port.reserve(number)
        assert caught.value.exit_code == 8


def test_a_reserved_port_is_not_given_twice() -> None:
    first, second = Port.reserve(), Port.reserve()
    assert first.number != second.number
    with pytest.raises(EnvironmentFault, match="taken"):
        Port.reserve(first.number)
    first.close()
    second.close()
    Port.reserve(first.number).close()


def test_a_port_that_is_no_port_is_an_error() -> None:
    for number in (-1, 65536, 10**20):
        with pytest.raises(EnvironmentFault, match="taken|no port"):
            Port.reserve(number)


def test_a_long_path_is_refused_before_ray_hangs_on_it() -> None:
    with pytest.raises(EnvironmentFault, match="sockets"):
        boot(Path("/tmp/" + "x" * 100), 1, 0)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return seal(tmp_path_factory.mktemp("sealed") / "churn")


@pytest.fixture(scope="module")
def grpc_port() -> int:
    return Port.reserve(first=9000).number


@pytest.fixture(scope="module")
def endpoint(bundle: Bundle, grpc_port: int) -> Iterator[Endpoint]:
    session = Session(short_temp_dir(), cpus=2, object_store_bytes=0).start()
    try:
        session.wait(60)
        port = Port.reserve()
        assert FrontDoor(port, terms=SLEEPY, grpc=Port(grpc_port, None)).open().wait() == port.number
        point(bundle.folder.parent / "bundle", bundle.folder)
        folder = bundle.folder.parent / "bundle"
        yield deploy(folder, port=port.number, name="churn", per_hour=RATE, guarding=GUARDING)
    finally:
        began = time.monotonic()
        session.stop()
        assert time.monotonic() - began < 8
        assert not session.temp_dir.exists()
        assert children() == []


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as reply:
        return str(reply.read().decode())


def post(url: str, body: Any, timeout: float = 10.0) -> tuple[int, Any]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.ray
def test_the_endpoint_explains_and_says_what_it_costs(endpoint: Endpoint, bundle: Bundle) -> None:
    status, answer = post(f"{endpoint.url}/explain", [ROW])
    why = answer["explanations"][0]
    assert status == 200 and why["prediction"] == bundle.predict(ROW).to_pylist()[0]
    assert sum(why["contributions"].values()) == pytest.approx(why["value"] - why["base"], abs=1e-6)
    with urllib.request.urlopen(f"{endpoint.url}/metrics", timeout=10) as reply:
        said = reply.read().decode()
    assert f"lepton_usd_per_hour {float(RATE)}" in said and 'lepton_replica_info{replica="' in said
    with urllib.request.urlopen(endpoint.url, timeout=10) as reply:
        assert f"<dd>{RATE}</dd>" in reply.read().decode()


@pytest.mark.ray
def test_the_endpoint_answers_what_the_bundle_says(endpoint: Endpoint, bundle: Bundle) -> None:
    assert endpoint.bundle == bundle.id
    assert first_request(endpoint.url, ROW) == bundle.predict(ROW).to_pylist()[0]
    status, answer = post(f"{endpoint.url}/predict", raw_table().to_pylist())
    assert (status, answer["predictions"]) == (200, bundle.predict(raw_table()).to_pylist())
    tensors = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [str(value)]} for name, value in ROW.items()]
    status, answer = post(f"{endpoint.url}/v2/models/churn/infer", {"id": "7", "inputs": tensors})
    assert (status, answer["id"], answer["model_version"]) == (200, "7", bundle.id[:12])


@pytest.mark.ray
def test_a_wrong_request_is_refused_with_json_through_the_proxy(endpoint: Endpoint) -> None:
    assert post(f"{endpoint.url}/predict", [ROW | {"tenure": "many"}])[0] == 422
    assert post(f"{endpoint.url}/v2/models/other/infer", {})[0] == 404
    status, answer = post(f"{endpoint.url}/predict", ["x" * (9 << 20)])
    assert (status, "larger" in answer["error"]) == (413, True)
    with pytest.raises(ServingError, match="422"):
        first_request(endpoint.url, {"tenure": 1})


@pytest.mark.ray
def test_malformed_requests_are_refused_through_serve_and_the_same_processes_answer_on(
    endpoint: Endpoint, bundle: Bundle
) -> None:
    port, right = int(endpoint.url.rsplit(":", 1)[1]), bundle.predict(ROW).to_pylist()
    before = {child.pid for child in children()}
    for name, malformed in FRAMING.items():
        heard = send(port, malformed, "none")
        assert heard.status == malformed.status, (name, heard)
        said = json.loads(heard.body)["error"] if malformed.ours and malformed.status else heard.body.decode()
        assert malformed.said in said, (name, heard)
        answer = send(port, Malformed(whole(), 200), "none")
        assert json.loads(answer.body)["predictions"] == right, (name, answer)
    assert before <= {child.pid for child in children()}


@pytest.mark.ray
def test_a_caller_does_not_steer_serve(endpoint: Endpoint) -> None:
    port = int(endpoint.url.rsplit(":", 1)[1])
    for header in STEERED:
        heard = send(port, Malformed(whole(header), 200), "none")
        assert (heard.status, len(heard.headers["x-request-id"])) == (200, 36), (header, heard)
    heard = send(port, Malformed(whole("x-request-id: seven"), 200), "none")
    assert heard.headers["x-request-id"] == "seven" and heard.headers["traceparent"].startswith("00-")


@pytest.mark.ray
def test_a_revoked_key_is_refused_within_five_seconds(
    endpoint: Endpoint, bundle: Bundle, tmp_path: Path, grpc_port: int
) -> None:
    port, file = int(endpoint.url.rsplit(":", 1)[1]), KeyFile(tmp_path / "keys.json")
    shown = file.add("shop", ["predict"], "now")
    guarding = replace(GUARDING, keys=str(file.path), log=str(tmp_path / "log"), limits=Limits(rate=1000))
    try:
        keyed = deploy(bundle.folder, port=port, name="churn", guarding=guarding)
        assert first_request(keyed.url, ROW, key=keyed.probe) == first_request(keyed.url, ROW, key=shown)
        with pytest.raises(ServingError, match="401"):
            first_request(keyed.url, ROW)
        assert refused(grpc_port, "ModelInfer", typed_request())[0] == "UNAUTHENTICATED"
        assert call(grpc_port, "ModelInfer", typed_request(), [("authorization", f"Bearer {shown}")]).outputs
        file.revoke("shop", "now")
        ends = time.monotonic() + 5
        while send(port, Malformed(whole(), 200), shown).status == 200:
            assert time.monotonic() < ends
        assert send(port, Malformed(whole(), 401), shown).status == 401
        assert refused(grpc_port, "ModelInfer", typed_request(), [("x-api-key", shown)])[0] == "UNAUTHENTICATED"
        while '"key": "shop"' not in (lines := (tmp_path / "log" / "access-0.log").read_text()):
            assert time.monotonic() < ends + 5
        assert "Ulm" not in lines
    finally:
        deploy(bundle.folder, port=port, name="churn", guarding=GUARDING)
    assert first_request(endpoint.url, ROW)


@pytest.mark.ray
def test_every_port_is_on_loopback(endpoint: Endpoint) -> None:
    opened = {
        (child.name(), connection.laddr.ip)
        for child in [psutil.Process(), *children()]
        for connection in child.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert opened
    assert {address for _, address in opened} <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, opened


@pytest.mark.ray
def test_calls_are_answered_through_serve_as_requests_are(endpoint: Endpoint, bundle: Bundle, grpc_port: int) -> None:
    assert call(grpc_port, "ServerLive").live and call(grpc_port, "ServerReady").ready
    assert call(grpc_port, "ServerMetadata").name == "lepton_ray"
    assert call(grpc_port, "ModelReady", wire.ModelReadyRequest(name="churn")).ready
    about = call(grpc_port, "ModelMetadata", wire.ModelMetadataRequest(name="churn", version=bundle.id[:12]))
    assert [tensor.name for tensor in about.inputs] == list(ROW)
    tensors = [{"name": name, "shape": [1], "datatype": "BYTES", "data": [str(value)]} for name, value in ROW.items()]
    _, over_http = post(f"{endpoint.url}/v2/models/churn/infer", {"inputs": tensors})
    steered = [("multiplexed_model_id", "evil"), ("session_id", "a"), ("request_id", "a b")]
    for request in (typed_request(id="7"), raw_request(id="7")):
        answer = call(grpc_port, "ModelInfer", request, steered)
        assert answer.id == "7" and values(answer) == {one["name"]: one["data"] for one in over_http["outputs"]}


@pytest.mark.ray
def test_malformed_calls_are_refused_through_serve_and_the_same_processes_answer_on(
    endpoint: Endpoint, bundle: Bundle, grpc_port: int
) -> None:
    before, right = {child.pid for child in children()}, bundle.predict(ROW).to_pydict()
    for name, (request, code, said) in WRONG.items():
        status, details, trailing = refused(grpc_port, "ModelInfer", request)
        assert (status, said in details) == (code, True), (name, status, details)
        assert trailing["traceparent"].startswith("00-")
        assert values(call(grpc_port, "ModelInfer", typed_request())) == right, name
    assert before <= {child.pid for child in children()}


@pytest.mark.ray
@pytest.mark.skipif("LEPTON_PEERS" not in os.environ, reason="asks the tritonclient in the folder LEPTON_PEERS")
def test_an_unmodified_tritonclient_is_answered(endpoint: Endpoint, bundle: Bundle, grpc_port: int) -> None:
    peer = Path(os.environ["LEPTON_PEERS"], "tritonclient/bin/python")
    command = [peer, "scripts/peers/run_tritonclient.py", endpoint.url[7:], f"127.0.0.1:{grpc_port}", "churn"]
    rows = [
        row | {"tenure": float(row["tenure"])} for row in raw_table().select(list(ROW)).to_pylist() if row["tenure"]
    ]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps(rows), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["grpc"] == told["http"] == bundle.predict(rows).to_pydict()
    assert told["live"] == told["ready"] == told["model"] == [True, True]
    assert told["server"] == ["lepton_ray"] * 2 and told["versions"] == [[bundle.id[:12]]] * 2
    assert told["refused"][0] == "StatusCode.INVALID_ARGUMENT" and "`tenure`" in told["refused"][1]


@pytest.mark.ray
def test_the_port_is_taken_while_it_serves(endpoint: Endpoint) -> None:
    assert not port_free(int(endpoint.url.rsplit(":", 1)[1]))


@pytest.mark.ray
def test_a_new_bundle_takes_over_without_a_failed_request(endpoint: Endpoint, bundle: Bundle, tmp_path: Path) -> None:
    port = int(endpoint.url.rsplit(":", 1)[1])
    new = seal(tmp_path / "new", family_name="linear")
    seen: list[tuple[int, str]] = []
    done = threading.Event()

    def keep_asking() -> None:
        while not done.is_set():
            status, answer = post(f"{endpoint.url}/predict", ROW)
            seen.append((status, answer.get("bundle", "")))

    asker = threading.Thread(target=keep_asking)
    asker.start()
    try:
        assert deploy(new.folder, port=port, name="churn", guarding=GUARDING).bundle == new.id
    finally:
        done.set()
        asker.join()
    assert {status for status, _ in seen} == {200}
    assert {answered for _, answered in seen} <= {bundle.id, new.id}
    assert first_request(endpoint.url, ROW) == new.predict(ROW).to_pylist()[0]
    deploy(bundle.folder, port=port, name="churn", guarding=GUARDING)
    assert first_request(endpoint.url, ROW) == bundle.predict(ROW).to_pylist()[0]


@pytest.mark.ray
def test_what_is_no_bundle_is_refused_and_the_old_one_answers_on(endpoint: Endpoint, tmp_path: Path) -> None:
    port = int(endpoint.url.rsplit(":", 1)[1])
    with pytest.raises(BundleError, match="not a bundle"):
        deploy(tmp_path, port=port)
    damaged = seal(tmp_path / "damaged")
    (damaged.folder / "plan.json").write_text("{}")
    with pytest.raises(BundleError, match="plan.json"):
        deploy(damaged.folder, port=port, name="churn", guarding=GUARDING)
    assert first_request(endpoint.url, ROW)


def until(holds: Callable[[Scale], bool], seconds: float) -> float:
    """Wait until the policy has written such a scale, and return the seconds that it took."""
    began = time.monotonic()
    while True:
        scale = size_of("lepton")
        if scale is not None and holds(scale):
            return time.monotonic() - began
        assert time.monotonic() - began < seconds, scale
        time.sleep(0.05)


@contextmanager
def crowd(url: str, clients: int = 8, rows: int = 100) -> Iterator[list[int]]:
    """Ask all the time, with so many clients at once; the statuses come into the list."""
    done, seen = threading.Event(), list[int]()

    def keep_asking() -> None:
        while not done.is_set():
            seen.append(post(f"{url}/predict", [ROW] * rows)[0])

    askers = [threading.Thread(target=keep_asking) for _ in range(clients)]
    for asker in askers:
        asker.start()
    try:
        yield seen
    finally:
        done.set()
        for asker in askers:
            asker.join()


@pytest.mark.ray
def test_a_crowd_gets_a_second_replica_and_the_cap_no_third(endpoint: Endpoint, bundle: Bundle) -> None:
    port = int(endpoint.url.rsplit(":", 1)[1])
    scaling = Scaling(Terms(p99=0.05, cap=Dollars.parse("0.25"), most=8), Fleet(RATE, 1))
    deploy(bundle.folder, port=port, name="churn", per_hour=RATE, guarding=GUARDING, scaling=scaling)
    until(lambda scale: scale.running == 1 and scale.wanted == 1, 10)
    with crowd(endpoint.url) as seen:
        waited = until(lambda scale: scale.wanted == 2, 6)
        came = until(lambda scale: scale.running == 2, 15)
        until(lambda scale: scale.bound == "cap", 20)
    print(f"second replica wanted {waited:.1f} s after the load began, answering {came:.1f} s later")
    assert set(seen) == {200} and waited < 6
    scale = size_of("lepton")
    assert scale is not None and scale.wanted == 2 and scale.per_hour == Dollars.parse("0.24") and scale.spent
    assert "the cap of $0.25 per hour pays for 2 replicas" in scale.reason
    ends = time.monotonic() + 8
    while "lepton_cap_binds 1.0" not in (said := get(f"{endpoint.url}/metrics")):
        assert time.monotonic() < ends, said
        time.sleep(0.1)
    assert "lepton_replicas 2.0" in said and "lepton_usd_per_hour 0.24" in said and "lepton_usd_spent" in said
    assert "<dd>$0.24</dd>" in get(endpoint.url) and "replicas wanted" in get(endpoint.url)
    dearer = replace(scaling, fleet=Fleet(Dollars.parse("0.125"), 1))
    deploy(bundle.folder, port=port, name="churn", guarding=GUARDING, scaling=dearer)  # what runs goes on
    until(lambda scale: scale.running == 2 and scale.per_hour == Dollars.parse("0.25"), 10)


@pytest.mark.ray
def test_a_lower_cap_takes_replicas_away_at_once(endpoint: Endpoint, bundle: Bundle) -> None:
    port = int(endpoint.url.rsplit(":", 1)[1])
    scaling = Scaling(Terms(p99=0.05, cap=RATE, most=8), Fleet(RATE, 1))
    deploy(bundle.folder, port=port, name="churn", per_hour=RATE, guarding=GUARDING, scaling=scaling)
    until(lambda scale: scale.running == 1 and scale.wanted == 1 and scale.per_hour == RATE, 15)
    assert first_request(endpoint.url, ROW)


@pytest.mark.ray
def test_it_sleeps_and_a_request_wakes_it(endpoint: Endpoint, bundle: Bundle) -> None:
    port = int(endpoint.url.rsplit(":", 1)[1])
    scaling = Scaling(SLEEPY, Fleet(RATE, 1))
    try:
        deploy(bundle.folder, port=port, name="churn", per_hour=RATE, guarding=GUARDING, scaling=scaling)
        until(lambda scale: scale.running == 0 and scale.wanted == 0, 20)
        scale = size_of("lepton")
        assert scale is not None and not scale.per_hour and "nobody" in scale.reason
        began = time.monotonic()
        status, answer = post(f"{endpoint.url}/predict", ROW, timeout=40)
        print(f"awake after {time.monotonic() - began:.1f} s")
        assert (status, answer["predictions"]) == (200, bundle.predict(ROW).to_pylist())
        assert time.monotonic() - began < 30
        asked = lambda: post(f"{endpoint.url}/predict", ROW, timeout=40)[0] == 200  # noqa: E731  else it sleeps again
        until(lambda scale: asked() and scale.running == 1 and scale.per_hour == RATE, 10)
    finally:
        deploy(bundle.folder, port=port, name="churn", per_hour=RATE, guarding=GUARDING)
    assert first_request(endpoint.url, ROW)


@pytest.mark.ray
def test_nothing_is_written_into_the_home_folder(endpoint: Endpoint) -> None:
    assert os.environ["RAY_AUTH_TOKEN"]
    token = Path.home() / ".ray" / "auth_token"
    assert not token.exists() or token.stat().st_mtime < psutil.Process().create_time()


@pytest.mark.ray
def test_a_grpc_port_that_cannot_be_kept_on_loopback_is_not_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve._private import default_impl

    monkeypatch.delattr(default_impl, "add_grpc_address")
    with pytest.raises(ServingError, match="cannot be kept on loopback"):
        start_serve(Port(8000, None), Limits(), Terms(), grpc=Port(9000, None))
