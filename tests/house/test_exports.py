"""The public face: every name of the root can be had, and no other."""

import pytest

import lepton_ray


@pytest.mark.parametrize("name", lepton_ray.__all__)
def test_name_can_be_had(name: str) -> None:
    assert getattr(lepton_ray, name) is not None


def test_other_names_are_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        lepton_ray.Nothing  # noqa: B018


def test_the_face_stays_small() -> None:
    assert len(lepton_ray.__all__) <= 25
