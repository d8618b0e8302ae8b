"""Steps side by side, and the chain that a schema asks for. It knows nothing about what is done with the matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pyarrow as pa

from lepton_ray.features.calendar import calendar_parts, scaled_calendar
from lepton_ray.features.category import category_codes, one_hot
from lepton_ray.features.graph import Wire, Wires, side_by_side
from lepton_ray.features.matrix import Matrix, beside
from lepton_ray.features.numeric import raw_numbers, scaled_numbers
from lepton_ray.features.step import State, Step
from lepton_ray.features.text import FOR_LINEAR, FOR_TREES, raw_texts, weighted_grams
from lepton_ray.table.schema import Kind, Schema

View = Literal["tree", "linear", "text"]


def chain(*steps: Step) -> Step:
    """Run the steps on the same block and put their matrices beside each other: a chain of steps is a step."""
    if len({step.name for step in steps}) != len(steps):
        raise ValueError(f"steps must have different names, but got {[step.name for step in steps]}")

    def init(block: pa.Table) -> State:
        return {step.name: step.init(block) for step in steps}

    def merge(a: State, b: State) -> State:
        return {step.name: step.merge(a[step.name], b[step.name]) for step in steps}

    def apply(state: State, block: pa.Table) -> Matrix:
        return beside([step.apply(state[step.name], block) for step in steps], block.num_rows)

    def seal(state: State) -> State:
        return {step.name: step.seal(state[step.name]) for step in steps}

    def draw(state: State, cells: Mapping[str, Wire]) -> Wires:
        return side_by_side([step.draw(state[step.name], cells) for step in steps if step.draw is not None])

    return Step("chain", init, merge, apply, seal, draw if all(step.draw is not None for step in steps) else None)


def for_schema(schema: Schema, view: View) -> Step:
    """Return the chain that turns a clean block of this schema into a matrix.

    ``tree`` keeps numbers raw with NaN, categories as codes, dates as calendar parts, text as its most frequent words.
    ``linear`` has no NaN: numbers filled and scaled, one-hot levels and cycles, words and character n-grams.
    ``text`` is ``linear`` and the texts themselves.
    """
    makers = {
        Kind.NUMBER: raw_numbers if view == "tree" else scaled_numbers,
        Kind.CATEGORY: category_codes if view == "tree" else one_hot,
        Kind.DATE: calendar_parts if view == "tree" else scaled_calendar,
    }
    steps = [make(schema.of(kind)) for kind, make in makers.items() if schema.of(kind)]
    if schema.of(Kind.TEXT):
        steps.append(weighted_grams(schema.of(Kind.TEXT), FOR_TREES if view == "tree" else FOR_LINEAR))
    if view == "text" and schema.of(Kind.TEXT):
        steps.append(raw_texts(schema.of(Kind.TEXT)))
    return chain(*steps)
