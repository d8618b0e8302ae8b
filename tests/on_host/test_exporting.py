"""With --onnx a run leaves its model as ONNX beside the bundle, or says why not."""

from pathlib import Path

import numpy as np
import pytest

from lepton_ray.bundle import onnx_file
from lepton_ray.errors import EnvironmentFault
from lepton_ray.on_host import exporting
from tests.on_host.rows import bench, columns, spec, write
from tests.on_host.test_finishing import searched

pytest.importorskip("onnx", reason="needs the extra [onnx]")


def test_the_file_lies_beside_the_bundle_and_the_result_names_it(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    made = searched(tmp_path, trials=2, onnx=True)
    assert (made.result["onnx"], made.result["left_out"]) == (None, {})
    exporting.export(made.course, made.sealer, until=1e9)
    path = made.result["onnx"]
    assert Path(path) == made.course.folder.path / "model.onnx"
    given = columns(1200)
    feeds = {"age": np.array(given["age"], float), "height": np.array(given["height"]), "city": np.array(given["city"])}
    session = onnxruntime.InferenceSession(path)
    (said,) = session.run(["prediction"], {name: cells[:, None] for name, cells in feeds.items()})
    assert np.mean(said == given["left"]) > 0.7


@pytest.mark.exam
def test_without_the_option_or_the_time_there_is_none(tmp_path: Path) -> None:
    for name, options, until in (("a", {}, 1e9), ("b", {"onnx": True}, 0.0)):
        (tmp_path / name).mkdir()
        made = searched(tmp_path / name, trials=2, **options)
        exporting.export(made.course, made.sealer, until=until)
        assert made.result["onnx"] is None and not (made.course.folder.path / "model.onnx").exists()
        told = [sentence for sentence in made.course.screen.said if "model.onnx" in sentence]
        assert len(told) == (name == "b") and all("lepton export" in sentence for sentence in told)


def test_a_run_that_could_not_export_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "find_spec", lambda name: None)
    out = tmp_path / "run"
    with pytest.raises(EnvironmentFault, match="onnx"):
        bench(spec(write(tmp_path / "table.csv", columns(300)), out=str(out), onnx=True))
    assert not out.exists()
