"""gRPC at Serve's edges: the service that its proxy offers, its port on loopback, and calls handed to our app.

What a call means stands in ``serving.calls``.
"""

from dataclasses import dataclass
from typing import Any

import grpc
from starlette.types import ASGIApp

from lepton_ray.serving.calls import METHODS, SERVICE, call

OFFERED = "lepton_ray.on_ray.calls.offer"
"""By this name Serve's proxy finds the service."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A message as it travels; Serve and gRPC ask a response for its bytes by this name."""

    content: bytes

    def SerializeToString(self) -> bytes:
        """Its bytes."""
        return self.content


def offer(servicer: Any, server: Any) -> None:
    """Register the methods of the protocol at a gRPC server; Serve puts its own handlers into their place.

    A request is not read on its way: the replica does that, once its guard has let it in.
    """
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method), request_deserializer=bytes, response_serializer=Encoded.SerializeToString
        )
        for method in METHODS
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),))


async def answer(app: ASGIApp, method: str, request: bytes, context: Any) -> Encoded:
    """Answer one call by the app; a refusal is a status with its sentence, and a message without anything."""
    called = await call(app, method, request, context.invocation_metadata())
    context.set_trailing_metadata(list(called.trailing))
    if called.code != "OK":
        context.set_code(grpc.StatusCode[called.code])
        context.set_details(called.details)
    return Encoded(called.answer)


def can_stay() -> bool:
    """Whether this Ray's Serve binds its gRPC port where it can be kept on loopback; else no port may be opened."""
    from ray.serve._private import default_impl

    return hasattr(default_impl, "add_grpc_address")


def stay_on_loopback() -> None:
    """Bind the gRPC port of the proxy in this process to 127.0.0.1, before it is opened.

    Serve writes ``[::]`` there and offers no setting. Should Serve change, this does nothing; see ``can_stay``.
    """
    from ray.serve._private import default_impl

    if not can_stay():
        return
    bind = default_impl.add_grpc_address
    vars(default_impl)["add_grpc_address"] = lambda server, address: bind(server, address.replace("[::]", "127.0.0.1"))
