"""How a run tells a person how it goes: a live line on a terminal, plain lines elsewhere; always on standard error."""

import sys
import threading
import time
from collections.abc import Callable

from rich.console import Console
from rich.live import Live
from rich.table import Table

from lepton_ray.on_host.course import Progress, Screen

REFRESH_SECONDS = 0.25
PLAIN_SECONDS = 5.0
"""Plain lines come when the best score changes, and at least this often."""


def screen_for(*, json: bool) -> Screen:
    """A live view where a person looks on, plain lines elsewhere."""
    return LiveScreen() if sys.stderr.isatty() and not json else PlainScreen()


class PlainScreen:
    """One line per event."""

    def __init__(self) -> None:
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def say(self, sentence: str) -> None:
        print(sentence, file=sys.stderr, flush=True)

    def watch(self, look: Callable[[], Progress | None]) -> None:
        self._thread = threading.Thread(target=self._follow, args=(look,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._end.set()

    def _follow(self, look: Callable[[], Progress | None]) -> None:
        said, best = time.monotonic(), ""
        while not self._end.wait(REFRESH_SECONDS):
            seen = look()
            if seen is not None and (seen.best != best or time.monotonic() - said > PLAIN_SECONDS):
                said, best = time.monotonic(), seen.best
                self.say(line_of(seen))


class LiveScreen:
    """One line that changes, under the lines that stay."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live: Live | None = None

    def say(self, sentence: str) -> None:
        style = "yellow" if sentence.startswith("!") else "dim"
        self._console.print(sentence, style=style, markup=False)

    def watch(self, look: Callable[[], Progress | None]) -> None:
        self._live = Live(
            console=self._console,
            get_renderable=lambda: _table(look()),
            refresh_per_second=1 / REFRESH_SECONDS,
            transient=True,
        )
        self._live.start()

    def close(self) -> None:
        if self._live is not None:
            live, self._live = self._live, None
            live.stop()


def line_of(seen: Progress) -> str:
    """One plain line: spent of budget, time of deadline, trials, best score, rate."""
    best = f"best {seen.metric} {seen.best} ({seen.family})" if seen.best else "no model yet"
    return (
        f"{seen.spent} of {seen.budget} | {seen.elapsed:.0f} of {seen.wall:.0f} s | {seen.stage} | "
        f"{seen.trials} trials, {seen.running} in hand | {best} | {seen.per_hour}/h"
    )


def _table(seen: Progress | None) -> Table:
    table = Table.grid(padding=(0, 2))
    if seen is None:
        return table
    share = min(1.0, seen.elapsed / seen.wall)
    bar = "█" * round(20 * share) + "░" * (20 - round(20 * share))
    best = f"[bold green]{seen.metric} {seen.best}[/] {seen.family}" if seen.best else "no model yet"
    table.add_row(
        f"[cyan]{bar}[/]",
        f"[bold]{seen.spent}[/] of {seen.budget}",
        f"[bold]{seen.elapsed:.0f}[/] of {seen.wall:.0f} s",
        seen.stage,
        f"{seen.trials} trials",
        best,
        f"[dim]{seen.per_hour}/h[/]",
    )
    return table
