"""The page over whole tables: what its form predicts for a row is what /predict and the batch say of it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lepton_ray.bundle.bundle import Bundle, write_bundle
from lepton_ray.bundle.rows import rows_block
from lepton_ray.datasets import load_builtin_dataset
from lepton_ray.serving.app import build_app
from lepton_ray.serving.form import fields_of
from lepton_ray.table.cleaning import make_plan
from lepton_ray.table.profile import profile_block
from lepton_ray.table.source import open_source
from tests.browser import Tab, ask, needs_chromium, open_browser, served
from tests.sealed import fitted

pytestmark = [needs_chromium, pytest.mark.process]
SHARED = os.environ.get("LEPTON_SHARED_DATA", "")
REAL = [pytest.mark.real, pytest.mark.skipif(not SHARED, reason="LEPTON_SHARED_DATA is not set")]
TABLES = [
    pytest.param("builtin:crm-churn", "", (), id="crm-churn"),
    pytest.param("builtin:diabetes", "", (), id="diabetes"),
    pytest.param("telco_churn.csv", "Churn", (), id="telco_churn", marks=REAL),
    pytest.param("bike_sharing.csv", "cnt", ("casual", "registered"), id="bike_sharing", marks=REAL),
]
ROWS = (11, 205)


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with open_browser() as opened:
        yield opened


def sealed(place: Path, name: str, target: str, drop: tuple[str, ...]) -> tuple[Bundle, Any]:
    """A model of the table, and the raw table."""
    if name.startswith("builtin:"):
        data = load_builtin_dataset(name.removeprefix("builtin:"))
        table, target = data.frame, data.target
    else:
        table = open_source(Path(SHARED) / name).read()
    plan = make_plan(profile_block(table), target=target, drop=drop)
    return write_bundle(place / "b", **fitted(table, plan, "lightgbm")), table


def typed(bundle: Bundle, row: dict[str, Any]) -> list[str]:
    """The row as somebody types it: numbers as they are written, dates by their day."""
    clean = bundle.plan.clean(rows_block([row], bundle.schema)).to_pylist()[0]
    texts = []
    for field in fields_of(bundle.schema, bundle.manifest.example, bundle.margins):
        value = clean[field.name]
        if value is None:
            texts.append("")
        elif field.control in ("date", "moment"):
            texts.append(value.isoformat()[: 10 if field.control == "date" else 19])
        else:
            texts.append(str(value))
    return texts


@pytest.mark.parametrize(("name", "target", "drop"), TABLES)
def test_the_form_says_what_the_batch_says(
    tmp_path: Path, tab: Tab, name: str, target: str, drop: tuple[str, ...]
) -> None:
    bundle, table = sealed(tmp_path, name, target, drop)
    with served(build_app(bundle, "table")) as url:
        tab.open(url)
        for number in ROWS:
            row = {column: table[column][number].as_py() for column in bundle.schema.names}
            for place, text in enumerate(typed(bundle, row)):
                tab.value(f"document.getElementById('f{place}').value = {json.dumps(text)}")
            seen = ask(tab)
            batch = bundle.predict(table.slice(number, 1)).to_pylist()[0]
            wire = httpx.post(f"{url}/predict", json=seen["row"]).json()["predictions"][0]
            assert wire == batch and seen["shown"] == batch["prediction"]
            assert set(seen["bars"]) <= set(bundle.schema.names) and seen["bars"]
        assert not tab.faults()
