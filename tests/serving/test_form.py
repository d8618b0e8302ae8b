from lepton_ray.bundle.margins import Margin
from lepton_ray.serving.form import MOST_CHOICES, Field, fields_of, figure
from lepton_ray.table.schema import Column, Kind, Schema


def field(kind: Kind, typical: object, margin: Margin | None) -> Field:
    return fields_of(Schema((Column("x", kind),)), {"x": typical}, None if margin is None else {"x": margin})[0]


def test_a_number_says_what_is_usual() -> None:
    made = field(Kind.NUMBER, 29.0, Margin((1.0, 29.0, 7881.4)))
    assert (made.control, made.filled, made.hint) == ("number", "29", "usually 1 to 7881")
    assert field(Kind.NUMBER, 0.125, Margin((0.0, 0.0))).hint == ""
    assert field(Kind.NUMBER, -0.044641636506989144, None).filled == "-0.044641637"
    assert field(Kind.NUMBER, None, None) == Field("x", "number", "number", "", (), "")


def test_few_levels_are_chosen_from_and_many_are_typed() -> None:
    few = field(Kind.CATEGORY, "b", Margin(("a", "b"), (0.6, 0.4), whole=True))
    assert (few.control, few.filled, few.levels) == ("choice", "b", ("a", "b"))
    some = field(Kind.CATEGORY, "b", Margin(("a", "b"), (0.6, 0.3), whole=False))
    assert (some.control, some.hint) == ("word", "often a, b")
    names = tuple(map(str, range(MOST_CHOICES + 1)))
    assert field(Kind.CATEGORY, "0", Margin(names, (1.0,) * len(names), whole=True)).control == "word"
    assert field(Kind.CATEGORY, "c", Margin(("a", "b"), (0.6, 0.4), whole=True)).levels == ("a", "b", "c")


def test_a_date_has_a_time_of_day_where_the_column_has() -> None:
    days = Margin(("2024-01-01T00:00:00", "2024-02-01T00:00:00"))
    made = field(Kind.DATE, "2024-01-15T00:00:00", days)
    assert (made.control, made.filled, made.hint) == ("date", "2024-01-15", "usually 2024-01-01 to 2024-02-01")
    moment = field(Kind.DATE, "2024-01-15T08:30:00.250", Margin(("2024-01-01T07:00:00",)))
    assert (moment.control, moment.filled) == ("moment", "2024-01-15T08:30:00")
    assert field(Kind.DATE, "2024-01-15", Margin(("2024-01-01T07:00:00",))).filled == "2024-01-15T00:00:00"


def test_a_text_is_never_filled_from_margins() -> None:
    assert field(Kind.TEXT, None, Margin(())) == Field("x", "text", "text", "", (), "")


def test_figures_are_short() -> None:
    assert [figure(one) for one in (72.0, 1234567.0, 0.123456, 1e12)] == ["72", "1,234,567", "0.1235", "1e+12"]
