"""A folder for as long as one search in the calling process lasts. It knows nothing about what is kept there."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

IN_MEMORY = Path("/dev/shm")
ROOM_PER_BYTE, LEAST_ROOM = 4, 64 * 2**20
"""What must be free there, for each byte of the table and besides."""


def homes() -> list[Path]:
    """Where such folders may lie: in memory too, unless temporary files were sent to a place of their own (TMPDIR)."""
    usual = Path(tempfile.gettempdir())
    return [usual, IN_MEMORY] if usual == Path("/tmp") and os.access(IN_MEMORY, os.W_OK) else [usual]


@contextmanager
def short_lived_folder(table_bytes: int) -> Iterator[Path]:
    """A folder that goes with the block, in memory where there is room: a disk would be waited for, file by file
    (6.5 ms each, measured), and nothing in it needs to outlive this process.

    It is named as ``lepton clean`` expects it, for a process that is killed leaves it behind.
    """
    on_disk, *in_memory = homes()
    wanted = LEAST_ROOM + ROOM_PER_BYTE * table_bytes
    place = next((home for home in in_memory if shutil.disk_usage(home).free > wanted), on_disk)
    prefix = f"lepton-{os.getpid():x}-fit"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder).resolve()
