"""The Python door: ``run`` starts the same supervised run as the command line, and ``Run`` is what it left.

The run is a process of its own, so its wall holds whatever the calling process does, and a Ray that the caller has
open is neither used nor touched.
"""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_ray import errors
from lepton_ray.bundle.bundle import Bundle
from lepton_ray.errors import LeptonError, ServingError, UsageError
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.table.source import open_source

_ERRORS = {
    kind.exit_code: kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, LeptonError) and kind is not LeptonError
}


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended: its folder, and its result as ``--json`` prints it."""

    folder: Path
    result: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open the folder of an earlier run.

        Raises:
            UsageError: it holds no result.
        """
        path = Path(folder) / "result.json"
        if not path.exists():
            raise UsageError(f"The folder {folder} holds no result of a run.", "See lepton runs.")
        return cls(Path(folder).resolve(), json.loads(path.read_text(encoding="utf-8")))

    @property
    def id(self) -> str:
        return str(self.result["run"])

    @property
    def score(self) -> float:
        """In the metric's own direction, on rows that no decision has seen."""
        return float(self.result["score"])

    @property
    def bundle(self) -> Bundle:
        """The model, loaded and verified; ``run.bundle.predict(frame)``."""
        return Bundle.load(self.folder / "bundle")

    @property
    def receipt(self) -> Receipt:
        """What it cost."""
        return Receipt.from_ledger(Ledger.open(RunFolder(self.folder).ledger))

    def leaderboard(self) -> Any:
        """All trials as a pandas frame, the best first."""
        import pandas as pd

        rows = [
            {
                "trial": outcome.trial.id,
                "family": outcome.trial.family,
                "rung": outcome.trial.rung,
                "score": outcome.score,
                "error": outcome.error,
                "seconds": outcome.seconds,
                "driver": outcome.driver,
                "state": outcome.state,
                "reason": outcome.reason,
                "config": outcome.trial.config,
            }
            for outcome in RunFolder(self.folder).trials()
        ]
        board = pd.DataFrame(rows).sort_values(["rung", "error"], ascending=[False, True], ignore_index=True)
        return board.drop(columns="error")

    def report(self) -> Path:
        """The report, one file that opens offline."""
        return RunFolder(self.folder).report

    def serve(self, port: int | None = None) -> "Service":
        """Bring the bundle up behind Ray Serve in a process of its own; ``stop`` it, or use it as a context."""
        return Service.start(self.folder / "bundle", port)


@dataclass(slots=True)
class Service:
    """An endpoint in a process of its own."""

    url: str
    process: "subprocess.Popen[str]"

    @classmethod
    def start(cls, bundle: Path, port: int | None, timeout: float = 120.0) -> "Service":
        """Return once it has answered its first request.

        Raises:
            ServingError: it did not come up.
        """
        command = [sys.executable, "-m", "lepton_ray", "serve", str(bundle)]
        command += [] if port is None else ["--port", str(port)]
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("http"):
            _, said = process.communicate(timeout=timeout)
            raise ServingError(f"The endpoint did not come up: {said.strip().splitlines()[-1] if said else 'no word'}")
        return cls(line.split()[0], process)

    def stop(self, timeout: float = 20.0) -> None:
        """End it, and all that belongs to it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *fault: object) -> None:
        self.stop()


def run(
    table: Any,
    *,
    target: str,
    budget: str | float | None = None,
    deadline: str | float | None = None,
    out: str | Path | None = None,
    drop: Sequence[str] = (),
    types: Mapping[str, str] | None = None,
    families: Sequence[str] = (),
    quiet: bool = False,
    **options: Any,
) -> Run:
    """Turn a table into a priced model, behind a wall in dollars and time.

    Args:
        table: path to a file or folder, or a pandas, Arrow or polars frame.
        target: the column to learn.
        budget: dollars, ``"0.02 usd"``; deadline: ``"5m"`` or seconds. Without both, 60 s.
        out: the run's folder; by default a new one under ``lepton-runs``.
        quiet: write no progress to standard error.
        options: the other options of ``lepton run`` by their names: task, metric, positive, plan, weight, group,
            time, test, value, price, seed.

    Raises:
        LeptonError: of the kind that the command line's exit code stands for.
    """
    known = {"task", "metric", "positive", "plan", "weight", "group", "time", "test", "value", "price", "seed"}
    unknown = sorted(options.keys() - known)
    if unknown:
        raise UsageError(f"run has no option '{unknown[0]}'.", f"Options are {', '.join(sorted(known))}.")
    folder = Path(out) if out is not None else Path("lepton-runs") / _new_id()
    with tempfile.TemporaryDirectory(prefix="lepton-table-") as place:
        wanted = {
            "table": _as_file(table, Path(place)),
            "target": target,
            "budget": budget,
            "deadline": deadline,
            "out": str(folder),
            "drop": list(drop),
            "types": dict(types or {}),
            "families": list(families),
            **{name: str(value) if isinstance(value, Path) else value for name, value in options.items()},
        }
        spec = Path(place) / "spec.yaml"
        spec.write_text(json.dumps({name: value for name, value in wanted.items() if value is not None}))
        return _supervised(["run", "--spec", str(spec), "--no-serve", "--json"], folder, quiet)


def _supervised(words: list[str], folder: Path, quiet: bool) -> Run:
    process = subprocess.Popen(
        [sys.executable, "-m", "lepton_ray", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL if quiet else None,
        text=True,
        start_new_session=True,
    )
    while True:
        try:
            printed, _ = process.communicate()
            break
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)  # it finishes what is in hand; a second one ends it at once
    result: dict[str, Any] = json.loads(printed) if printed.strip() else {"error": "The run ended without a word."}
    if "error" in result:
        kind = _ERRORS.get(int(result.get("exit_code", 1)), LeptonError)
        raise kind(result["error"], result.get("hint", ""))
    return Run(folder.resolve(), result)


def _as_file(table: Any, place: Path) -> str:
    """A path that the run's own process can read; a frame is written into ``place``."""
    if isinstance(table, str | Path):
        return str(table)
    import pyarrow.parquet as pq

    path = place / "table.parquet"
    pq.write_table(open_source(table).read(), path)
    return str(path)


def _new_id() -> str:
    return time.strftime("%Y%m%d-%H%M%S-") + f"{time.monotonic_ns() % 0xFFFFFF:06x}"
