"""A bundle as one ONNX file: raw columns in, the prediction out, cleaning, features and all models inside.

What a caller gives under a column's name, (rows, 1):

    number     a double, NaN where missing; amounts written as text ("1,234 $") are to be read first
    date       seconds since 1970 (UTC) as a double, NaN where missing
    category   a string without white space around it, empty where missing

``prediction`` (rows,) is a string for classes, decided as the bundle decides, else a double; ``probabilities`` (rows,
classes) are doubles in the order of the classes, which the file's metadata name. It knows no command line.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lepton_ray.bundle.blend import Blend
from lepton_ray.bundle.onnx_file import needs_onnx, write_onnx
from lepton_ray.errors import BundleError
from lepton_ray.features.chain import for_schema
from lepton_ray.features.graph import ML, Graph, Type, Wire, where
from lepton_ray.models.family import Drawable
from lepton_ray.models.registry import family as find_family
from lepton_ray.models.registry import installed
from lepton_ray.table.cleaning import CleaningPlan
from lepton_ray.table.column_plan import ColumnPlan
from lepton_ray.table.schema import Kind, Schema, Task
from lepton_ray.table.values import any_case

if TYPE_CHECKING:
    from lepton_ray.bundle.bundle import Bundle

OUTPUTS = ("prediction", "probabilities")
IN_WORDS = {
    Kind.NUMBER: "a double, NaN where missing",
    Kind.DATE: "seconds since 1970 (UTC) as a double, NaN where missing",
    Kind.CATEGORY: "a string without white space around it, empty where missing",
}


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: where, how large, and the name and kind of each input."""

    path: Path
    size: int
    inputs: tuple[tuple[str, Kind], ...]
    outputs: tuple[str, ...]


def onnx_refusal(schema: Schema, families: Sequence[str]) -> BundleError | None:
    """Return why models of these families over these columns cannot be one ONNX file; None where they can."""
    texts = schema.of(Kind.TEXT)
    if texts:
        return BundleError(
            f"ONNX has no operators that cut texts into words as this model does: {_named(texts)}.",
            f"Search without texts: --drop {','.join(texts)}.",
        )
    for name in dict.fromkeys(families):
        exports = find_family(name, fits=False).exports
        barred = [column for column in schema.columns if column.kind not in exports]
        if barred:
            kinds = " or ".join(dict.fromkeys(column.kind.value for column in barred))
            named = _named([column.name for column in barred])
            others = [one for one in installed() if one not in ("constant", name)]
            return BundleError(
                f"A {name} model over {kinds} columns cannot be exported as ONNX: {named}.",
                f"Search with other families: --families {','.join(others)}.",
            )
    taken = [name for name in schema.names if name in OUTPUTS or not name]
    if taken:
        return BundleError(
            f"A column is named {taken[0]!r}, as an output of the file is.", "Rename it and search again."
        )
    return None


def export_onnx(bundle: "Bundle", path: Path) -> Exported:
    """Write a bundle as one ONNX file.

    Raises:
        BundleError: it cannot be one, or is larger than one can be.
        EnvironmentFault: onnx is not installed, or the disk refused.
    """
    refusal = onnx_refusal(bundle.schema, [member.family for member in bundle.model.members])
    if refusal is not None:
        raise refusal
    needs_onnx()
    graph, problem = Graph(), bundle.problem
    answer = drawn(graph, bundle.plan, bundle.model)
    outputs: dict[str, tuple[Wire, Type, int | None]] = {}
    if problem.classes:
        label = _label(answer, problem.classes, bundle.manifest.threshold)
        outputs = {OUTPUTS[0]: (label, Type.STRING, None), OUTPUTS[1]: (answer, Type.DOUBLE, len(problem.classes))}
    else:
        outputs = {OUTPUTS[0]: (answer.shaped(-1), Type.DOUBLE, None)}
    size = write_onnx(
        path,
        graph,
        outputs,
        said=f"{problem.target!r} from raw columns, by {bundle.manifest.family}.",
        inputs={column.name: IN_WORDS[column.kind] for column in bundle.schema.columns},
        facts=_facts(bundle),
    )
    return Exported(path, size, tuple((one.name, one.kind) for one in bundle.schema.columns), tuple(outputs))


def drawn(graph: Graph, plan: CleaningPlan, blend: Blend) -> Wire:
    """Draw a blend from raw columns on: probabilities (n, classes) or values (n, 1)."""
    cells = {column.name: _raw(graph, column) for column in plan.columns if column.use}
    clean = {
        column.name: _cleaned(cells[column.name], column, plan.missing_words) for column in plan.columns if column.use
    }
    seen = {}
    for view, state in blend.states.items():
        step = for_schema(blend.schema, view)
        assert step.draw is not None, "texts are refused before"
        seen[view] = step.draw(state, clean)
    parts = []
    for one in blend.members:
        if not isinstance(one.model, Drawable):
            raise BundleError(f"The model of {one.family} cannot be drawn as ONNX.", "Its family says that it could.")
        parts.append(one.model.draw(seen[one.view]))
    answer = parts[0]
    if len(parts) > 1:
        answer = parts[0] * blend.members[0].share
        for one, part in zip(blend.members[1:], parts[1:], strict=True):
            answer = answer + part * one.share
    if blend.temperature == 1.0 or not blend.problem.classes:
        return answer
    return (answer.apply("Max", 1e-300).apply("Log") / blend.temperature).apply("Softmax", axis=1)


def _raw(graph: Graph, column: ColumnPlan) -> Wire:
    return graph.input(column.name, Type.STRING if column.kind is Kind.CATEGORY else Type.DOUBLE)


def _cleaned(cells: Wire, column: ColumnPlan, missing_words: tuple[str, ...]) -> Wire:
    """Draw ``ColumnPlan.clean``, as far as cells are not texts to be read."""
    if column.kind is not Kind.CATEGORY:
        known = where(cells.apply("IsInf"), np.nan, cells)
        if not column.sentinels:
            return known
        sentinel = known.equals(np.array([column.sentinels], dtype=np.float64)).cast(Type.INT64).sum()
        return where(sentinel > 0, np.nan, known)
    words = list(dict.fromkeys(way for word in ("", *missing_words, *column.missing) for way in any_case(word)))
    missing = cells.apply(
        "LabelEncoder", domain=ML, keys_strings=words, values_int64s=[1] * len(words), default_int64=0
    )
    return where(missing > 0, np.array([[""]], dtype=object), cells)


def _label(probabilities: Wire, classes: tuple[str, ...], threshold: float | None) -> Wire:
    """Draw the decision, (n,)."""
    if threshold is None:
        chosen = probabilities.apply("ArgMax", axis=1, keepdims=0)
    else:
        chosen = (probabilities.columns([1]) >= threshold).cast(Type.INT64).shaped(-1)
    return probabilities.graph.add("Gather", np.array(classes, dtype=object), chosen, axis=0)


def _facts(bundle: "Bundle") -> dict[str, str]:
    problem = bundle.problem
    facts = {
        "bundle": bundle.id,
        "target": problem.target,
        "task": problem.task.value,
        "family": bundle.manifest.family,
    }
    if problem.task is not Task.REGRESSION:
        facts["classes"] = json.dumps(problem.classes, ensure_ascii=False)
    if bundle.manifest.threshold is not None:
        facts["threshold"] = repr(bundle.manifest.threshold)
    return facts


def _named(columns: Sequence[str]) -> str:
    some = ", ".join(f"`{name}`" for name in columns[:5])
    return f"{some} and {len(columns) - 5} more" if len(columns) > 5 else some
