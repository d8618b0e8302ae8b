"""An ASGI app around one loaded bundle. It knows HTTP, and nothing about Ray or about where it runs.

Requests are read as bytes and JSON only; a wrong one is answered with a 4xx and ``{"error": …}`` that names the field.
Logs hold routes and kinds of fault, never a value of a row.
"""

import logging
import re
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import pyarrow as pa
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from swagger_ui_bundle import swagger_ui_path

from lepton_ray import __version__
from lepton_ray.bundle.bundle import Bundle
from lepton_ray.errors import DataError, UsageError
from lepton_ray.serving.metrics import CONTENT_TYPE, Metrics
from lepton_ray.serving.openapi import DATATYPES, document
from lepton_ray.serving.page import CSP, DOCS_START, docs_page, index_page
from lepton_ray.serving.schema import (
    Refusal,
    decode_infer,
    decode_rows,
    dump,
    encode_infer,
    encode_rows,
    parse_json,
    refuse_unreadable,
)
from lepton_ray.table.schema import Task

MAX_BODY = 8 << 20
DRAINED = 8 * MAX_BODY
"""So much of a body that is too large is read and thrown away: a client that still sends would not see its 413."""

INLINE_BODY = 16 << 10
"""A body up to this size is answered in the event loop: a thread would cost more than it frees."""

_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

log = logging.getLogger("lepton_ray.serving")


def build_app(bundle: Bundle, name: str = "model") -> ASGIApp:
    """The app that serves ``bundle`` under the model name ``name``."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} cannot be the name of a model in a route.", "Use letters, digits, dots and dashes.")
    endpoint = _Endpoint(bundle, name, Metrics(name, bundle.id))
    paths = {route.path for route in endpoint.routes()}
    app = Starlette(
        routes=endpoint.routes(),
        exception_handlers={HTTPException: _http_fault},
    )
    app.router.redirect_slashes = False
    return endpoint.metrics.watch(app, lambda path: path if path in paths else "other")


@dataclass(frozen=True, slots=True)
class _Endpoint:
    bundle: Bundle
    name: str
    metrics: Metrics

    def routes(self) -> list[Route]:
        model = f"/v2/models/{self.name}"
        alive, ready = dump({"live": True}), dump({"live": True, "ready": True})
        return [
            Route("/", self.index),
            Route("/predict", _answered(self.predict), methods=["POST"]),
            Route(f"{model}/infer", _answered(self.infer), methods=["POST"]),
            Route(model, _constant(dump(self.metadata()))),
            Route(f"{model}/ready", _constant(dump({"name": self.name, "ready": True}))),
            Route("/v2", _constant(dump({"name": "lepton_ray", "version": __version__, "extensions": []}))),
            Route("/v2/health/live", _constant(alive)),
            Route("/v2/health/ready", _constant(ready)),
            Route("/metrics", self.exposition),
            Route("/openapi.json", _constant(dump(document(self.bundle.manifest, self.name)))),
            Route("/docs", _constant(docs_page(self.name).encode(), "text/html; charset=utf-8")),
            Route("/docs/start.js", _constant(DOCS_START.encode(), "text/javascript")),
            *(Route(f"/docs/{file}", _asset(file, kind)) for file, kind in _ASSETS.items()),
        ]

    def metadata(self) -> dict[str, object]:
        value = "FP64" if self.bundle.problem.task is Task.REGRESSION else "BYTES"
        return {
            "name": self.name,
            "versions": [self.bundle.id[:12]],
            "platform": "lepton_ray",
            "inputs": [
                {"name": column.name, "datatype": DATATYPES[column.kind], "shape": [-1]}
                for column in self.bundle.schema.columns
            ],
            "outputs": [
                {"name": output, "datatype": value if output == "prediction" else "FP64", "shape": [-1]}
                for output in self.bundle.manifest.outputs
            ],
        }

    def predict(self, body: bytes) -> bytes:
        block = decode_rows(parse_json(body), self.bundle.schema)
        return encode_rows(self._answer(block), self.name, self.bundle.id)

    def infer(self, body: bytes) -> bytes:
        request = decode_infer(parse_json(body), self.bundle.schema, self.bundle.manifest.outputs)
        return encode_infer(self._answer(request.block), request, self.name, self.bundle.id[:12])

    def _answer(self, block: pa.Table) -> pa.Table:
        clean = self.bundle.plan.clean(block)
        refuse_unreadable(block, clean, self.bundle.plan)
        answer = self.bundle.answer(clean)
        self.metrics.add_rows(block.num_rows)
        return answer

    async def index(self, request: Request) -> Response:
        url = str(request.base_url).rstrip("/")
        page = index_page(self.bundle.manifest, self.name, self.bundle.id, url)
        return HTMLResponse(page, headers={"content-security-policy": CSP})

    async def exposition(self, request: Request) -> Response:
        return Response(self.metrics.render(), media_type=CONTENT_TYPE)


def _answered(work: Callable[[bytes], bytes]) -> Callable[[Request], Awaitable[Response]]:
    """A handler that reads the body within the limit, works on it, and turns every fault into JSON."""

    async def handle(request: Request) -> Response:
        try:
            body = await _read(request)
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


async def _http_fault(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return _error(405, f"This route does not take {request.method}, only {allowed}.", error.headers)
    if error.status_code == 404 and request.url.path.startswith("/v2/models/"):
        return _error(404, "There is no such model or route here; GET / names the model.")
    return _error(error.status_code, "There is no such route; GET /docs lists them.", error.headers)


def _error(status: int, what: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(dump({"error": what}), status, headers=headers, media_type="application/json")


def _json(status: int, content: bytes) -> Response:
    return Response(content, status, media_type="application/json")


def _constant(content: bytes, kind: str = "application/json") -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return Response(content, media_type=kind, headers={"content-security-policy": CSP})

    return handle


def _asset(file: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return FileResponse(swagger_ui_path / file, media_type=kind)

    return handle
