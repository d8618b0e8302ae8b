"""A spec that asks for JSON gets it from the first fault on, not only once the run has begun."""

from pathlib import Path

import pytest

from lepton_ray.spec import asks_for_json
from tests.cli.conftest import Inside


@pytest.mark.parametrize(
    ("text", "words", "told"),
    [
        ("json: true\ntabel: t.csv\n", (), "unknown key 'tabel'"),
        ("json: true\ntable: t.csv\ntarget: y\n", ("--colour", "red"), "No such option"),
    ],
)
def test_a_fault_before_the_wall_is_told_in_json(
    tmp_path: Path, inside: Inside, text: str, words: tuple[str, ...], told: str
) -> None:
    (tmp_path / "run.yaml").write_text(text)
    done = inside("run", "--spec", "run.yaml", *words, cwd=tmp_path)
    assert done.code == 2 and done.result["exit_code"] == 2 and told in done.result["error"], done
    assert done.result.keys() == {"error", "hint", "exit_code"} and "lepton:" not in done.err


def test_only_a_spec_that_says_so_asks_for_json(tmp_path: Path) -> None:
    texts = {"json: yes\n": True, "json: 'true'\nodd: 1\n": True, "json: false\n": False, "json: maybe\n": False}
    for text, asked in {**texts, "{": False, "": False, "table: json\n": False}.items():
        (tmp_path / "run.yaml").write_text(text)
        assert asks_for_json(str(tmp_path / "run.yaml")) is asked, text
    assert not asks_for_json(str(tmp_path / "none.yaml"))
