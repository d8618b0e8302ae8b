"""A bundle as ONNX, run by ONNX Runtime on raw columns, says what the bundle says."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lepton_ray.bundle import onnx_file
from lepton_ray.bundle.blend import Blend
from lepton_ray.bundle.bundle import Bundle, write_bundle
from lepton_ray.bundle.export import onnx_refusal
from lepton_ray.errors import BundleError, EnvironmentFault
from lepton_ray.models.registry import FAMILIES
from lepton_ray.table.column_plan import ColumnPlan
from lepton_ray.table.schema import Column, Kind, Schema
from tests.examples import one_in
from tests.sealed import parts, raw_table, seal

onnx = pytest.importorskip("onnx", reason="needs the extra [onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

NO_TEXT = ("note",)
ODD: dict[str, list[str]] = {
    "tenure": ["", "0", "1e300", "-3.25", "71", "12", "?", "1,250", "7", "9"],
    "city": ["Atlantis", "", "Ulm", "NULL", "nOnE", "kiel", "Bonn", "N/a", "?", "Kiel"],
    "joined": ["2024-02-29", "", "1899-12-31", "2101-03-01", "2023-01-01 23:59:59", "1970-01-01", "?"]
    + ["0004-02-29", "2000-02-29 12:00:00.25", "2023-12-31"],
}


def odd_table() -> pa.Table:
    """The small table and, after it, rows with what training did not have."""
    table = raw_table().select(list(ODD))
    return pa.concat_tables([table, pa.table(ODD)])


def feeds(bundle: Bundle, table: pa.Table) -> dict[str, np.ndarray]:
    """Raw columns as a caller of the file gives them: numbers and dates read, texts as they are."""
    given = {}
    for column in bundle.plan.columns:
        if not column.use:
            continue
        if column.kind is Kind.CATEGORY:
            cells = np.array(pc.fill_null(table[column.name], "").to_pylist(), dtype=object)
        else:
            read = replace(column, sentinels=()).clean(table[column.name], bundle.plan.missing_words)
            if column.kind is Kind.DATE:
                read = pc.divide(read.cast(pa.int64()).cast(pa.float64(), safe=False), 1e6)
            cells = read.to_numpy(zero_copy_only=False).astype(np.float64)
        given[column.name] = cells[:, None]
    return given


def agrees(bundle: Bundle, table: pa.Table, path: Path) -> None:
    """Export it and compare all answers for a table."""
    made = bundle.export_onnx(path)
    session = onnxruntime.InferenceSession(path)
    said = dict(zip(made.outputs, session.run(list(made.outputs), feeds(bundle, table)), strict=True))
    expected = bundle.predict(table)
    if not bundle.problem.classes:
        np.testing.assert_allclose(said["prediction"], expected["prediction"].to_numpy(), rtol=1e-9)
        return
    columns = [expected[f"probability_{name}"] for name in bundle.problem.classes]
    np.testing.assert_allclose(said["probabilities"], np.column_stack(columns), rtol=0.0, atol=1e-9)
    assert said["prediction"].tolist() == expected["prediction"].to_pylist()


@pytest.mark.parametrize("family", ["constant", "linear", "lightgbm"])
@pytest.mark.parametrize("task", one_in(3, ["binary", "multiclass", "regression"]))
def test_the_file_says_what_the_bundle_says(tmp_path: Path, task: str, family: str) -> None:
    bundle = write_bundle(tmp_path / "b", **parts(task, family, NO_TEXT))
    agrees(bundle, odd_table(), tmp_path / "model.onnx")


@pytest.mark.parametrize("task", one_in(3, ["binary", "multiclass", "regression"]))
def test_a_blend_of_two_views_is_one_file(tmp_path: Path, task: str) -> None:
    made = parts(task, "lightgbm", NO_TEXT)
    tree, linear = made["blend"], parts(task, "linear", NO_TEXT)["blend"]
    members = (replace(tree.members[0], share=0.7), replace(linear.members[0], share=0.3))
    blend = Blend(tree.schema, tree.problem, members, {**tree.states, **linear.states}, temperature=1.7)
    bundle = write_bundle(tmp_path / "b", **made | {"blend": blend}, threshold=0.31)
    agrees(bundle, odd_table(), tmp_path / "model.onnx")


def test_a_value_learned_as_its_logarithm_comes_back(tmp_path: Path) -> None:
    made = parts("regression", "linear", NO_TEXT)
    member = made["blend"].members[0]
    scale = replace(member.model.scale, log=True, centre=0.4, spread=0.2, low=0.1, high=0.9, smear=1.07)
    blend = replace(made["blend"], members=(replace(member, model=replace(member.model, scale=scale)),))
    agrees(write_bundle(tmp_path / "b", **made | {"blend": blend}), odd_table(), tmp_path / "model.onnx")


def test_what_stands_for_missing_is_missing(tmp_path: Path) -> None:
    made = parts("binary", "lightgbm", NO_TEXT)
    rules: dict[str, dict[str, Any]] = {
        "tenure": {"sentinels": (71.0, -3.25)},
        "city": {"missing": ("ulm", "unknown town")},
    }
    columns = tuple(replace(column, **rules.get(column.name, {})) for column in made["plan"].columns)
    bundle = write_bundle(tmp_path / "b", **made | {"plan": replace(made["plan"], columns=columns)})
    table = odd_table()
    cities = pa.array([["Unknown Town", "ULM", city][row % 3] for row, city in enumerate(table["city"].to_pylist())])
    agrees(bundle, table.set_column(table.column_names.index("city"), "city", cities), tmp_path / "model.onnx")


def test_a_code_may_be_written_as_a_number_or_a_truth(tmp_path: Path) -> None:
    made = parts("binary", "linear", NO_TEXT)
    state = made["blend"].states["linear"]
    state["category"]["levels"] = [["1", "True", "-20"]]
    bundle = write_bundle(tmp_path / "b", **made)
    table = odd_table()
    written = ("1", "1.0", "True", "true", "TRUE", "-20.0", "-20", "2", "2.0", "false")
    cities = pa.array([written[row % len(written)] for row in range(table.num_rows)])
    agrees(bundle, table.set_column(table.column_names.index("city"), "city", cities), tmp_path / "model.onnx")


def test_the_file_tells_what_it_is(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", **parts("binary", "linear", NO_TEXT), threshold=0.25)
    made = bundle.export_onnx(str(tmp_path / "model.onnx"))
    assert made.size == made.path.stat().st_size and [path.name for path in tmp_path.iterdir()].count("model.onnx") == 1
    model = onnx.load(made.path)
    onnx.checker.check_model(model, full_check=True)
    assert {one.domain: one.version for one in model.opset_import} == {"": 18, "ai.onnx.ml": 5}
    facts = {one.key: one.value for one in model.metadata_props}
    assert facts["bundle"] == bundle.id and facts["target"] == "leaves" and facts["threshold"] == "0.25"
    assert json.loads(facts["classes"]) == ["no", "yes"]
    said = {one.name: one.doc_string for one in model.graph.input}
    assert list(said) == ["tenure", "city", "joined"] and "1970" in said["joined"] and "string" in said["city"]


def test_texts_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="`note`") as caught:
        seal(tmp_path / "b").export_onnx(tmp_path / "model.onnx")
    assert "--drop note" in caught.value.hint and not (tmp_path / "model.onnx").exists()


def test_what_a_family_cannot_is_refused_by_name() -> None:
    schema = Schema((Column("city", Kind.CATEGORY), Column("tenure", Kind.NUMBER)))
    of_texts = {"encoder", "text_cnn", "text_transformer"}  # refused for what they read
    for name in sorted(set(FAMILIES) - {"catboost"} - of_texts):
        assert onnx_refusal(schema, [name]) is None
    pytest.importorskip("catboost", reason="needs the extra [catboost]")
    refusal = onnx_refusal(schema, ["linear", "catboost"])
    assert (
        refusal is not None and "catboost" in refusal.what and "`city`" in refusal.what and "tenure" not in refusal.what
    )
    assert "--families linear,lightgbm," in refusal.hint and "catboost" not in refusal.hint
    assert onnx_refusal(Schema((Column("tenure", Kind.NUMBER),)), ["linear", "catboost"]) is None


def test_a_column_named_as_an_output_is_refused() -> None:
    refusal = onnx_refusal(Schema((Column("prediction", Kind.NUMBER),)), ["linear"])
    assert refusal is not None and "'prediction'" in refusal.what


def test_without_the_package_it_says_how_to_install_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "b", **parts("binary", "linear", NO_TEXT))
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentFault, match="pip install 'lepton_ray\\[onnx\\]'"):
        bundle.export_onnx(tmp_path / "model.onnx")


def test_what_no_file_can_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = write_bundle(tmp_path / "b", **parts("binary", "lightgbm", NO_TEXT))
    monkeypatch.setattr(onnx_file, "LARGEST", 1000)
    with pytest.raises(BundleError, match="GB as ONNX"):
        bundle.export_onnx(tmp_path / "model.onnx")


def test_a_plan_with_columns_left_out_asks_for_none_of_them(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", **parts("binary", "linear", ("note", "city")))
    assert any(isinstance(column, ColumnPlan) and not column.use for column in bundle.plan.columns)
    agrees(bundle, odd_table(), tmp_path / "model.onnx")
    names = [one.name for one in onnxruntime.InferenceSession(tmp_path / "model.onnx").get_inputs()]
    assert names == list(bundle.schema.names) == ["tenure", "joined"]
