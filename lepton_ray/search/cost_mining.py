"""The cost model's prior from recorded trials: a ridge regression per family, its intercept another on each table.

Each table's offset is a draw of its own, and so is each trial around it; the coefficients are pulled to "seconds are
proportional to work". The two variances and the coefficients are found in turn. A table's offset is measured from
coefficients that were fitted without that table, so the width is what a new table will meet.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lepton_ray.errors import DataError
from lepton_ray.money.forecast import SHORTEST_SECONDS
from lepton_ray.search.cost import CostPrior, Floats, Law, Size
from lepton_ray.search.records import Record, Stamp
from lepton_ray.search.trial import DONE

PULL = np.array([0.0, 1.0, 0.0, 0.0, 0.0])
PULL_WIDTHS = np.array([10.0, 0.2, 0.2, 0.2, 0.3])
TURNS = 8
LEAST_WIDTH = 0.1
NOISE_WEIGHT = 6.0
"""Trials that the mined noise is worth: tables differ in how regular their trials are."""
DIGITS = 6


@dataclass(frozen=True, slots=True)
class Group:
    """A family's trials on one table: features (n, 5) and log seconds (n,)."""

    x: Floats
    y: Floats


def size_of(record: Record) -> Size:
    """The size of a recorded trial."""
    table = record.table
    return Size(record.work, record.train_rows, table.columns, max(table.classes, 1))


def mine_prior(records: Iterable[Record], stamps: Mapping[str, Stamp]) -> CostPrior:
    """The prior of these records; times are first brought to the speed of the first stamp's machine.

    Raises:
        DataError: there is no record that was done.
    """
    done = [record for record in records if record.state == DONE]
    if not done:
        raise DataError("There is no finished trial to learn costs from.", "Record some with scripts/record_trials.py.")
    probe = stamps[done[0].stamp].probe_seconds
    by_family: dict[str, dict[str, list[Record]]] = {}
    for record in done:
        by_family.setdefault(record.family, {}).setdefault(record.table.name, []).append(record)
    fits = {
        family: _fit({name: _group(tables[name], stamps, probe) for name in sorted(tables)})
        for family, tables in sorted(by_family.items())
    }
    shared = _shared([fit.offsets for family, fit in fits.items() if family != "constant"])
    laws = {family: _rounded(fit.law(shared)) for family, fit in fits.items()}
    return CostPrior(probe, _round(shared), _per_cell(done, stamps, probe), laws)


@dataclass(frozen=True, slots=True)
class _Fit:
    """Coefficients with their covariance, the two variances, and each table's offset."""

    centre: Floats
    mean: Floats
    cov: Floats
    between: float
    within: float
    offsets: Mapping[str, float]

    def law(self, shared: float) -> Law:
        """The law: what tables do to all families alike is kept elsewhere."""
        cov = self.cov.copy()
        cov[0, 0] += max(self.between - shared, LEAST_WIDTH**2)
        return Law(self.centre, self.mean, cov, self.within, NOISE_WEIGHT)


def _group(records: Sequence[Record], stamps: Mapping[str, Stamp], probe: float) -> Group:
    seconds = [max(record.seconds, SHORTEST_SECONDS) * probe / stamps[record.stamp].probe_seconds for record in records]
    return Group(np.array([size_of(record).features for record in records]), np.log(seconds))


def _fit(tables: Mapping[str, Group]) -> _Fit:
    centre = np.mean([group.x.mean(axis=0) for group in tables.values()], axis=0)
    centre[0] = 0.0
    groups = [Group(group.x - centre, group.y) for group in tables.values()]
    pull = np.diag(PULL_WIDTHS**-2.0)
    between, within = 0.25, 0.25
    for _ in range(TURNS):
        parts = [_weighed(group, between, within) for group in groups]
        precision = pull + sum(part[0] for part in parts)
        wanted = pull @ PULL + sum(part[1] for part in parts)
        cov: Floats = np.linalg.inv(precision).astype(np.float64)
        mean = cov @ wanted
        misses, excess, squares, freedom = [], [], 0.0, 0
        for group, part in zip(groups, parts, strict=True):
            others = np.linalg.inv(precision - part[0])
            x = group.x.mean(axis=0)
            miss = float((group.y - group.x @ (others @ (wanted - part[1]))).mean())
            misses.append(miss)
            excess.append(miss**2 - within / len(group.y) - float(x @ others @ x))
            inside = group.y - group.x @ mean
            squares += float(((inside - inside.mean()) ** 2).sum())
            freedom += len(inside) - 1
        within = max(squares / max(freedom, 1), LEAST_WIDTH**2)
        between = max(float(np.mean(excess)), LEAST_WIDTH**2) if len(groups) > 1 else 1.0
    return _Fit(centre, mean, cov, between, within, dict(zip(tables, misses, strict=True)))


def _weighed(group: Group, between: float, within: float) -> tuple[Floats, Floats]:
    """X'V⁻¹X and X'V⁻¹y where the rows of a table share a draw of variance ``between``."""
    share = between / (within + len(group.y) * between)
    total = group.x.sum(axis=0)
    square = (group.x.T @ group.x - share * np.outer(total, total)) / within
    return square, (group.x.T @ group.y - share * total * group.y.sum()) / within


def _shared(offsets: Sequence[Mapping[str, float]]) -> float:
    """The covariance of two families' offsets on one table."""
    products = [
        one[table] * other[table]
        for number, one in enumerate(offsets)
        for other in offsets[number + 1 :]
        for table in sorted(set(one) & set(other))
    ]
    return max(float(np.mean(products)), LEAST_WIDTH**2) if products else LEAST_WIDTH**2


def _per_cell(records: Sequence[Record], stamps: Mapping[str, Stamp], probe: float) -> tuple[float, float]:
    """Log seconds against log cells, over all families but the constant; the slope is kept between 0.5 and 1."""
    group = _group([one for one in records if one.family != "constant"] or records, stamps, probe)
    cells = group.x[:, 2] + group.x[:, 3]
    slope = float(np.clip(np.polyfit(cells, group.y, 1)[0], 0.5, 1.0)) if len(set(cells.tolist())) > 1 else 1.0
    return _round(float(np.mean(group.y - slope * cells))), _round(slope)


def _rounded(law: Law) -> Law:
    arrays = [np.vectorize(_round, otypes=[np.float64])(array) for array in (law.centre, law.mean, law.cov)]
    return Law(arrays[0], arrays[1], arrays[2], _round(law.noise), law.weight)


def _round(number: float) -> float:
    """Few digits, so that the same records give the same file on every machine."""
    return float(f"{number:.{DIGITS}g}")
