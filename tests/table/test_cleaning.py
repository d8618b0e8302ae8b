"""A plan cleans a block as it cleans its rows, says what it does, and survives being edited."""

import json
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lepton_ray import datasets
from lepton_ray.errors import DataError, UsageError
from lepton_ray.table.cleaning import CleaningPlan, make_plan
from lepton_ray.table.finding import Finding
from lepton_ray.table.profile import profile_block
from lepton_ray.table.schema import Kind, Task
from lepton_ray.table.source import open_source
from tests.examples import examples, one_in

RNG = np.random.default_rng(0)


def dirty() -> pa.Table:
    return open_source(datasets.load_builtin_dataset("crm-churn", rows=400).frame).read()


def plan_of(block: pa.Table, target: str = "y", **options: Any) -> CleaningPlan:
    return make_plan(profile_block(block), target=target, **options)


def labelled(**columns: Any) -> pa.Table:
    size = len(next(iter(columns.values())))
    return pa.table({**columns, "y": [str(i % 2) for i in range(size)]})


def kind_of(cells: list[Any], name: str = "c", **options: Any) -> str:
    column = plan_of(labelled(**{name: cells}, other=RNG.random(len(cells))), **options).columns[0]
    return column.kind.value if column.use else f"out: {column.reason}"


@pytest.mark.exam
def test_a_block_is_cleaned_as_its_rows_are() -> None:
    block = dirty().slice(0, 150)
    plan = plan_of(block, "churned")
    whole = plan.clean(block)
    rows = [plan.clean(block.slice(i, 1)) for i in range(block.num_rows)]
    assert whole.equals(pa.concat_tables(rows).combine_chunks()) or whole.to_pylist() == [
        row for table in rows for row in table.to_pylist()
    ]
    assert whole.schema.names == list(plan.schema.names)
    served = [pa.Table.from_pylist([row]) for row in block.slice(0, 50).to_pylist()]  # as from JSON
    assert pa.concat_tables([plan.clean(row) for row in served]).to_pylist() == whole.slice(0, 50).to_pylist()


@examples(30)
@given(
    st.lists(st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["1,5", "1.0", "NA", "1/2/2020"])), min_size=1)
)
def test_cells_are_cleaned_one_by_one(cells: list[str | None]) -> None:
    block = pa.table({"c": pa.array(cells, pa.string())})
    sound = labelled(c=[f"{i}" for i in range(40)], d=["x", "z"] * 20)
    for kind in Kind:
        plan = plan_of(sound, types={"c": "number"})
        plan = CleaningPlan.from_json(plan.to_json().replace('"kind": "number"', f'"kind": "{kind.value}"', 1))
        block = pa.table({"c": pa.array(cells, pa.string()), "d": ["x"] * len(cells)})
        whole = plan.clean(block).to_pylist()
        assert whole == [row for i in range(len(cells)) for row in plan.clean(block.slice(i, 1)).to_pylist()]


def test_typed_and_written_cells_agree() -> None:
    block = labelled(
        n=["1.5", "2", "NA", "3"] * 10, b=["True", "false", "", "TRUE"] * 10, d=["2024-01-02"] * 39 + ["-"]
    )
    plan = plan_of(block, types={"d": "date"})
    typed = pa.table(
        {
            "n": [1.5, 2.0, None, 3.0],
            "b": [True, False, None, True],
            "d": pa.array([pd.Timestamp("2024-01-02")] * 4),
        }
    )
    assert plan.clean(typed).to_pylist() == plan.clean(block.slice(0, 4)).to_pylist()
    assert plan.clean(typed).schema == pa.schema([("n", pa.float64()), ("b", pa.string()), ("d", pa.timestamp("us"))])


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "2", "3.5", "NA"] * 10, "number"),
        (["0", "1"] * 20, "number"),
        (["red", "green"] * 20, "category"),
        (["True", "False"] * 20, "category"),
        ([f"0{i:04d}" for i in range(20)] * 2, "category"),  # postcodes
        (["250.83", "V57", "401", "E11"] * 10, "category"),  # codes
        ([str(i) for i in range(100)] + ["unknown"] * 100, "number"),
        ([f"2024-01-{i % 28 + 1:02d}" for i in range(60)], "date"),
        ([f"2024010{i % 9 + 1}" for i in range(60)], "number"),
        ([f"I {word} my card, please help" for word in map(str, range(60))], "text"),
        ([f"房间很大服务很好价格便宜交通方便{i}" for i in range(60)], "text"),
        ([f"K-{i:05d}" for i in range(60)], "out: id"),
        ([f"123e4567-e89b-12d3-a456-4266{i:08d}" for i in range(60)], "out: id"),
        ([f"K-{i % 40:05d}" for i in range(60)], "category"),
        (list(range(100, 160)), "out: id"),
        ([i * 1000 for i in range(60)], "number"),
        ([None] * 40, "out: blank"),
        (["x"] * 40, "out: constant"),
        (["x", ""] * 20, "category"),
        ([[1], [2]] * 20, "out: nested"),
    ],
    ids=str,
)
def test_kind(cells: list[Any], kind: str) -> None:
    assert kind_of(cells) == kind


def test_names_count_for_ids_and_dates() -> None:
    assert kind_of([i * 1000 for i in range(60)], "customer_id") == "out: id"
    assert kind_of([f"2024010{i % 9 + 1}" for i in range(60)], "order_date") == "date"


def test_an_id_is_known_in_spite_of_repeated_rows() -> None:
    cells = [f"K-{i:05d}" for i in range(60)]
    block = labelled(c=cells, d=RNG.random(60))
    block = pa.concat_tables([block, block.slice(3, 2)])
    assert plan_of(block).columns[0].reason == "id"


def test_types_override_everything_and_roles_leave_columns_out() -> None:
    block = labelled(a=[f"K-{i}" for i in range(40)], b=["1"] * 40, g=[i % 5 for i in range(40)], w=[0.5] * 40)
    plan = plan_of(block, types={"a": "text", "b": "category"}, group="g", weight="w")
    assert plan.schema.of(Kind.TEXT) == ("a",) and plan.schema.of(Kind.CATEGORY) == ("b",)
    assert {column.name: str(column.reason) for column in plan.columns if not column.use} == {
        "g": "group",
        "w": "weight",
    }
    weights = plan.weights(block)
    assert weights is not None and weights.tolist() == [0.5] * 40
    with pytest.raises(DataError, match="missing or negative in 1 rows"):
        plan.weights(pa.table({"w": ["1", "-1"]}))


def test_integers_may_be_dates_if_the_user_says_so() -> None:
    block = labelled(d=[20240100 + i % 28 + 1 for i in range(40)])
    dates = plan_of(block, types={"d": "date"}).clean(block).column("d")
    assert dates[0].as_py().isoformat() == "2024-01-01T00:00:00" and dates.null_count == 0
    with pytest.raises(UsageError, match="no cell is one"):
        plan_of(labelled(d=RNG.random(40)), types={"d": "date"})


def test_suspects_are_set_aside_unless_the_user_typed_them() -> None:
    block = labelled(a=RNG.random(40), b=RNG.random(40))
    suspects = [Finding("leak", name, f"{name} knows.") for name in ("a", "b")]
    assert plan_of(block).set_aside(suspects[:1]).schema.names == ("b",)
    assert plan_of(block, types={"a": "number"}).set_aside(suspects).schema.names == ("a",)
    nothing_left = plan_of(block).set_aside(suspects)
    assert nothing_left.schema.names == ("a", "b") and "all are used" in nothing_left.describe()[-1]
    again = CleaningPlan.from_json(plan_of(block).set_aside(suspects[:1]).to_json())
    assert "'a' is left out: it seems to know the answer. a knows." in again.describe()


TARGETS: list[tuple[list[Any], Task, tuple[str, ...], str | None]] = [
    (["no", "yes", "no"], Task.BINARY, ("no", "yes"), "yes"),
    (["Yes", "No", "Yes", "Yes"], Task.BINARY, ("No", "Yes"), "Yes"),
    ([1, 0, 1, 1], Task.BINARY, ("0", "1"), "1"),
    ([1, 2, 1], Task.BINARY, ("1", "2"), "2"),  # the rarer one
    ([True, False, True, True], Task.BINARY, ("False", "True"), "True"),
    (["good", "bad", "bad"], Task.BINARY, ("good", "bad"), "bad"),
    (["b", "a", "b"], Task.BINARY, ("b", "a"), "a"),
    ([10, 2, 1], Task.MULTICLASS, ("1", "2", "10"), None),
    (["None", "Mild", "Bad"], Task.MULTICLASS, ("Bad", "Mild", "None"), None),
    ([0.5, 1.5, 2.5], Task.REGRESSION, (), None),
    ([str(i) for i in range(40)], Task.REGRESSION, (), None),
    (["1,5", "2,5", "3,25"], Task.REGRESSION, (), None),
]


@pytest.mark.parametrize(("cells", "task", "classes", "positive"), TARGETS, ids=str)
def test_problem(cells: list[Any], task: Task, classes: tuple[str, ...], positive: str | None) -> None:
    cells = (cells * 30)[:60]
    problem = plan_of(pa.table({"x": RNG.random(60), "y": cells})).problem
    assert (problem.task, problem.classes, problem.positive) == (task, classes, positive)
    assert problem.n_outputs == max(len(classes), 1)


def test_positive_and_metric_may_be_chosen() -> None:
    block = labelled(a=RNG.random(40))
    problem = plan_of(block, positive="0", metric="average_precision").problem
    assert (problem.classes, problem.metric) == (("1", "0"), "average_precision")


def test_labels_say_what_is_missing() -> None:
    block = pa.table({"x": RNG.random(40), "y": ["a", "b", "", "NA"] * 10})
    plan = plan_of(block)
    assert plan.labels(block).tolist() == [0, 1, -1, -1] * 10
    assert plan.labels(pa.table({"y": ["c", ""]})).tolist() == [-2, -1]
    numbers = pa.table({"x": RNG.random(40), "y": ["1.5", "2", "", "inf"] * 10})
    assert np.isnan(plan_of(numbers, task="regression").labels(numbers)).tolist() == [False, False, True, True] * 10
    with pytest.raises(DataError, match="lacks the column 'y'"):
        plan.labels(pa.table({"x": [1.0]}))


def test_rows_that_train() -> None:
    block = pa.table({f"f{i}": RNG.random(50) for i in range(4)} | {"y": [*RNG.random(48).tolist(), 1e9, None]})
    block = pa.concat_tables([block, block.slice(7, 1)])
    plan = plan_of(block)
    keep = plan.training_rows(plan.clean(block), plan.labels(block))
    assert np.flatnonzero(~keep).tolist() == [48, 49, 50]
    said = " ".join(plan.describe())
    assert "1 of 51 rows repeat another row exactly; each trains once." in said and "do not train" in said


def test_many_equal_rows_are_how_the_table_is() -> None:
    block = pa.table({f"f{i}": RNG.random(50) for i in range(4)} | {"y": [0, 1] * 25})
    block = pa.concat_tables([block, block.slice(0, 3)])
    plan = plan_of(block)
    assert plan.training_rows(plan.clean(block), plan.labels(block)).all()
    assert "3 of 53 rows repeat another row exactly; they stay" in plan.describe()[-1]


def test_few_columns_may_be_equal_by_chance() -> None:
    block = pa.table({"a": [0, 1] * 30, "y": [0, 0, 0, 1] * 15})
    plan = plan_of(block)
    assert plan.training_rows(plan.clean(block), plan.labels(block)).all()
    assert "equal by chance" in plan.describe()[-1]


def test_tables_to_predict_may_have_more_columns_but_not_fewer() -> None:
    block = labelled(alpha=RNG.random(40), beta=RNG.random(40))
    plan = plan_of(block)
    assert plan.clean(block.append_column("more", [[1] * 40])).num_columns == 2
    with pytest.raises(DataError, match=r"lacks the column 'alpha'.*Did you mean 'alpa'"):
        plan.clean(block.rename_columns(["alpa", "beta", "y"]))


def test_json_round_trip_and_edits() -> None:
    block = dirty()
    plan = plan_of(block, "churned", types={"age": "number"}, drop=["region"])
    assert CleaningPlan.from_json(plan.to_json()) == plan
    facts = json.loads(plan.to_json())
    facts["columns"][3]["use"] = True
    facts["columns"][4] |= {"use": False, "reason": "dropped"}
    facts["columns"][7]["missing"] = ["3"]
    edited = CleaningPlan.from_json(json.dumps(facts))
    assert "region" in edited.schema.names and "contract" not in edited.schema.names
    satisfaction = edited.clean(block).column("satisfaction").to_pylist()
    assert 3.0 not in satisfaction and 4.0 in satisfaction


EDITS: list[tuple[tuple[Any, ...], Any, str]] = [
    (("columns", 0, "kind"), "nummer", r"columns\[0\].kind is 'nummer'.*'number'"),
    (("columns", 0, "use"), "yes", r"columns\[0\].use is 'yes'.*true or false"),
    (("columns", 0, "colour"), 1, "unknown field 'colour'"),
    (("columns", 0, "dates"), ["dd.mm"], "'dd.mm'"),
    (("columns", 0, "sentinels"), "x", "a list of numbers"),
    (("columns", 1, "name"), "customer_id", "twice"),
    (("columns",), {}, "a list of objects"),
    (("rows", "lowest_target"), "low", "a number or null"),
    (("problem", "metric"), "rmse", "problem.metric is 'rmse'"),
    (("problem", "classes"), ["a"], "does not fit a binary task"),
    (("target", "name"), "other", "Give both places the same name"),
    (("version",), 7, "version 1"),
]


@pytest.mark.parametrize(("place", "value", "words"), one_in(4, EDITS), ids=[str(edit[0]) for edit in EDITS])
def test_wrong_edit_is_refused_by_its_place(place: tuple[Any, ...], value: Any, words: str) -> None:
    facts = json.loads(plan_of(dirty(), "churned").to_json())
    spot = facts
    for step in place[:-1]:
        spot = spot[step]
    spot[place[-1]] = value
    with pytest.raises(DataError, match=words):
        CleaningPlan.from_json(json.dumps(facts))


def test_plan_that_is_not_json() -> None:
    for text, told in (("{", "is not JSON"), ("[]", "must be an object"), ('{"a":' * 100_000, "nested too deeply")):
        with pytest.raises(DataError, match=told):
            CleaningPlan.from_json(text)
