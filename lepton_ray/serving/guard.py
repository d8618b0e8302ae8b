"""What stands before every request: its key, its rate, its size, its time and its turn. A pure ASGI layer, without Ray.

Which key opens what:

    /v2/health/live, /v2/health/ready   nobody needs one: whoever balances load asks them, and they say nothing
    /metrics                            a key with the scope ``admin``
    all else, pages and docs too        a key with the scope ``predict``: they show columns and an example row

A key comes as ``Authorization: Bearer KEY``, as ``X-API-Key: KEY``, or as the password of Basic, which browsers ask
for. Without a file of keys everybody may do everything. What was refused says so in ``{"error": …}``.
"""

import asyncio
import base64
import binascii
import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lepton_ray.errors import LeptonError
from lepton_ray.serving.access_log import AccessLog
from lepton_ray.serving.admission import Gate
from lepton_ray.serving.keys import ADMIN, PREDICT, KeyRing
from lepton_ray.serving.limits import Limits
from lepton_ray.serving.rate import Rate
from lepton_ray.serving.recent import Recent
from lepton_ray.serving.schema import Refusal, dump
from lepton_ray.serving.trace import Trace

OPEN = ("/v2/health/live", "/v2/health/ready")
OPEN_CALLS = ("/inference.GRPCInferenceService/ServerLive", "/inference.GRPCInferenceService/ServerReady")
"""The same over gRPC."""
ADMINS = ("/metrics",)
HEADER_BYTES = 32 << 10
DRAINED = 8
"""So many times the largest body is read and thrown away: a client that still sends would not see its 413."""

INLINE_BODY = 16 << 10
"""A body up to this size is answered in the event loop: a thread would cost more than it frees."""

Headers = tuple[tuple[bytes, bytes], ...]
_READ = (b"authorization", b"x-api-key", b"x-request-id", b"traceparent", b"accept")
_CLOSE = ((b"connection", b"close"),)


class Turned(Refusal):
    """A refusal that says more in headers of its own."""

    def __init__(self, status: int, what: str, headers: Headers = ()) -> None:
        super().__init__(status, what)
        self.headers = headers

    def __reduce__(self) -> tuple[type["Turned"], tuple[int, str, Headers]]:  # type: ignore[override]
        return type(self), (self.status, self.what, self.headers)


@dataclass(slots=True)
class _Answer:
    """What goes back: the caller's ``send``, with the request's names added and its status seen."""

    send: Send
    names: list[tuple[bytes, bytes]]
    status: int = 0
    size: int = 0
    silent: bool = False

    async def __call__(self, message: Message) -> None:
        if self.silent:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = {**message, "headers": [*message.get("headers", ()), *self.names]}
        else:
            self.size += len(message.get("body", b""))
        await self.send(message)

    async def refuse(self, refusal: Refusal) -> None:
        body = dump({"error": refusal.what})
        more = refusal.headers if isinstance(refusal, Turned) else ()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]
        await self({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await self({"type": "http.response.body", "body": body})


class Guard:
    """The guard of one replica; it outlives the bundles that it stands before.

    Args:
        ring: the keys; None: everybody may ask. log: where each request leaves a line.
        clock: seconds of a clock that does not jump. replicas: how many there are now, for the rate.
        front: whether a front before this one gives the request's id back already.
        recent: is told what comes, how long it takes and how much waits.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        ring: KeyRing | None = None,
        log: AccessLog | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        replicas: Callable[[], int] = lambda: 1,
        front: bool = False,
        recent: Recent | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self._ring, self._log, self._clock, self._front = ring, log, clock, front
        self._rate = Rate(self.limits.rate, self.limits.at_once, clock, replicas)
        self._recent = recent or Recent(clock)
        self._gate = Gate(self.limits.work, self.limits.queue, clock, self._recent.now)
        self._most = self.limits.work + self.limits.queue
        self._reading = 0

    @property
    def keyed(self) -> bool:
        """Whether whoever asks needs a key."""
        return self._ring is not None

    def wrap(self, app: ASGIApp, route_of: Callable[[str], str]) -> ASGIApp:
        """The app behind this guard; ``route_of`` gives the route that the log names for a path."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began = self._clock()
            self._recent.came()
            heads, size = _heads(scope["headers"])
            size += len(scope["path"]) + len(scope["query_string"])
            trace = Trace.of(heads.get(b"x-request-id", b""), heads.get(b"traceparent", b""))
            names = [(b"traceparent", trace.parent)]
            if not self._front:
                names.append((b"x-request-id", trace.id))
            answer, who = _Answer(send, names), ""
            try:
                if size > HEADER_BYTES:
                    raise Turned(431, f"Address and headers are larger than {HEADER_BYTES} bytes.", _CLOSE)
                who = self._who(scope["path"], heads)
                if scope["method"] == "POST":
                    self._count(who)
                    await self._posted(app, scope, receive, answer)
                    if 0 < answer.status < 400:
                        self._recent.answered(self._clock() - began)
                else:
                    await app(scope, receive, answer)
            except Refusal as refusal:
                await answer.refuse(refusal)
            finally:
                if self._log is not None:
                    facts = {"key": who, "method": scope["method"], "route": route_of(scope["path"])}
                    facts |= {"id": trace.id.decode(), "trace": trace.trace_id}
                    seconds = self._clock() - began
                    self._log.add({**facts, "status": answer.status, "seconds": seconds, "bytes": answer.size})

        return guarded

    def _who(self, path: str, heads: dict[bytes, bytes]) -> str:
        """The name of the key that was shown, once it may ask for this path."""
        if self._ring is None or path in OPEN or path in OPEN_CALLS:
            return ""
        shown = _shown(heads)
        try:
            key = self._ring.find(shown) if shown else None
        except LeptonError:
            raise Turned(503, "The keys of this endpoint cannot be read, so nobody is let in.", _retry(5)) from None
        if key is None:
            what = "This key is not known here, or was revoked." if shown else "This endpoint needs a key."
            raise Turned(401, f"{what} Send `Authorization: Bearer KEY`.", _challenge(heads))
        needed = ADMIN if path in ADMINS else PREDICT
        if needed not in key.scopes:
            raise Turned(403, f"The key {key.name} lacks the scope `{needed}`.")
        return key.name

    def _count(self, who: str) -> None:
        """Refuse a key that asks too often."""
        wait = self._rate.take(who)
        if wait:
            what = f"The key {who}" if who else "The endpoint"
            asks = "asks" if who else "is asked"
            raise Turned(429, f"{what} {asks} more often than {self.limits.rate:g} times a second.", _retry(wait))

    async def _posted(self, app: ASGIApp, scope: Scope, receive: Receive, answer: _Answer) -> None:
        """Let a request that has a body in: the body itself, a place, and its turn."""
        ends = self._clock() + self.limits.time
        if self._gate.full or self._reading >= self._most:
            raise self._crowded()
        self._reading += 1
        try:
            body = await self._body(receive)
        finally:
            self._reading -= 1
        if not self._gate.enter():
            raise self._crowded()
        try:
            turn = await self._turn(ends)
        except BaseException:
            self._gate.leave()
            raise
        if len(body) > INLINE_BODY:
            await self._in_time(asyncio.ensure_future(app(scope, _again(body, receive), answer)), turn, ends, answer)
            return
        try:
            await app(scope, _again(body, receive), answer)
        finally:
            self._out(turn)

    async def _turn(self, ends: float) -> float:
        if self._gate.free:
            return await self._gate.turn()
        try:
            async with asyncio.timeout(ends - self._clock()):
                return await self._gate.turn()
        except TimeoutError:
            raise self._late() from None

    async def _in_time(self, work: "asyncio.Future[None]", turn: float, ends: float, answer: _Answer) -> None:
        """Wait for a work that may take long. Its turn ends with it, not with our patience."""
        work.add_done_callback(lambda _: self._out(turn))
        done, _ = await asyncio.wait({work}, timeout=ends - self._clock())
        if not done:
            began = answer.status
            refused = _Answer(answer.send, answer.names)
            answer.silent = True
            if not began:
                await refused.refuse(self._late())
                answer.status, answer.size = refused.status, refused.size
        else:
            work.result()

    def _out(self, turn: float) -> None:
        self._gate.done(turn)
        self._gate.leave()

    def _crowded(self) -> Turned:
        return Turned(429, "Too many requests wait here already.", _retry(self._gate.wait))

    def _late(self) -> Turned:
        return Turned(503, f"No answer within {self.limits.time:g} seconds: the endpoint is busy.", _retry(1))

    async def _body(self, receive: Receive) -> bytes:
        """The whole body, within its bytes and its seconds."""
        most = self.limits.body
        chunks, size = [], 0
        try:
            async with asyncio.timeout(self.limits.read):
                while True:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Turned(400, "The request was cut short.", _CLOSE)
                    chunk = message.get("body", b"")
                    size += len(chunk)
                    if size <= most:
                        chunks.append(chunk)
                    elif size > DRAINED * most:
                        break
                    if not message.get("more_body", False):
                        break
        except TimeoutError:
            raise Turned(408, f"The body had not come whole after {self.limits.read:g} seconds.", _CLOSE) from None
        if size > most:
            raise Turned(413, f"The body is larger than {most} bytes.", _CLOSE)
        return b"".join(chunks) if len(chunks) != 1 else chunks[0]


def _heads(headers: list[tuple[bytes, bytes]]) -> tuple[dict[bytes, bytes], int]:
    """Those headers that the guard reads, and the bytes of all of them. Of two keys none is a key."""
    found: dict[bytes, bytes] = {}
    size = 0
    for name, value in headers:
        size += len(name) + len(value)
        if name in _READ:
            found[name] = b"" if name in found else value
    return found, size


def _shown(heads: dict[bytes, bytes]) -> str:
    """The key that was sent, or "" where there is none, or more than one."""
    scheme, _, rest = heads.get(b"authorization", b"").partition(b" ")
    shown = [heads[b"x-api-key"]] if b"x-api-key" in heads else []
    if scheme.lower() == b"bearer":
        shown.append(rest.strip())
    elif scheme.lower() == b"basic":
        try:
            shown.append(base64.b64decode(rest.strip(), validate=True).partition(b":")[2])
        except binascii.Error:
            return ""
    return shown[0].decode("latin-1") if len(shown) == 1 else ""


def _challenge(heads: dict[bytes, bytes]) -> Headers:
    """How to show a key: a browser is asked for Basic, because it knows no other way."""
    kind = b'Basic realm="lepton_ray", charset="UTF-8"' if b"text/html" in heads.get(b"accept", b"") else b"Bearer"
    return ((b"www-authenticate", kind),)


def _retry(seconds: float) -> Headers:
    return ((b"retry-after", b"%d" % max(1, -int(-seconds // 1))),)


def _again(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body once more, and then whatever comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
