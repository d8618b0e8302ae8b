"""gRPC at Serve's edges: the service that its proxy offers, its port on loopback, and calls handed to our app.

What a call means stands in ``serving.calls``.
"""

import logging
from typing import Any

import grpc
from google.protobuf.message_factory import GetMessageClass
from starlette.types import ASGIApp

from lepton_ray.serving.calls import SERVICE, call

OFFERED = "lepton_ray.on_ray.calls.offer"
"""By this name Serve's proxy finds the service."""

log = logging.getLogger("lepton_ray.serving")


def offer(servicer: Any, server: Any) -> None:
    """Register the methods of the protocol at a gRPC server; Serve puts its own handlers into their place."""
    handlers = {
        method.name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, method.name),
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=GetMessageClass(method.output_type).SerializeToString,
        )
        for method in SERVICE.methods
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE.full_name, handlers),))


async def answer(app: ASGIApp, method: str, request: Any, context: Any) -> Any:
    """Answer one call by the app; a refusal is a status with its sentence, and a message without anything."""
    called = await call(app, method, request.SerializeToString(), context.invocation_metadata())
    context.set_trailing_metadata(list(called.trailing))
    if called.code != "OK":
        context.set_code(grpc.StatusCode[called.code])
        context.set_details(called.details)
    return GetMessageClass(SERVICE.methods_by_name[method].output_type).FromString(called.answer)


def stay_on_loopback() -> None:
    """Bind the gRPC port of the proxy in this process to 127.0.0.1, before it is opened.

    Serve writes ``[::]`` there and offers no setting. Should Serve change, this does nothing and says so.
    """
    from ray.serve._private import default_impl

    bind = getattr(default_impl, "add_grpc_address", None)
    if bind is None:
        log.warning("A gRPC port would be open beyond loopback: this Ray binds it elsewhere.")
        return
    vars(default_impl)["add_grpc_address"] = lambda server, address: bind(server, address.replace("[::]", "127.0.0.1"))
