"""What stands in Serve's HTTP proxy, before anything of Serve: pure ASGI, and light, because a proxy waits for it.

A caller does not steer Serve: the headers by which that could be done are taken away. What Serve itself refuses in
plain text is said as ``{"error": …}``, and a request that a replica dropped by dying is a 503, which a client may try
again.
It knows nothing about keys, models or replicas.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lepton_ray.serving.trace import ID

STEERING = frozenset(
    {
        b"x-request-timeout-seconds",  # 0 switches Serve's time-out off
        b"x-request-disconnect-disabled",  # the work of a caller who is gone goes on
        b"serve-multiplexed-model-id",  # chooses a replica, and loads what it names
        b"x-session-id",  # chooses a replica
    }
)
"""With dashes; Serve takes underscores for the same (`ray/serve/_private/proxy.py`, `http_util.py` of 2.60)."""

SAID = {
    404: "Nothing is served here yet.",
    408: "No answer in time: the endpoint is busy.",
    429: "Too many requests wait here already.",
    503: "The endpoint cannot answer now: it is busy, or a replica is being replaced.",
}
SLEEPS = "The endpoint was asleep and has not woken in time; it is waking: ask again."
FAILED = "The endpoint failed on this request."


ASLEEP = 0.9
"""After so much of the quiet that sends it to sleep it may be asleep: the clocks of two processes differ a little."""

WAKES = 5
"""Seconds after which whoever was not answered may ask again: a replica comes up in about as many."""

HEALTH = ("/v2/health/live", "/v2/health/ready", "/-/healthz", "/-/routes")
"""Asked by who watches; they are let through a crowd."""


class Front:
    """The middleware; Serve makes one for each proxy.

    Args:
        inside: requests that this proxy has in hand at most. One more is refused here, at once: what Serve's own way to
            a replica takes is several milliseconds of a core for each, refused or not.
        idle: seconds without an answer after which the endpoint may be asleep; None: it never sleeps.
        wake: seconds that a request is held then, until a replica begins to answer.
        clock: seconds of a clock that does not jump.
    """

    def __init__(
        self,
        app: ASGIApp,
        inside: int = 66,
        *,
        idle: float | None = None,
        wake: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._most, self._inside = app, inside, 0
        self._idle, self._wake, self._clock = idle, wake, clock
        self._heard = clock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on without what steers Serve, and its answer back in the endpoint's form."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reply = _Reply(send)
        if self._inside >= self._most and scope["path"] not in HEALTH:
            await reply.say(429, ())
            return
        self._inside += 1
        try:
            await self._passed({**scope, "headers": kept(scope["headers"])}, receive, reply)
        finally:
            self._inside -= 1
        if not reply.began:
            await reply.say(503, ())

    async def _passed(self, scope: Scope, receive: Receive, reply: "_Reply") -> None:
        """Pass it on; where the endpoint may be asleep, no longer than it may take to wake."""
        if self._idle is None or scope["path"].startswith("/-/"):
            await self._app(scope, receive, reply)
            return
        patience = self._wake if self._clock() - self._heard >= ASLEEP * self._idle else None
        try:
            async with asyncio.timeout(patience) as limit:
                reply.heard, reply.late = lambda: self._hear(limit), limit.expired
                await self._app(scope, receive, reply)
        except TimeoutError:
            if reply.began:
                raise

    def _hear(self, limit: asyncio.Timeout) -> None:
        """Take note that a replica answers: it is awake, and from now on takes its own time."""
        self._heard = self._clock()
        limit.reschedule(None)


def kept(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers that Serve may see; of request ids one that is well formed."""
    found, named = [], False
    for name, value in headers:
        if name.replace(b"_", b"-") in STEERING:
            continue
        if name == b"x-request-id":
            if named or not ID.fullmatch(value):
                continue
            named = True
        found.append((name, value))
    return found


class _Reply:
    """The answer on its way back: Serve's own refusals become the endpoint's."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._refused: Message | None = None
        self.began = False
        self.heard: Callable[[], None] = lambda: None
        self.late: Callable[[], bool] = lambda: False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.began = True
            if message["status"] >= 400 and _plain(message):
                self._refused = message
                return
            self.heard()
        if self._refused is None:
            await self._send(message)
        elif not message.get("more_body", False):
            names = [pair for pair in self._refused["headers"] if pair[0].lower() in (b"x-request-id", b"retry-after")]
            await self.say(self._refused["status"], names)

    async def say(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Refuse in the endpoint's form; Serve's 408 is about its own patience, not about a slow caller.

        Where nobody woke in time Serve was told to leave off, and what it says of that is not passed on.
        """
        self.began = True
        what = SAID.get(status, FAILED)
        if self.late():
            status, what, headers = 503, SLEEPS, ((b"retry-after", b"%d" % WAKES),)
        status = 503 if status == 408 else status
        body = json.dumps({"error": what}).encode()
        told = [*headers, (b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        if status in (429, 503) and not any(name.lower() == b"retry-after" for name, _ in told):
            told.append((b"retry-after", b"1"))
        await self._send({"type": "http.response.start", "status": status, "headers": told})
        await self._send({"type": "http.response.body", "body": body})


def _plain(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/plain") for name, value in message["headers"]
    )
