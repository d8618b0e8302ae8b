"""The last acts of a run: close its ledger, write receipt and result, say it once. It decides nothing.

Each act stands alone: one that fails (a full disk, a damaged file) is told on standard error and the next one goes on,
because a model that was paid for is handed over whatever happens.
"""

import json
import math
import os
import select
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_ray.errors import LeptonError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import duration_text
from lepton_ray.money.ledger import SERVE, Ledger
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host.messages import Wall
from lepton_ray.on_host.verdict import Verdict
from lepton_ray.report.settle import settle

Result = dict[str, Any]

KEYS = (
    "run bundle task metric score score_interval baseline_score believed_score spent_usd budget_usd wall_seconds"
    " deadline_seconds trials stopped_because report endpoint left_out onnx"
).split()


@dataclass(frozen=True, slots=True)
class Books:
    """What a run, and the service after it, has cost when its ledger was closed."""

    spent: Dollars
    seconds: float


def sealed_result(folder: Path) -> Result | None:
    """Read the result that the driver sealed last; None when there is none whose bundle lies on disk."""
    try:
        result = json.loads((folder / "result.json").read_bytes())
        return result if isinstance(result, dict) and os.path.isdir(result["bundle"]) else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def close_run(wall: Wall, ended: float, now: float, how: str = "") -> Books:
    """End the run's books at ``now``; what came after ``ended`` is stage ``closing``. ``how`` it ended is noted."""
    now = math.ceil(now * 1000) / 1000  # so that what is printed, times the rate, is what was spent
    spent = Dollars.of_rate(Dollars(wall.per_hour_micros), now)
    with _told("close the ledger"), _ledger(wall) as ledger:
        if not ledger.closed:
            ledger.enter("closing", ended)
            ledger.note("ended", how)
            ledger.close(now)
        spent = ledger.spent()
        _write_receipt(Path(wall.folder), ledger)
    return Books(spent, now)


def open_service(wall: Wall, now: float) -> Books:
    """End the run's books at ``now``, where the endpoint's begin."""
    now = math.ceil(now * 1000) / 1000
    spent = Dollars.of_rate(Dollars(wall.per_hour_micros), now)
    with _told("enter the service into the ledger"), _ledger(wall) as ledger:
        ledger.enter(SERVE, now)
        spent = ledger.spent(now)
        _write_receipt(Path(wall.folder), ledger)
    return Books(spent, now)


def close_service(wall: Wall, opened: float, now: float) -> Books:
    """End the endpoint's books and return what it alone has cost."""
    rate = Dollars(wall.per_hour_micros)
    cost = Dollars.of_rate(rate, now) - Dollars.of_rate(rate, opened)
    with _told("close the ledger"), _ledger(wall) as ledger:
        ledger.close(now)
        cost = Dollars.total(charge.dollars for charge in ledger.charges() if charge.book == "endpoint")
        _write_receipt(Path(wall.folder), ledger)
    return Books(cost, now - opened)


def final_result(sealed: Result, wall: Wall, books: Books, verdict: Verdict, endpoint: str | None) -> Result:
    """Complete what the driver sealed with what only the end knows."""
    result = dict.fromkeys(KEYS) | sealed | {"run": wall.run} | _costs(wall, books)
    because = verdict.stopped_because or (verdict.fault and verdict.fault.what)
    if because is not None:
        result["stopped_because"] = because
    if endpoint is not None:
        result["endpoint"] = endpoint
    return result


def failure(fault: LeptonError, exit_code: int, sealed: Result | None) -> Result:
    """Say what went wrong; a bundle that is there all the same is named."""
    kept = {key: sealed.get(key) for key in ("run", "bundle", "report")} if sealed else {}
    return {"error": fault.what, "hint": fault.hint, "exit_code": exit_code, **kept}


def write_result(wall: Wall, result: Result) -> None:
    """Replace the run's result.json, where its folder was made."""
    if os.path.isdir(wall.folder):
        with _told("write the result"):
            write_whole(Path(wall.folder, "result.json"), json.dumps(result, indent=2) + "\n")


def write_failure(wall: Wall, result: Result, books: Books) -> None:
    """Leave word in the folder of a run that has no model."""
    write_result(wall, {"run": wall.run} | result | _costs(wall, books))


def summary(result: Result) -> str:
    """Say a result in a few plain lines."""
    score = f"{result['metric']} {_number(result['score'])}"
    if isinstance(result["score_interval"], list | tuple) and len(result["score_interval"]) == 2:
        score += " ({} to {})".format(*(_number(end) for end in result["score_interval"]))
    if result["baseline_score"] is not None:
        score += f", without a model {_number(result['baseline_score'])}"
    spent, wall = f"${result['spent_usd']:.6f}", duration_text(result["wall_seconds"])
    lines = {
        "score": score,
        "believed": _belief(result),
        "bundle": result["bundle"],
        "spent": spent if result["budget_usd"] is None else f"{spent} of ${result['budget_usd']:.6f}",
        "time": wall
        if result["deadline_seconds"] is None
        else f"{wall} of {duration_text(result['deadline_seconds'])}",
        "stopped": result["stopped_because"],
        "report": result["report"],
        "onnx": result.get("onnx"),
        "endpoint": result["endpoint"],
        "next": f"lepton predict {result['bundle']} TABLE --out predictions.csv",
        "": f"lepton serve {result['bundle']}",
    }
    return "".join(f"{name:<9} {text}\n" for name, text in lines.items() if text is not None)


def remove(folders: Iterable[str], keep: Path | None, until: float) -> None:
    """Remove temporary folders, as far as the time reaches; never one that holds ``keep`` or the current folder."""
    for name in folders:
        folder = Path(name)
        kept = [Path.cwd(), Path.home(), *([keep.absolute()] if keep else [])]
        if folder.is_absolute() and not folder.is_symlink() and not any(one.is_relative_to(folder) for one in kept):
            if not _removed(folder, until):
                tell(f"No time was left to remove {folder}; `lepton clean` does.")


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and rename it there."""
    sibling = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        sibling.write_text(text, encoding="utf-8")
        os.replace(sibling, path)
    except OSError:
        sibling.unlink(missing_ok=True)
        raise


def say(text: str) -> None:
    """Write to standard output, which nobody else in the run does; a reader that has left is no fault."""
    with suppress(OSError):
        data = text.encode("utf-8", "replace")
        while data:
            data = data[os.write(1, data) :]


def tell(text: str) -> None:
    """Write a line to standard error, if anybody still listens."""
    with suppress(OSError, ValueError):
        if select.select([], [2], [], 0)[1]:  # a full pipe that nobody empties must not hold up the wall
            os.write(2, text.encode("utf-8", "replace") + b"\n")


def _costs(wall: Wall, books: Books) -> Result:
    return {
        "spent_usd": float(books.spent),
        "budget_usd": None if wall.budget_micros is None else float(Dollars(wall.budget_micros)),
        "wall_seconds": round(books.seconds, 3),
        "deadline_seconds": wall.deadline_seconds,
    }


def _belief(result: Result) -> str | None:
    """What the search took the score to be, and how far that was from what was measured."""
    believed, score = result.get("believed_score"), result["score"]
    if not isinstance(believed, int | float) or not isinstance(score, int | float):
        return None
    gap = f"{_number(abs(believed - score))} {'more' if believed > score else 'less'} than measured"
    return f"{_number(believed)} by the search, {gap if believed != score else 'as measured'}"


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


@contextmanager
def _ledger(wall: Wall) -> Iterator[Ledger]:
    yield Ledger.open(Path(wall.folder, "ledger.jsonl"))


@contextmanager
def _told(act: str) -> Iterator[None]:
    """Let no fault of one act stop the next."""
    try:
        yield
    except Exception as fault:
        tell(f"Could not {act}: {fault}")


def _write_receipt(folder: Path, ledger: Ledger) -> None:
    receipt = Receipt.from_ledger(ledger)
    acts: dict[str, Callable[[], None]] = {
        "receipt.json": lambda: write_whole(folder / "receipt.json", json.dumps(receipt.to_dict(), indent=2) + "\n"),
        "receipt.txt": lambda: write_whole(folder / "receipt.txt", receipt.to_text() + "\n"),
        "the receipt in report.html": lambda: _swap(folder / "report.html", receipt),
    }
    for name, act in acts.items():
        with _told(f"write {name}"):
            act()


def _swap(report: Path, receipt: Receipt) -> None:
    if report.exists():
        write_whole(report, settle(report.read_text(encoding="utf-8"), receipt))


def _removed(folder: Path, until: float) -> bool:
    """Remove a folder's content bottom up until the time is over; say whether it is gone."""
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in (*files, *folders):
            if time.monotonic() >= until:
                return False
            path = os.path.join(parent, name)
            with suppress(OSError):
                (os.rmdir if name in folders and not os.path.islink(path) else os.unlink)(path)
    with suppress(OSError):
        os.rmdir(folder)
    return not folder.exists()
