"""Serve on this host: controller and proxy ahead of time, a bundle deployed or exchanged, one answer proven.

It knows nothing about how the bundle was made. ``FrontDoor`` can be begun while the search still runs: it takes
several seconds of mostly waiting. ``deploy`` may be called again: a new bundle takes the old one's place in the
running replicas, within a fraction of the time of a first deployment.
"""

import json
import logging
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lepton_ray.bundle.kinds import manifest_of
from lepton_ray.errors import EnvironmentFault, LeptonError, ServingError
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_ray.port import HOST, Port, port_free
from lepton_ray.serving.guarding import Guarding
from lepton_ray.serving.keys import digest_of, new_key
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.terms import Asked, Scaling, Terms

MORE_TIME = 5.0
"""So much longer than our guard Serve waits for an answer: the guard says it better."""

KEEP_ALIVE = 30
APPLICATION = "lepton"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a bundle answers.

    Attributes:
        seconds: that its deployment took.
        probe: the key by which who deployed it may ask for two minutes; "" where nobody needs one.
    """

    url: str
    name: str
    bundle: str
    seconds: float
    probe: str = field(default="", repr=False)


class FrontDoor:
    """Serve's controller and proxy, started in the background on a Ray that is ready."""

    def __init__(
        self, port: Port, guarding: Guarding | None = None, terms: Terms | None = None, *, grpc: Port | None = None
    ) -> None:
        self.port, self.grpc = port, grpc
        self.guarding = guarding or Guarding()
        self._terms = terms or Terms()
        self.seconds = 0.0
        self._number = port.number
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._open, name="front-door", daemon=True)

    def open(self) -> "FrontDoor":
        """Begin, and return at once."""
        self._thread.start()
        return self

    def wait(self, timeout: float = 60.0) -> int:
        """Return the port once the proxy listens there.

        Raises:
            ServingError: it does not, or not in time.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise ServingError(f"Ray Serve was not up after {timeout:g} seconds.", "Try again on a machine less busy.")
        if self._error is not None:
            raise self._error
        return self._number

    def _open(self) -> None:
        began = time.monotonic()
        try:
            self._number = start_serve(self.port, self.guarding.limits, self._terms, grpc=self.grpc)
        except LeptonError as error:
            self._error = error
        except Exception as error:
            self._error = ServingError(f"Ray Serve did not start: {_reason(error)}", "See its logs in Ray's folder.")
        self.seconds = time.monotonic() - began


def start_serve(port: Port, limits: Limits, terms: Terms, *, grpc: Port | None = None) -> int:
    """Start Serve's controller and its one proxy on loopback; gRPC stays off where it has no port.

    A Ray that serves already, in a notebook, keeps its port: there can be one only.

    Args:
        port, grpc: held.
        limits: how long an answer may take, and how many requests over HTTP the proxy has in hand at most.
        terms: after how long the endpoint sleeps, and how long a request may wait for it to wake.

    Returns:
        The port that the proxy listens at.

    Raises:
        EnvironmentFault: somebody took the port meanwhile.
        ServingError: this Ray serves already, on another port than the one asked for; gRPC would be open to others; or
            Serve does not come up.
    """
    from ray import serve
    from ray.serve.config import HTTPOptions, ProxyLocation, gRPCOptions
    from ray.serve.context import _get_global_client

    from lepton_ray.on_ray.calls import OFFERED, can_stay
    from lepton_ray.on_ray.ingress import let_in

    if grpc is not None and not can_stay():
        raise ServingError(
            "The gRPC port cannot be kept on loopback with this Ray.", "Leave --grpc out, or install the pinned Ray."
        )

    logging.getLogger("ray.serve").setLevel(logging.ERROR)
    let_in(limits.work + limits.queue, terms.idle, terms.wake)
    patience = limits.time + MORE_TIME + (0.0 if terms.idle is None else terms.wake)
    options = HTTPOptions(host=HOST, port=port.number, request_timeout_s=patience, keep_alive_timeout_s=KEEP_ALIVE)
    try:
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=options,
            grpc_options=None
            if grpc is None
            else gRPCOptions(
                port=grpc.number,
                grpc_servicer_functions=[OFFERED],
                request_timeout_s=patience,
                enable_reflection=False,
            ),
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
        client = _get_global_client()
        number = int(client.http_config.port) if client is not None else port.number
    except Exception as error:
        if not port_free(port.number):
            raise EnvironmentFault(
                f"Port {port.number} on {HOST} was taken while Serve started.", "Name another one."
            ) from error
        raise ServingError(f"Ray Serve did not start: {_reason(error)}", "See its logs in Ray's folder.") from error
    if port.asked and number != port.number:
        raise ServingError(f"This Ray serves on port {number} already.", "Ask for that port, or for none.")
    return number


def bring_up(
    door: FrontDoor,
    bundle_folder: Path,
    row: Mapping[str, Any],
    *,
    trust: Collection[str] = (),
    per_hour: Dollars | None = None,
    scaling: Scaling | None = None,
    timeout: float = 60.0,
) -> Endpoint:
    """Put a bundle behind a door that was opened, and return once it has answered ``row``.

    Raises:
        ServingError: it did not come up, or did not answer. BundleError: the folder is no bundle, or a damaged one.
    """
    number = door.wait(timeout)
    endpoint = deploy(
        bundle_folder, port=number, trust=trust, per_hour=per_hour, guarding=door.guarding, scaling=scaling
    )
    first_request(endpoint.url, row, key=endpoint.probe)
    return endpoint


def deploy(
    bundle_folder: Path,
    *,
    port: int,
    name: str = "model",
    cpus: float = 0.0,
    trust: Collection[str] = (),
    per_hour: Dollars | None = None,
    guarding: Guarding | None = None,
    scaling: Scaling | None = None,
    timeout: float = 60.0,
) -> Endpoint:
    """Put a bundle behind the Serve that runs, in the place of the one before it, and return once it answers.

    Args:
        bundle_folder: the bundle; a link is followed once, now.
        port: where the proxy listens.
        name: of the model, in its routes.
        cpus: that Ray reserves per replica; 0 fits beside actors that hold every CPU and wait.
        trust: families outside lepton_ray whose code the bundle may import.
        per_hour: what the endpoint's machines cost, for its page and its metrics.
        guarding: who may ask, how much and how often; by default everybody, within the usual limits.
        scaling: how many replicas, and why; by default from one up to this machine's cores, as requests queue.
        timeout: seconds until it counts as failed.

    Raises:
        BundleError: the folder is no bundle, or a damaged one; the one before it serves on.
        ServingError: no replica came up with it.
    """
    began = time.monotonic()
    guarding, probe = guarding or Guarding(), ""
    if guarding.keys:
        probe = new_key()
        guarding = replace(guarding, probe=digest_of(probe))
    scaling = scaling or Scaling.on_one_host(os.cpu_count() or 1, per_hour, Asked(), guarding.limits)
    application = application_of(
        bundle_folder, name=name, scaling=scaling, cpus=cpus, trust=trust, per_hour=per_hour, guarding=guarding
    )
    bundle_id = manifest_of(Path(bundle_folder).resolve())[0]
    _run(application, timeout)
    url = f"http://{HOST}:{port}"
    endpoint = Endpoint(url, name, bundle_id, time.monotonic() - began, probe)
    _check_version(endpoint, timeout=10.0)
    return replace(endpoint, seconds=time.monotonic() - began)


def application_of(
    bundle_folder: Path | str,
    *,
    name: str,
    scaling: Scaling,
    cpus: float,
    trust: Collection[str] = (),
    per_hour: Dollars | None = None,
    guarding: Guarding | None = None,
) -> Any:
    """The Serve application of a bundle, once its files are seen to be whole.

    Raises:
        BundleError: the folder is no bundle, or a damaged one.
    """
    folder = Path(bundle_folder).resolve()
    bundle_id, manifest = manifest_of(folder)
    manifest.check_files(folder)
    manifest.check_versions(folder)
    guarding = guarding or Guarding()
    config = {
        "folder": str(folder),
        "bundle": bundle_id,
        "name": name,
        "trust": sorted(trust),
        "per_hour_micros": None if per_hour is None else per_hour.micros,
        "guard": guarding.plain(),
        "most": scaling.terms.most,
    }
    return _application(config, scaling, cpus, guarding.limits.work + guarding.limits.queue)


def _application(config: Mapping[str, Any], scaling: Scaling, cpus: float, inside: int) -> Any:
    """The Serve application. Its version never changes, so a new config reaches the replicas that run.

    Serve's own bounds lie behind those of the guard, which lets ``inside`` requests in and reads as many bodies: what
    they refuse, the guard has not seen.
    """
    from ray import serve
    from ray.serve.config import BackpressureConfig

    from lepton_ray.on_ray.replica import Replica
    from lepton_ray.on_ray.scaling import autoscaling_config

    deployment = serve.deployment(
        name="model",
        user_config=dict(config),
        autoscaling_config=autoscaling_config(scaling),
        ray_actor_options={"num_cpus": cpus},
        max_ongoing_requests=2 * inside + 16,
        max_queued_requests=inside + 128,
        backpressure_config=BackpressureConfig(status_code=503, retry_after_s=1),
        max_surge_percent=100,
        max_constructor_retry_count=2,
        health_check_period_s=5,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=2,
        graceful_shutdown_wait_loop_s=0.1,
    )(Replica)
    return deployment.options(version="1", _internal=True).bind(_on_one_host())


def first_request(url: str, row: Mapping[str, Any], *, key: str = "", timeout: float = 15.0) -> dict[str, Any]:
    """Ask the endpoint for one row and return its prediction: the proof that it answers.

    Raises:
        ServingError: it refused the row, or did not answer in time.
    """
    answer: dict[str, Any] = _ask(f"{url}/predict", {"rows": [dict(row)]}, key, timeout)["predictions"][0]
    return answer


def _check_version(endpoint: Endpoint, *, timeout: float) -> None:
    """Refuse an endpoint that answers for another bundle than the one just deployed."""
    versions = _ask(f"{endpoint.url}/v2/models/{endpoint.name}", None, endpoint.probe, timeout)["versions"]
    if versions != [endpoint.bundle[:12]]:
        raise ServingError(
            f"The endpoint at {endpoint.url} still serves bundle {versions[0]}.",
            "The new one failed there; see the replica's log.",
        )


def _ask(url: str, body: Any, key: str, timeout: float) -> Any:
    """Send one request, again and again while the endpoint is not there yet."""
    ends = time.monotonic() + timeout
    said = "no answer"
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **({"x-api-key": key} if key else {})}
    while time.monotonic() < ends:
        request = urllib.request.Request(url, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=max(0.1, ends - time.monotonic())) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read(500).decode(errors='replace')}"
            if error.code not in (404, 429, 502, 503):
                break
        except (OSError, ValueError) as error:
            said = str(error)
        time.sleep(0.05)
    raise ServingError(f"The endpoint did not answer {url}: {said}", "See the replica's log in Ray's folder.")


def _run(application: Any, timeout: float) -> None:
    """Deploy in a thread of its own: ``serve.run`` knows no time-out."""
    from ray import serve

    fault: list[BaseException] = []

    def work() -> None:
        try:
            serve.run(application, name=APPLICATION, route_prefix="/")
        except BaseException as error:
            fault.append(error)

    thread = threading.Thread(target=work, name="deploy", daemon=True)
    thread.start()
    thread.join(timeout)
    if thread.is_alive():
        raise ServingError(f"No replica was ready after {timeout:g} seconds.", "Try again on a machine less busy.")
    if fault:
        raise ServingError(
            f"The bundle was not deployed: {_reason(fault[0])}", "Try `lepton predict` on it for the cause."
        )


def _on_one_host() -> bool:
    import ray

    address: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return address == HOST


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
