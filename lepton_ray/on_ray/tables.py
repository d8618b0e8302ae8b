"""A table too large to be read at once, gone through by Ray Data: each piece is read and worked on in one task.

What is worked out, and how the answers become one, is decided in ``table/``; here it is only carried there and back.
An answer travels as one cell of bytes, because it is no table; Ray Data keeps the cells in the order of the pieces
and holds the readers back when the driver does not follow.
"""

import logging
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
import ray.data
from ray.data.block import BlockMetadata
from ray.data.context import DataContext
from ray.data.datasource import Datasource, ReadTask
from ray.exceptions import RayError, RayTaskError

from lepton_ray.errors import EnvironmentFault, LeptonError
from lepton_ray.on_host.preparation import Prepared, prepare_blocks
from lepton_ray.spec import RunSpec
from lepton_ray.table.passes import Answer, Rows, Work
from lepton_ray.table.pieces import Piece
from lepton_ray.table.source import RejectedRows, Source

CELL_BYTES = 1 << 20
"""A block of answers is sent once it is so large: at once, for all but the smallest."""
CLEAN_SHARE = 0.1
"""Of the memory that is free, what clean rows may take: features, models and two processes want several times that."""


def prepare(spec: RunSpec, source: Source, pieces: list[Piece], memory_bytes: int) -> Prepared:
    """Make a table of files ready, of any size; ``memory_bytes`` are free on this machine. Ray must be up.

    Raises:
        DataError: the table is wrong. EnvironmentFault: Ray could not carry it out.
    """
    return prepare_blocks(spec, source, OnRay(source, pieces), CLEAN_SHARE * memory_bytes)


@dataclass(frozen=True, slots=True)
class PieceEnd:
    """What is known of a piece once it has been read."""

    piece: Piece
    rows: int
    rejected: RejectedRows


class OnRay:
    """A table whose blocks are read where they are worked on, anew for each pass."""

    def __init__(self, source: Source, pieces: list[Piece]) -> None:
        self._source = source
        self._pieces = pieces
        self.rows_about: int | None = source.rows_about()

    def each(self, work: Work[Answer]) -> Iterator[Answer]:
        """The answer of each block, in the order of the rows; the rejected rows are noted on the way."""
        ends: list[PieceEnd] = []
        for answer in _answers(Pieces(self._source, self._pieces, work), len(self._pieces)):
            if isinstance(answer, PieceEnd):
                ends.append(answer)
            else:
                yield answer
        note_ends(self._source, ends)


class Pieces(Datasource):
    """The pieces of a table, each with the work that is done on its blocks."""

    def __init__(self, source: Source, pieces: list[Piece], work: Work[Any]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._source = source
        self._pieces = pieces
        self._work = work

    def get_name(self) -> str:
        """Name the tasks after the work."""
        return type(self._work).__name__

    def estimate_inmemory_data_size(self) -> int | None:
        """The size of the answers is not known."""
        return None

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: DataContext | None = None
    ) -> list[ReadTask]:
        """One task for each piece."""
        unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
        return [ReadTask(partial(carry_out, self._source, piece, self._work), unknown) for piece in self._pieces]


def carry_out(source: Source, piece: Piece, work: Work[Any]) -> Iterator[pa.Table]:
    """Work on each block of a piece; one cell per answer, and one for the end."""
    rejected, rows = RejectedRows(), 0
    for block in source.piece_blocks(piece, rejected.add):
        rows += block.num_rows
        yield _cell(work(Rows(block)))
    yield _cell(PieceEnd(piece, rows, rejected))


def _cell(answer: Any) -> pa.Table:
    return pa.table({"answer": pa.array([pickle.dumps(answer, protocol=5)], pa.large_binary())})


def _answers(pieces: Pieces, count: int) -> Iterator[Any]:
    """What is in the cells, in order."""
    try:
        with quietly():
            dataset = ray.data.read_datasource(pieces, override_num_blocks=count)
            for block in dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
                for cell in block.column("answer"):
                    yield pickle.loads(cell.as_buffer())
    except RayError as fault:
        raise _understood(fault) from None


def note_ends(source: Source, ends: Iterable[PieceEnd]) -> None:
    """Gather the rows that the readers set aside, with their numbers in the file, and refuse what is no table."""
    source.rejected.clear()
    rows = 0
    before: dict[int, int] = {}
    for end in ends:
        rows += end.rows
        source.rejected.extend(end.rejected, before.get(end.piece.file, 0))
        header = not before.get(end.piece.file) and bool(source.dialects) and source.dialects[end.piece.file].header
        before[end.piece.file] = before.get(end.piece.file, 0) + end.rows + end.rejected.count + header
    source.require_rows(rows)


@contextmanager
def quietly() -> Iterator[None]:
    """Let Ray Data write nothing to the screen (its log file has it), and send answers at once and in order."""
    context, logger = DataContext.get_current().copy(), logging.getLogger("ray.data")
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = CELL_BYTES
    context.execution_options.preserve_order = True
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with DataContext.current(context):
            yield
    finally:
        logger.setLevel(level)


def _understood(fault: RayError) -> LeptonError:
    """The fault that a reader meant, or the last line of what Ray says."""
    cause: BaseException | None = fault
    while isinstance(cause, RayTaskError):  # which is also an instance of what it wraps
        cause = cause.cause
    if isinstance(cause, LeptonError):
        return cause
    reason = (str(fault).strip() or type(fault).__name__).splitlines()[-1]
    return EnvironmentFault(f"Ray could not read the table: {reason}", "Free memory or disk and try again.")
