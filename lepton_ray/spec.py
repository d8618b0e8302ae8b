"""What the user asked for: flags and an optional YAML file, parsed once into frozen values.

The process environment is read here and nowhere else. It knows nothing about how a run is carried out.
Words used everywhere: Table, Profile, CleaningPlan, FeatureStep, Family, Trial, Lease, Decision, Charge, Ledger,
Bundle, Endpoint, Receipt. Budget: a run's dollars.
"""

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from lepton_ray.errors import DataError, MoneyError, UsageError
from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import parse_duration
from lepton_ray.money.prices import MachinePrice, machine_price
from lepton_ray.table.fields import nearest
from lepton_ray.table.place import RUNS_FOLDER
from lepton_ray.table.schema import Kind, Task

Reader = Callable[[Any, str], Any]
"""From what was given and the flag's name to the value; refuses with UsageError."""


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
        onnx: search only what can be one ONNX file, and write it beside the bundle.
        priors: folder of a portfolio and a cost prior to search by; None: the shipped ones.
        address: of a Ray cluster to join, or "auto"; spot: whether its spot nodes may be used.
        margins: seal what the values of each column are like (quantiles, frequent levels; never a row) with the model.
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
    spend_it_all: bool = False
    max_latency: str | None = None
    max_usd_per_1000: str | None = None
    priors: str | None = None
    warm_start: str | None = None
    onnx: bool = False
    address: str | None = None
    spot: bool = True
    margins: bool = True
    json: bool = False

    @classmethod
    def from_options(cls, options: Mapping[str, Any], spec_file: str | None = None) -> "RunSpec":
        """Merge a YAML spec with flags; a flag that was given wins.

        Raises:
            UsageError: an unknown key, a missing table or target, a value of the wrong form, one name in two roles.
        """
        merged = _read_spec(spec_file) if spec_file else {}
        merged.update({key: value for key, value in options.items() if value is not None})
        known = {field.name for field in fields(cls)}
        for key in merged:
            if key not in known:
                raise UsageError(f"The spec has the unknown key '{key}'.", nearest(key, sorted(known)))
        for key in ("table", "target"):
            if not merged.get(key):
                flag = "TABLE" if key == "table" else "--target COLUMN"
                raise UsageError(f"No {key} was given.", f"Say which: lepton run {flag} …")
        asked = cls(**{key: _reader(key)(value, f"--{key}") for key, value in merged.items()})
        asked._check()
        return asked

    def _check(self) -> None:
        """Refuse words that no run knows, and one column in two roles, before anything is read."""
        from lepton_ray.models.registry import FAMILIES
        from lepton_ray.training.metrics import METRICS

        words = {
            "task": (self.task, ["auto", *(task.value for task in Task)]),
            "metric": (self.metric, ["auto", *METRICS]),
        }
        for name, (word, choices) in words.items():
            if word not in choices:
                raise UsageError(f"There is no {name} '{word}' (--{name}).", nearest(word, choices))
        for family in self.families:
            if ":" not in family and family not in FAMILIES:
                hint = f"Choose among {', '.join(FAMILIES)}, or name your own as module:Class."
                raise UsageError(f"There is no model family '{family}' (--families).", hint)
        for role in ("drop", "weight", "group", "time"):
            named = getattr(self, role)
            if self.target == named or (role == "drop" and self.target in self.drop):
                raise UsageError(
                    f"The column '{self.target}' is the --target and cannot be --{role}.", "Leave one out."
                )

    def machine(self, around: Surroundings) -> MachinePrice:
        """What an hour of this machine costs."""
        override = None if self.price is None else Dollars.parse(self.price, name="price")
        return machine_price(around.vcpus, override=override)

    def resolved_budget(self, machine: MachinePrice) -> Budget:
        """Dollars and deadline, the one not given following from the machine's rate."""
        return Budget.resolve(
            None if self.budget is None else Dollars.parse(self.budget, name="budget"),
            None if self.deadline is None else parse_duration(self.deadline, name="deadline"),
            machine.per_hour,
        )

    def row_seconds(self, machine: MachinePrice) -> float:
        """The most that one prediction may take, by its latency and by what a thousand of them cost on one vCPU."""
        limits = [math.inf]
        if self.max_latency is not None:
            limits.append(parse_duration(self.max_latency, name="latency"))
        if self.max_usd_per_1000 is not None:
            dollars = Dollars.parse(self.max_usd_per_1000, name="price of 1,000 predictions")
            per_core_second = machine.per_hour.micros / machine.vcpus / 3600.0
            limits.append(dollars.micros / 1000.0 / per_core_second if per_core_second else math.inf)
        return min(limits)

    @property
    def limits(self) -> tuple[str, ...]:
        """Which of budget and deadline the user gave."""
        return tuple(name for name in ("budget", "deadline") if getattr(self, name) is not None)

    @property
    def serve_seconds(self) -> float | None:
        """Seconds to serve for; None means until Ctrl-C (or not at all, see ``serves``)."""
        return None if self.serve in ("serve", "no-serve") else parse_duration(self.serve)

    @property
    def serves(self) -> bool:
        return self.serve != "no-serve"

    def folder(self, run_id: str) -> Path:
        """Where the run is to leave what it makes."""
        return Path(self.out) if self.out else Path(RUNS_FOLDER) / run_id

    def to_dict(self) -> dict[str, Any]:
        """A form that YAML and JSON take, and ``from_options`` reads back."""
        facts = asdict(self)
        facts["drop"], facts["families"] = list(self.drop), list(self.families)
        facts["types"] = dict(self.types)
        return facts


def asks_for_json(path: str) -> bool:
    """Whether a spec that can be read says ``json: true``; a pipe is left alone, because it is read once only."""
    if not Path(path).is_file():
        return False
    try:
        return _truth(_read_spec(path).get("json", False), "json")
    except UsageError:
        return False


def _read_spec(path: str) -> dict[str, Any]:
    """Every scalar as the text that was written: a class named yes stays one, and a column named 1 too."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        found = _from_json(text) if path.endswith(".json") else _from_yaml(text)
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8 text"
        raise UsageError(f"The spec {path} cannot be read: {reason}.", "Check the path.") from None
    except RecursionError:
        raise UsageError(f"The spec {path} is nested too deeply.", "Mend it: one 'key: value' a line.") from None
    except (yaml.YAMLError, json.JSONDecodeError) as fault:
        line = fault.lineno if isinstance(fault, json.JSONDecodeError) else _line_of(fault)
        form = "JSON" if path.endswith(".json") else "YAML"
        where = f" in line {line}" if line else ""
        raise UsageError(f"The spec {path} is not {form}{where}.", "Mend it: one 'key: value' a line.") from None
    if not isinstance(found, dict):
        raise UsageError(f"The spec {path} holds no keys.", "Write lines like 'target: Churn'.")
    given = {str(key).replace("-", "_"): value for key, value in found.items()}
    return {key: value for key, value in given.items() if value not in (None, "")}


def _from_yaml(text: str) -> Any:
    found = yaml.load(text, Loader=yaml.BaseLoader)
    if not isinstance(found, dict):
        return found
    return {key: None if value in ("null", "~") else value for key, value in found.items()}


def _from_json(text: str) -> Any:
    """YAML reads most of JSON, but neither each of its escapes nor each of its characters."""
    return json.loads(text, parse_int=str, parse_float=str)


def _line_of(fault: yaml.YAMLError) -> int | None:
    mark = getattr(fault, "problem_mark", None)
    return None if mark is None else mark.line + 1


def _text(value: Any, flag: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float | Path):
        raise UsageError(f"{flag} is {value!r:.60}, which is not one word or number.", "Write for example Churn.")
    return str(value)


def _names(value: Any, flag: str) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise UsageError(f"{flag} is {value!r:.60}, which is no list of names.", "Write A,B.")
    names = (_text(name, flag).strip() for name in value)
    return tuple(name for name in names if name)


def _types(value: Any, flag: str) -> tuple[tuple[str, str], ...]:
    pairs = value.items() if isinstance(value, Mapping) else [_pair(entry) for entry in _names(value, flag)]
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


def _whole(value: Any, flag: str, low: int = 0, high: int = 2**32 - 1) -> int:
    try:
        number = int(_text(value, flag))
    except ValueError:
        raise UsageError(f"{flag} is '{value}', which is not a whole number.", "Write for example 7.") from None
    if not low <= number <= high:
        raise UsageError(f"{flag} is {number}, outside {low} to {high}.", f"Write a number from {low} to {high}.")
    return number


def _port(value: Any, flag: str) -> int:
    return _whole(value, flag, 1, 65535)


def _serve(value: Any, flag: str) -> str:
    """ "serve", "no-serve" or the seconds to serve for."""
    word = {"true": "serve", "yes": "serve", "false": "no-serve", "no": "no-serve"}
    said = word.get(str(value).lower(), value)
    if said not in ("serve", "no-serve"):
        try:
            parse_duration(_text(said, flag))
        except MoneyError:
            what = f"The time to serve for is '{value}', which is no time (--serve-for)."
            raise UsageError(what, "Write it like 30s, 5m or 1h30m.") from None
    return str(said)


def _truth(value: Any, flag: str) -> bool:
    said = str(value).lower()
    if said not in ("true", "false", "yes", "no"):
        raise UsageError(f"{flag} is '{value}', neither true nor false.", "Write true or false.")
    return said in ("true", "yes")


def _name(value: Any, flag: str) -> str:
    """The name of a column; whoever reads a table takes the blanks around its names away."""
    name = _text(value, flag).strip()
    if not name:
        raise UsageError(f"{flag} names a blank column.", "Write a column's name, for example Churn.")
    return name


_READERS: dict[str, Reader] = {
    "target": _name,
    "weight": _name,
    "group": _name,
    "time": _name,
    "drop": _names,
    "families": _names,
    "types": _types,
    "seed": _whole,
    "port": _port,
    "serve": _serve,
    "spend_it_all": _truth,
    "onnx": _truth,
    "spot": _truth,
    "margins": _truth,
    "json": _truth,
}


def _reader(key: str) -> Reader:
    return _READERS.get(key, _text)


def text_of_file(path: str, what: str) -> str:
    """The text of a file.

    Raises:
        DataError: there is none, or it is no text.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(f"{what} {path} does not exist.", "Check the path.") from None
    except (OSError, UnicodeDecodeError) as fault:
        reason = fault.strerror if isinstance(fault, OSError) else "it is not UTF-8 text"
        raise DataError(f"{what} {path} cannot be read: {reason}.", "Check the path.") from None
