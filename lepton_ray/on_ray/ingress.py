"""What Serve's HTTP proxy asks for when it starts: the middlewares that stand in it. It decides nothing.

Serve finds it by ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` in the environment that Ray was started with, and hands
it no argument: what a proxy is to know stands in Ray's own key-value store before.
"""

import json

from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put
from starlette.middleware import Middleware

from lepton_ray.on_ray.calls import stay_on_loopback
from lepton_ray.serving.front import Front

_TOLD = b"lepton_ray.front"


def let_in(inside: int, idle: float | None, wake: float) -> None:
    """Tell each proxy that starts from now on how many requests it may have in hand, and how it is with sleep.

    Args:
        idle, wake: seconds, as ``Front`` takes them.
    """
    _internal_kv_put(_TOLD, json.dumps({"inside": inside, "idle": idle, "wake": wake}).encode())


def middlewares() -> list[Middleware]:
    """The front alone. This is also where a proxy can be told, before it opens it, where its gRPC port belongs."""
    stay_on_loopback()
    told = _internal_kv_get(_TOLD)
    return [Middleware(Front, **(json.loads(told) if told else {}))]
