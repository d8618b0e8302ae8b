"""Malformed requests as raw bytes: what is sent, piece by piece, and what must come back.

A request without a key of its own is given the right one. None of them has a status of 500 or above, and none ends the
process that refuses it.
"""

import json
import socket
from dataclasses import dataclass

import httpx

from tests.sealed import ROW
from tests.serving.tables import MATRIX, WRONG
from tests.serving.test_app import REFUSED

READ_SECONDS = 0.4
"""The reading time-out that these requests are written for."""

BODY = json.dumps(ROW).encode()
STALL = b""
"""A piece that never comes."""


@dataclass(frozen=True)
class Malformed:
    """One request.

    Attributes:
        pieces: what is sent; STALL waits for the answer. status: of the answer, 0 for a connection that just ends.
        said: a part of its sentence. ours: whether the sentence is the endpoint's, as JSON, or that of the HTTP server.
    """

    pieces: tuple[bytes, ...]
    status: int
    said: str = ""
    ours: bool = True


@dataclass(frozen=True)
class Heard:
    """What came back: status (0: nothing), headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes


def head(*lines: str, start: str = "POST /predict HTTP/1.1") -> bytes:
    """The head of a request with these lines more; ``KEY`` stands for the right key."""
    kind = () if any(line.lower().startswith("content-type") for line in lines) else ("content-type: application/json",)
    key = () if any("key" in line.lower() or "auth" in line.lower() for line in lines) else ("x-api-key: KEY",)
    return "\r\n".join((start, "host: here", *kind, *key, *lines, "", "")).encode("latin-1")


def whole(*lines: str, body: bytes = BODY, start: str = "POST /predict HTTP/1.1") -> tuple[bytes]:
    return (head(f"content-length: {len(body)}", *lines, start=start) + body,)


def as_bytes(path: str, options: dict[str, object]) -> tuple[bytes]:
    """A request of the table of refusals as it goes over the wire."""
    request = httpx.Request("POST", f"http://here{path}", **options)  # type: ignore[arg-type]
    lines = [f"{name}: {value}" for name, value in request.headers.items() if name not in ("host", "content-length")]
    return whole(*lines, body=request.content, start=f"POST {path} HTTP/1.1")


def http(*lines: str, body: bytes = b"") -> Malformed:
    """What the HTTP server itself refuses: a head that is none."""
    return Malformed((head(*lines) + body,), 400, "Invalid HTTP request", ours=False)


def chunked(*chunks: bytes) -> tuple[bytes, ...]:
    return (head("transfer-encoding: chunked"), *chunks)


FRAMING: dict[str, Malformed] = {
    "no request line": Malformed((b"HELLO\r\n\r\n",), 400, "Invalid HTTP request", ours=False),
    "version of no HTTP": Malformed((b"POST /predict HTTP/9.9\r\n\r\n",), 400, "Invalid HTTP request", ours=False),
    "preface of HTTP/2": Malformed((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",), 400, "Invalid HTTP request", ours=False),
    "TLS": Malformed((b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,), 400, "Invalid", ours=False),
    "method of no HTTP": Malformed(whole(start="BREW /predict HTTP/1.1"), 400, "Invalid HTTP request", ours=False),
    "two lengths": http("content-length: 5", "content-length: 6", body=b"hello!"),
    "length and chunks": http("content-length: 5", "transfer-encoding: chunked", body=b"0\r\n\r\n"),
    "negative length": http("content-length: -1"),
    "length in words": http("content-length: five"),
    "length with a sign": http("content-length: +5"),
    "endless length": http("content-length: 99999999999999999999999999"),
    "coding without chunks": http("transfer-encoding: gzip"),
    "space before the colon": http("content-length : 5"),
    "no colon": http("nothing"),
    "zero in a header": http("x-zero: a\x00b"),
    "chunk of no size": Malformed(chunked(b"zz\r\n"), 400, "Invalid HTTP request", ours=False),
    "chunk larger than said": Malformed(chunked(b"2\r\nhello\r\n"), 400, "Invalid HTTP request", ours=False),
    "chunks of no JSON": Malformed(chunked(b"5\r\nhello\r\n0\r\n\r\n"), 400, "not JSON"),
    "chunks that stop": Malformed(chunked(b"5\r\n[1,2,\r\n", STALL), 408, "body had not come"),
    "chunks without end": Malformed(chunked(*(b"1\r\n[\r\n" for _ in range(3)), STALL), 408, "body had not come"),
    "a body that never comes": Malformed((head("content-length: 5"), STALL), 408, "body had not come"),
    "half of a body": Malformed((head("content-length: 500") + BODY, STALL), 408, "body had not come"),
    "a body asked for and not sent": Malformed((head("content-length: 5", "expect: 100-continue"), STALL), 408, "body"),
    "a terabyte said": Malformed((head("content-length: 1099511627776") + BODY, STALL), 408, "body had not come"),
    "half of a body, and gone": Malformed((head("content-length: 500") + BODY,), 0),
    "half of a head, and gone": Malformed((head("content-length: 500")[:40],), 0),
    "headers too large": Malformed(whole(f"x-long: {'x' * 40_000}"), 431, "headers are larger"),
    "headers too many": Malformed(whole(*(f"x-{number}: {'x' * 50}" for number in range(900))), 431, "headers"),
    "an address too long": Malformed(whole(start=f"POST /{'x' * 40_000} HTTP/1.1"), 431, "Address"),
    "an address of zeros": Malformed(whole(start="POST /predict%00 HTTP/1.1"), 404, "no such route"),
    "an address that climbs": Malformed(whole(start="POST /../../etc/passwd HTTP/1.1"), 404, "no such route"),
    "no body": Malformed((head(),), 400, "not JSON"),
    "a name of Serve's that is none": Malformed(
        whole("x-session-id: \xff", "x-request-id: \xff", body=b"{"), 400, "JSON"
    ),
}
"""About the form of HTTP, whatever stands behind it."""

KEYS: dict[str, Malformed] = {
    "no version, no header": Malformed((b"POST /predict\r\n\r\n",), 401, "needs a key"),
    "no key": Malformed(whole("x-no-key: 1"), 401, "needs a key"),
    "a wrong key": Malformed(whole("x-api-key: lepton_wrong"), 401, "not known"),
    "an empty key": Malformed(whole("authorization: Bearer "), 401, "needs a key"),
    "a key of bytes": Malformed(whole("authorization: Bearer \xff\xfe"), 401, "not known"),
    "two keys": Malformed(whole("x-api-key: KEY", "authorization: Bearer KEY"), 401, "needs a key"),
    "the right key twice": Malformed(whole("x-api-key: KEY", "x-api-key: KEY"), 401, "needs a key"),
    "a scheme of no key": Malformed(whole("authorization: Digest KEY"), 401, "needs a key"),
    "a key in the address": Malformed(whole("x-no-key: 1", start="POST /predict?key=KEY HTTP/1.1"), 401, "needs a key"),
    "a key of another scope": Malformed((head(start="GET /metrics HTTP/1.1"),), 403, "lacks the scope `admin`"),
    "another method": Malformed((head(start="GET /predict HTTP/1.1"),), 405, "only POST"),
    "a method for folders": Malformed(whole(start="PROPFIND /predict HTTP/1.1"), 405, "PROPFIND"),
    "a body to delete": Malformed(whole(start="DELETE /predict HTTP/1.1"), 405, "DELETE"),
}

BODIES = {
    name: Malformed(as_bytes(path, options), status, said)
    for name, (path, options, status, said) in {**REFUSED, **MATRIX}.items()
}
TABLES = {
    (kind.rpartition("/")[2], name): Malformed(whole(f"content-type: {kind}", body=body), status, said)
    for kind, cases in WRONG.items()
    for name, (body, status, said) in cases.items()
}
ALL = {**FRAMING, **KEYS, **BODIES, **{f"{kind}: {name}": made for (kind, name), made in TABLES.items()}}


def send(port: int, malformed: Malformed, key: str) -> Heard:
    """Send it from a socket of its own, and read until the connection ends or the answer is whole."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as wire:
        for piece in malformed.pieces:
            if piece is not STALL:
                wire.sendall(piece.replace(b"KEY", key.encode()))
        if not malformed.status:
            wire.shutdown(socket.SHUT_WR)
        return hear(wire)


def hear(wire: socket.socket) -> Heard:
    """Read one answer."""
    text = b""
    while True:
        start, end, body = text.partition(b"\r\n\r\n")
        if end:
            first, *lines = start.decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            if len(body) >= int(headers.get("content-length", "0")) and "chunked" not in headers.values():
                if first.split()[1] != "100":
                    return Heard(int(first.split()[1]), headers, body)
                text = body
                continue
        try:
            more = wire.recv(65536)
        except ConnectionResetError:
            more = b""
        if not more:
            return Heard(int(first.split()[1]), headers, body) if end else Heard(0, {}, text)
        text += more
