"""One private Ray on this host: its environment, its boot in a thread that outlives it, its end. Or somebody's, joined.

It knows nothing about Tune, Serve or tables. Three facts shape it:

- The kernel ends Ray's head processes when the *thread* that started them ends (PDEATHSIG follows the thread), so
  the boot thread stays for as long as Ray does.
- Ray reads its environment at import, and hands it to every process that it starts: it is written first, or where Ray
  has been imported before, read again (without that its ports would be open to everybody).
- ``ray.init()`` joins whatever Ray it finds and stores a token in the home folder: ``address="local"`` and a token
  of our own prevent both.
"""

import logging
import math
import os
import secrets
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from lepton_ray.errors import EnvironmentFault, UsageError

LONGEST_TEMP_DIR = 40
"""Ray puts about 65 more characters behind it, and a Unix socket's path ends at 107."""

KNOCK_SECONDS = 3.0
BOOT_SECONDS = 30.0
"""How long a search waits for a Ray: it took 4 to 10, twice that on a busy machine."""
VITAL = ("gcs_server", "raylet")
"""Processes without which a Ray is of no use."""
SMALLEST_OBJECT_STORE = 80 * 2**20

CALLBACK = "lepton_ray.on_ray.ingress.middlewares"
"""By this name Serve's proxy finds our front."""

ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
    "RAY_AUTH_MODE": "token",
    # Named for other systems, but on Linux too it is what keeps every port of a one-host Ray on loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "86400",  # a minute after its end Ray would end this process, too
    "RAY_SERVE_GRPC_MAX_MESSAGE_SIZE": str(64 << 20),  # else 2 GiB, read before our guard can say that it is too much
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": CALLBACK,
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "2",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
}


JOINING = {
    **{name: value for name, value in ENVIRONMENT.items() if "TUNE" in name or name in ("RAY_AIR_NEW_OUTPUT",)},
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
}
"""In a cluster who may come in, and by which ports, is the cluster's affair; and how much waits for a node is ours."""


def write_environment() -> None:
    """Write the environment that Ray needs; where it is imported already it reads it again. A token there is kept."""
    os.environ.update(ENVIRONMENT)
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    if "ray._raylet" in sys.modules:
        _read_environment_again()


@contextmanager
def quiet_tune() -> Iterator[None]:
    """Keep Tune from printing and logging in a Ray that was not started with our environment; afterwards the
    environment is as it was."""
    ours = {name: value for name, value in ENVIRONMENT.items() if "TUNE" in name or name == "RAY_AIR_NEW_OUTPUT"}
    before = {name: os.environ.get(name) for name in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def short_temp_path() -> Path:
    """Where a folder can be made whose path is short enough for Ray's sockets, named after this process."""
    place, name = tempfile.gettempdir(), f"lepton-{os.getpid():x}-{secrets.token_hex(4)}"
    return Path("/tmp" if len(place) + len(f"/{name}") > LONGEST_TEMP_DIR else place, name)


def short_temp_dir() -> Path:
    """Make an empty folder there."""
    return made(short_temp_path())


def made(temp_dir: Path) -> Path:
    """Make the folder, for this user alone, where it is not there yet.

    Raises:
        EnvironmentFault: the disk refused.
    """
    try:
        temp_dir.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise EnvironmentFault(
            f"No temporary folder could be made in {temp_dir.parent}: {error.strerror}.",
            "Free some space there, or set TMPDIR to a short path that can be written.",
        ) from error
    return temp_dir


def boot(temp_dir: Path, cpus: int, object_store_bytes: int) -> None:
    """Start a Ray of our own and connect to it; the calling thread must live for as long as that Ray.

    Raises:
        EnvironmentFault: the path is too long, or Ray did not come up.
    """
    if len(str(temp_dir)) > LONGEST_TEMP_DIR:
        raise EnvironmentFault(
            f"Ray's temporary folder {temp_dir} has a path of {len(str(temp_dir))} characters, "
            f"more than the {LONGEST_TEMP_DIR} that its sockets leave.",
            "Set TMPDIR to a shorter path.",
        )
    write_environment()
    import ray

    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            num_gpus=0,
            object_store_memory=max(object_store_bytes, SMALLEST_OBJECT_STORE),
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _temp_dir=str(temp_dir),
            _node_ip_address="127.0.0.1",
        )
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EnvironmentFault(
            f"Ray did not start on this machine: {reason}",
            f"Its logs are in {temp_dir}; free memory or disk and try again.",
        ) from error


def join(address: str) -> None:
    """Connect to a Ray that runs; nothing of it ends with this process but what this process has asked for.

    Args:
        address: host and port of its head, or "auto" for the one on this machine.

    Raises:
        UsageError: that is no address. EnvironmentFault: nobody answers there, or lets us in without a token.
    """
    _knock(address)
    os.environ.update(JOINING)
    import ray

    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EnvironmentFault(
            f"The Ray cluster at {address} cannot be joined: {reason.rstrip('.')}.",
            "Check that it runs and that this machine is one of its nodes; its token belongs into RAY_AUTH_TOKEN.",
        ) from error


def _knock(address: str) -> None:
    """See at once whether anybody is there: Ray takes most of a minute to say that nobody is."""
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise UsageError(f"--address is '{address}'.", "Write host:port of the cluster's head, or auto.")
    try:
        socket.create_connection((host, int(port)), timeout=KNOCK_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise EnvironmentFault(
            f"Nobody answers at {address} ({error}).", "Check that the cluster runs there, and its port."
        ) from None


def _read_environment_again() -> None:
    """Ray read it when somebody imported it before us, without our token and our loopback."""
    from ray._private import ray_constants
    from ray._raylet import Config  # type: ignore[attr-defined]

    Config.initialize("")
    ray_constants.ENABLE_RAY_CLUSTER = False


class Session:
    """A Ray that boots in the background, or the one that this process has already.

    Attributes:
        ready: set once Ray can be used, or once it is known that it cannot (then ``error`` says why).
        owned: whether this session started the Ray, and so may end it.
    """

    def __init__(self, temp_dir: Path, *, cpus: int, object_store_bytes: int, preload: Sequence[str] = ()) -> None:
        """``preload``: modules of whoever comes after it, imported while Ray boots."""
        self.temp_dir = temp_dir
        self._preload = preload
        self.ready = threading.Event()
        self.error: Exception | None = None
        self.owned = False
        self._began = math.inf
        self._cpus = cpus
        self._object_store_bytes = object_store_bytes
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._live, name="ray-session", daemon=True)

    def start(self) -> "Session":
        """Begin to boot and return at once. The environment is written before anyone else can import ``ray``.

        A session that has begun already goes on.
        """
        if self._thread.ident is not None:
            return self
        if not is_running():
            write_environment()
        self._began = time.monotonic()
        self._thread.start()
        threading.Thread(target=lambda: [import_module(name) for name in self._preload], daemon=True).start()
        return self

    def wait(self, timeout: float | None = None) -> None:
        """Return when Ray is ready.

        Raises:
            EnvironmentFault: it did not start, or not within ``timeout`` seconds.
        """
        if not self.ready.wait(timeout):
            raise EnvironmentFault(
                f"Ray was not ready after {timeout:g} seconds.", "Give the run more time, or a machine less busy."
            )
        if self.error is not None:
            raise self.error

    @property
    def trouble(self) -> str | None:
        """Why nobody should wait for it any longer, though it may still come; None where it is there, or young."""
        if self.error is not None:
            return f"did not start ({self.error})"
        slow = not self.ready.is_set() and time.monotonic() - self._began > BOOT_SECONDS
        return f"was not ready after {BOOT_SECONDS:.0f} s" if slow else None

    def ended(self) -> str | None:
        """Which process of the Ray that this session started has ended by itself; None: none that is known of."""
        if not self.owned:
            return None
        from ray._private import worker

        node = worker._global_node  # no public way says it before half a minute is over
        dead: list[str] = [kind for kind, _ in node.dead_processes() if kind in VITAL] if node is not None else []
        return f"its {dead[0]} ended" if dead else None

    def stop(self, timeout: float = 10.0) -> None:
        """End the Ray that this session started, and remove its folder. One that was there before is left alone."""
        if not self._thread.is_alive():
            return
        self._end.set()
        self._thread.join(timeout)

    def _live(self) -> None:
        try:
            if not is_running():
                boot(made(self.temp_dir), self._cpus, self._object_store_bytes)
                self.owned = True
        except Exception as error:
            self.error = error
        self.ready.set()
        self._end.wait()
        if self.owned:
            import ray as running

            running.shutdown()
        shutil.rmtree(self.temp_dir, ignore_errors=True)


def is_running() -> bool:
    """Whether this process has a Ray already."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())
