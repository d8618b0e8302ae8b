"""A value file is read strictly: each mistake gets a sentence that names the key and how to mend it."""

from pathlib import Path

import pytest

from lepton_ray.errors import UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.report.value import Value

GOOD = {
    "true_positive": 40,
    "false_positive": -5,
    "true_negative": 0,
    "false_negative": -20,
    "decisions_per_year": 12000,
}


def written(**changes: object) -> str:
    """The good file with changes; None takes a line out."""
    lines = GOOD | changes
    return "".join(f"{key}: {value}\n" for key, value in lines.items() if value is not None)


def test_a_value_for_decisions_is_read() -> None:
    value = Value.parse(written(project_cost=1500.5, horizon_years=3))
    assert value.payoff is not None
    assert value.payoff.true_positive == Dollars.parse(40)
    assert value.payoff.false_positive == -Dollars.parse(5)
    assert (value.project_cost, value.horizon_years) == (Dollars.parse("1500.50"), 3.0)
    value.check_task("binary")


def test_a_value_for_a_number_is_read(tmp_path: Path) -> None:
    path = tmp_path / "value.yaml"
    path.write_bytes(b"\xef\xbb\xbfunit_of_error: 2.50  # dollars\ndecisions_per_year: 1_000\n")
    value = Value.from_file(path)
    assert (value.unit_of_error, value.decisions_per_year, value.payoff) == (Dollars.parse("2.50"), 1000.0, None)
    value.check_task("regression")


@pytest.mark.parametrize(
    ("text", "says", "mends"),
    [
        (written(true_positve=1), "true_positve", "true_positive"),
        (written(currency="usd"), "unknown key, currency", "may hold"),
        (written(false_negative=None), "lacks false_negative", "add"),
        (written(decisions_per_year=None), "lacks decisions_per_year", "add"),
        (written(true_positive="$40"), "true_positive is '$40'", "without quotes"),
        (written(true_positive="true"), "true_positive is True", "plain number"),
        (written(true_positive=".nan"), "true_positive is nan", "plain number"),
        (written(true_positive=".inf"), "true_positive is inf", "plain number"),
        (written(true_positive="[1]"), "true_positive is [1]", "plain number"),
        (written(true_positive="1e999999"), "true_positive", "plain number"),
        (written(true_positive="9" * 400), "true_positive", "plain number"),
        (written(decisions_per_year=0), "decisions_per_year is 0", "above zero"),
        (written(project_cost=-1), "project_cost is negative", "positive"),
        (written(horizon_years=1000), "horizon_years", "100"),
        (written(false_negative=60), "true_positive", "negative number"),
        (written(false_positive=5), "true_negative", "negative number"),
        (written(unit_of_error=1), "both", "Keep either"),
        (written() + "true_positive: 41\n", "true_positive twice", "Keep one"),
        ("", "no keys", "key: number"),
        ("- 1\n", "no keys", "key: number"),
        ("horizon_years: 2\n", "says nothing", "unit_of_error"),
        ("unit_of_eror: 2\n", "unit_of_eror", "unit_of_error"),
        ("a: [\n", "not YAML in line 2", "key: number"),
        ("!!python/object/apply:os.system ['true']: 1\n", "not YAML", "key: number"),
        ("unit_of_error: -3\ndecisions_per_year: 5\n", "unit_of_error is -3", "above zero"),
        ("7: 1\n", "unknown key, 7", "may hold"),
        ("a: \x00\n", "not YAML", "key: number"),
        ("[" * 600, "nested too deeply", "key: number"),
        pytest.param("[" * 2000, "nested too deeply", "key: number", marks=pytest.mark.exam),
        ("? [1]\n: 2\n", "not YAML", "key: number"),
    ],
)
def test_a_mistake_is_named(text: str, says: str, mends: str) -> None:
    with pytest.raises(UsageError) as caught:
        Value.parse(text, "v.yaml")
    assert says in caught.value.what
    assert mends in caught.value.hint


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "large").write_bytes(b"#" * 70_000)
    for name, says in (
        ("none", "cannot be read"),
        (".", "cannot be read"),
        ("binary", "not UTF-8"),
        ("large", "larger"),
    ):
        with pytest.raises(UsageError, match=says):
            Value.from_file(tmp_path / name)


def test_a_value_must_fit_the_question() -> None:
    decisions, number = Value.parse(written()), Value.parse("unit_of_error: 1\ndecisions_per_year: 5\n")
    for value, task in (
        (decisions, "regression"),
        (decisions, "multiclass"),
        (number, "binary"),
        (number, "multiclass"),
    ):
        with pytest.raises(UsageError):
            value.check_task(task)
