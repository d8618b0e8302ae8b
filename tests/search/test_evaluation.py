"""Evaluation with a family small enough to be checked by hand, and with families that misbehave."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_ray.features.matrix import Matrix
from lepton_ray.models.family import Batch
from lepton_ray.search.evaluation import Labelled, checked, evaluate
from lepton_ray.table.schema import Problem, Task

BINARY = Problem("y", Task.BINARY, ("no", "yes"), "accuracy", "yes")
VALUES = Problem("y", Task.REGRESSION, (), "mae", None)


@dataclass
class Said:
    """A model that says what its family told it to."""

    answer: Any
    effort: dict[str, Any]

    def predict(self, X: Matrix) -> np.ndarray:
        return self.answer(X) if callable(self.answer) else np.full(len(X), self.answer)

    def save(self, folder: Path) -> None: ...

    def importances(self) -> None:
        return None


@dataclass
class Mean:
    """Fits the mean of y, and remembers what it was given."""

    name: str = "mean"
    view: str = "tree"
    tasks: frozenset[Task] = frozenset(Task)
    answer: Any = None
    fits: list[tuple[Batch, Batch | None]] = field(default_factory=list)

    def fit(self, train: Batch, valid: Batch | None, config: dict[str, Any], **given: Any) -> Said:
        self.fits.append((train, valid))
        assert set(given) == {"problem", "stop", "seed", "threads"}
        effort = {"rounds": config["n"] + len(self.fits), "rate": 0.5 * len(self.fits), "kind": "mean", "on": True}
        return Said(float(np.mean(train.y)) if self.answer is None else self.answer, effort)


def data(y: list[float], weight: list[float] | None = None) -> Labelled:
    values = np.array(y)
    return Labelled(
        Matrix(np.arange(len(y), dtype=np.float64)[:, None], names=("x",)),
        values if values.dtype.kind == "f" else values.astype(np.int64),
        None if weight is None else np.array(weight),
    )


FOLDS = [(np.array([2, 3, 4, 5]), np.array([0, 1])), (np.array([0, 1]), np.array([2, 3, 4, 5]))]


def judged(family: Any, rows: Labelled, *, problem: Problem = VALUES, splits: Any = FOLDS, stop: Any = None) -> Any:
    return evaluate(family, {"n": 10}, rows, splits, problem=problem, stop=stop or (lambda: False), seed=1, threads=1)


def test_each_fold_is_fitted_on_one_side_and_judged_on_the_other() -> None:
    family = Mean()
    found = judged(family, data([0.0, 2.0, 10.0, 10.0, 10.0, 10.0]))
    assert [fit[0].y.tolist() for fit in family.fits] == [[10.0] * 4, [0.0, 2.0]]
    assert [fit[1].y.tolist() for fit in family.fits] == [[0.0, 2.0], [10.0] * 4]
    assert [fold.rows.tolist() for fold in found.folds] == [[0, 1], [2, 3, 4, 5]]
    assert [fold.prediction.tolist() for fold in found.folds] == [[10.0, 10.0], [1.0, 1.0, 1.0, 1.0]]
    assert found.score == found.error == pytest.approx((2 * 9.0 + 4 * 9.0) / 6)
    assert found.complete and len(found.fold_errors) == 2 and found.model.answer == 10.0


def test_folds_count_by_their_rows() -> None:
    found = judged(Mean(answer=0.0), data([3.0, 3.0, 9.0, 9.0, 9.0, 9.0]))
    assert found.score == pytest.approx((2 * 3.0 + 4 * 9.0) / 6)


def test_what_was_judged_before_is_not_fitted_again() -> None:
    rows, family = data([0.0, 2.0, 10.0, 10.0, 10.0, 10.0]), Mean()
    whole = judged(Mean(), rows)
    again = evaluate(
        family, {"n": 11}, rows, FOLDS, problem=VALUES, stop=lambda: False, seed=1, threads=1, before=whole.folds[:1]
    )
    assert len(family.fits) == 1 and family.fits[0][0].y.tolist() == [0.0, 2.0]
    assert again.fold_errors == whole.fold_errors and again.complete
    assert again.model.answer == 1.0, "the model is one that was fitted here"


def test_weights_reach_the_fit_and_the_score() -> None:
    family = Mean(answer=0.0)
    found = judged(family, data([1.0, 5.0, 1.0, 1.0, 1.0, 1.0], [3.0, 1.0, 1.0, 1.0, 1.0, 1.0]), splits=FOLDS[:1])
    assert family.fits[0][0].weight.tolist() == [1.0] * 4
    assert found.score == pytest.approx((3 * 1.0 + 5.0) / 4)


def test_where_more_is_better_the_error_is_the_distance_from_one() -> None:
    always_yes = lambda X: np.tile([0.25, 0.75], (len(X), 1))  # noqa: E731
    found = judged(Mean(answer=always_yes), data([1, 0, 1, 1, 1, 0]), problem=BINARY)
    assert found.score == pytest.approx(4 / 6) and found.error == pytest.approx(1 - 4 / 6)


def test_effort_is_joined_so_that_a_refit_does_not_fall_short() -> None:
    found = judged(Mean(), data([1.0] * 6))
    assert found.effort == {"rounds": 12, "rate": 0.75, "kind": "mean", "on": True}


def test_a_lease_that_ends_leaves_the_first_fold() -> None:
    family = Mean()
    found = judged(family, data([0.0, 2.0, 10.0, 10.0, 10.0, 10.0]), stop=lambda: True)
    assert len(family.fits) == len(found.fold_errors) == 1 and not found.complete
    assert [fold.rows.tolist() for fold in found.folds] == [[0, 1]] and found.score == 9.0


def test_a_fold_that_cannot_be_judged_does_not_count() -> None:
    ranked = lambda X: np.column_stack([1 - X.dense[:, 0] / 9, X.dense[:, 0] / 9])  # noqa: E731
    auc = Problem("y", Task.BINARY, ("no", "yes"), "roc_auc", "yes")
    found = judged(Mean(answer=ranked), data([1, 1, 0, 0, 1, 1]), problem=auc)
    assert found.score == 1.0 and np.isfinite(found.error)
    with pytest.raises(ValueError, match="roc_auc is not defined"):
        judged(Mean(answer=ranked), data([1, 1, 1, 1, 1, 1]), problem=auc)


@pytest.mark.parametrize(
    "answer, told",
    [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (lambda X: np.zeros((len(X), 2)), "shape"),
        (lambda X: np.zeros(len(X) + 1), "shape"),
    ],
)
def test_a_prediction_that_is_none_is_refused(answer: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        judged(Mean(answer=answer), data([1.0] * 6))


def test_checked_knows_both_shapes() -> None:
    assert checked(np.zeros(3), 3, VALUES).shape == (3,)
    assert checked(np.full((3, 2), 0.5), 3, BINARY).shape == (3, 2)
    with pytest.raises(ValueError, match=r"\(3,\) where \(3, 2\)"):
        checked(np.zeros(3), 3, BINARY)
    for shares in ([-4.5, 5.5], [0.5, 0.6]):
        with pytest.raises(ValueError, match="no probabilities"):
            checked(np.tile(shares, (3, 1)), 3, BINARY)
