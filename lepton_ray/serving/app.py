"""An ASGI app around one loaded bundle. It knows HTTP, and nothing about Ray or about where it runs.

A wrong request is answered with a 4xx and ``{"error": …}`` that names the field.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from swagger_ui_bundle import swagger_ui_path

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.contributions import Explainer
from lepton_ray.serving.calls import works_of
from lepton_ray.serving.guard import Guard
from lepton_ray.serving.http import answered, app_of, checked_name, constant, protocol_routes, spoken
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.media import Spoken, read_rows, write_answer
from lepton_ray.serving.metrics import Metrics
from lepton_ray.serving.openapi import DATATYPES, document
from lepton_ray.serving.page import DOCS_START, docs_page, index_page
from lepton_ray.serving.schema import (
    MAX_EXPLAINED,
    decode_infer,
    decode_rows,
    dump,
    encode_explanations,
    inferred,
    parse_json,
    refuse_unreadable,
)
from lepton_ray.serving.standing import UNKNOWN, Standing
from lepton_ray.table.schema import Task

_ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript"}


def build_app(bundle: Bundle, name: str = "model", standing: Standing = UNKNOWN, guard: Guard | None = None) -> ASGIApp:
    """The app that serves ``bundle`` under the model name ``name``, behind this guard or one with the usual limits."""
    guard, metrics = guard or Guard(), Metrics(name, bundle.id, standing)
    explainer = Explainer.of(bundle, np.random.default_rng(0))
    endpoint = _Endpoint(bundle, checked_name(name), metrics, explainer, standing, guard.limits, guard.keyed)
    calls = works_of(endpoint.metadata(), endpoint.infer)
    return app_of(endpoint.routes(), endpoint.metrics, guide="/docs", guard=guard, calls=calls)


@dataclass(frozen=True, slots=True)
class _Endpoint:
    bundle: Bundle
    name: str
    metrics: Metrics
    explainer: Explainer
    standing: Standing
    limits: Limits
    keyed: bool

    def routes(self) -> list[Route]:
        return [
            Route("/", self.index),
            *protocol_routes(self.metadata(), self.metrics, predict=spoken(self.predict), infer=self.infer),
            Route("/explain", answered(self.explain, alone=True), methods=["POST"]),
            Route("/openapi.json", constant(dump(self._document()))),
            Route("/docs", constant(docs_page(self.name).encode(), "text/html; charset=utf-8")),
            Route("/docs/start.js", constant(DOCS_START.encode(), "text/javascript")),
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

    def _document(self) -> dict[str, Any]:
        return document(self.bundle.manifest, self.name, version=self.bundle.id[:12], keyed=self.keyed)

    def predict(self, body: bytes, said: Spoken) -> bytes:
        block = read_rows(body, said, self.bundle.schema, self.bundle.plan, self.limits)
        return write_answer(self._answer(block), said.answer, self.name, self.bundle.id)

    def explain(self, body: bytes) -> bytes:
        block = decode_rows(parse_json(body), self.bundle.schema, MAX_EXPLAINED)
        clean = self._clean(block)
        why = self.explainer.explain(clean)
        return encode_explanations(self._said(clean), why, self.explainer.scale, self.name, self.bundle.id)

    def infer(self, given: Any) -> dict[str, Any]:
        request = decode_infer(given, self.bundle.schema, self.bundle.manifest.outputs, self.limits.rows)
        return inferred(self._answer(request.block), request, self.name, self.bundle.id[:12])

    def _answer(self, block: pa.Table) -> pa.Table:
        return self._said(self._clean(block))

    def _clean(self, block: pa.Table) -> pa.Table:
        clean: pa.Table = self.bundle.plan.clean(block)
        refuse_unreadable(block, clean, self.bundle.plan)
        return clean

    def _said(self, clean: pa.Table) -> pa.Table:
        answer = self.bundle.answer(clean)
        self.metrics.add_rows(clean.num_rows)
        return answer

    async def index(self, request: Request) -> Response:
        url = str(request.base_url).rstrip("/")
        page = index_page(self.bundle, self.name, url, self.standing)
        return HTMLResponse(page.html, headers={"content-security-policy": page.policy})


def _asset(file: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        return FileResponse(swagger_ui_path / file, media_type=kind)

    return handle
