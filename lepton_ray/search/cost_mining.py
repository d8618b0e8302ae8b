"""The cost model's prior from recorded trials: a ridge regression per family, its intercept another on each table.

Each table's offset is a draw of its own, and so is each trial around it; the coefficients are pulled to "seconds are
proportional to work". The two variances and the coefficients are found in turn. A table's offset is measured from
coefficients that were fitted without that table, so the width is what a new table will meet.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from lepton_ray.errors import DataError
from lepton_ray.search.cost import SHORTEST_SECONDS, CostModel, CostPrior, Floats, Kin, Law, Size, log_of
from lepton_ray.search.records import Key, Record, Stamp
from lepton_ray.search.trial import DONE

PULL = np.array([0.0, 1.0, 0.0, 0.0, 0.0])
PULL_WIDTHS = np.array([10.0, 0.2, 0.2, 0.2, 0.3])
TURNS = 8
LEAST_WIDTH = 0.1
NOISE_WEIGHT = 6.0
"""Trials that the mined noise is worth: tables differ in how regular their trials are."""
ADMITTED, TAIL_WEIGHT, TAIL_RANGE = 0.9, 20.0, (0.6, 1.6)
"""The quantile that a tail is measured at, how many trials' worth of a normal one it is mixed with, and its limits."""
DIGITS = 6
CLOSEST_KIN = 0.95


@dataclass(frozen=True, slots=True)
class Group:
    """A family's trials on one table: features (n, 5), log seconds (n,), and which are promotions of which."""

    x: Floats
    y: Floats
    kin: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Timed:
    """A trial: one configuration (``key``) at one rung of one table, over all the folds that were done."""

    family: str
    table: str
    size: Size
    seconds: float
    key: Key | None = None
    rung: int = 0


def timed_trials(records: Iterable[Record], stamps: Mapping[str, Stamp]) -> list[Timed]:
    """The trials of these records, their CPU seconds as the machine of the first record would have taken.

    Raises:
        DataError: there is no record that was done.
    """
    done = [record for record in records if record.state == DONE]
    if not done:
        raise DataError("There is no finished trial to learn costs from.", "Record some with scripts/record_trials.py.")
    probe = stamps[done[0].stamp].probe_seconds
    grouped: dict[tuple[str, Key, int], list[Record]] = {}
    for record in done:
        grouped.setdefault((record.table.name, record.key, record.rung), []).append(record)
    return [_timed(folds, stamps, probe) for folds in grouped.values()]


def _timed(folds: Sequence[Record], stamps: Mapping[str, Stamp], probe: float) -> Timed:
    first = folds[0]
    seconds = sum(one.seconds * probe / stamps[one.stamp].probe_seconds for one in folds)
    work, outputs = float(np.mean([one.work for one in folds])), max(first.table.classes, 1)
    size = Size(work, first.train_rows, first.table.columns, outputs, len(folds))
    return Timed(first.family, first.table.name, size, seconds, first.key, first.rung)


def mine_prior(trials: Sequence[Timed], probe_seconds: float) -> CostPrior:
    """The prior of these trials, timed on a machine whose probe took ``probe_seconds``."""
    prior = _plain_prior(trials, probe_seconds)
    tails = _tails(trials)
    laws = {family: replace(law, tail=tails.get(family, 1.0)) for family, law in prior.laws.items()}
    return replace(prior, laws=laws)


def _plain_prior(trials: Sequence[Timed], probe_seconds: float) -> CostPrior:
    by_family: dict[str, dict[str, list[Timed]]] = {}
    for trial in _lawful(trials):
        by_family.setdefault(trial.family, {}).setdefault(trial.table, []).append(trial)
    fits = {
        family: _fit({name: _group(tables[name]) for name in sorted(tables)})
        for family, tables in sorted(by_family.items())
    }
    shared = _shared([fit.offsets for family, fit in fits.items() if family != "constant"])
    laws = {family: _rounded(fit.law(shared)) for family, fit in fits.items()}
    return CostPrior(probe_seconds, _round(shared), _per_cell(trials), laws)


def _lawful(trials: Sequence[Timed]) -> list[Timed]:
    """Those of a family's rungs of tables where most fits take long enough to follow a law, or all where none does."""
    taken: dict[tuple[str, str, int], list[float]] = {}
    for one in trials:
        taken.setdefault((one.family, one.table, one.rung), []).append(one.seconds / one.size.fits)
    long = {place for place, seconds in taken.items() if np.median(seconds) >= SHORTEST_SECONDS}
    known = {family for family, _, _ in long}
    return [one for one in trials if one.family not in known or (one.family, one.table, one.rung) in long]


def _tails(trials: Sequence[Timed]) -> dict[str, float]:
    """Each family's ``Law.tail``: each table in turn is met trial by trial, with the prior of the others."""
    misses: dict[str, list[float]] = {}
    tables = sorted({trial.table for trial in trials})
    for table in tables if len(tables) > 1 else ():
        model = CostModel.begin(_plain_prior([one for one in trials if one.table != table], 1.0))
        own = [one for one in trials if one.table == table]
        for number in np.random.default_rng(0).permutation(len(own)):
            trial = own[number]
            mean, width = model.predict(trial.family, trial.size, kin_of(trial, own))
            miss = log_of(trial.seconds / trial.size.fits) - max(mean - np.log(trial.size.fits), log_of(0.0))
            misses.setdefault(trial.family, []).append(miss / width)
            model = model.observe(trial.family, trial.size, trial.seconds)
    found = {}
    for family, ends in misses.items():
        tail = float(np.quantile(ends, ADMITTED)) / NormalDist().inv_cdf(ADMITTED)
        known = len(ends) / (len(ends) + TAIL_WEIGHT)
        found[family] = _round(float(np.clip(1.0 + known * (tail - 1.0), *TAIL_RANGE)))
    return found


def kin_of(trial: Timed, others: Iterable[Timed]) -> Kin | None:
    """The trial on the same table that it was, or would have been, promoted from."""
    for one in others:
        if trial.key is not None and (one.table, one.key, one.rung) == (trial.table, trial.key, trial.rung - 1):
            return Kin(one.size, one.seconds)
    return None


@dataclass(frozen=True, slots=True)
class _Fit:
    """Coefficients with their covariance, the two variances, how alike promotions are, and each table's offset."""

    centre: Floats
    mean: Floats
    cov: Floats
    between: float
    within: float
    kinship: float
    offsets: Mapping[str, float]

    def law(self, shared: float) -> Law:
        """The law: what tables do to all families alike is kept elsewhere."""
        cov = self.cov.copy()
        cov[0, 0] += max(self.between - shared, LEAST_WIDTH**2)
        return Law(self.centre, self.mean, cov, self.within, NOISE_WEIGHT, kinship=self.kinship)


def _group(trials: Sequence[Timed]) -> Group:
    logs = [log_of(trial.seconds / trial.size.fits) for trial in trials]
    at = {(trial.key, trial.rung): place for place, trial in enumerate(trials) if trial.key is not None}
    kin = tuple((place, at[key, rung + 1]) for (key, rung), place in at.items() if (key, rung + 1) in at)
    return Group(np.array([trial.size.features for trial in trials]), np.array(logs), kin)


def _fit(tables: Mapping[str, Group]) -> _Fit:
    centre = np.mean([group.x.mean(axis=0) for group in tables.values()], axis=0)
    centre[0] = 0.0
    groups = [replace(group, x=group.x - centre) for group in tables.values()]
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
    return _Fit(centre, mean, cov, between, within, _kinship(groups, mean), dict(zip(tables, misses, strict=True)))


def _kinship(groups: Sequence[Group], mean: Floats) -> float:
    """The correlation of what trials took beside the law, and their table's offset, with what their promotions did."""
    pairs = []
    for group in groups:
        beside = group.y - group.x @ mean
        beside = beside - beside.mean()
        pairs += [(beside[one], beside[other]) for one, other in group.kin]
    if not pairs:
        return 0.0
    first, second = np.array(pairs).T
    size = float(np.sqrt((first @ first) * (second @ second)))
    return float(np.clip(first @ second / max(size, 1e-12), 0.0, CLOSEST_KIN))


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


def _per_cell(trials: Sequence[Timed]) -> tuple[float, float]:
    """Log seconds against log cells, over all families but the constant; the slope is kept between 0.5 and 1."""
    group = _group([one for one in trials if one.family != "constant"] or trials)
    cells = group.x[:, 2] + group.x[:, 3]
    slope = float(np.clip(np.polyfit(cells, group.y, 1)[0], 0.5, 1.0)) if len(set(cells.tolist())) > 1 else 1.0
    return _round(float(np.mean(group.y - slope * cells))), _round(slope)


def _rounded(law: Law) -> Law:
    arrays = [np.vectorize(_round, otypes=[np.float64])(array) for array in (law.centre, law.mean, law.cov)]
    return Law(arrays[0], arrays[1], arrays[2], _round(law.noise), law.weight, kinship=_round(law.kinship))


def _round(number: float) -> float:
    """Few digits, so that the same records give the same file on every machine."""
    return float(f"{number:.{DIGITS}g}")
