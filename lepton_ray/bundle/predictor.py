"""``lepton predict``: a table file in, a file of predictions out, block by block. Knows no command line."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.contributions import Explainer
from lepton_ray.bundle.files import new_file
from lepton_ray.bundle.rows import check_names
from lepton_ray.datasets import open_table
from lepton_ray.errors import DataError, UsageError
from lepton_ray.table.source import Source
from lepton_ray.table.values import as_texts, plain

Write = Callable[[pa.Table], None]


@dataclass(frozen=True, slots=True)
class Predicted:
    """What was written.

    Attributes:
        rejected: how many lines of the table are no rows; they have no answer and lie in ``rejected_path``.
    """

    path: Path
    rows: int
    rejected: int
    rejected_path: Path | None


def predict_file(
    bundle_folder: Path,
    table: str | Path,
    out_path: Path,
    keep: Sequence[str] = (),
    *,
    trust: Collection[str] = (),
    explain: bool = False,
) -> Predicted:
    """Predict every row of a table and write the answers beside the columns to keep: order kept, whole or not at all.

    Args:
        table: a path, or ``builtin:NAME``. trust: see ``Bundle.load``.
        explain: also write ``explained_of``, ``explained_base``, ``explained_value`` and what each column contributed
            as ``contribution_<column>``; see ``bundle.contributions``. It takes about a thousand times as long.

    Raises:
        UsageError: the name of the output says neither CSV nor Parquet, or it is the table's own.
        BundleError: the bundle is damaged, foreign or lost.
        DataError: the table cannot be read, or lacks a column.
        EnvironmentFault: the output cannot be written.
    """
    out_path = Path(out_path)
    writer = _WRITERS.get(out_path.suffix.lower())
    if writer is None:
        raise UsageError(f"{out_path} ends neither in .csv nor in .parquet.", "The ending chooses the format.")
    bundle = Bundle.load(bundle_folder, trust=trust)
    explainer = Explainer.of(bundle, np.random.default_rng(0)) if explain else None
    source, keep = open_table(table), tuple(dict.fromkeys(keep))
    if any(out_path.exists() and out_path.samefile(file) for file in source.files):
        raise UsageError(f"{out_path} is the table itself, which the predictions would replace.", "Give another --out.")
    types, rows = _types_of(source, keep), 0
    with new_file(out_path) as temporary, writer(temporary) as write:
        for block in source.blocks():
            answer = _answer(bundle, block, keep, types, explainer)
            write(answer)
            rows += answer.num_rows
    if not source.rejected.count:
        return Predicted(out_path, rows, 0, None)
    aside = out_path.with_suffix(".rejected.csv")
    with new_file(aside) as temporary:
        source.rejected.write(temporary)
    return Predicted(out_path, rows, source.rejected.count, aside)


def _types_of(source: Source, keep: Sequence[str]) -> dict[str, pa.DataType]:
    """The types of columns to keep, in all files together; texts where these have nothing else in common.

    The files are read once more for it; of one alone, and of CSV files, nothing need be asked.
    """
    if source.format == "csv" or len(source.files) < 2 or not keep:
        return {}
    seen: dict[str, dict[pa.DataType, None]] = {name: {} for name in keep}
    for block in source.blocks():
        for name in set(keep) & set(block.column_names):
            seen[name][block.schema.field(name).type] = None
    return {name: _joint(list(types)) for name, types in seen.items() if types}


def _joint(types: Sequence[pa.DataType]) -> pa.DataType:
    """The type that all of these can be."""
    try:
        schemas = [pa.schema([pa.field("kept", one)]) for one in types]
        return pa.unify_schemas(schemas, promote_options="permissive").field("kept").type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()


def _kept(column: pa.ChunkedArray, name: str, wanted: pa.DataType) -> pa.ChunkedArray:
    """A column to keep as this type, as which all of its files can be written."""
    if column.type == wanted:
        return column
    if not pa.types.is_string(wanted):
        return column.cast(wanted)
    single = plain(column)
    if single is None:
        raise DataError(
            f"The column `{name}` to keep holds {column.type} in one file and text in another.",
            "Write it alike, or leave it out of --keep.",
        )
    return pa.chunked_array([as_texts(single)])


def _answer(
    bundle: Bundle,
    block: pa.Table,
    keep: Sequence[str],
    types: Mapping[str, pa.DataType],
    explainer: Explainer | None,
) -> pa.Table:
    check_names(block.column_names, bundle.schema)
    answer = bundle.predict_block(block)
    if explainer is not None:
        answer = _with_reasons(answer, explainer, block)
    for name in keep:
        if name not in block.column_names:
            raise DataError(f"The table has no column `{name}` to keep.", "Name one that it has.")
        if name in answer.column_names:
            raise DataError(f"The column `{name}` to keep has the name of an answer.", "Rename it in the table.")
    columns = [*(_kept(block.column(name), name, types.get(name, block.column(name).type)) for name in keep)]
    columns += answer.columns
    return pa.table(columns, names=[*keep, *answer.column_names])


def _with_reasons(answer: pa.Table, explainer: Explainer, block: pa.Table) -> pa.Table:
    why = explainer.explain(explainer.bundle.plan.clean(block))
    reasons = {
        "explained_of": pa.array([one.of for one in why], pa.string()),
        "explained_base": pa.array([one.base for one in why], pa.float64()),
        "explained_value": pa.array([one.value for one in why], pa.float64()),
    }
    for name in explainer.bundle.schema.names:
        reasons[f"contribution_{name}"] = pa.array([one.parts[name] for one in why], pa.float64())
    return pa.table([*answer.columns, *reasons.values()], names=[*answer.column_names, *reasons])


@contextmanager
def _csv(path: Path) -> Iterator[Write]:
    writer: pa_csv.CSVWriter | None = None

    def write(table: pa.Table) -> None:
        nonlocal writer
        for field in table.schema:
            if plain(pa.array([], field.type)) is None:
                raise DataError(
                    f"The column `{field.name}` to keep holds {field.type}, and a cell of a CSV file cannot.",
                    "Write a .parquet file, or leave it out of --keep.",
                )
        if writer is None:
            options = pa_csv.WriteOptions(quoting_style="needed")
            writer = pa_csv.CSVWriter(path, table.schema, write_options=options)
        writer.write_table(table)

    yield write
    if writer is not None:
        writer.close()


@contextmanager
def _parquet(path: Path) -> Iterator[Write]:
    writer: pa_parquet.ParquetWriter | None = None

    def write(table: pa.Table) -> None:
        nonlocal writer
        if writer is None:
            writer = pa_parquet.ParquetWriter(path, table.schema)
        writer.write_table(table)

    yield write
    if writer is not None:
        writer.close()


_WRITERS = {".csv": _csv, ".parquet": _parquet}
