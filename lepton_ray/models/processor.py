"""What the processor of this machine can do, as its operating system says. It knows no model and loads no torch."""

from functools import cache
from pathlib import Path

_LINUX = Path("/proc/cpuinfo")


@cache
def abilities() -> frozenset[str]:
    """Return its flags by the names that Linux has for them, "avx512_bf16" say; none where it does not list them."""
    if not _LINUX.exists():
        return frozenset()
    lines = _LINUX.read_text(encoding="utf-8", errors="replace").splitlines()
    listed = (line.partition(":")[2] for line in lines if line.startswith("flags"))
    return frozenset(next(listed, "").split())
