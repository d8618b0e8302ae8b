"""Mined files of one's own: as good as the shipped ones, and refused in words where they are not."""

import json
from pathlib import Path

import pytest

from lepton_ray.errors import DataError
from lepton_ray.search.cost import PRIOR_FILE
from lepton_ray.search.portfolio import PORTFOLIO_FILE
from lepton_ray.search.priors import Priors, shipped_priors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shipped = shipped_priors()
    (tmp_path / PORTFOLIO_FILE).write_text(json.dumps(shipped.portfolio.to_dict()))
    (tmp_path / PRIOR_FILE).write_text(json.dumps(shipped.costs.to_dict()))
    return tmp_path


def test_a_folder_is_read(folder: Path) -> None:
    found, shipped = Priors.from_folder(folder), shipped_priors()
    assert found.portfolio == shipped.portfolio
    assert found.costs.to_dict() == shipped.costs.to_dict()


@pytest.mark.parametrize("name", [PORTFOLIO_FILE, PRIOR_FILE])
@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"configs": 3, "laws": 3}', "{", "[" * 100_000], ids=lambda text: text[:20]
)
def test_what_no_script_wrote_is_refused(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name} is not what the mining scripts write"):
        Priors.from_folder(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / PRIOR_FILE).unlink()
    with pytest.raises(DataError, match=f"{PRIOR_FILE} cannot be read: No such file"):
        Priors.from_folder(folder)
