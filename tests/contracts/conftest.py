"""Which part of the exam everybody sits at once: all of it for a few families, one paper for each of the others."""

import pytest

WHOLE = ("constant", "linear", "lightgbm")
PART = ("test_is_no_worse_than_the_constant", "test_saved_and_loaded_predicts_the_same_bits")
"""With two classes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        given = getattr(item, "callspec", None)
        if given is None or "family" not in given.params or given.params["family"] in WHOLE:
            continue
        if item.originalname not in PART or given.params["task"] != "binary":  # type: ignore[attr-defined]
            item.add_marker(pytest.mark.exam)
