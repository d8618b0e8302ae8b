"""Where training workers ask and the driver answers: an actor that holds mail and decides nothing.

One answer holds for all workers of a group. A fault that is told here ends the run: workers that begin again are sent
home. It knows nothing about torch.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from lepton_ray.errors import LeptonError
from lepton_ray.training.telling import Epoch, Outcome


@dataclass(frozen=True, slots=True)
class Entry:
    """A worker that has begun: the how manieth group it belongs to, from 1, its rank, node and actor."""

    group: int
    rank: int
    node: str
    actor: Any


@dataclass(frozen=True, slots=True)
class Question:
    """An epoch of a group has ended, and may another begin?"""

    group: int
    epoch: Epoch


Word = Entry | Question | Outcome | str
"""What the driver hears; a string is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What a worker is told when it begins; ``group`` is 0 where it is sent home."""

    group: int
    pieces: int


class Mail:
    """The desk itself; ``ray.remote`` makes an actor of it."""

    def __init__(self) -> None:
        self._words: asyncio.Queue[Word] = asyncio.Queue()
        self._answers: dict[tuple[int, int], asyncio.Future[bool]] = {}
        self._entries: dict[int, int] = {}
        self._pieces = 1
        self._fault: LeptonError | None = None
        self._over = False

    async def enter(self, rank: int, node: str, actor: list[Any]) -> Admission:
        """Begin as this worker; the handle comes in a list, for Ray to leave it alone."""
        if self._over:
            return Admission(0, self._pieces)
        self._entries[rank] = group = self._entries.get(rank, 0) + 1
        self._words.put_nowait(Entry(group, rank, node, actor[0]))
        return Admission(group, self._pieces)

    async def ask(self, group: int, epoch: Epoch) -> bool:
        """Return, once the driver has said so, whether another epoch may begin; the first to ask is heard."""
        key = (group, epoch.number)
        if key not in self._answers:
            self._answers[key] = asyncio.get_running_loop().create_future()
            self._words.put_nowait(Question(group, epoch))
        return not self._over and await self._answers[key]

    async def answer(self, group: int, epoch: int, goes_on: bool) -> None:
        self._answers[group, epoch].set_result(goes_on)

    async def tell(self, word: Outcome | str) -> None:
        self._words.put_nowait(word)

    async def shrink(self, pieces: int) -> None:
        """Let groups that begin from now on go through each batch in so many pieces."""
        if pieces > self._pieces:
            self._pieces = pieces
            self._words.put_nowait(f"A batch did not fit into memory: workers begin again with it in {pieces} pieces.")

    async def give_up(self, fault: LeptonError) -> None:
        """End the run for this reason; the first holds."""
        self._fault, self._over = self._fault or fault, True
        for future in self._answers.values():
            if not future.done():
                future.set_result(False)

    async def fault(self) -> LeptonError | None:
        return self._fault

    async def next_word(self, seconds: float) -> Word | Literal[False]:
        """Return the next word, or False when none has come for so long."""
        try:
            return await asyncio.wait_for(self._words.get(), seconds)
        except TimeoutError:
            return False
