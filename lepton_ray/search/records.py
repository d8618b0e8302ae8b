"""Trials that were recorded: one JSON line for each table, configuration, rung and fold, and what they make up.

A line that has "probe_seconds" says where the records with that stamp were made, one that has "source" what a table is,
and one that has "keys" holds blends; a file called ``.xz`` is compressed. The cost model's prior, the portfolio and the
simulation are made from such lines. It knows no families and runs nothing.
"""

import json
import lzma
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ray.errors import DataError
from lepton_ray.search.trial import DONE
from lepton_ray.table.fields import parsed
from lepton_ray.table.schema import Problem, Task

Config = dict[str, Any]
Key = tuple[str, str]
"""A family and its configuration as canonical JSON."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """Where and with what a record was made.

    Attributes:
        probe_seconds: what ``cost.probe`` took on that machine.
        versions: of Python and of the libraries that fit.
    """

    id: str
    probe_seconds: float
    versions: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TableFacts:
    """The rows that were used, by name, and the table they are from, which several may share.

    Attributes:
        classes: 0 for a regression.
        rows, columns: of the development part; a text counts as many columns as it has bytes.
    """

    name: str
    source: str
    task: Task
    metric: str
    classes: int
    rows: int
    columns: int

    @property
    def problem(self) -> Problem:
        """The problem, its classes by number."""
        return Problem("target", self.task, tuple(str(code) for code in range(self.classes)), self.metric)


@dataclass(frozen=True, slots=True)
class Record:
    """One configuration fitted on the training side of one fold and judged on the other.

    Attributes:
        train_rows, valid_rows: of this fold at this rung.
        work: what ``Family.work`` said of the configuration on ``train_rows``.
        error: on the fold's other side, lower is better; ``held_error``: on rows that no decision may see.
        fit_seconds, predict_seconds: of CPU; ``wall_seconds``: of a clock on the wall, both together.
    """

    table: TableFacts
    stamp: str
    family: str
    config: Config
    rung: int
    fold: int
    train_rows: int
    valid_rows: int
    work: float
    state: str
    error: float | None = None
    held_error: float | None = None
    fit_seconds: float = 0.0
    predict_seconds: float = 0.0
    wall_seconds: float = 0.0
    effort: Config = field(default_factory=dict)
    reason: str = ""

    @property
    def seconds(self) -> float:
        """CPU seconds of fitting and judging."""
        return self.fit_seconds + self.predict_seconds

    @property
    def key(self) -> Key:
        return key_of(self.family, self.config)


@dataclass(frozen=True, slots=True)
class Blends:
    """Errors of the mean of two configurations' predictions on one table, at the last rung.

    Attributes:
        keys: the configurations.
        errors: for each pair i < j, row by row, the mean of the error on the folds and on the rows held out.
    """

    table: str
    keys: tuple[Key, ...]
    errors: tuple[float, ...]

    def pairs(self) -> Iterator[tuple[Key, Key, float]]:
        """Every pair with its error."""
        for (one, other), error in zip(combinations(self.keys, 2), self.errors, strict=True):
            yield one, other, error


def line_of(fact: Stamp | TableFacts | Record | Blends) -> str:
    """One line of JSON, a record's without what is at its default; a table is named by its name."""
    facts = asdict(fact)
    if isinstance(fact, Record):
        facts["table"] = fact.table.name
        for name in ("error", "held_error", "effort", "reason"):
            if facts[name] in (None, {}, ""):
                del facts[name]
    return json.dumps(facts, separators=(",", ":"))


def key_of(family: str, config: Config) -> Key:
    """What two trials of the same configuration have in common."""
    return family, json.dumps(config, sort_keys=True)


def read_records(*files: Path) -> tuple[dict[str, Stamp], list[Record]]:
    """The stamps by id and the records in order; a last line that was cut off is left out.

    Raises:
        DataError: a file cannot be read, or a line is not a record.
    """
    stamps: dict[str, Stamp] = {}
    tables: dict[str, TableFacts] = {}
    records: list[Record] = []
    for file in files:
        for number, facts in _lines(file):
            try:
                if "probe_seconds" in facts:
                    stamps[facts["id"]] = Stamp(**facts)
                elif "keys" in facts:
                    continue
                elif "source" in facts:
                    tables[facts["name"]] = TableFacts(**{**facts, "task": Task(facts["task"])})
                else:
                    records.append(Record(**{**facts, "table": tables[facts["table"]]}))
            except (KeyError, TypeError, ValueError) as fault:
                raise DataError(
                    f"Line {number} of {file} is not a recorded trial: {fault}.",
                    "Take the line out, or record the trials again with scripts/record_trials.py.",
                ) from fault
    return stamps, records


def read_blends(*files: Path) -> dict[str, Blends]:
    """The blends by table; the last ones of a table count.

    Raises:
        DataError: a file cannot be read.
    """
    found = {}
    for file in files:
        for _, facts in _lines(file):
            if "keys" in facts:
                keys = tuple((family, config) for family, config in facts["keys"])
                found[facts["table"]] = Blends(facts["table"], keys, tuple(facts["errors"]))
    return found


def _lines(file: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        packed = file.read_bytes()
        text = (lzma.decompress(packed) if file.suffix == ".xz" else packed).decode()
    except (OSError, UnicodeDecodeError, lzma.LZMAError) as fault:
        raise DataError(
            f"The recorded trials {file} cannot be read: {fault}.", "Record some with scripts/record_trials.py."
        ) from fault
    whole = text[: text.rfind("\n") + 1]
    for number, line in enumerate(whole.splitlines(), start=1):
        yield number, parsed(line, f"Line {number} of {file}").values


@dataclass(frozen=True, slots=True)
class Run:
    """One configuration at one rung: errors and CPU seconds of its folds, in their order."""

    family: str
    config: Config
    fold_errors: tuple[float, ...]
    fold_seconds: tuple[float, ...]
    held_error: float
    train_rows: int
    work: float

    @property
    def error(self) -> float:
        return float(np.mean(self.fold_errors))

    @property
    def seconds(self) -> float:
        return float(np.sum(self.fold_seconds))


@dataclass(frozen=True, slots=True)
class RecordedTable:
    """What was recorded on one table: for each rung the configurations that were done on every fold."""

    facts: TableFacts
    rungs: tuple[Mapping[Key, Run], ...]

    def everywhere(self) -> dict[Key, Run]:
        """The configurations that every rung has, as they are at the last one."""
        return {key: run for key, run in self.rungs[-1].items() if all(key in rung for rung in self.rungs)}


def recorded_tables(records: Iterable[Record]) -> tuple[RecordedTable, ...]:
    """The tables by name, each with what was done on all folds of a rung."""
    grouped: dict[str, list[Record]] = {}
    for record in records:
        grouped.setdefault(record.table.name, []).append(record)
    return tuple(_table(grouped[name]) for name in sorted(grouped))


def without(records: Sequence[Record], source: str) -> list[Record]:
    """The records of all other tables.

    Raises:
        DataError: there is no such table.
    """
    kept = [record for record in records if source not in (record.table.name, record.table.source)]
    if len(kept) == len(records):
        known = ", ".join(sorted({record.table.source for record in records}))
        raise DataError(f"No recorded table is called '{source}'.", f"There are: {known}.")
    return kept


def _table(records: Sequence[Record]) -> RecordedTable:
    rungs: list[Mapping[Key, Run]] = []
    for rung in sorted({record.rung for record in records}):
        here = [record for record in records if record.rung == rung]
        folds = {record.fold for record in here}
        by_key: dict[Key, dict[int, Record]] = {}
        for record in here:
            if record.state == DONE and record.error is not None and record.held_error is not None:
                by_key.setdefault(record.key, {})[record.fold] = record
        rungs.append({key: _run(found) for key, found in by_key.items() if set(found) == folds})
    return RecordedTable(records[0].table, tuple(rungs))


def _run(found: Mapping[int, Record]) -> Run:
    folds = [found[fold] for fold in sorted(found)]
    return Run(
        folds[0].family,
        folds[0].config,
        tuple(float(record.error or 0.0) for record in folds),
        tuple(record.seconds for record in folds),
        float(np.mean([record.held_error for record in folds if record.held_error is not None])),
        folds[0].train_rows,
        float(np.sum([record.work for record in folds])),
    )
