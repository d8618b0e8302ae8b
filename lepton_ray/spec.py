"""What the user asked for: flags and an optional YAML file, parsed once into frozen values.

The process environment is read here and nowhere else. It knows nothing about how a run is carried out.
Words used everywhere: Table, Profile, CleaningPlan, FeatureStep, Family, Trial, Lease, Decision, Charge, Ledger,
Bundle, Endpoint, Receipt. Budget: a run's dollars.
"""

import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from lepton_ray.errors import DataError, EnvironmentFault, UsageError
from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import parse_duration
from lepton_ray.money.prices import MachinePrice, machine_price
from lepton_ray.table.schema import Kind

RUNS_FOLDER = "lepton-runs"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the process was started with.

    Attributes:
        started: ``time.monotonic()`` at which the user's process began; the run's clock counts from it.
        run_id: id that every process of the run carries in its environment.
        wall_fd: the pipe to the supervisor that holds the wall, or None without one.
        cpus: cores that may be used; vcpus: cores that are paid for.
    """

    started: float
    run_id: str
    wall_fd: int | None
    cpus: int
    vcpus: int

    @classmethod
    def read(cls) -> "Surroundings":
        """Read the environment."""
        fd = os.environ.get("LEPTON_WALL_FD")
        return cls(
            started=float(os.environ.get("LEPTON_STARTED", time.monotonic())),
            run_id=os.environ.get("LEPTON_RUN_ID") or time.strftime("%Y%m%d-%H%M%S-") + f"{os.getpid():x}",
            wall_fd=int(fd) if fd else None,
            cpus=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
            vcpus=os.cpu_count() or 1,
        )


@dataclass(frozen=True, slots=True)
class RunSpec:
    """One run as the user asked for it; names are those of the flags.

    Attributes:
        serve: "serve", "no-serve", or the seconds to serve for, as text ("30s").
        out: the run's own folder; None: ``lepton-runs/<run id>``.
    """

    table: str
    target: str
    budget: str | None = None
    deadline: str | None = None
    task: str = "auto"
    metric: str = "auto"
    positive: str | None = None
    drop: tuple[str, ...] = ()
    types: tuple[tuple[str, str], ...] = ()
    plan: str | None = None
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    test: str | None = None
    value: str | None = None
    price: str | None = None
    families: tuple[str, ...] = ()
    seed: int = 0
    out: str | None = None
    serve: str = "no-serve"
    port: int | None = None
    json: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any], spec_file: str | None = None) -> "RunSpec":
        """Merge a YAML spec with flags; a flag that was given wins.

        Raises:
            UsageError: an unknown key, a missing table or target, a value of the wrong form.
        """
        merged: dict[str, Any] = dict(_read_yaml(spec_file)) if spec_file else {}
        merged.update({key: value for key, value in options.items() if value is not None})
        known = {field.name for field in fields(cls)}
        for key in merged:
            if key not in known:
                near = get_close_matches(key, known, 1)
                raise UsageError(f"The spec has the unknown key '{key}'.", f"Did you mean '{near[0]}'?" if near else "")
        for key in ("table", "target"):
            if not merged.get(key):
                flag = "TABLE" if key == "table" else "--target COLUMN"
                raise UsageError(f"No {key} was given.", f"Say which: lepton run {flag} …")
        merged["drop"] = _names(merged.get("drop", ()))
        merged["families"] = _names(merged.get("families", ()))
        merged["types"] = _types(merged.get("types", ()))
        for key in ("budget", "deadline", "price"):
            if merged.get(key) is not None:
                merged[key] = str(merged[key])
        merged["seed"] = _whole(merged.get("seed", 0), "--seed")
        return cls(**merged)

    def machine(self, around: Surroundings) -> MachinePrice:
        """What an hour of this machine costs."""
        override = None if self.price is None else Dollars.parse(self.price)
        return machine_price(around.vcpus, override=override)

    def resolved_budget(self, machine: MachinePrice) -> Budget:
        """Dollars and deadline, the one not given following from the machine's rate."""
        return Budget.resolve(
            None if self.budget is None else Dollars.parse(self.budget),
            None if self.deadline is None else parse_duration(self.deadline),
            machine.per_hour,
        )

    @property
    def serve_seconds(self) -> float | None:
        """Seconds to serve for; None means until Ctrl-C (or not at all, see ``serves``)."""
        return None if self.serve in ("serve", "no-serve") else parse_duration(self.serve)

    @property
    def serves(self) -> bool:
        return self.serve != "no-serve"

    def folder(self, run_id: str) -> Path:
        """Make the run's folder.

        Raises:
            UsageError: it holds another run. EnvironmentFault: it cannot be written.
        """
        folder = Path(self.out) if self.out else Path(RUNS_FOLDER) / run_id
        if (folder / "ledger.jsonl").exists():
            raise UsageError(f"The folder {folder} already holds a run.", "Give another --out, or remove it.")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            probe = folder / ".probe"
            probe.write_bytes(b"\0" * 65536)
            probe.unlink()
        except OSError as fault:
            raise EnvironmentFault(
                f"The output folder {folder} cannot be written: {fault.strerror or fault}.",
                "Give a folder that you may write to with --out.",
            ) from None
        return folder.resolve()

    def to_dict(self) -> dict[str, Any]:
        """A form that YAML and JSON take, and ``from_options`` reads back."""
        facts = asdict(self)
        facts["drop"], facts["families"] = list(self.drop), list(self.families)
        facts["types"] = dict(self.types)
        return facts


def _read_yaml(path: str) -> dict[str, Any]:
    try:
        found = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as fault:
        raise UsageError(f"The spec {path} cannot be read: {fault}.", "Check the path.") from None
    except yaml.YAMLError as fault:
        raise UsageError(f"The spec {path} is not YAML: {str(fault).splitlines()[0]}.", "Mend that line.") from None
    if not isinstance(found, dict):
        raise UsageError(f"The spec {path} holds no keys.", "Write lines like 'target: Churn'.")
    return {str(key).replace("-", "_"): value for key, value in found.items()}


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    return tuple(str(name).strip() for name in value if str(name).strip())


def _types(value: Any) -> tuple[tuple[str, str], ...]:
    pairs = value.items() if isinstance(value, Mapping) else [_pair(entry) for entry in _names(value)]
    kinds = [kind.value for kind in Kind]
    for column, kind in pairs:
        if kind not in kinds:
            raise UsageError(
                f"--types gives the column '{column}' the unknown kind '{kind}'.", f"Kinds are {', '.join(kinds)}."
            )
    return tuple((str(column), str(kind)) for column, kind in pairs)


def _pair(entry: str) -> tuple[str, str]:
    column, sign, kind = entry.rpartition("=")
    if not sign or not column:
        raise UsageError(f"--types has '{entry}', which is not column=kind.", "Write --types a=category,b=date.")
    return column.strip(), kind.strip()


def _whole(value: Any, flag: str) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise UsageError(f"{flag} is '{value}', which is not a whole number.", "Write for example 7.") from None
    if not 0 <= number < 2**32:
        raise UsageError(f"{flag} is {number}, outside 0 to 4294967295.", "Write for example 7.")
    return number


def readable_file(path: str, what: str) -> Path:
    """The path, if there is such a file.

    Raises:
        DataError: there is none.
    """
    if not Path(path).exists():
        raise DataError(f"{what} {path} does not exist.", "Check the path.")
    return Path(path)
