"""The page stands alone, survives hostile names and missing parts, and says why a part is missing."""

import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
import pytest

from lepton_ray.money.dollars import Dollars
from lepton_ray.report import story
from lepton_ray.report.facts import DataFacts, How, Measurement, ReportFacts, Spending
from lepton_ray.report.predictions import Predictions
from lepton_ray.report.render import FOLDER, render
from lepton_ray.report.settle import settle
from tests.examples import one_in
from tests.report.report_example import binary_facts, receipt_of, regression_facts, search

HOSTILE = "</script><img src=x onerror=alert(1)>$\\frac{<!--receipt-->\x00\u202e\ud800\n&amp;\"'{{ 7*7 }}"
CHOSEN = "that earns most by the value you gave, on"
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Reader(HTMLParser):
    """Collects tags and ids, and insists that every tag is closed in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] != "style":
            self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    assert not reader.open
    return reader


def words_of(facts: ReportFacts) -> str:
    return " ".join(read(page_of(facts)).text.split()).replace("\xa0", " ")


@pytest.fixture(scope="module")
def binary() -> ReportFacts:
    return binary_facts()


@pytest.fixture(scope="module")
def regression() -> ReportFacts:
    return regression_facts()


@cache
def page_of(facts: ReportFacts) -> str:
    """Draw each example once."""
    return render(facts)


def nothing() -> ReportFacts:
    """A run that had time for the constant model only."""
    return ReportFacts(
        "r", "binary", DataFacts("t.csv", "y", 30), Spending(Dollars(10), 3.0), absent={"trials": "No time."}
    )


def test_the_page_stands_alone(binary: ReportFacts, regression: ReportFacts) -> None:
    for facts in (binary, regression, nothing()):
        reader = read(page_of(facts))
        assert not {tag for tag, _ in reader.seen} & {
            "script",
            "link",
            "img",
            "iframe",
            "object",
            "embed",
            "base",
            "form",
        }
        for _, attributes in reader.seen:
            assert all((attributes.get(key) or "#").startswith("#") for key in ("href", "src", "xlink:href", "action"))
            assert not any(key.startswith("on") for key in attributes)
        assert not re.search(r"@import|url\((?!#)", page_of(facts))


def test_the_same_facts_give_the_same_bytes(binary: ReportFacts) -> None:
    assert page_of(binary) == render(binary_facts())


def test_ids_are_unique_and_references_meet_them(binary: ReportFacts, regression: ReportFacts) -> None:
    for facts in (binary, regression):
        seen = read(page_of(facts)).seen
        ids = [attributes["id"] for _, attributes in seen if "id" in attributes]
        assert len(ids) == len(set(ids))
        for _, attributes in seen:
            refers = [(attributes.get("href") or "").removeprefix("#"), attributes.get("aria-labelledby") or ""]
            refers += re.findall(r"url\(#(.*?)\)", attributes.get("clip-path") or "")
            assert {reference for reference in refers if reference} <= set(ids)


def test_every_picture_and_table_can_be_heard(binary: ReportFacts) -> None:
    seen = read(page_of(binary)).seen
    pictures = [attributes for tag, attributes in seen if tag == "svg"]
    assert len(pictures) == 4
    assert all(len(picture["aria-label"] or "") > 40 and picture["role"] == "img" for picture in pictures)
    assert sum(tag == "h1" for tag, _ in seen) == 1


def test_it_says_what_a_reader_wants_first(binary: ReportFacts) -> None:
    text = " ".join(read(page_of(binary)).text.split()).replace("\xa0", " ")
    for said in (
        "“diagnosis” is predicted with a ROC AUC of 0.9",
        "a constant guess reaches 0.500",
        "95 % interval",
        "569 rows",
        "200 rows drawn by chance",
        "3 rows could not be read",
        "fitted once more",
        "has paid for itself after",
        "The search ended because the deadline was near",
        "1 trial ended without a score",
        "out of memory",
    ):
        assert said in text, said


@pytest.mark.filterwarnings("error")
def test_hostile_names_stay_text(binary: ReportFacts) -> None:
    data = replace(
        binary.data,
        source=HOSTILE,
        target=HOSTILE,
        target_counts={HOSTILE: 3},
        cleaning=(HOSTILE,),
        findings=(HOSTILE,),
        dropped=(HOSTILE,),
        rejected_file=HOSTILE,
        kinds={HOSTILE: 1},
    )
    trials = tuple(
        replace(t, family=HOSTILE, id=HOSTILE, reason=HOSTILE, state=HOSTILE, driver=HOSTILE, config={HOSTILE: HOSTILE})
        for t in binary.trials
    )
    assert binary.winner and binary.roi and binary.measurement
    facts = replace(
        binary,
        run=HOSTILE,
        data=data,
        classes=(HOSTILE, HOSTILE),
        trials=trials,
        endpoint=HOSTILE,
        bundle=HOSTILE,
        written=HOSTILE,
        winner=replace(binary.winner, family=HOSTILE, note=HOSTILE),
        importances={HOSTILE: 1.0},
        versions={HOSTILE: HOSTILE},
        roi=replace(binary.roi, answer=HOSTILE),
        spending=replace(binary.spending, stopped_because=HOSTILE),
        measurement=replace(binary.measurement, metric=HOSTILE, also={HOSTILE: 1.0}),
        commands=((HOSTILE, HOSTILE),),
    )
    page = render(facts)
    reader = read(page)
    assert not {"img", "script"} & {tag for tag, _ in reader.seen}
    assert page.count("<!--receipt-->") == 1
    assert "\x00" not in page and "\u202e" not in page and "49" not in page.replace("{{ 7*7 }}", "")[:400]
    page.encode("utf-8")


def test_the_last_word_is_put_in_after_the_run(binary: ReportFacts) -> None:
    page = render(replace(binary, receipt=None))
    assert "The receipt is written when the run ends." in page
    receipt = receipt_of(search((0.5, 0.9), 0.1, np.random.default_rng(5)))
    settled = settle(settle(page, receipt), receipt)
    assert f"<!--spent-->{receipt.total.dollars}<!--/spent-->" in settled
    assert "<!--wall-->48 s<!--/wall-->" in settled
    assert settled.count('<section class="receipt">') == 1 and "is written when the run ends" not in settled
    read(settled)


def test_the_last_word_needs_nothing_heavy() -> None:
    code = "import sys, lepton_ray.report.settle; print(*{'numpy', 'jinja2', 'matplotlib', 'yaml'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_run_with_nothing_but_the_constant_says_so() -> None:
    text = read(render(nothing())).text
    for said in (
        "no score could be measured",
        "No time.",
        "There are no predictions",
        "Run again with --value",
        "does not say how much each column counts",
        "No column was used.",
        "none was left running",
    ):
        assert said in text, said


@pytest.mark.exam
def test_a_model_that_is_no_better_is_not_praised(binary: ReportFacts) -> None:
    poor = Measurement("roc_auc", True, 0.52, 0.44, 0.6, 0.5, "held_out", 60)
    text = read(render(replace(binary, measurement=poor))).text
    assert "No model was found that clearly predicts" in text and "not clearly better" in text


@pytest.mark.exam
@pytest.mark.parametrize("only", [0, 1])
def test_one_class_among_the_rows_kept_apart(binary: ReportFacts, only: int) -> None:
    assert binary.held_out
    keep = binary.held_out.y == only
    facts = replace(binary, roi=None, held_out=Predictions(binary.held_out.y[keep], binary.held_out.values[keep]))
    assert f"Every row kept apart is “{binary.classes[only]}”" in read(render(facts)).text


@pytest.mark.parametrize("rows", one_in(4, [9, 0, 1, 10]))
def test_few_rows(binary: ReportFacts, regression: ReportFacts, rows: int) -> None:
    for facts in (binary, regression):
        assert facts.held_out
        few = Predictions(facts.held_out.y[:rows], facts.held_out.values[:rows])
        text = read(render(replace(facts, held_out=few, roi=None))).text
        assert ("too few for a picture" in text) == (0 < rows < 10)


@pytest.mark.exam
def test_odd_numbers(regression: ReportFacts) -> None:
    same = np.full(40, 3.0)
    held = (
        Predictions(same, same),
        Predictions(same * 1e12, same),
        Predictions(same * np.nan, same),
        Predictions(same, same * np.inf),
    )
    for odd in held:
        read(render(replace(regression, held_out=odd, importances={"a": 0.0, "b": float("nan")})))
    trials = tuple(replace(t, score=float("nan")) for t in regression.trials[:3])
    read(render(replace(regression, trials=trials)))
    for trials in (regression.trials[:1], tuple(replace(t, dollars=Dollars(0)) for t in regression.trials)):
        read(render(replace(regression, trials=trials)))


@pytest.mark.exam
@pytest.mark.parametrize("classes", [12, 40])
def test_many_classes(binary: ReportFacts, classes: int) -> None:
    draw = np.random.default_rng(3)
    p = draw.dirichlet(np.ones(classes), 600)
    y = np.array([draw.choice(classes, p=row) for row in p])
    facts = replace(
        binary, task="multiclass", classes=tuple(f"c{i}" for i in range(classes)), held_out=Predictions(y, p), roi=None
    )
    text = read(render(facts)).text
    assert ("Most common mistakes" in text) == (classes > 12) and ("confusion matrix" in text) == (classes <= 12)


@pytest.mark.exam
def test_fifty_thousand_rows_and_a_thousand_trials_make_a_small_page(
    regression: ReportFacts, binary: ReportFacts
) -> None:
    draw = np.random.default_rng(2)
    y = draw.lognormal(8, 1, 50_000)
    many = Predictions(y, y * draw.lognormal(0, 0.3, 50_000))
    p = draw.random(50_000)
    trials = search((0.5, 0.9), 0.1, draw, trials=1000)
    for facts in (
        replace(regression, held_out=many, trials=trials),
        replace(binary, held_out=Predictions((draw.random(50_000) < p).astype(int), np.column_stack((1 - p, p)))),
    ):
        assert len(render(facts)) < 800_000


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast of two #rrggbb colours."""

    def light(colour: str) -> float:
        parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_colours_can_be_told_from_the_paper_in_both_schemes() -> None:
    blocks = re.findall(r":root \{(.*?)\}", (FOLDER / "page.css").read_text(), re.DOTALL)
    assert len(blocks) == 3  # light, dark, print
    for block in blocks:
        colours = dict(
            re.findall(
                r"--([\w-]+): (#[0-9a-f]{6})\b",
                block.replace("#fff;", "#ffffff;").replace("#000;", "#000000;").replace("#444;", "#444444;"),
            )
        )
        for name in ("ink", "muted", "accent", "loss"):
            assert contrast(colours[name], colours["paper"]) >= 4.5, name
        assert contrast(colours["ink"], colours["warn"]) >= 7
        for i in range(1, 8):
            assert contrast(colours[f"series-{i}"], colours["paper"]) >= 3, i


@pytest.mark.parametrize(
    ("bound", "called"),
    one_in(
        3, [(0.2, "is called “malignant” from a probability of 20.0 % up"), (0.0, "Every row is"), (2.0, "No row is")]
    ),
)
def test_the_counts_are_those_of_the_bundle_and_say_who_chose_its_threshold(
    binary: ReportFacts, bound: float, called: str
) -> None:
    facts = replace(binary, threshold=bound)
    assert facts.held_out is not None
    text = words_of(facts)
    assert called in text and f"{CHOSEN} rows that are not counted here" in text
    assert "Here the likelier class counts as named (accuracy)" in text
    assert "its endpoint decides the same way" in text
    named, y = facts.held_out.values[:, 1] >= bound, facts.held_out.y
    table = story.confusion(facts)
    assert table is not None and [rows for rows, _ in table.cells[1]] == [
        (~named & (y == 1)).sum(),
        (named & (y == 1)).sum(),
    ]


@pytest.mark.exam
def test_a_threshold_chosen_on_the_rows_that_are_counted_says_so(binary: ReportFacts) -> None:
    assert binary.measurement is not None
    alone = replace(binary, threshold=0.2, measurement=replace(binary.measurement, how="cross_validation"))
    assert f"{CHOSEN} these same rows, so expect a little less" in words_of(alone)


@pytest.mark.exam
def test_a_threshold_that_nobody_chose(binary: ReportFacts) -> None:
    plain = words_of(replace(binary, threshold=0.5))
    assert CHOSEN not in plain and "likelier class counts" not in plain and "from a probability of 50.0 % up." in plain


@pytest.mark.parametrize(
    ("how", "roles", "said", "unsaid"),
    [
        ("held_out", {"group": "shop"}, "whole groups drawn by chance, all rows with the same “shop” on one side", ""),
        ("latest", {"time": "day"}, "the latest 200 rows in time", "chance and kept"),
        ("latest", {"time": "day", "group": "shop"}, "same “shop” may be on both sides of that moment", "drawn"),
        ("test_file", {}, "the 200 rows of the test file", "drawn by chance"),
        ("cross_validation", {"time": "day"}, "by a model fitted on earlier rows only", "left out once"),
        ("cross_validation", {"group": "shop"}, "not seen it, nor any row with the same “shop” (5 parts", ""),
        ("search", {}, "do not define this score", "so few rows"),
        ("held_out", {"weight": "size"}, "counts by its weight, the column “size”", "whole groups"),
    ],
)
def test_it_says_which_rows_measured_the_score(
    binary: ReportFacts, how: str, roles: dict[str, str], said: str, unsaid: str
) -> None:
    assert binary.measurement is not None
    told = " ".join(story.measured(replace(binary, measurement=replace(binary.measurement, how=how, folds=5, **roles))))
    assert said in told and (not unsaid or unsaid not in told)


@pytest.mark.parametrize(
    ("how", "believed", "said"),
    [
        ("held_out", 0.02, "0.02 more than on rows it had not seen."),
        ("latest", -0.02, "0.02 less than on rows it had not seen."),
        ("cross_validation", 0.02, "0.02 more than is left once it is corrected for the choice."),
        ("held_out", 0.0, "just what was measured."),
        ("search", 0.02, ""),
        ("held_out", float("nan"), ""),
    ],
)
def test_it_says_how_far_the_search_was_from_what_was_measured(
    binary: ReportFacts, how: How, believed: float, said: str
) -> None:
    assert binary.measurement is not None
    found = replace(binary.measurement, how=how, score=0.9, low=0.85, high=0.95, believed=0.9 + believed)
    told = " ".join(story.measured(replace(binary, measurement=found)))
    assert said in told and ("believed it to be" in told) == bool(said)
