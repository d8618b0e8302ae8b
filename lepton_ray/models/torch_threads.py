"""Threads and random numbers of torch for a while, and then as before. It knows no network. Importing this imports
torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Use this many threads, at least one."""
    before, wanted = torch.get_num_threads(), max(threads, 1)
    if before == wanted:
        yield
        return
    torch.set_num_threads(wanted)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def alone(threads: int, seed: int) -> Iterator[None]:
    """Use this many threads, and random numbers of one's own."""
    with torch_threads(threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
