import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.money.dollars import Dollars
from lepton_ray.serving.app import build_app
from lepton_ray.serving.page import facts_of, index_page
from lepton_ray.serving.standing import UNKNOWN, Scale, Standing
from tests.browser import Tab, ask, needs_chromium, open_browser, served
from tests.sealed import ROW, seal

FACTS = {"score": 0.91, "interval": [0.88, 0.94], "how": "held_out", "rows": 60, "fitted_rows": 240, "source": "crm"}
STANDING = Standing("r1", Dollars.parse("0.09"))
TAB, ENTER = ("Tab", 9), ("Enter", 13)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bundle]:
    place = tmp_path_factory.mktemp("sealed")
    return {task: seal(place / task, task, facts=FACTS, example=ROW) for task in ("binary", "multiclass", "regression")}


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with open_browser() as opened:
        yield opened


def test_the_page_says_what_the_model_is(sealed: dict[str, Bundle]) -> None:
    assert facts_of(sealed["binary"], STANDING) == [
        ("roc_auc", "0.91", "95 % between 0.88 and 0.94; on 60 rows held out"),
        ("trained on", "240 rows", "of crm"),
        ("model", "lightgbm", f"bundle {sealed['binary'].id[:12]}, made 2023-11-14"),
        ("price", "$0.09", "per hour, for the machines it runs on"),
    ]
    grown = replace(STANDING, scale=lambda: Scale(1, 2, "", "3 requests wait", Dollars.parse("0.18")))
    assert facts_of(sealed["binary"], grown)[3:] == [
        ("price", "$0.18", "per hour, for the machines it runs on"),
        ("replicas wanted", "2", "3 requests wait"),
    ]


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    bare = seal(tmp_path / "bare", facts={"score": None}, margins=None)
    assert [label for label, _, _ in facts_of(bare, UNKNOWN)] == ["model"]
    assert "usually" not in index_page(bare, "m", "http://here").html


def test_the_policy_allows_this_script_and_this_style_alone(sealed: dict[str, Bundle]) -> None:
    page = index_page(sealed["binary"], "m", "http://here")
    assert "unsafe" not in page.policy and page.policy.count("sha256-") == 2
    assert " style=" not in page.html and " onclick" not in page.html and " src=" not in page.html


def test_every_field_has_a_label(sealed: dict[str, Bundle]) -> None:
    html = index_page(sealed["binary"], "m", "http://here").html
    for number, name in enumerate(ROW):
        assert f'<label for="f{number}"><bdi>{name}</bdi></label>' in html and f'id="f{number}"' in html


@pytest.mark.process
@needs_chromium
@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_the_form_predicts_what_predict_says(sealed: dict[str, Bundle], tab: Tab, task: str) -> None:
    with served(build_app(sealed[task], "churn", STANDING)) as url:
        tab.open(url)
        seen = ask(tab)
        assert {name: str(value) for name, value in seen["row"].items()} == {k: str(v) for k, v in ROW.items()}
        for number, value in enumerate(("3", "Bonn", "2023-02-01", "wants a cheaper offer")):
            tab.value(f"document.getElementById('f{number}').value = {json.dumps(value)}")
        seen = ask(tab)
        assert seen["row"] == {"tenure": 3, "city": "Bonn", "joined": "2023-02-01", "note": "wants a cheaper offer"}
        expected = httpx.post(f"{url}/predict", json=seen["row"]).json()["predictions"][0]
        assert seen["shown"] == expected["prediction"]
        assert sorted(seen["bars"]) == sorted(ROW)
        if task == "binary":
            share = expected["probability_yes"]
            assert f"{100 * share:.{1 if 0.001 < share < 0.999 else 2}f}\u00a0%" in seen["text"]
        assert url in seen["curl"] and '"city": "Bonn"' in seen["python"]
        assert not tab.faults()


@pytest.mark.process
@needs_chromium
def test_the_keyboard_alone_is_enough_and_unknown_is_null(sealed: dict[str, Bundle], tab: Tab) -> None:
    with served(build_app(sealed["binary"], "churn", STANDING)) as url:
        tab.open(url)
        reached = []
        while "ask" not in reached and len(reached) < 40:
            tab.press(*TAB)
            reached.append(tab.value("document.activeElement.id"))
        assert [name for name in reached if name.startswith("f")][:2] == ["f0", "f1"] and reached[-1] == "ask"
        assert tab.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
        tab.value(
            "document.querySelectorAll('.field input, .field textarea, .field select').forEach(x => x.value = '')"
        )
        tab.press(*ENTER)
        tab.until("document.getElementById('why').dataset.done === 'true'")
        nothing = httpx.post(f"{url}/predict", json=dict.fromkeys(ROW)).json()["predictions"][0]
        assert tab.value("document.getElementById('prediction').innerText") == nothing["prediction"]


@pytest.mark.process
@needs_chromium
def test_a_key_is_sent_as_bearer_and_a_refusal_is_told(sealed: dict[str, Bundle], tab: Tab) -> None:
    with served(build_app(sealed["binary"], "churn", STANDING)) as url:
        tab.open(url)
        assert "authorization" not in ask(tab)["headers"]
        tab.value("document.getElementById('key').value = 'sesame'")
        seen = ask(tab)
        assert seen["headers"]["authorization"] == "Bearer sesame"
        assert "sesame" not in seen["curl"] + seen["python"] and "$LEPTON_KEY" in seen["curl"]
        assert tab.value("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        tab.value("document.getElementById('f0').value = '77'; document.getElementById('again').click()")
        assert tab.value("document.getElementById('f0').value") == "12"
        assert tab.value("document.getElementById('key').value") == "sesame"
        tab.value("document.getElementById('f2').type = 'text'; document.getElementById('f2').value = 'soon'")
        tab.value("document.getElementById('ask').click()")
        tab.until("!document.getElementById('fault').hidden")
        assert "`joined`" in tab.value("document.getElementById('fault').innerText")


@pytest.mark.process
@needs_chromium
def test_where_nothing_differs_the_page_says_so(tmp_path: Path, tab: Tab) -> None:
    bare = seal(tmp_path / "bare", margins=None, example=ROW)
    with served(build_app(bare, "churn")) as url:
        tab.open(url)
        assert ask(tab)["bars"] == []
        assert "no column adds or takes" in tab.value("document.getElementById('why').innerText")


@pytest.mark.process
@needs_chromium
def test_live_figures_are_those_of_the_metrics(sealed: dict[str, Bundle], tab: Tab) -> None:
    with served(build_app(sealed["binary"], "churn", STANDING)) as url:
        httpx.post(f"{url}/predict", json=[ROW] * 5)
        tab.open(url)
        tab.until("document.getElementById('live-rows').textContent.startsWith('5 rows')")
        figures = {name: tab.value(f"document.getElementById('live-{name}').textContent") for name in ("p50", "p99")}
        assert all(text.endswith("s") for text in figures.values())
        assert tab.value("document.getElementById('live-replicas').textContent") == "1"
        assert "at $0.09 per hour" in tab.value("document.getElementById('live-price').textContent")
        assert tab.value("document.getElementById('live-per').textContent").startswith("$")


@pytest.mark.process
@needs_chromium
def test_live_figures_add_up_the_replicas_that_answered(sealed: dict[str, Bundle], tab: Tab) -> None:
    apps = [build_app(sealed["binary"], "churn", Standing(name, STANDING.per_hour)) for name in ("a", "b")]
    turns = cycle(apps)

    async def in_turn(scope: Scope, receive: Receive, send: Send) -> None:
        taken = next(turns) if scope["type"] == "http" and scope["path"] in ("/predict", "/metrics") else apps[0]
        await taken(scope, receive, send)

    with served(in_turn) as url:
        for rows in (5, 3):
            httpx.post(f"{url}/predict", json=[ROW] * rows)
        tab.open(url)
        tab.until("document.getElementById('live-replicas').textContent === '2'")
        assert tab.value("document.getElementById('live-rows').textContent").startswith("8 rows")


@pytest.mark.process
@needs_chromium
def test_no_width_needs_scrolling_aside(sealed: dict[str, Bundle], tab: Tab) -> None:
    with served(build_app(sealed["multiclass"], "churn", STANDING)) as url:
        tab.open(url)
        ask(tab)
        for width in (360, 800, 1280):
            for scheme in ("light", "dark"):
                tab.seen_as(width, scheme)
                assert tab.value("document.documentElement.scrollWidth") <= width
        dark = tab.value("getComputedStyle(document.body).backgroundColor")
        tab.seen_as(1280, "light")
        assert tab.value("getComputedStyle(document.body).backgroundColor") != dark


@pytest.mark.process
@needs_chromium
def test_a_hostile_column_stays_text(tmp_path: Path, tab: Tab) -> None:
    strange = {"city": "</script><img src=x onerror=window.hacked=1>", "note": "\u202e</textarea>"}
    evil = seal(tmp_path / "evil", example=ROW | strange)
    with served(build_app(evil, "churn", UNKNOWN)) as url:
        tab.open(url)
        assert ask(tab)["row"]["city"].startswith("</script>")
        assert tab.value("window.hacked === undefined && document.images.length === 0")
