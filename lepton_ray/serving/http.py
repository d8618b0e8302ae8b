"""How an endpoint reads a request and says what is wrong with it. It knows no model, and nothing about routes.

Requests are read as bytes and JSON only; logs hold routes and kinds of fault, never a value of a row.
"""

import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from lepton_ray import __version__
from lepton_ray.errors import DataError, UsageError
from lepton_ray.serving.metrics import CONTENT_TYPE, Metrics
from lepton_ray.serving.page import CSP
from lepton_ray.serving.schema import Refusal, dump

MAX_BODY = 8 << 20
DRAINED = 8 * MAX_BODY
"""So much of a body that is too large is read and thrown away: a client that still sends would not see its 413."""

INLINE_BODY = 16 << 10
"""A body up to this size is answered in the event loop: a thread would cost more than it frees."""

MOST_WAITING = 3
"""So many requests wait for work that is done alone: each holds one of the places that quick ones need."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Work = Callable[[bytes], bytes]

log = logging.getLogger("lepton_ray.serving")


def checked_name(name: str) -> str:
    """The name of a model, if it can stand in a route.

    Raises:
        UsageError: it cannot.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a model in a route.", "Use letters, digits, dots and dashes.")
    return name


def protocol_routes(
    name: str, metadata: Mapping[str, object], metrics: Metrics, *, predict: Work, infer: Work
) -> list[Route]:
    """The routes that every endpoint has: plain rows, Open Inference Protocol v2, and what was counted."""
    model = f"/v2/models/{name}"

    async def exposition(request: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return [
        Route("/predict", answered(predict), methods=["POST"]),
        Route(f"{model}/infer", answered(infer), methods=["POST"]),
        Route(model, constant(dump(metadata))),
        Route(f"{model}/ready", constant(dump({"name": name, "ready": True}))),
        Route("/v2", constant(dump({"name": "lepton_ray", "version": __version__, "extensions": []}))),
        Route("/v2/health/live", constant(dump({"live": True}))),
        Route("/v2/health/ready", constant(dump({"live": True, "ready": True}))),
        Route("/metrics", exposition),
    ]


def app_of(routes: list[Route], metrics: Metrics, *, guide: str) -> ASGIApp:
    """The app of these routes, every request of which is counted; ``guide`` says where they are told."""
    paths = {route.path for route in routes}

    async def http_fault(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            return _error(405, f"This route does not take {request.method}, only {allowed}.", error.headers)
        if error.status_code == 404 and request.url.path.startswith("/v2/models/"):
            return _error(404, "There is no such model or route here; GET / names the model.")
        return _error(error.status_code, f"There is no such route; GET {guide} lists them.", error.headers)

    app = Starlette(routes=routes, exception_handlers={HTTPException: http_fault})
    app.router.redirect_slashes = False
    return metrics.watch(app, lambda path: path if path in paths else "other")


def answered(work: Work, *, alone: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """A handler that reads the body within the limit, works on it, and turns every fault into JSON.

    Args:
        alone: for work that takes long: one request at a time, never in the event loop, and only few may wait for it.
    """
    one = CapacityLimiter(1)

    async def handle(request: Request) -> Response:
        try:
            body = await _read(request)
            if alone and one.statistics().tasks_waiting >= MOST_WAITING:
                return _error(429, "Too many such requests wait already; ask again in a second.", {"retry-after": "1"})
            if alone:
                return _json(200, await to_thread.run_sync(work, body, limiter=one))
            answer = work(body) if len(body) <= INLINE_BODY else await run_in_threadpool(work, body)
            return _json(200, answer)
        except Refusal as refusal:
            return _error(refusal.status, refusal.what)
        except DataError as error:
            return _error(422, str(error))
        except ClientDisconnect:
            return _error(400, "The request was cut short.")
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-6:]
            where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
            log.error("%s failed: %s at %s", request.url.path, type(error).__name__, where)
            return _error(500, "The model failed on this request; the log says where.")

    return handle


async def _read(request: Request) -> bytes:
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise Refusal(415, "The content-type is not application/json.")
    if "inference-header-content-length" in request.headers:
        raise Refusal(415, "Binary tensor data is not supported: send `data` as JSON.")
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refusal(415, "The content-encoding is not supported: send the body as it is.")
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size <= MAX_BODY:
            chunks.append(chunk)
        elif size > DRAINED:
            break
    if size > MAX_BODY:
        raise Refusal(413, f"The body is larger than {MAX_BODY} bytes.")
    return b"".join(chunks)


def _error(status: int, what: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(dump({"error": what}), status, headers=headers, media_type="application/json")


def _json(status: int, content: bytes) -> Response:
    return Response(content, status, media_type="application/json")


def constant(content: bytes, kind: str = "application/json") -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"content-security-policy": CSP})

    return handle
