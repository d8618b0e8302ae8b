"""What Serve's HTTP proxy asks for when it starts: the middlewares that stand in it. It decides nothing.

Serve finds it by ``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH`` in the environment that Ray was started with.
"""

from starlette.middleware import Middleware

from lepton_ray.serving.front import Front


def middlewares() -> list[Middleware]:
    """The front alone."""
    return [Middleware(Front)]
