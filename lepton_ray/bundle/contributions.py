"""What each column of a row contributes to its prediction, for whatever model a bundle holds.

Shapley values by sampled orders of the columns (Štrumbelj and Kononenko 2014, "Explaining prediction models and
individual predictions with feature contributions", doi:10.1007/s10115-013-0679-x): a typical row becomes the row in
question one column at a time, and what a column changes is its contribution. Orders come in pairs, one the reverse of
the other (Mitchell et al. 2022, "Sampling permutations for Shapley value estimation", arXiv:2104.12199). However few
orders are drawn, contributions add up to the prediction minus the base; a model that adds its columns up is told
exactly, and a column that changes nothing gets exactly 0.

One method serves every family and every blend: it asks the model and looks into none. It knows nothing about HTTP.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lepton_ray.bundle.bundle import BLOCK_ROWS, Bundle
from lepton_ray.bundle.margins import block_of
from lepton_ray.errors import DataError
from lepton_ray.features.matrix import Floats
from lepton_ray.table.schema import Task

ASKED_ROWS = 1_024
"""About so many rows the model is asked to explain one, where the table is not wide."""
FEWEST_TYPICAL, MOST_TYPICAL = 8, 32
MOST_COLUMNS = 500
EDGE = 1e-6
"""Probabilities nearer to 0 or 1 than this count as this: log-odds of certainty are infinite."""

VALUE, LOG_ODDS = "value", "log-odds"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one row is predicted as it is.

    Attributes:
        of: the class whose log-odds are explained: the positive one of two, the predicted one of several; the target
            of a regression.
        base: what the model says on average of the typical rows. value: what it says of this row.
        parts: by column; they sum to ``value - base``.
    """

    of: str
    base: float
    value: float
    parts: dict[str, float]


@dataclass(frozen=True, slots=True)
class Explainer:
    """A bundle, the typical rows that it is asked about, and the orders in which their columns change.

    Attributes:
        typical: (b,) rows that nobody is, clean; the example row alone where the bundle holds no margins.
        orders: (w, d) columns in the order in which they change, one row per walk.
        starts: (w,) the typical row that each walk starts from.
    """

    bundle: Bundle
    typical: pa.Table
    orders: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, bundle: Bundle, rng: np.random.Generator) -> Self:
        """Draw the typical rows and the orders once, so that the same row is always told the same."""
        width = len(bundle.schema.columns)
        count = int(np.clip(ASKED_ROWS // (2 * width), FEWEST_TYPICAL, MOST_TYPICAL))
        if bundle.margins is None:
            typical = bundle.plan.clean(as_raw(bundle))
        else:
            typical = block_of(bundle.margins, bundle.schema, count, rng)
        drawn = np.stack([rng.permutation(width) for _ in range(count)])
        starts = np.arange(count) % typical.num_rows
        return cls(bundle, typical, np.concatenate([drawn, drawn[:, ::-1]]), np.concatenate([starts, starts]))

    @property
    def scale(self) -> str:
        """What contributions are counted in: "log-odds" of a class, or the target's own "value"."""
        return VALUE if self.bundle.problem.task is Task.REGRESSION else LOG_ODDS

    def explain(self, clean: pa.Table) -> list[Explanation]:
        """Explain the rows of a block that the plan has cleaned.

        Raises:
            DataError: the table is too wide.
        """
        if len(self.bundle.schema.columns) > MOST_COLUMNS:
            raise DataError(
                f"A model of more than {MOST_COLUMNS} columns is not explained: it would take too long.",
                "Train one on fewer columns.",
            )
        return [self._explain(clean.slice(number, 1)) for number in range(clean.num_rows)]

    def _explain(self, row: pa.Table) -> Explanation:
        pool = pa.concat_tables([self.typical, row.cast(self.typical.schema)]).combine_chunks()
        own = self.typical.num_rows
        cells = self._walked(_codes(pool), own)
        walks, steps, width = cells.shape
        asked, back = _different(cells.reshape(walks * steps, width))
        said = self._said(pool, asked)
        seen = said[back].reshape(walks, steps, -1)
        chosen = int(said[back[-1]].argmax()) if seen.shape[2] > 1 else 0
        along = seen[:, :, chosen]
        parts = np.empty((walks, width))
        np.put_along_axis(parts, self.orders, np.diff(along, axis=1), axis=1)
        contributions = parts.mean(axis=0).tolist()
        return Explanation(
            self._of(chosen),
            float(along[:, 0].mean()),
            float(along[0, -1]),
            dict(zip(self.bundle.schema.names, contributions, strict=True)),
        )

    def _walked(self, codes: NDArray[np.int64], own: int) -> NDArray[np.int64]:
        """(w, d + 1, d) which pool row each cell comes from, after 0, 1, … columns have changed."""
        walks, width = self.orders.shape
        when = np.empty((walks, width), dtype=np.int64)
        np.put_along_axis(when, self.orders, np.broadcast_to(np.arange(width), (walks, width)), axis=1)
        changed = when[:, None, :] < np.arange(width + 1)[None, :, None]
        return np.where(changed, codes[own], codes[self.starts][:, None, :])

    def _said(self, pool: pa.Table, asked: NDArray[np.int64]) -> Floats:
        """(n, k) what the model says of rows put together from the pool's cells, on the scale of the contributions."""
        parts = []
        for at in range(0, len(asked), BLOCK_ROWS):
            piece = asked[at : at + BLOCK_ROWS]
            columns = [pool.column(j).take(pa.array(piece[:, j])) for j in range(piece.shape[1])]
            parts.append(on_scale(self.bundle.model.predict(pa.table(columns, schema=pool.schema)), self.bundle))
        return np.concatenate(parts)

    def _of(self, chosen: int) -> str:
        problem = self.bundle.problem
        if problem.task is Task.MULTICLASS:
            return problem.classes[chosen]
        return problem.target if problem.task is Task.REGRESSION else problem.classes[1]


def on_scale(said: Floats, bundle: Bundle) -> Floats:
    """(n, k) log-odds of the positive class, or of each of several; a regression's values as they are."""
    if bundle.problem.task is Task.REGRESSION:
        return np.asarray(said, dtype=np.float64).reshape(-1, 1)
    wanted = said[:, 1:] if bundle.problem.task is Task.BINARY else said
    known = np.clip(wanted, EDGE, 1.0 - EDGE)
    return np.asarray(np.log(known) - np.log1p(-known))


def as_raw(bundle: Bundle) -> pa.Table:
    """The bundle's example row as a raw block."""
    from lepton_ray.bundle.rows import rows_block

    return rows_block([bundle.manifest.example], bundle.schema)


def _codes(pool: pa.Table) -> NDArray[np.int64]:
    """(rows, d) for each cell the first row of the pool that holds the same value."""
    columns = []
    for column in pool.columns:
        _, first, places = np.unique(
            column.combine_chunks().dictionary_encode(null_encoding="encode").indices.to_numpy(),
            return_index=True,
            return_inverse=True,
        )
        columns.append(first[places])
    return np.stack(columns, axis=1).astype(np.int64)


def _different(cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different rows of cells, and for each row which of them it is: many walks pass the same place."""
    keys = np.ascontiguousarray(cells.astype(np.uint8)).view(np.dtype((np.void, cells.shape[1]))).ravel()
    _, first, back = np.unique(keys, return_index=True, return_inverse=True)
    return cells[first], back
