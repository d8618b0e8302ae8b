"""Which part of the exam is sat at once: all by the quick families, one paper by most, none by extras or one forest."""

from pathlib import Path

import pytest

from lepton_ray.models.registry import EXTRAS

HERE = Path(__file__).parent
WHOLE = ("constant", "linear")
PART = (
    "test_is_no_worse_than_the_constant",
    "test_saved_and_loaded_predicts_the_same_bits",
    "test_drawn_as_onnx_it_says_the_same",
)
"""With two classes."""
SLOW = ("svm", "random_forest")
"""They sit the first of these only."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        given = getattr(item, "callspec", None)
        here = item.path.is_relative_to(HERE) and given is not None and "family" in given.params
        if not here or given.params["family"] in WHOLE:
            continue
        asked = PART[:1] if given.params["family"] in SLOW else PART
        part = item.originalname in asked and str(given.params.get("task")) == "binary"  # type: ignore[attr-defined]
        if not part or given.params["family"] in (*EXTRAS, "extra_trees"):
            item.add_marker(pytest.mark.exam)
