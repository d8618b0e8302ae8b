"""Which columns seem to know the answer: found on a bounded sample, said in sentences. Decides nothing, fits no model.

Three signs, each strict enough to spare an honest strong predictor: a column that alone tells the class (or the number)
nearly without error on rows it has not seen; a column that is filled in only for one class; and number columns of which
the target is exactly a sum (or, in logarithms, a product).
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from lepton_ray.table import values
from lepton_ray.table.cleaning import LARGEST, CleaningPlan
from lepton_ray.table.finding import Finding
from lepton_ray.table.hashing import hash_rows, mix
from lepton_ray.table.schema import Kind, Task
from lepton_ray.table.splitting import Mask, sample_mask

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

MAX_ROWS = 20_000
MIN_ROWS = 200
MAX_ERROR = 0.005
"""A column that alone errs in fewer rows than this, and in few of those where the commonest class errs, is suspect."""

MAX_UNEXPLAINED = 0.001
MAX_UNEXPLAINED_BY_SUM = 1e-5
_MIN_MINORITY = 30
_BINS = 256
_HALF_SALT = 3
_IDENTITY_ROWS, _IDENTITY_COLUMNS = 2_000, 120


def leak_suspects(block: Any, plan: CleaningPlan, y: npt.NDArray[Any]) -> list[Finding]:
    """Judge the used columns of a raw block with labels ``y``; of more than MAX_ROWS rows, a sample free of order."""
    places = np.flatnonzero(plan.within_bounds(y))
    if len(places) < MIN_ROWS:
        return []
    keys = hash_rows(block, plan.schema.names)[places]
    places, keys = places[sample_mask(keys, MAX_ROWS)], keys[sample_mask(keys, MAX_ROWS)]
    order = np.argsort(keys, kind="stable")
    half = mix(keys[order], _HALF_SALT) % np.uint64(2) == 0
    y = y[places[order]]
    clean = plan.clean(block.take(pa.array(places[order])))
    found = []
    for column in plan.schema.columns:
        what = _alone(clean.column(column.name), column.kind, plan.problem.task, y, half)
        if what:
            found.append(_suspect(column.name, column.kind, f"{column.name!r} alone {what}"))
    if plan.problem.task is not Task.MULTICLASS:
        names = [name for name in plan.schema.names if name not in {finding.column for finding in found}]
        found += _sums(clean.select(names), plan, y.astype(np.float64))
    return found


def _suspect(name: str, kind: Kind, what: str) -> Finding:
    return Finding(
        "leak", name, f"{what}; if it is known before the target is, keep it with --types {name}={kind.value}."
    )


def _alone(column: Any, kind: Kind, task: Task, y: npt.NDArray[Any], half: Mask) -> str | None:
    """What one column says about the target by itself, if it is too good to be true."""
    if kind is Kind.TEXT:
        return None
    codes = _codes(column, kind)
    if task is not Task.REGRESSION:
        return _tells_class(codes, y, half) or _filled_for_one_class(column, y)
    if kind is Kind.CATEGORY:
        unexplained = _unexplained_by_codes(codes, y, half)
    else:
        unexplained = _unexplained_by_rank(_numbers(column), y)
    if unexplained < MAX_UNEXPLAINED:
        return f"explains {1 - unexplained:.2%} of the target's variance"
    return None


def _numbers(column: Any) -> Floats:
    """A clean number or date column as numbers whose squares add up, NaN where missing; dates count days."""
    array = values.plain(column)
    if pa.types.is_timestamp(array.type):
        array = pc.divide(array.cast(pa.int64()).cast(pa.float64(), safe=False), 86_400e6)
    return np.clip(np.asarray(array.to_numpy(zero_copy_only=False), dtype=np.float64), -LARGEST, LARGEST)


def _codes(column: Any, kind: Kind) -> Codes:
    """One small code per value, or per bin of a column with many numbers; 0 is missing."""
    if kind is Kind.CATEGORY:
        return values.distinct(values.plain(column))[1] + 1
    numbers = _numbers(column)
    known = ~np.isnan(numbers)
    codes = np.zeros(len(numbers), dtype=np.int64)
    levels, places = np.unique(numbers[known], return_inverse=True)
    if len(levels) > _BINS:
        bounds = np.unique(np.quantile(numbers[known], np.linspace(0, 1, _BINS + 1)[1:-1]))
        places = np.searchsorted(bounds, numbers[known])
    codes[known] = places + 1
    return codes


def _tells_class(codes: Codes, y: Codes, half: Mask) -> str | None:
    """Predict each half from the other by the commonest class of each code."""
    shares = np.bincount(y)
    commonest, minority = int(shares.argmax()), len(y) - int(shares.max())
    if minority < _MIN_MINORITY:
        return None
    errors = 0
    for train in (half, ~half):
        table = np.zeros((codes.max() + 1, len(shares)))
        np.add.at(table, (codes[train], y[train]), 1)
        said = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), commonest)
        errors += int((said[codes[~train]] != y[~train]).sum())
    if errors <= MAX_ERROR * len(y) and errors <= 0.05 * minority:
        return f"tells the class in {1 - errors / len(y):.2%} of {len(y):,} rows"
    return None


def _filled_for_one_class(column: Any, y: Codes) -> str | None:
    """Where a column has values, is the class always the same, though there are others?"""
    there = np.asarray(pc.is_valid(values.plain(column)).to_numpy(zero_copy_only=False), dtype=bool)
    shares, inside = np.bincount(y), np.bincount(y[there], minlength=int(y.max()) + 1)
    name = int(inside.argmax())
    if inside.sum() < max(50, 0.02 * len(y)) or shares[name] > 0.7 * len(y) or inside[name] < 0.5 * shares[name]:
        return None
    pure = inside[name] >= (1 - MAX_ERROR) * inside.sum()
    return "is filled in only for one class" if pure else None


def _unexplained_by_codes(codes: Codes, y: Floats, half: Mask) -> float:
    """The share of the target's variance that the means of the codes, taken on the other half, leave."""
    rest = 0.0
    for train in (half, ~half):
        counts = np.bincount(codes[train], minlength=codes.max() + 1)
        sums = np.bincount(codes[train], weights=y[train], minlength=codes.max() + 1)
        means = np.where(counts > 0, sums / np.maximum(counts, 1), y[train].mean())
        rest += float(((y[~train] - means[codes[~train]]) ** 2).sum())
    return rest / max(float(((y - y.mean()) ** 2).sum()), 1e-300)


def _unexplained_by_rank(numbers: Floats, y: Floats) -> float:
    """The share of variance that a line leaves, between the values or between their ranks."""
    known = ~np.isnan(numbers)
    if known.sum() < max(MIN_ROWS, len(y) / 2):
        return 1.0
    x, y = numbers[known], y[known]
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 1.0
    return 1.0 - max(_correlation(x, y), _correlation(_ranks(x), _ranks(y))) ** 2


def _correlation(x: Floats, y: Floats) -> float:
    return abs(float(np.corrcoef(x, y)[0, 1]))


def _ranks(x: Floats) -> Floats:
    return np.unique(x, return_inverse=True)[1].astype(np.float64)


def _sums(clean: Any, plan: CleaningPlan, y: Floats) -> list[Finding]:
    """Number columns of which the target is a sum or a product."""
    kinds = {column.name: column.kind for column in plan.schema.columns}
    numbers = {
        name: _numbers(clean.column(name)) for name in clean.column_names if kinds[name] in (Kind.NUMBER, Kind.DATE)
    }
    numbers = {name: x for name, x in numbers.items() if np.isnan(x).mean() < 0.1}
    for what, chosen, goal in (("sum", numbers, y), ("product", *_logarithms(numbers, y))):
        names = identity(chosen, goal)
        if names:
            others = " and ".join(map(repr, names))
            return [_suspect(n, kinds[n], f"The target is exactly a {what} of {others}") for n in names]
    return []


def _logarithms(numbers: dict[str, Floats], y: Floats) -> tuple[dict[str, Floats], Floats]:
    """Logarithms of the columns without a number below or at zero; none if the target has one."""
    if not (y > 0).all():
        return {}, y
    return {name: np.log(x) for name, x in numbers.items() if not (x <= 0).any()}, np.log(y)


def identity(numbers: dict[str, Floats], y: Floats) -> list[str]:
    """The smallest set of columns found whose weighted sum is ``y``; none if there is no such set."""
    names = [name for name, x in numbers.items() if np.nanstd(x) > 0]
    if not names:
        return []
    matrix = np.column_stack([numbers[name] for name in names])
    whole = ~np.isnan(matrix).any(axis=1) & np.isfinite(y)
    matrix, y = matrix[whole][:_IDENTITY_ROWS], y[whole][:_IDENTITY_ROWS]
    if len(y) < MIN_ROWS or np.ptp(y) == 0:
        return []
    deviations = matrix.std(axis=0)
    matrix = (matrix - matrix.mean(axis=0)) / np.where(deviations > 0, deviations, 1.0)
    y = (y - y.mean()) / y.std()
    near = np.argsort(-np.abs(matrix.T @ y), kind="stable")[: min(_IDENTITY_COLUMNS, len(y) // 10)]
    kept = sorted(near.tolist())
    if _left_over(matrix[:, kept], y) > MAX_UNEXPLAINED_BY_SUM:
        return []
    for place in sorted(kept, key=lambda i: abs(float(matrix[:, i] @ y))):
        fewer = [i for i in kept if i != place]
        if fewer and _left_over(matrix[:, fewer], y) <= MAX_UNEXPLAINED_BY_SUM:
            kept = fewer
    return [names[i] for i in kept]


def _left_over(matrix: Floats, y: Floats) -> float:
    """The share of the variance of ``y`` that the best weighted sum leaves."""
    weights = np.linalg.lstsq(matrix, y, rcond=None)[0]
    return float(((y - matrix @ weights) ** 2).mean())
