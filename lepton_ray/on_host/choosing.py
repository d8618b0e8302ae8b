"""Which families a search may try, and why not the others. It knows neither trials nor money."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lepton_ray.bundle.export import onnx_refusal
from lepton_ray.errors import SearchError, UsageError
from lepton_ray.models.registry import family as family_named
from lepton_ray.models.registry import installed
from lepton_ray.spec import RunSpec
from lepton_ray.table.schema import Schema, Task


@dataclass(frozen=True, slots=True)
class Chosen:
    """The families to try, the constant first whatever was asked for, and of each that is left out the reason."""

    names: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What a person should hear."""
        return tuple(f"{name} is left out of the search: {reason}" for name, reason in self.left_out.items())


def chosen_families(
    spec: RunSpec, task: Task, schema: Schema, lacking: Callable[[str], str | None] = lambda name: None
) -> Chosen:
    """Those that can do what is asked: this task, over row weights with --weight, as ONNX with --onnx.

    Args:
        lacking: what a family needs of a node, where none has it.

    Raises:
        UsageError: one is not known, or no model of this table can be ONNX, which was asked for.
        SearchError: none can do it.
    """
    if spec.onnx and (refusal := onnx_refusal(schema, ())) is not None:
        raise UsageError(f"No model of this table can be exported (--onnx). {refusal.what}", refusal.hint)
    asked = [name for name in spec.families or tuple(installed()) if name != "constant"]
    reasons = {name: _obstacle(name, spec, task, schema) or _homeless(lacking(name)) for name in asked}
    fitting = [name for name in asked if reasons[name] is None]
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    if not fitting and asked and spec.families:
        weighed = " with --weight" if spec.weight else ""
        exported = " and be exported (--onnx)" if spec.onnx else ""
        placed = " where it may run" if any(map(lacking, asked)) else ""
        able = [name for name in installed() if _obstacle(name, spec, task, schema) is None and lacking(name) is None]
        raise SearchError(
            f"None of the families {', '.join(spec.families)} can do a {task.value} task{weighed}{exported}{placed}.",
            f"Leave --families out, or choose among {', '.join(able)}.",
        )
    return Chosen(("constant", *fitting), left_out)


def _homeless(needs: str | None) -> str | None:
    return None if needs is None else f"no node has what it needs ({needs})."


def _obstacle(name: str, spec: RunSpec, task: Task, schema: Schema) -> str | None:
    family = family_named(name)
    if task not in family.tasks:
        return f"it cannot do a {task.value} task."
    if spec.weight is not None and not family.weighted:
        return "it cannot obey row weights (--weight)."
    refusal = onnx_refusal(schema, (name,)) if spec.onnx else None
    return None if refusal is None else f"{refusal.what.rstrip('.')} (--onnx)."
