"""A folder for as long as one search in the calling process lasts. It knows nothing about what is kept there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
ROOM_PER_BYTE, LEAST_ROOM = 4, 64 * 2**20
"""What must be free there, for each byte of the table and besides."""


@contextmanager
def short_lived_folder(table_bytes: int) -> Iterator[Path]:
    """A folder that goes with the block, in memory where there is room: a disk would be waited for, file by file
    (6.5 ms each, measured), and nothing in it needs to outlive this process.

    It is named as ``lepton clean`` expects it, for a process that is killed leaves it behind.
    """
    place = None
    with suppress(OSError):
        room = os.statvfs(IN_MEMORY)
        if os.access(IN_MEMORY, os.W_OK) and room.f_bavail * room.f_frsize > LEAST_ROOM + ROOM_PER_BYTE * table_bytes:
            place = IN_MEMORY
    prefix = f"lepton-{os.getpid():x}-fit"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()
