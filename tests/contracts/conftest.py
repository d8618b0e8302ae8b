"""Which part of the exam is sat at once: all by the quick families, one paper by most, none by extras or one forest."""

import pytest

from lepton_ray.models.registry import EXTRAS

WHOLE = ("constant", "linear")
PART = (
    "test_is_no_worse_than_the_constant",
    "test_saved_and_loaded_predicts_the_same_bits",
    "test_drawn_as_onnx_it_says_the_same",
)
"""With two classes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        given = getattr(item, "callspec", None)
        if given is None or "family" not in given.params or given.params["family"] in WHOLE:
            continue
        part = item.originalname in PART and str(given.params.get("task")) == "binary"  # type: ignore[attr-defined]
        if not part or given.params["family"] in (*EXTRAS, "extra_trees"):
            item.add_marker(pytest.mark.exam)
