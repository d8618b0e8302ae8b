"""A Ray for as long as a block: the one that this process has open, or one of its own. It knows nothing of what for."""

from collections.abc import Iterator
from contextlib import contextmanager

from lepton_ray.on_ray.session import Session, is_running, short_temp_dir

BOOT_SECONDS = 90.0


@contextmanager
def ray_at_hand(cpus: int, store_bytes: int = 0) -> Iterator[None]:
    """Let there be a Ray: the one that this process has open, which is left alone, or one for as long as the block."""
    if is_running():
        yield
        return
    session = Session(short_temp_dir(), cpus=cpus, object_store_bytes=store_bytes).start()
    try:
        session.wait(BOOT_SECONDS)
        yield
    finally:
        session.stop()


def boot_seconds() -> float:
    """About how long it takes until there is a Ray; 4.5 to 10 s measured on two cores."""
    return 0.0 if is_running() else 7.0
