"""Requests per second of CPU of the endpoint's app, without sockets: python scripts/bench_app.py BUNDLE [SECONDS].

One row by ``POST /predict`` and by ``infer``, 1,000 rows in one body, and a work that does nothing: what the app itself
takes. One request at a time, on one core.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from starlette.routing import Route
from starlette.types import ASGIApp, Message

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.serving.app import build_app
from lepton_ray.serving.http import answered, app_of
from lepton_ray.serving.metrics import Metrics
from lepton_ray.serving.openapi import document

HEADERS = [(b"host", b"here"), (b"content-type", b"application/json"), (b"accept", b"*/*")]


async def ask(app: ASGIApp, path: str, body: bytes) -> int:
    """Send one request; return its status."""
    told = [{"type": "http.request", "body": body, "more_body": False}]
    status = 0

    async def receive() -> Message:
        return told.pop() if told else await asyncio.Event().wait() or {}

    async def send(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)

    length = (b"content-length", str(len(body)).encode())
    scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "headers": [*HEADERS, length]}
    scope |= {"query_string": b"", "root_path": "", "raw_path": path.encode(), "http_version": "1.1"}
    scope |= {"server": ("here", 80), "client": ("here", 1), "scheme": "http", "asgi": {"version": "3.0"}}
    await app(scope, receive, send)
    return status


async def rate(app: ASGIApp, path: str, body: bytes, seconds: float) -> float:
    """Requests per second of CPU, after a tenth of the time to warm up."""
    counted, began = 0, time.process_time() + 0.1 * seconds
    while (now := time.process_time()) < began + seconds:
        assert await ask(app, path, body) == 200
        await asyncio.sleep(0)  # a server looks for the next request
        counted += now >= began
    return counted / (now - began)


def main(argv: Sequence[str]) -> None:
    """Print one line for each kind of request."""
    bundle, seconds = Bundle.load(argv[0]), float(argv[1]) if argv[1:] else 1.5
    app, paths = build_app(bundle, "model"), document(bundle.manifest, "model")["paths"]
    for path in ("/predict", "/v2/models/model/infer"):
        example = paths[path]["post"]["requestBody"]["content"]["application/json"]["example"]
        print(f"{path}: {asyncio.run(rate(app, path, json.dumps(example).encode(), seconds)):,.0f} requests/s")
    empty = app_of([Route("/none", answered(lambda body: b"{}"), methods=["POST"])], Metrics("m", "b"), guide="/")
    print(f"nothing: {asyncio.run(rate(empty, '/none', b'{}', seconds)):,.0f} requests/s")
    rows = json.dumps([dict(bundle.manifest.example)] * 1000).encode()
    print(f"1,000 rows: {asyncio.run(rate(app, '/predict', rows, seconds)):,.1f} requests/s")


if __name__ == "__main__":
    main(sys.argv[1:])
