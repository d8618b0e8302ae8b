"""What Serve's HTTP proxy asks for when it starts: the middlewares that stand in it. It decides nothing.

Serve finds it by ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` in the environment that Ray was started with, and hands
it no argument: how many requests a proxy may have in hand stands in Ray's own key-value store before.
"""

from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put
from starlette.middleware import Middleware

from lepton_ray.on_ray.calls import stay_on_loopback
from lepton_ray.serving.front import Front

_INSIDE = b"lepton_ray.front.inside"


def let_in(inside: int) -> None:
    """Let each proxy that starts from now on have so many requests in hand."""
    _internal_kv_put(_INSIDE, b"%d" % inside)


def middlewares() -> list[Middleware]:
    """The front alone. This is also where a proxy can be told, before it opens it, where its gRPC port belongs."""
    stay_on_loopback()
    told = _internal_kv_get(_INSIDE)
    return [Middleware(Front, **({"inside": int(told)} if told else {}))]
