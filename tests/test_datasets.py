"""Built-in tables: there offline, the same for a seed, and as dirty as they say."""

import pytest

from lepton_ray import datasets
from lepton_ray.errors import DataError
from lepton_ray.table.cleaning import make_plan
from lepton_ray.table.profile import profile_block
from lepton_ray.table.schema import Kind, Task
from tests.examples import one_in


@pytest.mark.parametrize("name", one_in(3, datasets.NAMES))
def test_every_table_can_be_learned_from(name: str) -> None:
    data = datasets.load_builtin_dataset(name)
    plan = make_plan(profile_block(data.frame), target=data.target)
    assert (plan.labels(data.frame) != -1).all() and plan.schema.names
    expected = {
        "diabetes": Task.REGRESSION,
        "iris": Task.MULTICLASS,
        "wine": Task.MULTICLASS,
        "digits": Task.MULTICLASS,
    }
    assert plan.problem.task is expected.get(name, Task.BINARY)


@pytest.mark.parametrize("name", datasets.SIMULATED)
def test_simulated_tables_follow_size_and_seed(name: str) -> None:
    one = datasets.load_builtin_dataset(name, rows=300, seed=1).frame
    assert one.num_rows == 300
    assert one.equals(datasets.load_builtin_dataset(name, rows=300, seed=1).frame)
    assert not one.equals(datasets.load_builtin_dataset(name, rows=300, seed=2).frame)


def test_crm_churn_is_dirty_on_purpose() -> None:
    frame = datasets.load_builtin_dataset("crm-churn").frame
    profile = profile_block(frame)
    plan = make_plan(profile, target="churned")
    columns = {column.name: column for column in plan.columns}
    assert profile.duplicates == 50 and plan.rows.duplicates
    assert columns["signed_up"].dates == ("ymd", "dmy") and columns["age"].sentinels == (999.0,)
    assert columns["last_note"].kind is Kind.TEXT and columns["satisfaction"].kind is Kind.NUMBER
    assert {name: str(column.reason) for name, column in columns.items() if not column.use} == {
        "customer_id": "id",
        "currency": "constant",
    }


def test_unknown_table_and_size() -> None:
    with pytest.raises(DataError, match="Did you mean 'crm-churn'"):
        datasets.load_builtin_dataset("crm_chrun")
    with pytest.raises(DataError, match="cannot have 3 rows"):
        datasets.load_builtin_dataset("crm-churn", rows=3)
