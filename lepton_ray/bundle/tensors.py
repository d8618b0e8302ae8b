"""A bundle around a model of anybody's: a torch module as a graph, or a scikit-learn estimator. It cleans nothing.

    manifest.json       what it is, what a row is made of; the SHA-256 of its bytes is the bundle's id
    model.json          the graph
    model.safetensors   its tensors
    estimator.skops     an estimator, instead of the two

A row is one tensor for each input; of a table, one cell for each column. Nothing in it is ever unpickled, and no code
but torch's, numpy's and scikit-learn's runs. Torch is imported where a graph is.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lepton_ray.bundle.files import new_folder
from lepton_ray.bundle.manifest import (
    NAME,
    StoredFile,
    check_stored,
    installed_versions,
    manifest_text,
    plain,
    stored_files,
)
from lepton_ray.errors import BundleError, DataError, EnvironmentFault
from lepton_ray.models.stored import read_model, write_model
from lepton_ray.table.schema import Problem

FORMAT = "tensors 1"
_ESTIMATOR = "estimator.skops"
AT_ONCE = 1024
"""Rows that a model is asked for together."""

Datatype = Literal["FP32", "FP64", "INT64", "BOOL", "BYTES"]
Says = Literal["logits", "probabilities", "values"]
DTYPES: dict[Datatype, Any] = {
    "FP32": np.float32,
    "FP64": np.float64,
    "INT64": np.int64,
    "BOOL": np.bool_,
    "BYTES": object,
}


class Model(Protocol):
    """Arrays in, as the bundle's inputs are ordered; scores (n, k) out, which mean what the manifest says."""

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]: ...


@dataclass(frozen=True, slots=True)
class Input:
    """One part of a row: its name, the type of its numbers, and their shape without the rows."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...] = ()

    @classmethod
    def of(cls, name: str, array: NDArray[Any]) -> "Input":
        """The input that these rows are of."""
        known: dict[str, Datatype] = {"float32": "FP32", "int64": "INT64", "bool": "BOOL", "object": "BYTES"}
        return cls(name, known.get(array.dtype.name, "FP64"), array.shape[1:])

    def array(self, rows: Any) -> NDArray[Any]:
        """Rows of this input, (n, *shape).

        Raises:
            DataError: they are of another type or shape.
        """
        wants = f"the input `{self.name}` takes {self.datatype} of shape {list(self.shape)} for each row"
        try:
            found = np.asarray(rows, dtype=DTYPES[self.datatype])
        except (ValueError, TypeError, OverflowError):
            raise DataError(f"These rows cannot be read: {wants}.") from None
        if found.shape[1:] != self.shape or not found.ndim:
            raise DataError(f"Rows of shape {list(found.shape[1:])} do not fit: {wants}.")
        return found


@dataclass(frozen=True, slots=True)
class TensorManifest:
    """Everything about such a bundle except the numbers of its model.

    Attributes:
        carrier: what ``model.json`` holds.
        says: what the model's scores mean.
        frame: whether the estimator is handed a pandas frame whose columns are the inputs.
        example: one row, by input.
        facts: what the training says of it: score, metric, epochs.
    """

    created: float
    versions: Mapping[str, str]
    problem: Problem
    inputs: tuple[Input, ...]
    carrier: Literal["graph", "estimator"]
    says: Says
    frame: bool
    example: Mapping[str, Any]
    facts: Mapping[str, Any]
    files: tuple[StoredFile, ...]
    format: str = FORMAT

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns of a prediction, in order."""
        return ("prediction", *(f"probability_{name}" for name in self.problem.classes))

    def to_json(self) -> str:
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        values |= {"problem": self.problem.to_dict(), "inputs": [asdict(one) for one in self.inputs]}
        values["files"] = [asdict(one) for one in self.files]
        return json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: Path) -> "TensorManifest":
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: it is not that.
        """
        try:
            values = json.loads(text)
            if values["format"] != FORMAT or values["carrier"] not in ("graph", "estimator"):
                raise ValueError(f"its format is {values['format']!r}")
            inputs = tuple(Input(one["name"], one["datatype"], tuple(one["shape"])) for one in values["inputs"])
            files = tuple(StoredFile(one["name"], one["size"], one["sha256"]) for one in values["files"])
            return cls(**values | {"problem": Problem.from_dict(values["problem"]), "inputs": inputs, "files": files})
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as fault:
            raise BundleError(
                f"{where} is not the manifest of a bundle of tensors: {fault}.", "Take it from its source again."
            ) from fault

    def check_files(self, folder: Path) -> None:
        """Refuse a folder that does not hold exactly the files that the manifest names, byte for byte."""
        check_stored(self.files, folder)

    def check_versions(self, where: Path) -> None:
        """Refuse an estimator of another scikit-learn: what it is made of changes with each minor version."""
        wrote, reads = (v.split(".")[:2] for v in (self.versions["scikit-learn"], installed_versions()["scikit-learn"]))
        if self.carrier == "estimator" and wrote != reads:
            raise BundleError(
                f"{where} was written with scikit-learn {'.'.join(wrote)}, but {'.'.join(reads)} is installed.",
                f"Install scikit-learn {'.'.join(wrote)}, or train again.",
            )


@dataclass(frozen=True, slots=True)
class TensorBundle:
    """A loaded bundle. Make one with ``TensorBundle.load`` or ``write_tensors``."""

    folder: Path
    id: str
    manifest: TensorManifest
    model: Model = field(repr=False)

    @classmethod
    def load(cls, folder: Path | str, *, expected_id: str | None = None) -> "TensorBundle":
        """Verify and load a bundle.

        Raises:
            BundleError: it is none, damaged, tampered with, or needs what is not here.
            EnvironmentFault: it needs torch, which is not installed.
        """
        folder = Path(folder).resolve()
        bundle_id, text = manifest_text(folder)
        manifest = TensorManifest.from_json(text, folder / NAME)
        if expected_id is not None and bundle_id != expected_id:
            raise BundleError(f"{folder} is bundle {bundle_id[:12]}, not {expected_id[:12]}.", "Name the one you want.")
        manifest.check_files(folder)
        manifest.check_versions(folder)
        return cls(folder, bundle_id, manifest, _model_of(manifest, folder))

    @property
    def problem(self) -> Problem:
        """What is predicted."""
        return self.manifest.problem

    def says(self, arrays: Mapping[str, Any]) -> NDArray[np.float64]:
        """Probabilities (n, classes) or values (n,) for rows by input.

        Raises:
            DataError: an input is lacking, or of another type or shape.
        """
        rows = self._rows(arrays)
        parts = [
            meant(self.model([one[at : at + AT_ONCE] for one in rows]), self.manifest.says, self.problem)
            for at in range(0, len(rows[0]), AT_ONCE)
        ]
        return np.concatenate(parts)

    def predict(self, arrays: Mapping[str, Any]) -> pa.Table:
        """``prediction`` for each row, and for classes one ``probability_<class>`` each."""
        said = self.says(arrays)
        if not self.problem.classes:
            return pa.table({"prediction": said})
        labels = pa.array(self.problem.classes, pa.string()).take(pa.array(said.argmax(axis=1)))
        columns = [pa.array(np.ascontiguousarray(column)) for column in said.T]
        return pa.table([labels, *columns], names=list(self.manifest.outputs))

    def _rows(self, arrays: Mapping[str, Any]) -> list[NDArray[Any]]:
        lacking = [one.name for one in self.manifest.inputs if one.name not in arrays]
        if lacking:
            raise DataError(f"The rows lack the input `{lacking[0]}`.", "Send it with each row.")
        rows = [one.array(arrays[one.name]) for one in self.manifest.inputs]
        if len({len(one) for one in rows}) > 1 or not len(rows[0]):
            counts = ", ".join(f"{len(arrays[one.name])} of `{one.name}`" for one in self.manifest.inputs)
            raise DataError(f"Every input must have as many rows, at least one: there are {counts}.")
        return rows


@dataclass(frozen=True, slots=True)
class _Estimator:
    """An estimator, and the columns of the frame that it is handed, if it is handed one."""

    estimator: Any
    columns: tuple[str, ...]

    def __call__(self, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        X: Any = arrays[0]
        if self.columns:
            import pandas as pd

            X = pd.DataFrame(dict(zip(self.columns, arrays, strict=True)))
        if hasattr(self.estimator, "predict_proba"):
            return np.asarray(self.estimator.predict_proba(X))
        said = np.asarray(self.estimator.predict(X))
        classes = getattr(self.estimator, "classes_", None)
        return said.reshape(len(said), -1) if classes is None else said[:, None] == np.asarray(classes)[None, :]


def _model_of(manifest: TensorManifest, folder: Path) -> Model:
    if manifest.carrier == "estimator":
        from lepton_ray.bundle.estimator_file import read_estimator

        names = tuple(one.name for one in manifest.inputs) if manifest.frame else ()
        return _Estimator(read_estimator(folder / _ESTIMATOR), names)
    if find_spec("torch") is None:
        raise EnvironmentFault(f"{folder} needs torch.", "Install it: pip install 'lepton_ray[torch]'.")
    import torch

    from lepton_ray.bundle.graph_file import Graph

    facts, arrays = read_model(folder)
    graph = Graph.from_facts(facts, {name: torch.from_numpy(one) for name, one in arrays.items()})
    return lambda arrays: graph(*(torch.from_numpy(np.ascontiguousarray(one)) for one in arrays)).numpy()


def meant(scores: NDArray[Any], says: Says, problem: Problem) -> NDArray[np.float64]:
    """What a model's scores mean: probabilities (n, classes), or values (n,).

    Raises:
        DataError: they are no numbers.
    """
    found = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(found).all():
        raise DataError("The model answers these rows with what is no number.", "Send values like those it learned.")
    if says == "values":
        return found[:, 0]
    if found.shape[1] == 1:
        one = found if says == "probabilities" else 0.5 * (1.0 + np.tanh(0.5 * found))
        return np.hstack([1.0 - one, one])
    if says == "logits":
        found = np.exp(found - found.max(axis=1, keepdims=True))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def write_tensors(
    folder: Path,
    model: Any,
    *,
    problem: Problem,
    says: Says,
    rows: Mapping[str, NDArray[Any]],
    frame: bool,
    facts: Mapping[str, Any],
    created: float,
) -> TensorBundle:
    """Seal a model into a new folder, whole or not at all, and load it back.

    Args:
        model: a ``Graph`` or a fitted estimator. rows: at least one, by input; the first becomes the example.

    Raises:
        UsageError: it cannot be kept without a pickle. BundleError: the folder exists.
        EnvironmentFault: the disk refused.
    """
    graph = hasattr(model, "tensors")
    with new_folder(folder) as place:
        if graph:
            write_model(place, dict(model.facts), {name: one.numpy() for name, one in model.tensors.items()})
        else:
            from lepton_ray.bundle.estimator_file import write_estimator

            write_estimator(place / _ESTIMATOR, model)
        manifest = TensorManifest(
            created=created,
            versions=installed_versions(),
            problem=problem,
            inputs=tuple(Input.of(name, array) for name, array in rows.items()),
            carrier="graph" if graph else "estimator",
            says=says,
            frame=frame,
            example={name: plain(array[0]) for name, array in rows.items()},
            facts=plain(facts),
            files=stored_files(place),
        )
        (place / NAME).write_text(manifest.to_json(), encoding="utf-8")
    return TensorBundle.load(folder)
