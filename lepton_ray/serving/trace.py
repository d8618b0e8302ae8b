"""The names of a request: its id, and its place in a trace (W3C Trace Context, level 1). It knows no HTTP server."""

import re
from dataclasses import dataclass
from secrets import token_hex

ID = re.compile(rb"[A-Za-z0-9._:+/=@-]{1,128}")
_PARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")


@dataclass(frozen=True, slots=True)
class Trace:
    """What one request is called.

    Attributes:
        id: of the request: as it came, or that of the trace. parent: this request's own ``traceparent``.
    """

    id: bytes
    parent: bytes

    @classmethod
    def of(cls, request_id: bytes, parent: bytes) -> "Trace":
        """Take over what came and is well formed; make the rest. The caller's trace goes on with a span of our own."""
        found = _PARENT.fullmatch(parent) if parent else None
        made = token_hex(24).encode()
        if found is None or (found[1] == b"00" and found[4]):
            trace, flags = made[:32], b"00"
        else:
            trace, flags = found[2], found[3]
        named = request_id if ID.fullmatch(request_id) else trace
        return cls(named, b"00-%b-%b-%b" % (trace, made[32:], flags))

    @property
    def trace_id(self) -> str:
        """The trace that this request is a part of."""
        return self.parent[3:35].decode()
