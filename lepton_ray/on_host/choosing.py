"""Which families a search may try, and why not the others. It knows neither trials nor money."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from threading import Thread

import numpy as np

from lepton_ray.bundle.export import onnx_refusal
from lepton_ray.errors import SearchError, UsageError
from lepton_ray.models.registry import family as family_named
from lepton_ray.models.registry import installed
from lepton_ray.spec import RunSpec
from lepton_ray.table.schema import Kind, Problem, Schema, Task

ANSWER_SECONDS = 2.0
"""For a family of the user's to list and draw its configurations, and say how much work they are."""


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
    spec: RunSpec,
    task: Task,
    schema: Schema,
    lacking: Callable[[str], str | None] = lambda name: None,
    *,
    unsound: Callable[[str], str | None] = lambda name: None,
) -> Chosen:
    """Those that can do what is asked: this task, over row weights with --weight, as ONNX with --onnx.

    Args:
        lacking: what a family needs of a node, where none has it.
        unsound: why nothing can be planned with a family, where that is so. With no other there is the constant.

    Raises:
        UsageError: one is not known, or no model of this table can be ONNX, which was asked for.
        SearchError: none can do it.
    """
    if spec.onnx and (refusal := onnx_refusal(schema, ())) is not None:
        raise UsageError(f"No model of this table can be exported (--onnx). {refusal.what}", refusal.hint)
    asked = [name for name in spec.families or _of_use(schema) if name != "constant"]
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
    faults = {name: fault for name in fitting if (fault := unsound(name)) is not None}
    return Chosen(("constant", *(name for name in fitting if name not in faults)), left_out | faults)


def fault_of(name: str, problem: Problem, *, n_rows: int, n_columns: int) -> str | None:
    """Why nothing can be planned with a family of the user's, if so: what a search asks of one before its first fit
    is asked here."""
    return None if ":" not in name else _fault_in_time(name, problem, n_rows, n_columns)


@cache  # a run asks again, and a family that hangs is waited for once
def _fault_in_time(name: str, problem: Problem, n_rows: int, n_columns: int) -> str | None:
    found: list[str | None] = []
    asking = Thread(target=lambda: found.append(_fault(name, problem, n_rows, n_columns)), daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS)
    return found[0] if found else f"it did not say within {ANSWER_SECONDS:.0f} s what it would try."


def _fault(name: str, problem: Problem, n_rows: int, n_columns: int) -> str | None:
    try:
        family = family_named(name)
        for config in (*family.configs(problem, n_rows, n_columns), family.sample(problem, np.random.default_rng(0))):
            json.dumps(config, allow_nan=False)
            work = float(family.work(config, problem, n_rows, n_columns)) * float(getattr(family, "pace", 1.0))
            if not 0 < work < math.inf:
                return f"its work is {work:g}, which says nothing of how long a fit takes."
    except Exception as fault:  # it may raise anything
        return f"{type(fault).__name__}: {fault}"[:300].rstrip(".") + "."
    return None


def _of_use(schema: Schema) -> list[str]:
    """Those that are installed; of what reads texts nothing need be said where there are none."""
    return [name for name in installed() if schema.of(Kind.TEXT) or family_named(name).view != "text"]


def _homeless(needs: str | None) -> str | None:
    return None if needs is None else f"no node has what it needs ({needs})."


def _obstacle(name: str, spec: RunSpec, task: Task, schema: Schema) -> str | None:
    family = family_named(name)
    if task not in family.tasks:
        return f"it cannot do a {task.value} task."
    if family.view == "text" and not schema.of(Kind.TEXT):
        return "it reads texts, and the table has none."
    if spec.weight is not None and not family.weighted:
        return "it cannot obey row weights (--weight)."
    refusal = onnx_refusal(schema, (name,)) if spec.onnx else None
    return None if refusal is None else f"{refusal.what.rstrip('.')} (--onnx)."
