"""The heartbeat of a run: up to which second it is known to have lived, in one small file. Standard library only.

A beat promises the second that follows: a run that is broken off in it is billed the whole of it, so that what was
spent is known to within a second, and never less than was. The next one comes twice as soon, since a disk may take its
time to keep it.
"""

import json
import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

BEAT_SECONDS = 1.0
NEXT_SECONDS = 0.5
"""After which the next beat is written; it is kept once the disk has it, 0.6 s later once (measured)."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """``second``: up to which the run may have lived, on its own clock; ``at``: the same in seconds since 1970."""

    second: float
    at: float

    @classmethod
    def felt(cls, path: Path) -> "Pulse | None":
        """The last beat; None where there is none that can be read."""
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            facts = json.loads(path.read_bytes())
            return cls(float(facts["second"]), float(facts["at"]))
        return None


def beat(path: Path, second: float, *, ahead: float = BEAT_SECONDS) -> None:
    """Write one beat, whole or not at all; a disk that refuses costs the beat and nothing else.

    Args:
        ahead: seconds that it promises.
    """
    sibling = path.with_name(f"{path.name}.new")
    with suppress(OSError):
        with open(sibling, "w", encoding="utf-8") as file:
            file.write(json.dumps({"second": round(second + ahead, 3), "at": round(time.time() + ahead, 3)}))
            file.flush()
            os.fsync(file.fileno())
        os.replace(sibling, path)
