"""One request to an ASGI app piece by piece, or behind a server; and a clock that moves when told."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message


class Clock:
    """Seconds that pass when somebody says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Reply:
    """What came back."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def error(self) -> str:
        """The sentence of a refusal, which is JSON and nothing else."""
        assert self.headers["content-type"] == "application/json"
        (name,) = json.loads(self.body)
        assert name == "error"
        return str(json.loads(self.body)["error"])


async def ask(
    app: ASGIApp,
    path: str,
    *,
    method: str = "POST",
    body: bytes | Sequence[bytes] = b"{}",
    headers: Mapping[str, str] | Sequence[tuple[bytes, bytes]] = (),
    stalls: bool = False,
) -> Reply:
    """Ask; a body of several pieces comes piece by piece, one that ``stalls`` never ends."""
    pieces = [body] if isinstance(body, bytes) else list(body)
    told = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    told[-1]["more_body"] = stalls
    reply, names = Reply(), dict[str, str]()

    async def receive() -> Message:
        return told.pop(0) if told else await asyncio.Event().wait() or {}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status = message["status"]
            for name, value in message["headers"]:
                assert name.decode() not in names, f"{name!r} came back twice"
                names[name.decode()] = value.decode()
        reply.body += message.get("body", b"")

    pairs = headers.items() if isinstance(headers, Mapping) else headers
    raw = [(_bytes(name), _bytes(value)) for name, value in pairs]
    scope: dict[str, Any] = {"type": "http", "method": method, "path": path, "headers": raw, "http_version": "1.1"}
    scope |= {"query_string": b"", "root_path": "", "raw_path": path.encode(), "scheme": "http", "client": ("a", 1)}
    await app(scope | {"server": ("here", 80), "asgi": {"version": "3.0"}}, receive, send)
    reply.headers = names
    return reply


@contextmanager
def listening(app: ASGIApp) -> Iterator[int]:
    """The app behind uvicorn in a thread; the port of loopback that it listens at."""
    with socket.create_server(("127.0.0.1", 0)) as wire:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [wire]}, daemon=True)
        thread.start()
        try:
            yield wire.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
