"""What is handed to the verbs: every wrong part is one sentence, which names it."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from lepton_ray.errors import DataError, LeptonError, UsageError
from lepton_ray.verbs.given import Features, Target
from lepton_ray.verbs.lepton import Lepton

ROWS = np.arange(12.0).reshape(6, 2)
CODES = [0, 1, 0, 1, 0, 1]
MODEL = LogisticRegression()
GOOD: dict[str, Any] = {
    "model": MODEL,
    "X_train": ROWS,
    "y_train": CODES,
    "X_test": ROWS,
    "y_test": CODES,
}
WRONG: dict[str, tuple[dict[str, Any], type[LeptonError], str]] = {
    "a class": ({"model": LogisticRegression}, UsageError, "is a class"),
    "no model": ({"model": 7}, UsageError, "A int is no model"),
    "no family": ({"model": "forest"}, UsageError, "no model family 'forest'"),
    "a transformer": ({"model": StandardScaler()}, UsageError, "neither a classifier nor"),
    "no epoch": ({"epochs": 0}, UsageError, "epochs is 0"),
    "half a batch": ({"batch_size": 1.5}, UsageError, "batch_size is 1.5"),
    "no row": ({"X_train": ROWS[:0]}, DataError, "X_train holds no row"),
    "other columns": ({"X_test": ROWS[:, :1]}, DataError, "X_train and X_test differ"),
    "too few labels": ({"y_train": CODES[:3]}, DataError, "y_train has 3 values for 6 rows"),
    "too few to judge": ({"y_test": CODES[:3]}, DataError, "y_test has 3 values for 6 rows"),
    "a class unseen": ({"y_test": [0, 1, 2, 0, 1, 0]}, DataError, "class .*2.*not in y_train"),
    "one class": ({"y_train": [1] * 6}, DataError, "one class only"),
    "no label": ({"y_train": ["a", None, "a", "b", "a", "b"]}, DataError, "without a value"),
    "NaN as a value": ({"y_train": [0.5, np.nan, 1, 2, 3, 4]}, DataError, "y_train holds NaN"),
    "several values": ({"y_train": ROWS}, DataError, "several a row are not built"),
    "no such task": ({"task": "ranking"}, UsageError, "no task 'ranking'"),
    "another task": ({"task": "values"}, UsageError, 'task is "values"'),
    "no such metric": ({"metric": "speed"}, UsageError, "speed"),
    "parts": ({"X_train": (ROWS, ROWS), "X_test": (ROWS, ROWS)}, UsageError, "reads one array or frame"),
    "objects": ({"X_train": [[object()]] * 6}, DataError, "holds a object"),
    "ragged": ({"X_train": [[1], [1, 2]] * 3}, DataError, "cannot be read as an array"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_a_sentence(case: str) -> None:
    changed, kind, said = WRONG[case]
    with pytest.raises(kind, match=said) as caught:
        Lepton(**(GOOD | changed))
    assert "\n" not in str(caught.value)


def test_parts_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="not as many rows each: 6 in a, 5 in b"):
        Features.of({"a": ROWS, "b": ROWS[:5]}, "X_train")


def test_a_network_reads_numbers_that_are_finite() -> None:
    with pytest.raises(DataError, match="1 row of X_train hold NaN"):
        Features.of(np.where(ROWS == 3, np.nan, ROWS), "X_train").for_network("X_train")
    with pytest.raises(DataError, match="The column c of X_train holds words"):
        Features.of(pd.DataFrame({"a": [1.0], "c": ["x"]}), "X_train").for_network("X_train")
    found = Features.of({"x": ROWS, "ids": np.array([[1], [2]] * 3)}, "X").for_network("X").arrays
    assert (found["x"].dtype, found["ids"].dtype) == (np.float32, np.int64)


@pytest.mark.parametrize(
    ("y", "outputs", "labels"),
    [
        ([0, 1, 2], 1, None),  # whole numbers, and one output: values
        ([0, 1, 1], 1, [0, 1]),
        ([0, 2, 1], 3, [0, 1, 2]),
        ([0, 2, 0], 4, [0, 1, 2, 3]),  # they stand for themselves: the others may come
        ([5, 7, 9], 3, [5, 7, 9]),
        ([1.0, 0.0, 1.0], 1, [0.0, 1.0]),
        ([1.5, 2.0, 1.0], 1, None),
        (["b", "a", "b"], 2, ["a", "b"]),
        ([True, False, True], 1, [False, True]),
        ([3, 1, 2], None, [1, 2, 3]),
    ],
)
def test_the_task_is_found_out(y: list[Any], outputs: int | None, labels: list[Any] | None) -> None:
    found = Target.of(y, None, outputs)
    assert (None if found.labels is None else found.labels.tolist()) == labels
    if labels is not None:
        assert [labels[code] for code in found.values] == y


def test_outputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="3 outputs for each row, and y_train 2 classes"):
        Target.of(["a", "b"], None, 3)
    with pytest.raises(UsageError, match="2 outputs for each row, and y_train is values"):
        Target.of([0.5, 1.5], None, 2)
