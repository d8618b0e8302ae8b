"""With a value the bundle decides by the threshold that earns most, chosen without the rows that measure it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.on_host import telling
from lepton_ray.on_host.bench import Bench, Part
from lepton_ray.on_host.refitting import refit_bundle
from lepton_ray.report import story
from lepton_ray.report.threshold import best_threshold
from lepton_ray.report.value import Value
from lepton_ray.table.source import open_source
from tests.on_host.rows import columns
from tests.on_host.test_bench import LONG, made
from tests.on_host.test_bench import run as judged
from tests.on_host.test_finishing import searched

DEAR = "true_positive: 90\nfalse_positive: -5\ntrue_negative: 0\nfalse_negative: -20\ndecisions_per_year: 1000\n"


def written(folder: Path, text: str = DEAR) -> str:
    (folder / "value.yaml").write_text(text)
    return str(folder / "value.yaml")


def told(made: Any, finished: Any) -> Any:
    """The facts of the report."""
    caught: list[Any] = []
    from lepton_ray.report import render

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render, "render", lambda facts: caught.append(facts) or "")
        telling.report_html(made.course, made.prepared, made.desk, made.sealer, finished)
    return caught[0]


@pytest.mark.parametrize("rows", [pytest.param(1200, marks=pytest.mark.exam), 400])
def test_the_bundle_decides_as_the_report_says(tmp_path: Path, rows: int) -> None:
    made = searched(tmp_path, rows=rows, value=written(tmp_path))
    facts = told(made, made.finish())
    bundle = Bundle.load(made.result["bundle"])
    manifest = bundle.manifest
    assert (
        manifest.facts["fitted_on"] == ("all" if rows == 1200 else "dev") and manifest.facts["threshold_by"] == "value"
    )
    assert facts.roi.threshold == facts.threshold == manifest.threshold == made.result["threshold"] < 0.4
    table = open_source(made.course.spec.table).read()
    said = bundle.predict(table)
    acts = np.array(said.column("probability_yes")) >= manifest.threshold
    assert (np.array(said.column("prediction")) == np.where(acts, "yes", "no")).all()
    named = facts.held_out.values[:, 1] >= manifest.threshold
    confusion = story.confusion(facts)
    assert confusion is not None and sum(line[1][0] for line in confusion.cells) == named.sum()
    again = refit_bundle(bundle, table, tmp_path / "again", seed=0, threads=1)
    assert (again.manifest.threshold, again.manifest.facts["threshold_by"]) == (manifest.threshold, "value")


@pytest.mark.exam
def test_the_rows_held_out_have_no_say(tmp_path: Path) -> None:
    _, prepared, on = made(tmp_path, value=written(tmp_path))
    found = judged(on, {"kind": "trial", **trial()})
    before = Bundle.load(found.bundle).manifest
    with np.load(on.scratch / "oof" / "t000.npz") as saved:
        y, p = prepared.dev.y[saved["rows"]], saved["predictions"][:, 1]
    assert before.threshold == best_threshold(y, p, Value.parse(DEAR)) and before.facts["threshold_rows"] == len(p)
    held = prepared.held
    Part(held.table, 1 - held.y, None, held.usable, held.folds).save(on.scratch, "held")
    turned = judged(Bench(on.scratch), {"kind": "trial", **trial("t001")})
    assert turned.held_out["score"] == pytest.approx(1 - found.held_out["score"])
    assert Bundle.load(turned.bundle).manifest.threshold == before.threshold


def trial(name: str = "t000") -> dict[str, Any]:
    wanted = {"id": name, "family": "linear", "config": {}, "rung": 0, "parent": None}
    return {"trial": wanted, "beat": None, "driver": "host", "threads": 1, "again": False, "judging": 0.5}


def test_a_dear_false_alarm_means_never_and_the_bundle_says_so_in_json(tmp_path: Path) -> None:
    never = "true_positive: 1\nfalse_positive: -90000\ntrue_negative: 0\nfalse_negative: -1\ndecisions_per_year: 9\n"
    _, _, on = made(tmp_path, value=written(tmp_path, never), families="constant")
    wanted = trial() | {"trial": trial()["trial"] | {"family": "constant"}}
    bundle = Bundle.load(judged(on, {"kind": "trial", **wanted}, LONG).bundle)
    assert json.loads((bundle.folder / "manifest.json").read_text())["threshold"] == bundle.manifest.threshold > 1
    table = open_source(tmp_path / "table.csv").read()
    assert set(bundle.predict(table).column("prediction").to_pylist()) == {"no"}


@pytest.mark.parametrize("target, drop", [("city", "row"), ("value", "row,left")])
def test_without_a_decision_to_price_nothing_moves(tmp_path: Path, target: str, drop: str) -> None:
    text = "unit_of_error: 2\ndecisions_per_year: 9\n"
    _, _, on = made(tmp_path, columns(1000), target=target, drop=drop, value=written(tmp_path, text))
    manifest = Bundle.load(judged(on, {"kind": "trial", **trial()}).bundle).manifest
    assert manifest.threshold is None and "threshold_by" not in manifest.facts
