"""The public face: every name of the root can be had, and no other."""

import pytest

import lepton_ray

ON_RAY = [name for name, module in lepton_ray._DOOR.items() if ".on_ray." in module]
"""Those that come with Ray's libraries."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.ray if name in ON_RAY else ()) for name in lepton_ray.__all__]
)
def test_name_can_be_had(name: str) -> None:
    assert getattr(lepton_ray, name) is not None


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        lepton_ray.Nothing  # noqa: B018


def test_the_face_stays_small() -> None:
    assert len(lepton_ray.__all__) <= 25
