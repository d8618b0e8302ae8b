"""What was handed to a verb, checked: features as arrays by name, a target as codes or values. Knows no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.multiclass import type_of_target

from lepton_ray.errors import DataError, UsageError
from lepton_ray.on_host.given import class_names
from lepton_ray.report.wording import plural
from lepton_ray.table.schema import Problem, Task
from lepton_ray.training.metrics import default_metric, metric_named

MOST_CLASSES = 1000


@dataclass(frozen=True, slots=True)
class Features:
    """Rows by input.

    Attributes:
        arrays: each rows first; all have as many.
        kind: how they were given: one "array", a "tuple" or a "dict" of arrays, or a "frame" of columns.
    """

    arrays: Mapping[str, NDArray[Any]]
    kind: str

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    @classmethod
    def of(cls, X: Any, what: str) -> Features:
        """Read what was given as ``what``, such as X_train.

        Raises:
            DataError: it is none of these, holds no row, or parts of it have not as many rows.
        """
        if hasattr(X, "columns"):
            arrays, kind = {str(name): _column(X[name], f"{what}[{name!r}]") for name in X.columns}, "frame"
        elif isinstance(X, Mapping):
            arrays, kind = {str(name): _array(one, f"{what}[{name!r}]") for name, one in X.items()}, "dict"
        elif isinstance(X, tuple):
            arrays, kind = {f"x{n}": _array(one, f"{what}[{n}]") for n, one in enumerate(X)}, "tuple"
        else:
            arrays, kind = {"x": _array(X, what)}, "array"
        counts = {name: len(one) for name, one in arrays.items()}
        if not counts or not min(counts.values()):
            raise DataError(f"{what} holds no row.", "Give at least one.")
        if len(set(counts.values())) > 1:
            told = ", ".join(f"{count} in {name}" for name, count in counts.items())
            raise DataError(f"The parts of {what} have not as many rows each: {told}.", "Give a row in every part.")
        return cls(arrays, kind)

    def renamed(self, names: Sequence[str]) -> Features:
        """The same, by these names."""
        return Features(dict(zip(names, self.arrays.values(), strict=True)), self.kind)

    def for_network(self, what: str) -> Features:
        """The same as a torch module reads it: float32 and int64, a frame as one array.

        Raises:
            DataError: there are cells that are no numbers, or no finite ones.
        """
        arrays = dict(self.arrays)
        if self.kind == "frame":
            if words := [name for name, one in arrays.items() if one.dtype == object]:
                raise DataError(
                    f"The column {words[0]} of {what} holds words.", "A network reads numbers: encode them."
                )
            arrays = {"x": np.column_stack([one.astype(np.float32) for one in arrays.values()])}
        for name, one in arrays.items():
            if one.dtype == object:
                raise DataError(f"{what} holds words (in {name}).", "A network reads numbers: encode them.")
            if one.dtype.kind == "f" and (bad := int((~np.isfinite(one)).reshape(len(one), -1).any(1).sum())):
                raise DataError(
                    f"{plural(bad, 'row')} of {what} hold NaN or infinity (in {name}).", "Fill or drop these cells."
                )
            arrays[name] = one.astype(np.float32 if one.dtype.kind == "f" else np.int64, copy=False)
        return Features(arrays, self.kind)

    def fit_beside(self, other: Features, what: str) -> None:
        """Refuse other rows that have not the same parts.

        Raises:
            DataError: they have not.
        """
        mine, theirs = ({name: one.shape[1:] for name, one in rows.arrays.items()} for rows in (self, other))
        if mine != theirs:
            said = " but ".join(", ".join(f"{n} {list(s)}" for n, s in of.items()) for of in (mine, theirs))
            raise DataError(f"X_train and {what} differ: {said}.", "Give both the same parts, shaped alike.")


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be said of rows: codes of ``labels`` (int64), or values (float64)."""

    values: NDArray[Any]
    labels: NDArray[Any] | None

    @classmethod
    def of(cls, y: Any, task: str | None, outputs: int | None = None) -> Target:
        """Read y_train.

        Args:
            task: "classes", "values", or None: texts, truth values and whole numbers are classes, others values.
            outputs: how many scores the model has for a row, where it is known: with one, whole numbers are classes
                only where there are two of them; with more, whole numbers below it stand for themselves.

        Raises:
            DataError: it is not one number or label for each row. UsageError: it does not fit the model.
        """
        found = _labels(y, "y_train")
        kind = task or _task(found, outputs)
        if kind not in ("classes", "values"):
            raise UsageError(f"There is no task {task!r}.", 'It is "classes" or "values".')
        if kind == "values":
            if found.dtype.kind not in "biuf":
                raise DataError("y_train holds words, which are no values.", 'Leave task out, or give "classes".')
            if outputs is not None and outputs > 1:
                raise UsageError(
                    f"The model has {outputs} outputs for each row, and y_train is values.", "Let it have one."
                )
            return cls(found.astype(np.float64), None)
        labels = np.unique(found)
        whole = labels.dtype.kind in "iu"
        if outputs is not None and outputs > 1 and whole and labels[0] >= 0 and labels[-1] < outputs:
            labels = np.arange(outputs)
        _check_classes(labels, outputs)
        return cls(np.searchsorted(labels, found).astype(np.int64), labels)

    def of_more(self, y: Any, rows: int, what: str) -> NDArray[Any]:
        """The codes or values of other rows.

        Raises:
            DataError: there are not as many, or a class was not in y_train.
        """
        found = _labels(y, what)
        if len(found) != rows:
            raise DataError(f"{what} has {plural(len(found), 'value')} for {plural(rows, 'row')}.", "Give one a row.")
        if self.labels is None:
            if found.dtype.kind not in "biuf":
                raise DataError(f"{what} holds words, and y_train values.", "Give values.")
            return found.astype(np.float64)
        known = np.isin(found, self.labels)
        if not known.all():
            raise DataError(
                f"{what} holds the class {found[~known][0]!r}, which is not in y_train.", "Leave its rows out."
            )
        return np.searchsorted(self.labels, found).astype(np.int64)

    def problem(self, metric: str) -> Problem:
        """What is learned.

        Raises:
            UsageError: there is no such metric, or it does not fit.
        """
        names = () if self.labels is None else class_names(self.labels)
        task = Task.REGRESSION if not names else Task.BINARY if len(names) == 2 else Task.MULTICLASS
        name = default_metric(task) if metric == "auto" else metric_named(metric, task).name
        return Problem("target", task, names, name, names[1] if task is Task.BINARY else None)


def _task(found: NDArray[Any], outputs: int | None) -> str:
    kind = type_of_target(found)
    if kind == "continuous":
        return "values"
    if found.dtype.kind == "f" or (outputs == 1 and found.dtype.kind in "iu"):
        return "classes" if len(np.unique(found)) <= 2 or (outputs or 0) > 1 else "values"
    return "classes"


def _check_classes(labels: NDArray[Any], outputs: int | None) -> None:
    if len(labels) < 2:
        raise DataError("y_train holds one class only.", "Give rows of another one, too.")
    if len(labels) > MOST_CLASSES:
        raise DataError(f"y_train holds {len(labels)} classes.", 'Give task="values" if these are values.')
    if outputs is not None and len(labels) != max(outputs, 2):
        has = f"{plural(outputs, 'output')} for each row"
        raise UsageError(
            f"The model has {has}, and y_train {len(labels)} classes.",
            "Let it have one for each class, or one for two.",
        )


def _labels(y: Any, what: str) -> NDArray[Any]:
    found = _array(y, what)
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise DataError(
            f"{what} has the shape {found.shape}.", "Give one value or class a row; several a row are not built yet."
        )
    if found.dtype == object:
        if any(one is None or one != one for one in found.tolist()):
            raise DataError(f"{what} holds cells without a value.", "Drop these rows.")
        return found.astype(str)
    if found.dtype.kind == "f" and not np.isfinite(found).all():
        raise DataError(f"{what} holds NaN or infinity.", "Drop these rows.")
    return found


def _array(given: Any, what: str) -> NDArray[Any]:
    """An array, tensor, series or list as an array of numbers, truth values, or texts (object)."""
    if hasattr(given, "detach"):
        given = given.detach().cpu()
    try:
        found = np.asarray(given)
    except (ValueError, TypeError, RuntimeError) as fault:
        raise DataError(f"{what} cannot be read as an array: {fault}.", "Give rows that are shaped alike.") from None
    if found.dtype.kind in "USO":
        found = found.astype(object)
        odd = next(
            (one for one in found.ravel()[:1000] if not (one is None or one != one or isinstance(one, str))), None
        )
        if odd is not None:
            if isinstance(odd, bool | int | float | np.number):
                return _numbers(found, what)
            raise DataError(f"{what} holds a {type(odd).__name__}.", "Give numbers, truth values or texts.")
    elif found.dtype.kind not in "biuf":
        raise DataError(f"{what} holds {found.dtype}.", "Give numbers, truth values or texts.")
    if found.ndim == 0:
        raise DataError(f"{what} is a single value.", "Give rows.")
    return found


def _numbers(found: NDArray[Any], what: str) -> NDArray[Any]:
    try:
        return found.astype(np.float64)
    except (ValueError, TypeError):
        raise DataError(f"{what} mixes numbers with words.", "Give one or the other.") from None


def _column(given: Any, what: str) -> NDArray[Any]:
    """A column of a frame: truth values as they are, other numbers as floats, since any may be missing some day."""
    found = _array(given.to_numpy() if hasattr(given, "to_numpy") else given, what)
    return found if found.dtype == object or found.dtype.kind == "b" else found.astype(np.float64)
