import hashlib
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from lepton_ray.bundle.blend import Blend
from lepton_ray.bundle.bundle import BLOCK_ROWS, Bundle, write_bundle
from lepton_ray.bundle.files import point
from lepton_ray.errors import BundleError, DataError, EnvironmentFault
from tests.examples import one_in
from tests.sealed import ROW, ROWS, parts, raw_table, seal


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return seal(tmp_path_factory.mktemp("sealed") / "churn")


@pytest.mark.parametrize("family", ["constant", "linear", "lightgbm"])
@pytest.mark.parametrize("task", one_in(3, ["binary", "multiclass", "regression"]))
def test_what_is_loaded_predicts_what_was_fitted(tmp_path: Path, task: str, family: str) -> None:
    made = parts(task, family)
    bundle = write_bundle(tmp_path / "b", **made)
    answer = bundle.predict(raw_table())
    clean = made["plan"].clean(raw_table())
    expected = made["blend"].predict(clean)
    assert answer.num_rows == ROWS
    assert answer.column_names == list(bundle.manifest.outputs)
    if task == "regression":
        np.testing.assert_array_equal(answer["prediction"].to_numpy(), expected)
    else:
        for code, name in enumerate(bundle.problem.classes):
            np.testing.assert_array_equal(answer[f"probability_{name}"].to_numpy(), expected[:, code])
        assert set(answer["prediction"].to_pylist()) <= set(bundle.problem.classes)


def test_the_id_is_the_hash_of_the_manifest(sealed: Bundle) -> None:
    content = (sealed.folder / "manifest.json").read_bytes()
    assert sealed.id == hashlib.sha256(content).hexdigest()
    assert json.loads(content)["facts"] == {"score": 0.9}
    assert Bundle.load(sealed.folder, expected_id=sealed.id).id == sealed.id
    with pytest.raises(BundleError, match="not 000"):
        Bundle.load(sealed.folder, expected_id="0" * 64)


def test_every_way_to_hand_in_rows_gives_the_same_bits(sealed: Bundle) -> None:
    table = raw_table()
    expected = sealed.predict(table)
    rows = [{name: cell or None for name, cell in row.items()} for row in table.to_pylist()]
    numbers = [row | {"tenure": None if row["tenure"] is None else int(row["tenure"])} for row in rows]
    for same in (table.to_pandas(), pl.from_arrow(table), rows, numbers, pd.DataFrame(numbers)):
        assert sealed.predict(same).equals(expected), type(same)
    one_by_one = [sealed.predict(row).to_pylist()[0] for row in rows[:20]]
    assert one_by_one == expected.slice(0, 20).to_pylist()


@pytest.mark.exam
def test_more_rows_than_a_block_keep_their_order(sealed: Bundle) -> None:
    table = raw_table()
    order = np.random.default_rng(3).integers(0, ROWS, BLOCK_ROWS + 7)
    assert sealed.predict(table.take(order)).equals(sealed.predict(table).take(order).combine_chunks())


def test_no_rows_give_no_rows(sealed: Bundle) -> None:
    assert sealed.predict(raw_table().slice(0, 0)).schema == sealed.predict(ROW).schema


def test_a_lacking_column_is_named_and_extra_ones_do_not_matter(sealed: Bundle) -> None:
    table = raw_table()
    assert "leaves" in table.column_names
    for without in (table.drop_columns(["city"]), table.drop_columns(["city"]).to_pandas()):
        with pytest.raises(DataError, match="`city`"):
            sealed.predict(without)
    with pytest.raises(DataError, match="Row 1 lacks the column `city`"):
        sealed.predict([ROW, {name: value for name, value in ROW.items() if name != "city"}])
    with pytest.raises(DataError, match="not a table"):
        sealed.predict(42)
    assert sealed.predict(ROW | {"more": [1, 2]}).num_rows == 1


def test_the_threshold_is_the_manifests(tmp_path: Path) -> None:
    made = parts("binary")
    thresholds = np.quantile(write_bundle(tmp_path / "b", **made).predict(raw_table())["probability_yes"], [0.2, 0.8])
    low, high = (write_bundle(tmp_path / str(t), **made, threshold=t).predict(raw_table()) for t in thresholds)
    assert low["probability_yes"].equals(high["probability_yes"])
    for answer, threshold in zip((low, high), thresholds, strict=True):
        expected = np.where(answer["probability_yes"].to_numpy() >= threshold, "yes", "no")
        assert answer["prediction"].to_pylist() == expected.tolist()
    assert low["prediction"].to_pylist() != high["prediction"].to_pylist()


def edited(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


MEMBER = {"family": "lightgbm", "view": "tree", "config": {}, "share": 0.5}


def with_member(**changes: Any) -> Callable[[Path], None]:
    return edited(members=[MEMBER | changes])


def renamed_to(name: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "manifest.json"
        values = json.loads(path.read_text())
        values["files"][0]["name"] = name
        path.write_text(json.dumps(values))

    return edit


def without(key: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        path = folder / "manifest.json"
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key}))

    return edit


def flip(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)

    return damage


def link(folder: Path) -> None:
    (folder / "plan.json").rename(folder.parent / "elsewhere.json")
    (folder / "plan.json").symlink_to(folder.parent / "elsewhere.json")


DAMAGES: dict[str, tuple[Callable[[Path], Any], str]] = {
    "plan flipped": (flip("plan.json"), "plan.json is not the file"),
    "features flipped": (flip("features/tree.json"), "features/tree.json is not"),
    "arrays cut": (lambda f: os.truncate(f / "features" / "tree.safetensors", 5), "features/tree.safetensors is not"),
    "plan missing": (lambda f: (f / "plan.json").unlink(), "plan.json is missing"),
    "extra file": (lambda f: (f / "model" / "x.pkl").write_bytes(b"x"), "holds model/x.pkl"),
    "a link": (link, "is a link"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "not a bundle"),
    "empty manifest": (lambda f: (f / "manifest.json").write_text(""), "not the manifest"),
    "manifest not text": (lambda f: (f / "manifest.json").write_bytes(b"\xff\xfe"), "not text"),
    "manifest a list": (lambda f: (f / "manifest.json").write_text("[]"), "no format"),
    "manifest too deep": (lambda f: (f / "manifest.json").write_text("[" * 100_000), "not the manifest"),
    "format": (edited(format=99), "format 99"),
    "family": (with_member(family="oracle"), "family 'oracle'"),
    "foreign code": (with_member(family="antigravity:Family"), "family 'antigravity:Family'"),
    "lightgbm": (edited(versions={"lightgbm": "3.3.5"}), "lightgbm 3.3.5"),
    "threshold": (edited(threshold="high"), "not the manifest"),
    "view": (with_member(view="forest"), "`view`"),
    "no members": (edited(members=[]), "`members` is empty"),
    "more members": (edited(members=[MEMBER, MEMBER]), "holds another number of models"),
    "schema": (edited(schema={"columns": [{"name": "a", "kind": "colour"}]}), "not the manifest"),
    "other columns": (edited(schema={"columns": []}), "other columns"),
    "no problem": (without("problem"), "`problem` is missing"),
    "no files": (without("files"), "`files` is missing"),
    "unknown key": (edited(shell="rm"), "not the manifest"),
    "up": (renamed_to("../plan.json"), "not a file name"),
    "absolute": (renamed_to("/etc/passwd"), "not a file name"),
    "dots": (renamed_to("model/../../x"), "not a file name"),
    "backslash": (renamed_to("model\\x"), "not a file name"),
    "the manifest itself": (renamed_to("manifest.json"), "not a file name"),
    "number": (renamed_to(7), "file's name"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_bundle_that_is_not_whole_is_refused(sealed: Bundle, tmp_path: Path, name: str) -> None:
    damage, said = DAMAGES[name]
    folder = tmp_path / "copy"
    copytree(sealed.folder, folder)
    damage(folder)
    with pytest.raises(BundleError) as caught:
        Bundle.load(folder)
    assert said in caught.value.what, caught.value.what
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_every_byte_of_the_model_counts(sealed: Bundle, tmp_path: Path) -> None:
    names = [file.name for file in sealed.manifest.files]
    assert any(name.startswith("model/") for name in names)
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        copytree(sealed.folder, folder)
        flip(name)(folder)
        with pytest.raises(BundleError, match="is not the file"):
            Bundle.load(folder)


def test_nothing_is_unpickled(sealed: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a bundle was unpickled")

    for name in ("load", "loads", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    assert Bundle.load(sealed.folder).predict(ROW).num_rows == 1


def test_a_seal_that_fails_leaves_nothing(tmp_path: Path) -> None:
    class Unsaveable:
        effort: dict[str, Any] = {}

        def save(self, folder: Path) -> None:
            (folder / "half").write_text("half")
            raise ValueError("no way to save this")

    with pytest.raises(BundleError, match="no way to save this"):
        blend = parts()["blend"]
        broken = replace(blend.members[0], model=Unsaveable())  # type: ignore[arg-type]
        seal(tmp_path / "b", blend=replace(blend, members=(broken,)))
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_is_never_overwritten(sealed: Bundle) -> None:
    with pytest.raises(BundleError, match="exists already"):
        seal(sealed.folder)
    assert Bundle.load(sealed.folder).id == sealed.id


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        seal(tmp_path / "file" / "b")


def test_a_pointer_moves_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        point(tmp_path / "bundle", tmp_path / name)
        assert (tmp_path / "bundle").resolve() == tmp_path / name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "one", "two"]


def test_loading_follows_a_pointer(sealed: Bundle, tmp_path: Path) -> None:
    point(tmp_path / "bundle", sealed.folder)
    assert Bundle.load(tmp_path / "bundle").folder == sealed.folder


def test_a_blend_averages_its_members_by_their_shares(tmp_path: Path) -> None:
    tree, linear = parts("binary", "lightgbm")["blend"], parts("binary", "linear")["blend"]
    members = (replace(tree.members[0], share=0.75), replace(linear.members[0], share=0.25))
    blend = Blend(tree.schema, tree.problem, members, {**tree.states, **linear.states})
    made = parts("binary") | {"blend": blend}
    bundle = write_bundle(tmp_path / "b", **made)
    assert bundle.manifest.family == "lightgbm + linear" and bundle.manifest.views == ("tree", "linear")
    clean = made["plan"].clean(raw_table())
    expected = 0.75 * tree.predict(clean) + 0.25 * linear.predict(clean)
    np.testing.assert_allclose(bundle.model.predict(clean), expected, rtol=1e-14)
    one_by_one = [bundle.predict(raw_table().slice(row, 1))["probability_yes"][0].as_py() for row in range(20)]
    assert one_by_one == bundle.predict(raw_table())["probability_yes"].to_pylist()[:20]
    shares = bundle.model.importances()
    assert shares is not None and sum(shares.values()) == pytest.approx(1.0)


@pytest.mark.exam
def test_a_temperature_changes_how_sure_a_model_is_and_nothing_else(tmp_path: Path) -> None:
    made = parts("multiclass")
    plain = write_bundle(tmp_path / "plain", **made).predict(raw_table())
    cooled = replace(made["blend"], temperature=2.0)
    soft = write_bundle(tmp_path / "soft", **made | {"blend": cooled}).predict(raw_table())
    assert soft["prediction"].equals(plain["prediction"])
    columns = [name for name in plain.column_names if name != "prediction"]
    hard, softened = (np.column_stack([answer[name] for name in columns]) for answer in (plain, soft))
    np.testing.assert_allclose(softened.sum(axis=1), 1.0)
    assert (softened.max(axis=1) <= hard.max(axis=1) + 1e-12).all() and softened.max() < hard.max()
