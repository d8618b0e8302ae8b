"""The process that answers: one bundle behind our ASGI app, and another one in its place when told so.

Imported inside Serve's replicas. It knows nothing about deployments: ``serving.py`` makes them.
"""

import asyncio
import logging
from typing import Any

from ray import serve
from starlette.types import ASGIApp, Receive, Scope, Send

from lepton_ray.bundle.kinds import load_any
from lepton_ray.bundle.tensors import TensorBundle
from lepton_ray.money.dollars import Dollars
from lepton_ray.serving.app import build_app
from lepton_ray.serving.standing import Standing
from lepton_ray.serving.tensor_app import build_tensor_app

log = logging.getLogger("lepton_ray.serving")


@serve.ingress()
class Replica:
    """A Serve deployment around a bundle. It is up only once that bundle has answered a row.

    A new bundle arrives as a new ``user_config``; requests go to the old one until the new one has answered a row,
    so none fails, and none waits for a process to start.
    """

    def __init__(self, loopback: bool) -> None:
        if loopback:
            stay_on_loopback()
        self._app: ASGIApp | None = None
        self._replica = str(serve.get_replica_context().replica_tag)

    async def reconfigure(self, config: dict[str, Any]) -> None:
        """Load, verify and warm the bundle that ``config`` names; one that fails leaves the old one serving."""
        try:
            self._app = await asyncio.to_thread(_warm_app, config, self._replica)
        except Exception as error:
            if self._app is None:
                raise
            log.error("Bundle %s was refused, the old one serves on: %s", config["bundle"][:12], type(error).__name__)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "lifespan":
                await _live(receive, send)
            elif self._app is not None:
                await self._app(scope, receive, send)

        return answer


def _warm_app(config: dict[str, Any], replica: str) -> ASGIApp:
    micros = config["per_hour_micros"]
    standing = Standing(replica, None if micros is None else Dollars(micros))
    bundle = load_any(config["folder"], expected_id=config["bundle"], trust=config["trust"])
    if isinstance(bundle, TensorBundle):
        bundle.predict({name: [value] for name, value in bundle.manifest.example.items()})
        return build_tensor_app(bundle, config["name"], standing)
    bundle.predict(dict(bundle.manifest.example))
    return build_app(bundle, config["name"], standing)


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
