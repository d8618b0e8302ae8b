"""The artefact: a folder with everything a prediction needs, sealed by hashes. Knows nothing about how it was found.

    manifest.json                            what it is; the SHA-256 of its bytes is the bundle's id
    plan.json                                from raw columns to clean ones
    margins.json                             what the values of each column are like, unless it was left out
    features/tree.json, tree.safetensors, …  from clean columns to a matrix, for each view that a model has
    model/0, model/1, …                      from a matrix to predictions, averaged by the shares in the manifest

Nothing in it is ever unpickled, and no code that it names is imported unless the caller trusts that name.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from lepton_ray.bundle import margins as margins_file
from lepton_ray.bundle.blend import Blend, Member
from lepton_ray.bundle.files import new_folder
from lepton_ray.bundle.interval import Interval
from lepton_ray.bundle.manifest import (
    NAME,
    Manifest,
    MemberFacts,
    installed_versions,
    plain,
    read_manifest,
    stored_files,
)
from lepton_ray.bundle.margins import Margins
from lepton_ray.bundle.rows import as_block
from lepton_ray.bundle.state import load_state, save_state
from lepton_ray.errors import BundleError, LeptonError, UsageError
from lepton_ray.models.registry import FAMILIES
from lepton_ray.models.registry import family as find_family
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.schema import Problem, Schema, Task

if TYPE_CHECKING:
    from lepton_ray.bundle.export import Exported

BLOCK_ROWS = 16_384
DEFAULT_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle. Make one with ``Bundle.load`` or ``write_bundle``."""

    folder: Path
    id: str
    manifest: Manifest
    plan: CleaningPlan = field(repr=False)
    model: Blend = field(repr=False)
    margins: Margins | None = field(default=None, repr=False)

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
        for member in manifest.members:
            if member.family not in FAMILIES and member.family not in trust:
                raise BundleError(
                    f"{folder} was made by the family {member.family!r}, which lepton_ray does not have.",
                    "If you know that code, install it and name it in `trust`.",
                )
        homes = model_folders(folder, manifest.members)
        if any(not home.is_dir() for home in homes) or len(list((folder / "model").iterdir())) != len(homes):
            raise BundleError(
                f"{folder} holds another number of models than its manifest names.", "Take it from its source again."
            )
        try:
            plan = CleaningPlan.from_json((folder / "plan.json").read_text(encoding="utf-8"))
            blend = Blend(
                plan.schema,
                manifest.problem,
                tuple(
                    Member(one.family, one.view, one.config, find_family(one.family, fits=False).load(place), one.share)
                    for one, place in zip(manifest.members, homes, strict=True)
                ),
                {view: load_state(folder / "features", view) for view in manifest.views},
                manifest.temperature,
            )
        except (BundleError, UsageError):
            raise
        except Exception as error:
            raise BundleError(
                f"{folder} cannot be loaded: {type(error).__name__}: {_first_line(error)}",
                "Load it with the versions its manifest names, or train a new one.",
            ) from error
        if plan.schema != manifest.schema:
            raise BundleError(f"{folder}: the manifest and the plan name other columns.", "Train a new bundle.")
        kept = folder / margins_file.NAME
        margins = margins_file.from_json(kept.read_text(encoding="utf-8"), plan.schema) if kept.exists() else None
        return cls(folder, bundle_id, manifest, plan, blend, margins)

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
            ``prediction`` and, for classes, one ``probability_<class>`` each; for a regression, between
            ``prediction_low`` and ``prediction_high`` the truth lies nine times in ten.

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
        try:
            return self._table(self.model.predict(clean))
        except ValueError as error:
            raise BundleError(f"{self.folder} cannot predict: {error}.", "Train a new bundle.") from error

    def export_onnx(self, path: Path | str) -> "Exported":
        """Write the whole way from raw columns to the prediction as one ONNX file; see ``bundle.export``.

        Raises:
            BundleError: ONNX cannot hold it: it reads texts, or a family cannot be exported over these columns.
            EnvironmentFault: onnx is not installed (``pip install 'lepton_ray[onnx]'``), or the disk refused.
        """
        from lepton_ray.bundle.export import export_onnx

        return export_onnx(self, Path(path))

    def _predict(self, block: pa.Table) -> pa.Table:
        return self.answer(self.plan.clean(block))

    def _table(self, values: np.ndarray[Any, Any]) -> pa.Table:
        if self.problem.task is Task.REGRESSION:
            interval = self.manifest.interval
            numbers = [values] if interval is None else [values, *interval.around(values)]
            return pa.table([pa.array(one, pa.float64()) for one in numbers], names=list(self.manifest.outputs))
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
    blend: Blend,
    facts: Mapping[str, Any],
    created: float,
    threshold: float = DEFAULT_THRESHOLD,
    interval: Interval | None = None,
    example: Mapping[str, Any] | None = None,
    margins: Margins | None = None,
) -> Bundle:
    """Seal models with all that a prediction needs into a new folder, whole or not at all, and load it back.

    Args:
        folder: where; must not exist yet.
        created: seconds since 1970, from the caller's clock.
        threshold: of the positive class of a binary problem.
        interval: around the values of a regression.
        example: one ordinary row for documentation and warming; columns left out are null.
        margins: what the values of each column are like; None leaves them out.

    Raises:
        BundleError: the folder exists, or the state holds what cannot be kept.
        EnvironmentFault: the disk refused.
    """
    folder = Path(folder)
    with new_folder(folder) as place:
        try:
            (place / "plan.json").write_text(plan.to_json(), encoding="utf-8")
            if margins is not None:
                (place / margins_file.NAME).write_text(margins_file.to_json(margins), encoding="utf-8")
            (place / "features").mkdir()
            for view, state in blend.states.items():
                save_state(state, place / "features", view)
            for one, home in zip(blend.members, model_folders(place, blend.members), strict=True):
                home.mkdir(parents=True)
                one.model.save(home)
            manifest = Manifest(
                created=created,
                versions=installed_versions(),
                problem=blend.problem,
                schema=plan.schema,
                members=tuple(
                    MemberFacts(one.family, one.view, plain(one.config), float(one.share)) for one in blend.members
                ),
                temperature=float(blend.temperature),
                threshold=threshold if blend.problem.task is Task.BINARY else None,
                example=plain({name: (example or {}).get(name) for name in plan.schema.names}),
                facts=plain(facts),
                interval=interval if blend.problem.task is Task.REGRESSION else None,
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
    return Bundle.load(folder, trust=[one.family for one in blend.members])


def model_folders(folder: Path, members: Sequence[object]) -> list[Path]:
    """Where the members' models lie in a bundle, in their order."""
    return [folder / "model" / str(number) for number in range(len(members))]


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no reason given").splitlines()[0].rstrip(".") + "."
