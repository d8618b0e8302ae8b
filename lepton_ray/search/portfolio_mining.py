"""The portfolio from recorded trials: for each table, greedily what lowers the error of such tables most per second.

A table's error is the square root of how far it is from the best recorded error, with the constant at 1, so that the
last hundredth still counts; it is the mean of the fold errors and the held-out error. What a list is worth on a table
is the error of the best pair of its members, blended half and half where blends were recorded: a pair stands for the
ensemble that the run ends with. The seconds are those of all rows, relative to the table's median trial, with a fixed
second of overhead for each trial. Nothing is drawn by chance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lepton_ray.errors import DataError
from lepton_ray.search.portfolio import Place, Portfolio
from lepton_ray.search.records import Blends, Key, RecordedTable, Run

LONGEST = 25
OVERHEAD_SECONDS = 0.1
FLOOR_WEIGHT = 0.05
"""Of the farthest table, where the table itself weighs 1."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A table as the miner sees it: normalised errors (n, n) of pairs, alone on the diagonal, and seconds (n,).

    A configuration that was not recorded has infinite errors and NaN seconds.
    """

    place: Place
    pairs: Floats
    seconds: Floats


def mine_portfolio(tables: Sequence[RecordedTable], blends: Mapping[str, Blends]) -> Portfolio:
    """The portfolio of these tables; ``blends`` by table name, as far as there are any.

    Raises:
        DataError: no table has a finished trial.
    """
    found = {key: run for table in tables for key, run in table.rungs[-1].items() if key[0] != "constant"}
    keys = sorted(found)
    if not keys:
        raise DataError("There is no finished trial to mine.", "Record some with scripts/record_trials.py.")
    named = sorted(tables, key=lambda table: table.facts.name)
    sheets = [_sheet(table, keys, blends.get(table.facts.name)) for table in named]
    orders = {}
    for sheet in sheets:
        nearness = np.array([np.exp(-(sheet.place.distance(other.place) ** 2) / 2.0) for other in sheets])
        orders[sheet.place] = _order(sheets, np.maximum(nearness, FLOOR_WEIGHT), np.isfinite(sheet.seconds))
    used = sorted({number for order in orders.values() for number in order})
    at = {number: place for place, number in enumerate(used)}
    configs = tuple((found[keys[number]].family, found[keys[number]].config) for number in used)
    return Portfolio(configs, tuple((place, tuple(at[n] for n in order)) for place, order in orders.items()))


def _order(sheets: Sequence[_Sheet], weights: Floats, known: npt.NDArray[np.bool_]) -> list[int]:
    """Greedy: the largest weighted gain per second next, for as long as anything is left."""
    costs = _costs(sheets, weights)
    worth = [np.ones(len(costs)) for _ in sheets]  # of the list with each configuration added
    now = np.ones(len(sheets))
    chosen: list[int] = []
    left = known.copy()
    while left.any() and len(chosen) < LONGEST:
        gains = np.zeros(len(costs))
        for number, sheet in enumerate(sheets):
            worth[number] = np.minimum(worth[number], np.diag(sheet.pairs))
            if chosen:
                worth[number] = np.minimum(worth[number], sheet.pairs[chosen[-1]])
            gains += weights[number] * np.maximum(now[number] - worth[number], 0.0)
        merit = np.where(left, gains / costs, -1.0)
        if merit.max() <= 0:
            merit = np.where(left, -_standing(sheets, weights), -np.inf)
        best = int(np.argmax(np.round(merit, 12)))  # a tie is a tie on every machine
        chosen.append(best)
        left[best] = False
        now = np.array([min(one, errors[best]) for one, errors in zip(now, worth, strict=True)])
    return chosen


def _costs(sheets: Sequence[_Sheet], weights: Floats) -> Floats:
    """Relative seconds, the weighted geometric mean over the tables where each configuration was recorded."""
    logs = np.array([np.log(sheet.seconds / np.nanmedian(sheet.seconds)) for sheet in sheets])
    there = np.isfinite(logs) * weights[:, None]
    means: Floats = np.where(there > 0, logs, 0.0) * there
    return np.asarray(np.exp(means.sum(axis=0) / there.sum(axis=0)), dtype=np.float64)


def _standing(sheets: Sequence[_Sheet], weights: Floats) -> Floats:
    """The weighted mean error of each configuration alone: who comes next once nobody adds anything."""
    alone = np.array([np.diag(sheet.pairs) for sheet in sheets])
    there = np.isfinite(alone) * weights[:, None]
    means: Floats = np.where(np.isfinite(alone), alone, 0.0).T @ weights / there.sum(axis=0)
    return means


def _sheet(table: RecordedTable, keys: Sequence[Key], blends: Blends | None) -> _Sheet:
    runs, facts = table.rungs[-1], table.facts
    number = {key: place for place, key in enumerate(keys)}
    errors = np.full((len(keys), len(keys)), np.inf)
    seconds = np.full(len(keys), np.nan)
    for key, run in runs.items():
        if key in number:
            errors[number[key], number[key]] = _error(run)
            seconds[number[key]] = run.seconds + OVERHEAD_SECONDS
    for one, other, error in () if blends is None else blends.pairs():
        if one in runs and other in runs and one in number and other in number:
            errors[number[one], number[other]] = errors[number[other], number[one]] = error
    least = float(errors.min())
    constant = [_error(run) for key, run in runs.items() if key[0] == "constant"]
    worst = max(constant) if constant else float(np.max(errors[np.isfinite(errors)]))
    scale = max(worst - least, 1e-12)
    return _Sheet(Place(facts.rows, facts.columns, facts.classes), np.sqrt((errors - least) / scale), seconds)


def _error(run: Run) -> float:
    return (run.error + run.held_error) / 2.0
