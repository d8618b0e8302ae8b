"""A receipt adds up, says where its price comes from, and shows what a user wrote only as text."""

import json
import tempfile
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.meter import Meter
from lepton_ray.money.prices import machine_price
from lepton_ray.money.receipt import Receipt, swap_receipt
from lepton_ray.money.usage import Leg
from tests.examples import examples

BUNDLE = "ab" * 32


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def a_run(path: Path, name: str = "t1") -> Meter:
    """A run of a minute with two trials, one of them paused in between; still open."""
    clock = Clock()
    ledger = Ledger.create(path, "r1", machine_price(2), 1_800_000_000.0)
    ledger.note("budget", Budget.resolve(None, None, ledger.machine.per_hour).to_dict())
    meter = Meter(ledger, clock)

    def at(now: float) -> Meter:
        clock.now = now
        return meter

    at(0.3).enter("read")
    at(2.0).enter("search")
    at(4.0).trial(name, started=2.0, cpus=1, family="linear", driver="host", outcome="paused")
    at(40.0).trial("t2", started=5.0, cpus=2, family="lightgbm", driver="ray", outcome="done")
    at(43.0).trial(name, started=42.0, cpus=1, family="linear", driver="ray", outcome="best")
    at(50.0).enter("refit")
    at(58.2)
    return meter


@pytest.fixture
def meter(tmp_path: Path) -> Meter:
    return a_run(tmp_path / "l.jsonl")


def test_a_receipt_adds_up(meter: Meter) -> None:
    meter.close()
    receipt = Receipt.from_ledger(meter.ledger, bundle=BUNDLE)
    rate = receipt.machine.per_hour
    assert receipt.total.dollars == Dollars.of_rate(rate, 58.2) == meter.spent()
    assert receipt.total.seconds == 58.2 and receipt.closed and receipt.held is True
    lines = [*receipt.stages, receipt.unexplained]
    assert Dollars.total(line.dollars for line in lines) == receipt.total.dollars
    assert [line.stage for line in receipt.stages] == ["read", "search", "refit"]
    assert receipt.unexplained.seconds == 0.3
    search = receipt.stages[1].dollars
    assert receipt.attributed + receipt.overhead == search and receipt.overhead > Dollars(0)


def test_models_that_were_fitted_again_are_no_trials(meter: Meter) -> None:
    before = Receipt.from_ledger(meter.ledger)
    meter.enter("finish")
    meter.trial("t2-dev", started=52.0, cpus=1, family="lightgbm", driver="host", outcome="done", stage="finish")
    receipt = Receipt.from_ledger(meter.ledger)
    assert receipt.trials == before.trials and receipt.overhead == before.overhead and not before.refits
    (line,) = receipt.refits
    assert (line.trial, line.family, line.outcome) == ("t2-dev", "lightgbm", "done")
    assert line.seconds == pytest.approx(6.2) and line.dollars == receipt.machine.share(1, 6.2)
    assert "refit t2-dev" in receipt.to_text() and receipt.to_dict()["refits"][0]["trial"] == "t2-dev"


def test_a_trials_spells_are_one_line(meter: Meter) -> None:
    first, second = Receipt.from_ledger(meter.ledger).trials
    assert (first.trial, first.seconds, first.driver, first.outcome) == ("t1", 3.0, "ray", "best")
    assert (second.family, second.cpus, second.seconds) == ("lightgbm", 2, 35.0)
    assert first.sentence == "linear, on ray, 1 cpu, best"


def test_a_run_that_broke_its_wall_says_so(meter: Meter) -> None:
    meter.ledger.close(61.0)
    receipt = Receipt.from_ledger(meter.ledger)
    assert receipt.held is False and receipt.to_dict()["wall_held"] is False
    assert "THE WALL DID NOT HOLD" in receipt.to_text()
    lent = Receipt.from_ledger(meter.ledger, budget=Budget.resolve("0.01", "2m", receipt.machine.per_hour))
    assert lent.held is True


def test_an_open_run_is_counted_until_now(meter: Meter) -> None:
    early = Receipt.from_ledger(meter.ledger)
    assert early.total.seconds == 50.0 and not early.closed and "has not been closed" in early.to_text()
    assert Receipt.from_ledger(meter.ledger, at=55.0).total.seconds == 55.0


def test_the_endpoint_is_a_line_of_its_own(meter: Meter) -> None:
    meter.enter("serve")
    assert isinstance(meter.clock, Clock)
    meter.clock.now = 3658.2
    meter.close()
    receipt = Receipt.from_ledger(meter.ledger)
    assert receipt.total.seconds == 58.2 and receipt.held and receipt.closed
    assert receipt.endpoint is not None and receipt.endpoint.dollars == Dollars(96_000)
    assert "Endpoint: $0.096 per hour, ran 3600.0 s for $0.096, not part of the total." in receipt.to_text()
    assert receipt.to_dict()["endpoint"] == {
        "stage": "endpoint",
        "seconds": 3600.0,
        "usd": 0.096,
        "usd_per_hour": 0.096,
    }


def test_the_text_reads_well(meter: Meter) -> None:
    meter.ledger.note("bundle", BUNDLE)
    meter.close()
    assert Receipt.from_ledger(meter.ledger).to_text() == (
        """\
receipt of run r1
read              1.70 s      $0.000045
search           48.00 s      $0.00128
refit             8.20 s      $0.000219
unexplained       0.30 s      $0.000008
------------------------------------------
total            58.20 s      $0.001552
  trial t1        3.00 s      $0.00004   linear, on ray, 1 cpu, best
  trial t2       35.00 s      $0.000933  lightgbm, on ray, 2 cpu, done
  overhead                    $0.000307  of the search: billed, but no trial's

The wall held: $0.001552 of $0.0016, 58.20 s of 1m.
Price: 2 vCPU x $0.048/h, the reference row m5.xlarge us-east-1 on demand / 4, as of 2026-11-22.
Bundle: """
        + BUNDLE
        + "\n"
    )


def test_the_dict_is_json_and_in_dollars(meter: Meter) -> None:
    meter.close()
    facts = json.loads(json.dumps(Receipt.from_ledger(meter.ledger, bundle=BUNDLE).to_dict(), allow_nan=False))
    assert facts["spent_usd"] == 0.001552 and facts["budget_usd"] == 0.0016 and facts["deadline_seconds"] == 60.0
    assert sum(line["usd"] for line in [*facts["stages"], facts["unexplained"]]) == pytest.approx(facts["spent_usd"])
    assert facts["trials"][1]["family"] == "lightgbm" and facts["bundle"] == BUNDLE and facts["endpoint"] is None
    assert facts["attributed_usd"] + facts["overhead_usd"] == pytest.approx(0.00128)


def test_a_ledger_without_a_budget_still_has_a_receipt(tmp_path: Path) -> None:
    ledger = Ledger.create(tmp_path / "l.jsonl", "r1", machine_price(2, Dollars(50_000)), 0.0)
    receipt = Receipt.from_ledger(ledger)
    assert receipt.held is None and receipt.total.dollars == Dollars(0) and receipt.to_dict()["budget_usd"] is None
    assert "Price: $0.05/h by --price." in receipt.to_text() and "wall" not in receipt.to_text().lower()


class Tags(HTMLParser):
    """Collects what a browser would see, and checks that every tag closes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.seen: list[str] = []
        self.words = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@given(st.text(min_size=1, max_size=30))
@example("<img src=x onerror=alert(1)>")
@examples(25)
def test_names_stay_text_in_html(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        page = Receipt.from_ledger(a_run(Path(folder, "l.jsonl"), name).ledger, bundle="<script>").to_html()
    tags = Tags(page)
    assert tags.opened == [] and tags.seen.count("table") == 1
    assert set(tags.seen) == {"section", "table", "thead", "tbody", "tr", "th", "td", "p"}


def test_the_html_says_what_the_text_says(meter: Meter) -> None:
    meter.close()
    receipt = Receipt.from_ledger(meter.ledger, bundle="<b>&")
    page = receipt.to_html()
    assert page.startswith('<section class="receipt">') and page.endswith("</section>")
    words = Tags(page).words
    assert "trial t2" in words and "$0.001552" in words and "The wall held" in words and "<b>&" in words


def test_a_receipt_is_swapped_again_and_again(meter: Meter) -> None:
    page = "<body>a<!--receipt-->old<!--/receipt-->z<!--receipt-->mine</body>"
    early = Receipt.from_ledger(meter.ledger)
    once = swap_receipt(page, early)
    assert once == f"<body>a<!--receipt-->{early.to_html()}<!--/receipt-->z<!--receipt-->mine</body>"
    meter.close()
    late = Receipt.from_ledger(meter.ledger)
    assert swap_receipt(once, late) == swap_receipt(page, late) != once


@pytest.mark.parametrize("page", ["", "<!--receipt-->", "<!--/receipt--><!--receipt-->"])
def test_a_page_without_markers_is_refused(meter: Meter, page: str) -> None:
    with pytest.raises(ValueError, match="has no"):
        swap_receipt(page, Receipt.from_ledger(meter.ledger))


def test_a_clock_that_jumps_back_cannot_end_a_trial_before_it_starts(meter: Meter) -> None:
    assert isinstance(meter.clock, Clock)
    meter.clock.now = 1.0
    usage = meter.trial("t9", started=50.0, cpus=1, family="linear", driver="host", outcome="odd")
    assert usage.seconds == 0.0


@given(st.lists(st.floats(min_value=0, max_value=20), max_size=12))
@examples(25)
def test_a_run_that_ends_at_its_wall_held_it(lengths: list[float]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger.create(Path(folder, "l.jsonl"), "r1", machine_price(3), 0.0)
        wall = 0.1
        for number, length in enumerate(lengths):
            ledger.enter(f"stage {number}", wall)
            wall += length
        ledger.close(wall)
        budget = Budget.resolve(None, wall, ledger.machine.per_hour)
        receipt = Receipt.from_ledger(ledger, budget=budget)
    assert receipt.held and receipt.total.seconds == wall
    lines = [*receipt.stages, receipt.unexplained]
    assert Dollars.total(line.dollars for line in lines) == Dollars.of_rate(ledger.machine.per_hour, wall)


def test_the_wall_is_a_time_and_not_a_sum_of_spans(tmp_path: Path) -> None:
    times = [0.0, 0.1, 18.2, 53.6, 60.0]
    assert sum(after - before for before, after in pairwise(times)) > 60.0
    ledger = Ledger.create(tmp_path / "l.jsonl", "r1", machine_price(2), 0.0)
    for at in times[:-1]:
        ledger.enter(f"stage {at}", at)
    ledger.close(times[-1])
    assert Receipt.from_ledger(ledger, budget=Budget.resolve(None, 60, ledger.machine.per_hour)).held


def test_the_legs_of_a_run_add_up_and_what_was_between_them_costs_nothing(meter: Meter) -> None:
    ledger = meter.ledger
    at = Ledger.open(ledger.path).second
    ledger.resume(Leg(at + 0.7, ledger.started_at + 4000.0, 3000.0))
    ledger.enter("search", at + 0.7)
    ledger.close(at + 5.0)
    receipt = Receipt.from_ledger(ledger)
    first, second = receipt.legs
    assert (first.seconds, first.down) == (pytest.approx(at + 0.7), 0.0)
    assert (second.seconds, second.down, second.started_at) == (pytest.approx(4.3), 3000.0, ledger.started_at + 4000.0)
    assert first.dollars + second.dollars == receipt.total.dollars == ledger.spent()
    text = receipt.to_text()
    assert "leg 1" in text and "broken off" in text and "3000.00 s      $0.00" in text and "not billed" in text
    assert [leg["down_seconds"] for leg in receipt.to_dict()["legs"]] == [0.0, 3000.0]
    assert receipt.to_html().count('class="leg"') == 2 and receipt.to_html().count('class="down"') == 1


def test_a_run_of_one_leg_does_not_speak_of_it(meter: Meter) -> None:
    meter.close()
    receipt = Receipt.from_ledger(meter.ledger)
    assert len(receipt.legs) == 1 and "leg" not in receipt.to_text() and 'class="leg"' not in receipt.to_html()
