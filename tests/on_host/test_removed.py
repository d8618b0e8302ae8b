"""What somebody removes under a run is named, and the bundle that was sealed stays."""

from pathlib import Path

import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.errors import EnvironmentFault
from tests.on_host.test_finishing import searched


def test_what_trials_said_is_missed_in_a_sentence(tmp_path: Path) -> None:
    made = searched(tmp_path, trials=2)
    for said in (made.course.folder.kept / "oof").iterdir():
        said.unlink()
    with pytest.raises(EnvironmentFault, match="said of the rows is gone"):
        made.finish()
    assert Bundle.load(made.result["bundle"]).id == made.result["bundle_id"]
