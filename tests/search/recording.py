"""Recorded trials for the tests: the small file beside this one, and made-up tables whose laws are known."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ray.search.records import Record, RecordedTable, Stamp, TableFacts, read_records, recorded_tables
from lepton_ray.search.trial import DONE
from lepton_ray.table.schema import Task

RECORDED = Path(__file__).with_name("recorded.jsonl")
STAMP = Stamp("here", 0.02, {"python": "3"})


def facts(name: str, rows: int = 1000, *, classes: int = 2, columns: int = 10) -> TableFacts:
    task = Task.REGRESSION if classes == 0 else Task.BINARY if classes == 2 else Task.MULTICLASS
    return TableFacts(
        name, name.partition("@")[0], task, "rmse" if classes == 0 else "log_loss", classes, rows, columns
    )


def record(
    table: TableFacts,
    config: dict[str, Any],
    *,
    family: str = "trees",
    rung: int = 1,
    fold: int = 0,
    seconds: float = 1.0,
    error: float = 0.5,
    work: float = 1e6,
    **more: Any,
) -> Record:
    rows = table.rows if rung else table.rows // 4
    given = {"state": DONE, "error": error, "held_error": error, "fit_seconds": seconds} | more
    return Record(table, STAMP.id, family, config, rung, fold, rows, table.rows // 5, work, **given)


def lawful(n_tables: int, *, n_configs: int = 18, noise: float = 0.4, between: float = 0.5) -> Iterator[Record]:
    """Trials of two families: seconds are work × 1e-5 or × 1e-6, each table and each trial off by a draw of its own."""
    rng = np.random.default_rng(n_tables)
    for number in range(n_tables):
        table = facts(f"t{number}", int(np.exp(rng.uniform(6, 10))), columns=int(rng.integers(4, 60)))
        both = rng.normal(0, between)
        for family, pace in (("trees", 1e-5), ("lines", 1e-6)):
            own = rng.normal(0, 0.2)
            for config in range(n_configs):
                work = table.rows * table.columns * float(np.exp(rng.uniform(0, 4)))
                seconds = pace * work * float(np.exp(both + own + rng.normal(0, noise)))
                yield record(table, {"n": config}, family=family, seconds=seconds, work=work)


def small_tables() -> tuple[RecordedTable, ...]:
    """The recorded tables of the repository."""
    return recorded_tables(read_records(RECORDED)[1])
