"""Columns that know the answer are found, honest ones spared."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray import datasets
from lepton_ray.table import checks
from lepton_ray.table.cleaning import make_plan
from lepton_ray.table.profile import profile_block
from lepton_ray.table.source import open_source
from tests.examples import one_in

RNG = np.random.default_rng(0)
N = 2000


def suspects(block: pa.Table, target: str = "y") -> set[str]:
    plan = make_plan(profile_block(block), target=target)
    return {finding.column or "" for finding in checks.leak_suspects(block, plan, plan.labels(block))}


def with_noise(**columns: object) -> pa.Table:
    return pa.table({**columns, "n1": RNG.normal(size=N), "n2": RNG.integers(0, 9, N), "n3": RNG.choice(["a", "b"], N)})


def test_a_column_that_is_the_class_in_other_words() -> None:
    y = RNG.integers(0, 3, N)
    words = np.array(["out", "in", "lost"])[y]
    assert suspects(with_noise(y=y, state=words)) == {"state"}
    nearly = np.where(RNG.random(N) < 0.03, "in", words)  # 2 % off: strong, but honest
    assert suspects(with_noise(y=y, state=nearly)) == set()


def test_a_threshold_on_the_cause_of_the_class() -> None:
    x = RNG.normal(size=N)
    assert suspects(with_noise(y=(x > 1).astype(int), x=x)) == {"x"}
    assert suspects(with_noise(y=(x + RNG.normal(size=N) * 0.3 > 1).astype(int), x=x)) == set()


def test_a_column_filled_in_for_one_class_only() -> None:
    y = (RNG.random(N) < 0.3).astype(int)
    reason = np.where((y == 1) & (RNG.random(N) < 0.8), RNG.choice(["price", "moved"], N), "")
    assert suspects(with_noise(y=y, reason=reason)) == {"reason"}


def test_sums_products_and_copies_of_a_number() -> None:
    a, b, c = (RNG.gamma(3, size=N) for _ in range(3))
    assert suspects(with_noise(y=a + b, a=a, b=b, c=c)) == {"a", "b"}
    assert suspects(with_noise(y=a + b, a=a, b=b, c=c, d=a - c)) in ({"a", "b"}, {"b", "c", "d"})
    assert suspects(with_noise(y=np.round(a * b, 4), a=a, b=b, c=c)) == {"a", "b"}
    assert suspects(with_noise(y=a * 1.8 + 32, a=a, b=b)) == {"a"}
    assert suspects(with_noise(y=a + b + RNG.normal(size=N) * 0.1, a=a, b=b)) == set()


def test_the_order_of_rows_does_not_matter() -> None:
    y = RNG.integers(0, 2, N)
    block = with_noise(y=y, state=np.where(RNG.random(N) < 0.005, 1 - y, y))
    answers = {frozenset(suspects(block.take(pa.array(RNG.permutation(N))))) for _ in range(5)}
    assert len(answers) == 1


def test_days_between_two_dates() -> None:
    start = np.datetime64("2024-01-01", "us") + RNG.integers(0, 300, N) * np.timedelta64(1, "D")
    days = RNG.integers(1, 30, N)
    block = with_noise(y=days, arrived=start, left=start + days * np.timedelta64(1, "D"))
    assert suspects(block) == {"arrived", "left"}


def test_small_tables_are_given_the_benefit_of_the_doubt() -> None:
    y = np.arange(150) % 2
    assert suspects(pa.table({"y": y, "x": y * 2.0, "z": RNG.random(150)})) == set()


@pytest.mark.parametrize("name", one_in(7, datasets.NAMES))
def test_honest_built_in_tables(name: str) -> None:
    data = datasets.load_builtin_dataset(name)
    assert suspects(data.frame, data.target) == set()


def real(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that reads real tables, and skip it where there are none."""
    reason = "LEPTON_SHARED_DATA names no folder of real tables"
    return pytest.mark.real(pytest.mark.skipif("LEPTON_SHARED_DATA" not in os.environ, reason=reason)(test))


REAL = {
    "telco_churn.csv": ("Churn", set()),
    "adult_income.csv": ("income", set()),
    "bank_marketing.csv": ("y", set()),
    "credit_default.csv": ("fraud", set()),
    "german_credit.csv": ("risk", set()),
    "online_shoppers.csv": ("Revenue", set()),
    "hotel_bookings.csv": ("is_canceled", {"reservation_status"}),
    "diabetes_readmission.csv": ("readmitted", set()),
    "diamonds.csv": ("price", set()),
    "bike_sharing.csv": ("cnt", {"casual", "registered"}),
    "flights.parquet": ("arr_delay", set()),
    "beijing_air/Gucheng.csv": ("PM2.5", set()),
    "heart": ("disease", set()),
    "sms_spam.csv": ("type", set()),
    "banking77_train.csv": ("category", set()),
}


@real
@pytest.mark.parametrize("name", REAL)
def test_real_tables(name: str) -> None:
    target, known = REAL[name]
    block = open_source(Path(os.environ["LEPTON_SHARED_DATA"], name)).read()
    assert suspects(block, target) == known


@real
def test_what_real_tables_hold() -> None:
    folder = Path(os.environ["LEPTON_SHARED_DATA"])
    cases = {
        "telco_churn.csv": ("Churn", "Yes", 2, {"TotalCharges": "number", "Contract": "category", "customerID": "id"}),
        "german_credit.csv": ("risk", "2", 2, {"0": "category", "1": "number"}),
        "bank_marketing.csv": ("y", "yes", 2, {"pdays": "number", "poutcome": "category"}),
        "sms_spam.csv": ("type", "spam", 2, {"text": "text"}),
        "banking77_train.csv": ("category", None, 77, {"text": "text"}),
        "hotel_reviews_zh.csv": ("label", "1", 2, {"review": "text"}),
        "bike_sharing.csv": ("cnt", None, 0, {"dteday": "date", "instant": "id"}),
        "diabetes_readmission.csv": ("readmitted", None, 3, {"diag_1": "category", "examide": "constant"}),
    }
    for name, (target, positive, classes, expected) in cases.items():
        plan = make_plan(profile_block(open_source(folder / name).read()), target=target)
        assert (plan.problem.positive, len(plan.problem.classes)) == (positive, classes), name
        found = {column.name: str(column.reason or column.kind) for column in plan.columns}
        assert {column: found[column] for column in expected} == expected, name


def test_absurd_targets_and_cells_make_no_column_a_suspect() -> None:
    rng = np.random.default_rng(4)
    x, noise = rng.normal(size=1000), rng.normal(size=1000)
    y, far = x + noise, noise.copy()
    y[:3], far[5] = (1e300, -1e300, 1e120), 1e300
    block = pa.table({"x": x, "far": far, "y": y})
    plan = make_plan(profile_block(block), target="y")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = plan.labels(block)
        assert checks.leak_suspects(block, plan, labels) == []
    assert np.isnan(labels[:3]).all() and np.isfinite(labels[3:]).all()
    assert not plan.training_rows(plan.clean(block), labels)[:3].any()
