"""The lines of the README's four verbs, run as they stand there, only shorter."""

import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the extra [torch]")

from lepton_ray.on_ray.session import Session, short_temp_dir  # noqa: E402

README = Path(__file__).parents[2] / "README.md"
SHORTER = {'deadline="60s"': 'deadline="30s"', "epochs=50": "epochs=6"}


def lines() -> str:
    """The first block of code under that heading."""
    section = README.read_text(encoding="utf-8").split("## Your own model, in four verbs\n")[1]
    block = section.strip("\n").split("\n\nA network is")[0]
    return textwrap.dedent(block)


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    session = Session(short_temp_dir(), cpus=2, object_store_bytes=0).start()
    session.wait(60)
    yield
    session.stop()


@pytest.mark.slow
@pytest.mark.ray
def test_the_lines_run(ray: None, capsys: pytest.CaptureFixture[str]) -> None:
    source, names = lines(), dict[str, Any]()
    for long, short in SHORTER.items():
        assert long in source
        source = source.replace(long, short)
    exec(compile(source, "README.md", "exec"), names)
    lepton, said = names["lepton"], capsys.readouterr().out
    assert lepton.fitted.bundle.manifest.facts["workers"] == 2 and lepton.fitted.score < 1.0
    assert lepton.fitted.settings.keys() == {"rate", "decay", "batch_size"}
    assert "the best of" in said and "all 6 epochs were run" in said and "1 rows" in said
    assert lepton.deployed.config.exists() and (names["svm"] == names["y_test"]).mean() > 0.9
