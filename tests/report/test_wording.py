"""Numbers carry the digits that their intervals allow, and text cannot harm the page."""

import pytest

from lepton_ray.report import curves, wording


@pytest.mark.parametrize(
    ("number", "low", "high", "shown"),
    [
        (0.84321, 0.822, 0.864, "0.843"),
        (0.84321, 0.78, 0.90, "0.84"),
        (0.84321, 0.8430, 0.8434, "0.84321"),
        (543.21, 531, 555, "543"),
        (12_345.6, 11_000, 13_600, "12,300"),
        (12_345.6, 6_000, 18_000, "12,000"),
        (0.5, None, None, "0.500"),
        (1234.5, None, None, "1,234"),
        (-0.02, None, None, "−0.0200"),
        (0.0, 0.0, 0.0, "0"),
        (float("nan"), None, None, "not a number"),
    ],
)
def test_the_interval_decides_the_digits(number: float, low: float | None, high: float | None, shown: str) -> None:
    assert wording.figure(number, low, high) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (0.004, "4 ms"),
        (3.21, "3.2 s"),
        (59.7, "1 min"),
        (125, "2 min 5 s"),
        (3780, "1 h 3 min"),
        (4e5, "5 days"),
    ],
)
def test_durations(seconds: float, shown: str) -> None:
    assert wording.duration(seconds) == shown


@pytest.mark.parametrize(
    ("args", "shown"),
    [
        ((12_345.0, 11_000.0, 13_600.0), "$12,300"),
        ((-0.4,), "−$0.40"),
        ((1_239_000.0, 1_000_000.0, 1_500_000.0), "$1.24 million"),
        ((3.0, -80_000.0, 80_000.0), "$0"),
        ((0.00123,), "$0.00123"),
        ((67.04, 60.0, 74.0), "$67"),
        ((842.6,), "$843"),
    ],
)
def test_estimates_of_money(args: tuple[float, ...], shown: str) -> None:
    assert wording.usd(*args) == shown


def test_shares_never_claim_all_or_nothing_wrongly() -> None:
    shares = (0, 0.0004, 0.0312, 0.9996, 1)
    assert [wording.percent(share) for share in shares] == ["0 %", "< 0.1 %", "3.1 %", "> 99.9 %", "100 %"]


def test_hostile_marks_become_visible() -> None:
    assert wording.safe("a\x00b\u202ec\nd\ud800e") == "a\ufffdb\ufffdc\ufffdd\ufffde"
    assert wording.short("x" * 50, 10) == "x" * 9 + "…"


def test_every_metric_has_words_and_an_unknown_one_its_name() -> None:
    assert wording.metric_words("profit_at_10").title == "profit at 10"
    assert all(words.meaning and not words.meaning.endswith(".") for words in wording.METRICS.values())


def test_the_front_keeps_what_no_other_beats() -> None:
    costs, scores = [1.0, 2.0, 2.0, 3.0, 4.0], [0.5, 0.7, 0.8, 0.75, 0.9]
    assert curves.pareto(costs, scores, True) == [0, 2, 4]
    assert curves.pareto(costs, scores, False) == [0]
