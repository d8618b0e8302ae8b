"""lepton_ray: the best model a budget in dollars buys before a deadline, with a receipt for every cent.

This is the only door: every public name is listed in ``_DOOR`` and imported when first asked for,
so ``import lepton_ray`` loads neither Ray nor torch nor numpy.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_DOOR = {
    "LeptonError": "lepton_ray.errors",
    "errors": "lepton_ray.errors",
    "Budget": "lepton_ray.money.budget",
    "Dollars": "lepton_ray.money.dollars",
    "Ledger": "lepton_ray.money.ledger",
    "PriceSheet": "lepton_ray.money.prices",
    "Receipt": "lepton_ray.money.receipt",
    "datasets": "lepton_ray.datasets",
    "CleaningPlan": "lepton_ray.table.cleaning",
    "Profile": "lepton_ray.table.profile",
    "Schema": "lepton_ray.table.schema",
    "Bundle": "lepton_ray.bundle.bundle",
    "Client": "lepton_ray.serving.client",
    "Value": "lepton_ray.report.value",
    "BudgetCallback": "lepton_ray.on_ray.tune_budget",
    "BudgetStopper": "lepton_ray.on_ray.tune_budget",
    "CostAwareHalving": "lepton_ray.on_ray.tune_halving",
    "CostAwareSearch": "lepton_ray.on_ray.tune_search",
    "RunSpec": "lepton_ray.spec",
    "LeptonClassifier": "lepton_ray.estimators",
    "LeptonRegressor": "lepton_ray.estimators",
    "Lepton": "lepton_ray.verbs.lepton",
    "LeptonModel": "lepton_ray.verbs.model",
    "Run": "lepton_ray.runs",
    "run": "lepton_ray.runs",
}

__all__ = sorted(_DOOR)


def __getattr__(name: str) -> Any:
    """Import a public name the first time it is asked for."""
    if name not in _DOOR:
        raise AttributeError(f"module 'lepton_ray' has no attribute {name!r}")
    module = import_module(_DOOR[name])
    return module if _DOOR[name].endswith("." + name) else getattr(module, name)


def __dir__() -> list[str]:
    return __all__
