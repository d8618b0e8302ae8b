"""Serve on this host: a port of our own, controller and proxy ahead of time, a bundle deployed, one answer proven.

It knows nothing about how the bundle was made. ``FrontDoor`` can be begun while the search still runs: it takes
several seconds of mostly waiting, and the deployment that follows needs only what is then there.
"""

import json
import logging
import os
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_ray.bundle.manifest import read_manifest
from lepton_ray.errors import EnvironmentFault, LeptonError, ServingError

DEFAULT_PORT = 8000
HOST = "127.0.0.1"
REQUEST_TIMEOUT = 30.0
KEEP_ALIVE = 30
APPLICATION = "lepton"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a bundle answers.

    Attributes:
        seconds: what it took, by part.
    """

    url: str
    name: str
    bundle: str
    seconds: Mapping[str, float] = field(default_factory=dict)


class Port:
    """A TCP port on loopback that was free a moment ago, and that no other lepton_ray takes while this one lives.

    Serve binds with SO_REUSEPORT: on a taken port it would not fail but share the traffic, so this is found out before.
    """

    def __init__(self, number: int, claim: socket.socket | None) -> None:
        self.number = number
        self._claim = claim

    @classmethod
    def reserve(cls, asked: int | None = None) -> "Port":
        """Reserve the port asked for, or 8000, or any free one where none was asked for.

        Raises:
            EnvironmentFault: the port asked for is taken.
        """
        if asked:
            port = cls._try(asked)
            if port is None:
                raise EnvironmentFault(
                    f"Port {asked} on {HOST} is taken.", "Name another one, or none to have a free one chosen."
                )
            return port
        candidates = [DEFAULT_PORT, *(_any_port() for _ in range(8))]
        for number in candidates:
            port = cls._try(number)
            if port is not None:
                return port
        raise EnvironmentFault(f"No free port was found on {HOST}.", "Name one yourself.")

    def close(self) -> None:
        """Let others have it."""
        if self._claim is not None:
            self._claim.close()

    @classmethod
    def _try(cls, number: int) -> "Port | None":
        claim = None
        if sys.platform == "linux":
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                claim.bind(f"\0lepton-ray-port-{number}")
            except OSError:
                claim.close()
                return None
        if port_free(number):
            return cls(number, claim)
        if claim is not None:
            claim.close()
        return None


def port_free(number: int) -> bool:
    """Whether nobody listens on this port, on loopback or on all interfaces."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, number))
            probe.listen(1)
        except (OSError, OverflowError):
            return False
    return True


class FrontDoor:
    """Serve's controller and proxy, started in the background on a Ray that is ready."""

    def __init__(self, port: Port) -> None:
        self.port = port
        self.seconds = 0.0
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._open, name="front-door", daemon=True)

    def open(self) -> "FrontDoor":
        """Begin, and return at once."""
        self._thread.start()
        return self

    def wait(self, timeout: float = 60.0) -> None:
        """Return when the proxy listens.

        Raises:
            ServingError: it does not, or not in time.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise ServingError(f"Ray Serve was not up after {timeout:g} seconds.", "Try again on a machine less busy.")
        if self._error is not None:
            raise self._error

    def _open(self) -> None:
        began = time.monotonic()
        try:
            start_serve(self.port.number)
        except LeptonError as error:
            self._error = error
        except Exception as error:
            self._error = ServingError(f"Ray Serve did not start: {_reason(error)}", "See its logs in Ray's folder.")
        self.seconds = time.monotonic() - began


def start_serve(port: int) -> None:
    """Start Serve's controller and its one HTTP proxy on loopback; gRPC stays off.

    Raises:
        EnvironmentFault: somebody took the port meanwhile.
        ServingError: another Serve runs on this Ray already, on another port.
    """
    from ray import serve
    from ray.serve.config import HTTPOptions, ProxyLocation

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    options = HTTPOptions(host=HOST, port=port, request_timeout_s=REQUEST_TIMEOUT, keep_alive_timeout_s=KEEP_ALIVE)
    try:
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=options,
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    except Exception as error:
        if not port_free(port):
            raise EnvironmentFault(f"Port {port} on {HOST} was taken while Serve started.", "Name another.") from error
        raise ServingError(f"Ray Serve did not start: {_reason(error)}", "See its logs in Ray's folder.") from error


def deploy(
    bundle_folder: Path,
    *,
    port: int,
    name: str = "model",
    replicas: int | None = None,
    cpus: float = 0.0,
    trust: Collection[str] = (),
    timeout: float = 60.0,
) -> Endpoint:
    """Put a bundle behind a Serve that runs, and return once a replica is ready.

    Args:
        bundle_folder: the bundle; a link is followed once, now.
        port: of the proxy.
        name: of the model, in its routes.
        replicas: autoscale from one up to so many; by default the machine's cores.
        cpus: that Ray reserves per replica; 0 fits beside actors that hold every CPU and wait.
        trust: families outside lepton_ray whose code the bundle may import.
        timeout: seconds until it counts as failed.

    Raises:
        BundleError: the folder is no bundle.
        ServingError: no replica came up.
    """
    from ray import serve

    from lepton_ray.on_ray.replica import Replica

    began = time.monotonic()
    folder = Path(bundle_folder).resolve()
    bundle_id, _ = read_manifest(folder)
    deployment = serve.deployment(
        name="model",
        autoscaling_config={
            "min_replicas": 1,
            "initial_replicas": 1,
            "max_replicas": max(1, replicas or os.cpu_count() or 1),
            "target_ongoing_requests": 4,
            "upscale_delay_s": 3,
            "downscale_delay_s": 60,
            "look_back_period_s": 11,
        },
        ray_actor_options={"num_cpus": cpus},
        max_ongoing_requests=16,
        max_queued_requests=128,
        max_surge_percent=100,
        health_check_period_s=5,
        health_check_timeout_s=10,
        graceful_shutdown_timeout_s=2,
        graceful_shutdown_wait_loop_s=0.1,
    )(Replica)
    application = deployment.bind(str(folder), bundle_id, name, tuple(trust), _on_one_host())
    _run(serve, application, timeout)
    return Endpoint(f"http://{HOST}:{port}", name, bundle_id, {"deploy": time.monotonic() - began})


def undeploy() -> None:
    """Take the bundle down and let Serve run on; quick, and does not wait for the replicas."""
    from ray import serve

    serve.delete(APPLICATION, _blocking=False)


def first_request(url: str, row: Mapping[str, Any], *, timeout: float = 15.0) -> dict[str, Any]:
    """Ask the endpoint for one row and return its prediction: the proof that it answers.

    Raises:
        ServingError: it refused the row, or did not answer in time.
    """
    body = json.dumps({"rows": [dict(row)]}).encode()
    ends = time.monotonic() + timeout
    said = "no answer"
    while time.monotonic() < ends:
        request = urllib.request.Request(f"{url}/predict", body, {"content-type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=max(0.1, ends - time.monotonic())) as reply:
                answer: dict[str, Any] = json.load(reply)["predictions"][0]
                return answer
        except urllib.error.HTTPError as error:
            said = f"{error.code} {error.read(500).decode(errors='replace')}"
            if error.code not in (404, 429, 502, 503):
                break
        except (OSError, ValueError, LookupError) as error:
            said = str(error)
        time.sleep(0.05)
    raise ServingError(f"The endpoint at {url} did not answer its first row: {said}", "See the replica's log.")


def _run(serve: Any, application: Any, timeout: float) -> None:
    """Deploy in a thread of its own: ``serve.run`` knows no time-out."""
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


def _any_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
