"""What holds for the tests of this floor."""

from collections.abc import Iterator
from functools import cache

import pytest

from lepton_ray.on_host import opening


@pytest.fixture(scope="session", autouse=True)
def one_probe() -> Iterator[None]:
    """This machine's speed is measured once, and not again for every run that is made here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "probe", cache(opening.probe))
        yield
