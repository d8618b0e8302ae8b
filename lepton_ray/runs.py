"""The Python door: ``run`` starts the same supervised run as the command line, and ``Run`` is what it left.

The run is a process of its own, so its wall holds whatever the calling process does, and a Ray that the caller has
open is neither used nor touched. It ends when the calling process does: nobody would wait for it.
"""

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.errors import LeptonError, ServingError, UsageError
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host.child import Child, fault_of
from lepton_ray.on_host.lending import LENT_PREFIX, lend
from lepton_ray.on_host.run_folder import RunFolder
from lepton_ray.search.trial import Outcome
from lepton_ray.spec import text_of_file
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.fields import parsed
from lepton_ray.table.place import RUNS_FOLDER

_COLUMNS = ("trial", "family", "rung", "score", "seconds", "driver", "state", "reason", "config")


def leaderboard_of(outcomes: Iterable[Outcome]) -> Any:
    """Trials as a pandas frame, the best first."""
    import pandas as pd

    ranked = sorted(outcomes, key=lambda one: (-one.trial.rung, float("inf") if one.error is None else one.error))
    rows = [
        (one.trial.id, one.trial.family, one.trial.rung, one.score)
        + (one.seconds, one.driver, one.state, one.reason, one.trial.config)
        for one in ranked
    ]
    return pd.DataFrame(rows, columns=list(_COLUMNS))


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended: its folder, and its result as ``--json`` prints it."""

    folder: Path
    result: Mapping[str, Any] = field(repr=False)

    @classmethod
    def open(cls, folder: str | Path) -> "Run":
        """Open the folder of an earlier run.

        Raises:
            UsageError: it holds no result, or that of a run without a model.
        """
        place = Path(folder).expanduser().resolve()
        try:
            result = json.loads((place / "result.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            raise UsageError(f"The folder {folder} holds no result of a run.", "See lepton runs.") from None
        if "error" in result:
            raise UsageError(f"The run in {folder} ended without a model: {result['error']}", result.get("hint", ""))
        return cls(place, result)

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
        trust = [name for name in self._asked().get("families") or () if ":" in name]
        return Bundle.load(self.folder / "bundle", trust=trust)

    @property
    def receipt(self) -> Receipt:
        """What it cost."""
        return Receipt.from_ledger(Ledger.open(RunFolder(self.folder).ledger))

    def leaderboard(self) -> Any:
        """All trials as a pandas frame, the best first."""
        return leaderboard_of(RunFolder(self.folder).trials())

    def report(self) -> Path:
        """The report, one file that opens offline.

        Raises:
            UsageError: the run ended before one was written.
        """
        path = RunFolder(self.folder).report
        if not path.exists():
            raise UsageError(f"The run {self.id} has no report.", "It ended before one was written.")
        return path

    def serve(self, port: int | None = None) -> "Service":
        """Bring the bundle up behind Ray Serve in a process of its own; ``stop`` it, or use it as a context."""
        return Service.start(self.folder / "bundle", port)

    def _asked(self) -> Mapping[str, Any]:
        path = self.folder / "spec.json"
        return parsed(text_of_file(str(path), "The spec"), f"The spec {path}").values if path.exists() else {}


@dataclass(frozen=True, slots=True)
class Service:
    """An endpoint in a process of its own; it ends with the calling process at the latest."""

    url: str
    child: Child = field(repr=False)

    @classmethod
    def start(cls, bundle: str | Path, port: int | None = None, *options: str) -> "Service":
        """Return once it has answered its first request.

        Args:
            options: of ``lepton serve``, besides the port.

        Raises:
            BundleError: it is no bundle, or a damaged one. EnvironmentFault: the port is taken.
            ServingError: it did not come up.
        """
        child = Child(["serve", str(bundle), *([] if port is None else ["--port", str(port)]), *options], "keep")
        try:
            url = child.line()
        except BaseException:
            child.stop()
            raise
        if not url.startswith("http"):
            code = child.wait()
            raise fault_of(code, child.said() or "The endpoint did not come up.", default=ServingError)
        return cls(url, child)

    def stop(self) -> None:
        """End it, and all that belongs to it; once more is no fault."""
        self.child.stop()

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *fault: object) -> None:
        self.stop()


def run(
    table: Any,
    *,
    target: str,
    budget: Any = None,
    deadline: str | float | None = None,
    task: str | None = None,
    metric: str | None = None,
    positive: Any = None,
    drop: Sequence[str] = (),
    types: Mapping[str, str] | None = None,
    plan: str | Path | CleaningPlan | None = None,
    weight: str | None = None,
    group: str | None = None,
    time: str | None = None,
    test: Any = None,
    value: str | Path | Mapping[str, Any] | None = None,
    price: Any = None,
    families: Sequence[str] = (),
    warm_start: str | Path | None = None,
    onnx: bool = False,
    address: str | None = None,
    spot: bool = True,
    margins: bool = True,
    seed: int | None = None,
    out: str | Path | None = None,
    quiet: bool = False,
) -> Run:
    """Turn a table into a priced model, behind a wall in dollars and time; each option is that of ``lepton run``.

    An interrupt finishes what is in hand, and the best so far is returned; a second one ends it and is raised.

    Args:
        table: path to a file or folder, or a pandas, Arrow or polars frame; also ``test``, to measure the score on.
        target: the column to learn.
        budget: dollars, ``"0.02 usd"``; deadline: ``"5m"`` or seconds. Without both, 60 s.
        drop, families: names; a single string is one name.
        warm_start: a bundle of an earlier run: what it is made of is tried first.
        onnx: try only what can be exported, and write ``model.onnx`` into the run's folder.
        address: a Ray cluster to join, ``"auto"`` or ``"host:port"``, with a budget; spot: on spot nodes, too.
        margins: seal each column's quantiles and frequent levels with the model; never a row.
        out: the run's folder; by default a new one under ``lepton-runs``.
        quiet: write no progress to ``sys.stderr``.

    Raises:
        LeptonError: of the kind that the command line's exit code stands for.
    """
    home = Path(RUNS_FOLDER).resolve()
    with tempfile.TemporaryDirectory(prefix=LENT_PREFIX, ignore_cleanup_errors=True) as place:
        files = {"table": table, "test": test, "plan": plan, "value": value}
        words = {"target": target, "task": task, "metric": metric, "weight": weight, "group": group, "time": time}
        words["address"] = address
        words["warm_start"] = None if warm_start is None else str(Path(warm_start).expanduser().resolve())
        amounts = {"budget": budget, "deadline": deadline, "price": price, "positive": positive, "seed": seed}
        given: dict[str, Any] = {
            **{name: lend(one, Path(place), name) for name, one in files.items() if one is not None},
            **{name: one for name, one in words.items() if one is not None},
            **{name: str(one) for name, one in amounts.items() if one is not None},
            "spot": spot,
            "margins": margins,
            "drop": _names(drop),
            "families": _names(families),
            "types": {str(column): str(kind) for column, kind in (types or {}).items()},
        }
        if onnx:
            given["onnx"] = True
        if out is not None:
            given["out"] = str(Path(out).expanduser().resolve())
        spec = Path(place) / "spec.json"
        spec.write_text(json.dumps(given), encoding="utf-8")
        result = _supervised(spec, quiet)
    return Run(Path(given.get("out") or home / result["run"]), result)


def _supervised(spec: Path, quiet: bool) -> dict[str, Any]:
    """The result of the run that ``spec`` asks for."""
    words = ["run", "--spec", str(spec), "--lent", str(spec.parent), "--no-serve", "--json"]
    child = Child(words, "drop" if quiet else "show")
    try:
        code = _outlasted(child)
    except BaseException:
        child.stop()
        raise
    try:
        result: dict[str, Any] = json.loads(child.printed())
    except ValueError:
        raise fault_of(code, "The run ended without a word.", default=LeptonError) from None
    if "error" in result:
        kept = f" The best model sealed before is in {result['bundle']}." if result.get("bundle") else ""
        raise fault_of(code, result["error"], f"{result.get('hint', '')}{kept}".strip(), default=LeptonError)
    return result


def _outlasted(child: Child) -> int:
    """Wait for its exit code, passing interrupts on to it; a second one is raised, once it has ended."""
    interrupts = 0
    while True:
        try:
            code = child.wait()
        except KeyboardInterrupt:
            interrupts += 1
            child.ask()
        else:
            if interrupts > 1:
                raise KeyboardInterrupt
            return code


def _names(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else [str(name) for name in given]
