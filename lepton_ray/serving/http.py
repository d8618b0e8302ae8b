"""How an endpoint reads a request and says what is wrong with it. It knows no model, and nothing about routes.

What is asked of a model goes past Starlette's routing, as bare ASGI; pages and metadata go through it.

Requests are read in the forms of ``media``, and never unpickled; logs hold routes and kinds of fault, never a value of
a row.
"""

import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lepton_ray import __version__
from lepton_ray.errors import DataError, UsageError
from lepton_ray.serving.calls import CALL
from lepton_ray.serving.guard import INLINE_BODY, Guard, Turned
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.media import FORMS, JSON, JSON_ONLY, Spoken, spoken_in
from lepton_ray.serving.metrics import CONTENT_TYPE, Metrics
from lepton_ray.serving.page import CSP
from lepton_ray.serving.schema import Refusal, dump, parse_json

MAX_BODY = Limits().body
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Work = Callable[[bytes], bytes]
Infer = Callable[[Any], dict[str, Any]]
"""A request of the Open Inference Protocol as values of JSON, answered as such."""

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
    metadata: Mapping[str, Any], metrics: Metrics, *, predict: "_Answered", infer: Infer
) -> list[Route]:
    """The routes that every endpoint has: plain rows, Open Inference Protocol v2, and what was counted.

    Args:
        metadata: of the model, as the protocol tells it. infer: what answers a request of the protocol.
    """
    name = metadata["name"]
    versioned = (f"/v2/models/{name}", *(f"/v2/models/{name}/versions/{one}" for one in metadata["versions"]))
    infers = answered(lambda body: dump(infer(parse_json(body))))

    async def exposition(request: Request) -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    return [
        Route("/predict", predict, methods=["POST"]),
        *(Route(f"{model}/infer", infers, methods=["POST"]) for model in versioned),
        *(Route(model, constant(dump(metadata))) for model in versioned),
        *(Route(f"{model}/ready", constant(dump({"name": name, "ready": True}))) for model in versioned),
        Route("/v2", constant(dump({"name": "lepton_ray", "version": __version__, "extensions": []}))),
        Route("/v2/health/live", constant(dump({"live": True}))),
        Route("/v2/health/ready", constant(dump({"live": True, "ready": True}))),
        Route("/metrics", exposition),
    ]


def app_of(
    routes: list[Route],
    metrics: Metrics,
    *,
    guide: str,
    guard: Guard | None = None,
    calls: Mapping[str, Work] | None = None,
) -> ASGIApp:
    """The app of these routes behind its guard, all requests counted.

    Args:
        guide: where the routes are told. calls: what answers gRPC, by path; over HTTP there is nothing there.
    """
    called = {path: answered(work) for path, work in (calls or {}).items()}
    paths = {route.path for route in routes} | set(called)
    asked = {route.path: route.endpoint for route in routes if isinstance(route.endpoint, _Answered)}

    def route_of(path: str) -> str:
        return path if path in paths else "other"

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

    async def straight(scope: Scope, receive: Receive, send: Send) -> None:
        work = None
        if CALL in (scope.get("extensions") or ()):
            work = called.get(scope["path"])
        elif scope["type"] == "http" and scope["method"] == "POST":
            work = asked.get(scope["path"])
        await (work or app)(scope, receive, send)

    return metrics.watch((guard or Guard()).wrap(straight, route_of), route_of)


def answered(work: Work, *, alone: bool = False) -> "_Answered":
    """A handler that works on a body and turns every fault into JSON.

    Args:
        alone: for work that takes long: one request at a time, never in the event loop, and the next is sent away at
            once: of the places that the guard gives, the others are for quick ones.
    """
    return _Answered(work, CapacityLimiter(1) if alone else None)


def spoken(work: Callable[[bytes, Spoken], bytes]) -> "_Answered":
    """A handler of a work that reads and writes rows in every form; what is refused is said in JSON."""
    return _Answered(work, None, FORMS)


@dataclass(frozen=True, slots=True)
class _Answered:
    """Bare ASGI around a work; the guard has read the body within its limits and hands it on whole."""

    work: Callable[..., bytes]
    one: CapacityLimiter | None
    takes: tuple[str, ...] = JSON_ONLY

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.one is not None and self.one.borrowed_tokens:
            raise Turned(429, "Another such request is worked on; ask again in a second.", ((b"retry-after", b"1"),))
        status, body, kind = await self._worked(scope, receive)
        headers = [(b"content-length", b"%d" % len(body)), (b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _worked(self, scope: Scope, receive: Receive) -> tuple[int, bytes, str]:
        try:
            said = spoken_in(scope["headers"], self.takes)
            body = (await receive())["body"]
            asked = (body,) if self.takes is JSON_ONLY else (body, said)
            if self.one is not None:
                return 200, await to_thread.run_sync(self.work, *asked, limiter=self.one), said.answer
            if len(body) <= INLINE_BODY:
                return 200, self.work(*asked), said.answer
            return 200, await run_in_threadpool(self.work, *asked), said.answer
        except Refusal as refusal:
            return refusal.status, dump({"error": refusal.what}), JSON
        except DataError as error:
            return 422, dump({"error": str(error)}), JSON
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[-6:]
            where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
            log.error("%s failed: %s at %s", scope["path"], type(error).__name__, where)
            return 500, dump({"error": "The model failed on this request; the log says where."}), JSON


def _error(status: int, what: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(dump({"error": what}), status, headers=headers, media_type="application/json")


def constant(content: bytes, kind: str = "application/json") -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"content-security-policy": CSP})

    return handle
