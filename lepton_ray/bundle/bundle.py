"""The artefact: a folder with everything a prediction needs, sealed by hashes. Knows nothing about how it was found.

    manifest.json                            what it is; the SHA-256 of its bytes is the bundle's id
    plan.json                                from raw columns to clean ones
    features.json, features.safetensors      from clean columns to a matrix
    model/                                   from a matrix to predictions

Nothing in it is ever unpickled, and no code that it names is imported unless the caller trusts that name.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from lepton_ray.bundle.files import new_folder
from lepton_ray.bundle.manifest import NAME, Manifest, installed_versions, plain, read_manifest, stored_files
from lepton_ray.bundle.rows import as_block
from lepton_ray.bundle.state import load_state, save_state
from lepton_ray.errors import BundleError, LeptonError
from lepton_ray.features.chain import for_schema
from lepton_ray.features.step import Step
from lepton_ray.models.family import Model
from lepton_ray.models.registry import FAMILIES
from lepton_ray.models.registry import family as find_family
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.schema import Problem, Schema, Task

BLOCK_ROWS = 16_384
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle. Make one with ``Bundle.load`` or ``write_bundle``."""

    folder: Path
    id: str
    manifest: Manifest
    plan: CleaningPlan = field(repr=False)
    step: Step = field(repr=False)
    state: Any = field(repr=False)
    model: Model = field(repr=False)

    @classmethod
    def load(cls, folder: Path | str, *, expected_id: str | None = None, trust: Collection[str] = ()) -> "Bundle":
        """Verify and load a bundle.

        Args:
            folder: the bundle's folder, or a link to it.
            expected_id: refuse any other bundle.
            trust: names of families outside lepton_ray (``module:Attribute``) whose code may be imported.

        Raises:
            BundleError: it is no bundle, damaged, tampered with, of another format, or made by something not here.
        """
        folder = Path(folder).resolve()
        bundle_id, manifest = read_manifest(folder)
        if expected_id is not None and bundle_id != expected_id:
            raise BundleError(
                f"{folder} is bundle {bundle_id[:12]}, not {expected_id[:12]}.",
                "Name the folder of the bundle you want.",
            )
        manifest.check_files(folder)
        manifest.check_versions(folder)
        if manifest.family not in FAMILIES and manifest.family not in trust:
            raise BundleError(
                f"{folder} was made by the family {manifest.family!r}, which lepton_ray does not have.",
                "If you know that code, install it and name it in `trust`.",
            )
        try:
            plan = CleaningPlan.from_json((folder / "plan.json").read_text(encoding="utf-8"))
            step = for_schema(plan.schema, "linear" if manifest.view == "linear" else "tree")
            state = load_state(folder)
            model = find_family(manifest.family).load(folder / "model")
        except BundleError:
            raise
        except Exception as error:
            raise BundleError(
                f"{folder} cannot be loaded: {type(error).__name__}: {_first_line(error)}",
                "Load it with the versions its manifest names, or train a new one.",
            ) from error
        if plan.schema != manifest.schema:
            raise BundleError(f"{folder}: the manifest and the plan name other columns.", "Train a new bundle.")
        return cls(folder, bundle_id, manifest, plan, step, state, model)

    @property
    def problem(self) -> Problem:
        """What is predicted."""
        return self.manifest.problem

    @property
    def schema(self) -> Schema:
        """The columns a caller must send."""
        return self.manifest.schema

    def predict(self, rows: Any) -> pa.Table:
        """Predict a pandas, Arrow or polars frame, or dict rows: one row out per row in, in the same order.

        Returns:
            ``prediction`` and, for classes, one ``probability_<class>`` each.

        Raises:
            DataError: a column is lacking, or a value cannot be one.
        """
        return self.predict_block(as_block(rows, self.schema))

    def predict_block(self, block: pa.Table) -> pa.Table:
        """Predict a raw block that has at least the columns of the schema."""
        parts = [self._predict(block.slice(at, BLOCK_ROWS)) for at in range(0, max(block.num_rows, 1), BLOCK_ROWS)]
        return pa.concat_tables(parts)

    def answer(self, clean: pa.Table) -> pa.Table:
        """Predict a block that the plan has cleaned already."""
        if clean.num_rows == 0:
            width = self.problem.n_outputs
            return self._table(np.empty((0, width)) if self.problem.classes else np.empty(0))
        values = np.asarray(self.model.predict(self.step.apply(self.state, clean)), dtype=np.float64)
        expected = (clean.num_rows, len(self.problem.classes)) if self.problem.classes else (clean.num_rows,)
        if values.shape != expected:
            raise BundleError(
                f"The model of {self.folder} answered with shape {values.shape}, not {expected}.", "Train a new bundle."
            )
        return self._table(values)

    def _predict(self, block: pa.Table) -> pa.Table:
        return self.answer(self.plan.clean(block))

    def _table(self, values: np.ndarray[Any, Any]) -> pa.Table:
        if self.problem.task is Task.REGRESSION:
            return pa.table({"prediction": pa.array(values, pa.float64())})
        if self.problem.task is Task.BINARY:
            chosen = (values[:, 1] >= self.manifest.threshold).astype(np.int64)
        else:
            chosen = values.argmax(axis=1)
        labels = pa.array(self.problem.classes, pa.string()).take(pa.array(chosen))
        columns = [pa.array(np.ascontiguousarray(values[:, code])) for code in range(values.shape[1])]
        return pa.table([labels, *columns], names=list(self.manifest.outputs))


def write_bundle(
    folder: Path,
    *,
    plan: CleaningPlan,
    view: str,
    state: Any,
    model: Model,
    family: str,
    config: Mapping[str, Any],
    problem: Problem,
    facts: Mapping[str, Any],
    created: float,
    threshold: float = DEFAULT_THRESHOLD,
    example: Mapping[str, Any] | None = None,
) -> Bundle:
    """Seal a model with all that a prediction needs into a new folder, whole or not at all, and load it back.

    Args:
        folder: where; must not exist yet.
        view: for which the features were made, "tree" or "linear".
        state: of the features' step.
        created: seconds since 1970, from the caller's clock.
        threshold: of the positive class of a binary problem.
        example: one ordinary row for documentation and warming; columns left out are null.

    Raises:
        BundleError: the folder exists, or the state holds what cannot be kept.
        EnvironmentFault: the disk refused.
    """
    folder = Path(folder)
    with new_folder(folder) as place:
        try:
            (place / "plan.json").write_text(plan.to_json(), encoding="utf-8")
            save_state(state, place)
            (place / "model").mkdir()
            model.save(place / "model")
            manifest = Manifest(
                created=created,
                versions=installed_versions(),
                problem=problem,
                schema=plan.schema,
                view=view,
                family=family,
                config=plain(config),
                threshold=threshold if problem.task is Task.BINARY else None,
                example=plain({name: (example or {}).get(name) for name in plan.schema.names}),
                facts=plain(facts),
                files=stored_files(place),
            )
            (place / NAME).write_text(manifest.to_json(), encoding="utf-8")
        except (LeptonError, OSError):
            raise
        except Exception as error:
            raise BundleError(
                f"The model cannot be sealed: {type(error).__name__}: {_first_line(error)}",
                "Its family must save it without a pickle.",
            ) from error
    return Bundle.load(folder, trust=(family,))


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0].rstrip(".") + "."
