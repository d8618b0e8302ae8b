"""The sentence of a run, where its stages meet."""

from pathlib import Path
from typing import Any

import pytest

from lepton_ray import pipeline
from lepton_ray.errors import EnvironmentFault, LeptonError
from lepton_ray.on_ray.session import Session
from tests.on_host.rows import columns, course, spec, write


def test_a_run_whose_search_was_done_before_boots_its_ray_for_the_endpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    booted: list[Path] = []

    def boot(place: Path, *given: Any) -> None:
        booted.append(place)
        raise EnvironmentFault("There is no Ray here.", "This is a test.")

    monkeypatch.setattr("lepton_ray.on_ray.session.boot", boot)
    made = course(spec(write(tmp_path / "table.csv", columns(300)), out=str(tmp_path / "run")))
    session = Session(tmp_path / "ray", cpus=1, object_store_bytes=0)
    hands: Any = pipeline.Hands(None, session, object())  # type: ignore[arg-type]
    door = pipeline.open_door(made, hands)
    assert booted == [tmp_path / "ray"] and isinstance(door, LeptonError) and "There is no Ray here" in door.what
    session.stop()
