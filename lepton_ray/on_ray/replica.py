"""The process that answers: one bundle behind our ASGI app, and another one in its place when told so.

Imported inside Serve's replicas. It knows nothing about deployments: ``serving.py`` makes them.
"""

import asyncio
import logging
import time
from typing import Any

import ray
from ray import serve
from starlette.types import ASGIApp, Receive, Scope, Send

from lepton_ray.bundle.kinds import load_any
from lepton_ray.bundle.tensors import TensorBundle
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_ray.board import Board
from lepton_ray.on_ray.calls import Encoded, answer
from lepton_ray.on_ray.scaling import reported
from lepton_ray.serving.app import build_app
from lepton_ray.serving.guard import Guard
from lepton_ray.serving.guarding import Guarding
from lepton_ray.serving.recent import Recent
from lepton_ray.serving.standing import Standing
from lepton_ray.serving.tensor_app import build_tensor_app

log = logging.getLogger("lepton_ray.serving")


@serve.ingress()
class Replica:
    """A Serve deployment around a bundle. It is up only once that bundle has answered a row.

    A new bundle arrives as a new ``user_config``; requests go to the old one until the new one has answered a row,
    so none fails, and none waits for a process to start. The guard stays, unless another one is asked for: what a key
    has spent is not given back.
    """

    def __init__(self, loopback: bool) -> None:
        if loopback:
            stay_on_loopback()
        here = serve.get_replica_context()
        self._app: ASGIApp | None = None
        self._replica = str(here.replica_tag)
        self._board = Board(here.app_name)
        self._recent = Recent(time.monotonic)
        self._node = str(ray.get_runtime_context().get_node_id())
        self._guarded: tuple[Guarding, Guard] | None = None

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Load, verify and warm the bundle that ``config`` names; one that fails leaves the old one serving."""
        try:
            guarding = Guarding.from_plain(config["guard"])
            guard = self._guard(guarding, config["most"])
            self._board.watch()
            micros = config["per_hour_micros"]
            per_hour = None if micros is None else Dollars(micros)
            standing = Standing(self._replica, per_hour, lambda: self._board.now)
            self._app = await asyncio.to_thread(_warm_app, config, standing, guard)
            self._guarded = guarding, guard
        except Exception as error:
            if self._app is None:
                raise
            log.error("Bundle %s was refused, the old one serves on: %s", config["bundle"][:12], type(error).__name__)

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve carries to the scaling policy, twice a second."""
        return reported(self._recent.beat(), self._node)

    def _guard(self, guarding: Guarding, most: int) -> Guard:
        if self._guarded is not None and self._guarded[0] == guarding:
            return self._guarded[1]
        return guarding.guard(serve.get_replica_context().rank.rank, lambda: self._board.replicas(most), self._recent)

    async def ServerLive(self, request: bytes, grpc_context: Any) -> Encoded:
        """Say that it is alive; this and the next five are Open Inference Protocol over gRPC."""
        return await self._called("ServerLive", request, grpc_context)

    async def ServerReady(self, request: bytes, grpc_context: Any) -> Encoded:
        """Say that it is ready."""
        return await self._called("ServerReady", request, grpc_context)

    async def ServerMetadata(self, request: bytes, grpc_context: Any) -> Encoded:
        """Say what serves here."""
        return await self._called("ServerMetadata", request, grpc_context)

    async def ModelReady(self, request: bytes, grpc_context: Any) -> Encoded:
        """Say that the model is ready."""
        return await self._called("ModelReady", request, grpc_context)

    async def ModelMetadata(self, request: bytes, grpc_context: Any) -> Encoded:
        """Say what goes into the model and what comes out."""
        return await self._called("ModelMetadata", request, grpc_context)

    async def ModelInfer(self, request: bytes, grpc_context: Any) -> Encoded:
        """Infer."""
        return await self._called("ModelInfer", request, grpc_context)

    async def _called(self, method: str, request: bytes, context: Any) -> Encoded:
        assert self._app is not None  # Serve calls nothing before the first bundle is there
        return await answer(self._app, method, request, context)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        async def asked(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await _live(receive, send)
            elif self._app is not None:
                await self._app(scope, receive, send)

        return asked


def _warm_app(config: dict[str, Any], standing: Standing, guard: Guard) -> ASGIApp:
    bundle = load_any(config["folder"], expected_id=config["bundle"], trust=config["trust"])
    if isinstance(bundle, TensorBundle):
        bundle.predict({name: [value] for name, value in bundle.manifest.example.items()})
        return build_tensor_app(bundle, config["name"], standing, guard)
    bundle.predict(dict(bundle.manifest.example))
    return build_app(bundle, config["name"], standing, guard)


async def _live(receive: Receive, send: Send) -> None:
    """Say yes to the start and to the end; a bundle needs neither."""
    while True:
        event = (await receive())["type"]
        await send({"type": f"{event}.complete"})
        if event == "lifespan.shutdown":
            return


def stay_on_loopback() -> None:
    """Bind the gRPC port that every replica opens for its peers to 127.0.0.1.

    Serve writes ``[::]`` there and offers no setting, though every peer asks for it at the node's address, which is
    127.0.0.1 on a one-host Ray. Should Serve change, this does nothing and says so.
    """
    from ray.serve._private import replica

    bind = getattr(replica, "add_port_to_grpc_server", None)
    if bind is None:
        log.warning("A replica's internal port is open beyond loopback: this Ray binds it elsewhere.")
        return
    vars(replica)["add_port_to_grpc_server"] = lambda server, address: bind(
        server, address.replace("[::]", "127.0.0.1")
    )
