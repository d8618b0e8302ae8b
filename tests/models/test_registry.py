"""Families by name and by the user's own address, and what is said when there is none."""

import subprocess
import sys

import pytest

from lepton_ray.errors import UsageError
from lepton_ray.models import registry
from lepton_ray.models.constant import ConstantFamily
from lepton_ray.models.family import Family
from lepton_ray.models.registry import EXTRAS, FAMILIES, family, installed


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.exam if name in EXTRAS else ()) for name in FAMILIES]
)
def test_every_name_is_a_family_of_that_name(name: str) -> None:
    if name in EXTRAS:
        for package in EXTRAS[name]:
            pytest.importorskip(package, reason=f"needs the extra [{EXTRAS[name][0]}]")
    assert isinstance(family(name), Family)
    assert family(name).name == name


def test_a_users_own_family_is_found_by_its_address() -> None:
    assert family("lepton_ray.models.constant:ConstantFamily") == ConstantFamily()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("forest", "no model family 'forest'"),
        ("no_such_module:Thing", "cannot be imported: No module named 'no_such_module'"),
        ("lepton_ray.models.constant:Nothing", "has no 'Nothing'"),
        ("json:JSONDecoder", "lacks name, view, tasks"),
        (".relative:Thing", "cannot be imported: TypeError: the 'package' argument is required"),
        ("decimal:Context.prec", "has no 'Context.prec'"),
        ("fractions:_RATIONAL_FORMAT", "it lacks name"),
        ("zoneinfo:ZoneInfo", "cannot be made: TypeError: "),
        (":Thing", "no module before the colon"),
    ],
)
def test_what_is_wrong_is_named(name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        family(name)


def test_naming_the_families_imports_none_of_their_libraries() -> None:
    libraries = ("lightgbm", "sklearn", "catboost", "torch", "tokenizers")
    code = f"import sys, lepton_ray.models.registry; print([name for name in {libraries} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_extras_there_are_fewer_families(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "find_spec", lambda name: None)
    assert installed() == [name for name in FAMILIES if name not in EXTRAS]
    with pytest.raises(UsageError, match=r"needs the package 'torch'.*pip install 'lepton_ray\[torch\]'"):
        family("mlp")
    with pytest.raises(UsageError, match=r"pip install 'lepton_ray\[catboost\]'"):
        family("catboost", fits=False)
    assert family("mlp", fits=False).name == "mlp"
