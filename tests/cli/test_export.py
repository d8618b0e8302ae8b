"""lepton export on small bundles."""

from pathlib import Path

import pytest

from lepton_ray.bundle.bundle import write_bundle
from tests.cli.conftest import Inside
from tests.sealed import parts, seal

pytest.importorskip("onnx", reason="needs the extra [onnx]")


def test_a_bundle_becomes_a_file(tmp_path: Path, inside: Inside) -> None:
    write_bundle(tmp_path / "b", **parts("binary", "linear", ("note",)))
    done = inside("export", tmp_path / "b", "--out", tmp_path / "model.onnx")
    assert done.code == 0 and done.out == "" and (tmp_path / "model.onnx").stat().st_size > 1000, done
    assert "prediction and probabilities from raw columns" in done.err
    for said in ("1 x number   a double", "1 x date     seconds since 1970", "1 x category a string"):
        assert said in done.err, done.err


def test_what_cannot_be_exported_says_why(tmp_path: Path, inside: Inside) -> None:
    seal(tmp_path / "b", family_name="linear")
    done = inside("export", tmp_path / "b", "--out", tmp_path / "model.onnx")
    assert done.code == 6 and "`note`" in done.err and "--drop note" in done.err, done
    done = inside("export", tmp_path / "b", "--out", tmp_path / "model.pb")
    assert done.code == 2 and "does not end in .onnx" in done.err, done
    done = inside("export", tmp_path / "nothing", "--out", tmp_path / "model.onnx")
    assert done.code == 6 and "not a bundle" in done.err, done
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path, inside: Inside) -> None:
    write_bundle(tmp_path / "b", **parts("binary", "constant", ("note",)))
    done = inside("export", tmp_path / "b", "--out", tmp_path / "no" / "model.onnx")
    assert done.code == 8 and "cannot be written" in done.err, done
