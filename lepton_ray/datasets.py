"""Tables to try things on, without a network: those that scikit-learn ships, and two simulated business tables.

``financial-data``: one row per loan, four weeks of its account's transactions summed up, and whether it ``defaulted``.
The log-odds of default rise with use of the credit line, late payments, interest rate and loan against income, and fall
with age of the account; part of the outcome is chance, so that no model can be perfect (AUC about 0.85 at best).

``crm-churn``: one row per customer, and whether she ``churned``. Leaving is likelier with a monthly contract, many
support calls, low satisfaction and a complaint in the last note, and less so with every year. Its dirt is on purpose:
blanks (also as "N/A"), 1 % exact duplicates, outliers (age 999, fees times 100), sign-up dates in two formats, short
free text, and a constant column. Both are drawn from ``numpy.random.default_rng(seed)``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from lepton_ray.errors import DataError
from lepton_ray.table.fields import nearest
from lepton_ray.table.place import BUILTIN
from lepton_ray.table.source import Source, open_source

SHIPPED = {
    "breast_cancer": ("diagnosis", "569 tumours, 30 measures of their cells; binary: malignant or benign."),
    "iris": ("species", "150 irises of three species, four measures."),
    "wine": ("cultivar", "178 wines of three cultivars, 13 chemical measures."),
    "diabetes": ("progression", "442 patients, ten scaled measures; regression: progression after a year."),
    "digits": ("digit", "1,797 handwritten digits of 8 x 8 grey pixels; ten classes."),
}
SIMULATED = {
    "financial-data": ("defaulted", "Simulated loans and the transactions of their accounts; binary: did it default."),
    "crm-churn": ("churned", "Simulated customers with the dirt of real tables; binary: did she leave."),
}
NAMES = (*SHIPPED, *SIMULATED)
SIMULATED_ROWS = 5_000

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A table, the column that is usually learned, and what it is about."""

    name: str
    frame: pa.Table
    target: str
    description: str


def load_builtin_dataset(name: str, *, rows: int = SIMULATED_ROWS, seed: int = 0) -> Dataset:
    """A built-in table by name; ``rows`` and ``seed`` are for the simulated ones."""
    known = name.lower().replace(" ", "-")
    known = known if known in NAMES else known.replace("-", "_")
    if known in SHIPPED:
        return Dataset(known, _shipped(known), *SHIPPED[known])
    if known not in SIMULATED:
        raise DataError(f"There is no built-in table {name!r}.", nearest(name, NAMES))
    if rows < 10:
        raise DataError(f"A simulated table cannot have {rows} rows.", "Ask for 10 or more.")
    simulate: dict[str, Callable[[int, np.random.Generator], dict[str, Any]]]
    simulate = {"financial-data": _financial_data, "crm-churn": _crm_churn}
    return Dataset(known, pa.table(simulate[known](rows, np.random.default_rng(seed))), *SIMULATED[known])


def open_table(table: Any) -> Source:
    """The table behind a path, a frame, or the name of a built-in one: ``builtin:breast_cancer``.

    Raises:
        DataError: there is none, or it cannot be read.
    """
    if not isinstance(table, str | Path) or not str(table).startswith(BUILTIN):
        return open_source(table)
    dataset = load_builtin_dataset(str(table).removeprefix(BUILTIN))
    return replace(open_source(dataset.frame), name=dataset.name)


def _shipped(name: str) -> pa.Table:
    """A table that scikit-learn ships, with its classes by name."""
    from sklearn import datasets  # half a second, and only needed here

    bunch = getattr(datasets, f"load_{name}")(as_frame=True)
    table = pa.Table.from_pandas(bunch.data, preserve_index=False).replace_schema_metadata(None)
    target = bunch.target.to_numpy()
    if name != "diabetes":
        target = np.asarray([str(word) for word in bunch.target_names])[target]
    return table.append_column(SHIPPED[name][0], pa.array(target))


def _outcome(log_odds: Floats, share: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """Draw yes or no from log-odds, moved so that about ``share`` of them are yes."""
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 / (1 + np.exp(-log_odds - middle))).mean() < share else (low, middle)
    return np.asarray(rng.random(len(log_odds)) < 1 / (1 + np.exp(-log_odds - low)), dtype=bool)


def _financial_data(rows: int, rng: np.random.Generator) -> dict[str, Any]:
    """Loans with the last four weeks of their accounts."""
    opened = np.datetime64("2016-01-01") + rng.integers(0, 3000, rows)
    income = np.round(rng.lognormal(10.6, 0.5, rows), 0)
    amount = np.round(income * rng.uniform(0.05, 1.2, rows), -2)
    rate = np.round(rng.gamma(6.0, 1.4, rows) + 2, 2)
    used = rng.beta(1.6, 2.2, rows)
    late = rng.poisson(0.3 + 1.2 * used**2)
    count = rng.poisson(24, rows)
    spent = np.round(count * rng.lognormal(3.4, 0.5, rows), 2)
    home = rng.choice(["rent", "mortgage", "own"], rows, p=[0.45, 0.4, 0.15])
    purpose = rng.choice(["car", "home improvement", "debt consolidation", "business", "other"], rows)
    years = (np.datetime64("2024-06-01") - opened).astype(np.float64) / 365.25
    log_odds = (
        3.2 * used
        + 0.8 * late
        + 0.16 * rate
        + 1.4 * amount / income
        - 0.15 * years
        + 0.5 * (purpose == "business")
        - 0.6 * (home == "own")
        + 0.9 * ((late > 0) & (used > 0.7))
    )
    return {
        "loan_id": [f"L{number:07d}" for number in rng.permutation(rows * 3)[:rows]],
        "opened_on": opened,
        "income": income,
        "loan_amount": amount,
        "term_months": rng.choice([12, 24, 36, 48, 60], rows),
        "interest_rate": rate,
        "credit_line_used": np.round(used, 3),
        "late_payments": late,
        "home": home,
        "purpose": purpose,
        "transactions": count,
        "spent": spent,
        "largest_transaction": np.round(spent * rng.beta(2, 6, rows), 2),
        "cash_share": pa.array(np.round(rng.beta(1.2, 5, rows), 3), mask=rng.random(rows) < 0.06),
        "last_transaction": np.datetime64("2024-06-01T00:00:00") - (rng.exponential(4e5, rows)).astype(np.int64),
        "defaulted": np.where(_outcome(log_odds, 0.18, rng), "yes", "no"),
    }


_CALM = (
    "asked about invoice",
    "changed address",
    "upgrade information sent",
    "renewal call, friendly",
    "routine check",
)
_ANGRY = ("complained about outage", "wants to cancel", "says competitor is cheaper", "angry about price increase")
_ENDINGS = ("by phone", "by mail, answered same day", "in the shop", "twice this month", "called back later")


def _notes(angry: npt.NDArray[np.bool_], rng: np.random.Generator) -> list[str]:
    """A short note per customer."""
    calm, cross = rng.integers(0, len(_CALM), len(angry)), rng.integers(0, len(_ANGRY), len(angry))
    ending, days = rng.integers(0, len(_ENDINGS), len(angry)), rng.integers(1, 400, len(angry))
    return [
        f"{_ANGRY[cross[i]] if angry[i] else _CALM[calm[i]]} {_ENDINGS[ending[i]]}, {days[i]} days ago"
        for i in range(len(angry))
    ]


def _crm_churn(rows: int, rng: np.random.Generator) -> dict[str, Any]:
    """Customers, with dirt."""
    signed = np.datetime64("2017-01-01") + rng.integers(0, 2600, rows)
    years = (np.datetime64("2024-06-01") - signed).astype(np.float64) / 365.25
    contract = rng.choice(["monthly", "yearly", "two years"], rows, p=[0.55, 0.3, 0.15])
    calls, content = rng.poisson(1.4, rows), rng.integers(1, 6, rows)
    angry = rng.random(rows) < 0.12 + 0.08 * (calls > 2)
    fee = np.round(rng.gamma(5, 11, rows) + 9, 2)
    log_odds = 1.3 * (contract == "monthly") + 0.45 * calls - 0.4 * content + 2.0 * angry - 0.2 * years + 0.01 * fee
    churned = _outcome(log_odds, 0.25, rng)
    odd = rng.random(rows)
    age = np.where(odd < 0.01, 999, rng.integers(18, 90, rows))
    parts = zip(np.datetime_as_string(signed), rng.random(rows) < 0.3, strict=True)
    dates = [f"{day[8:]}/{day[5:7]}/{day[:4]}" if other else day for day, other in parts]
    satisfaction = np.where(rng.random(rows) < 0.08, rng.choice(["", "N/A"], rows), content.astype(str))
    table = {
        "customer_id": np.array([f"C-{number:06d}" for number in rng.permutation(rows * 4)[:rows]]),
        "signed_up": np.array(dates),
        "age": age,
        "region": rng.choice(["North", "South", "East", "West", ""], rows, p=[0.3, 0.25, 0.2, 0.2, 0.05]),
        "contract": contract,
        "monthly_fee": np.where((odd > 0.01) & (odd < 0.015), fee * 100, fee),
        "support_calls": calls,
        "satisfaction": satisfaction,
        "currency": np.full(rows, "USD"),
        "last_note": np.array(_notes(angry, rng)),
        "churned": np.where(churned, "Yes", "No"),
    }
    again = rng.integers(0, rows, max(rows // 100, 1))
    places = np.concatenate([np.arange(rows - len(again)), again % (rows - len(again))])
    return {name: cells[places] for name, cells in table.items()}
