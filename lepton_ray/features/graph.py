"""A computation as ONNX's operators, node by node: whatever draws itself here runs where there is no Python.

It imports no onnx (``bundle/onnx_file.py`` writes what was drawn) and knows nothing about features or models. An array
that is handed in becomes a constant; a Python float stands for a double, an int for an int64, and nothing is converted
in secret.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

ML = "ai.onnx.ml"
"""The domain of the operators for machine learning."""


class Type(IntEnum):
    """Types of cells, by ONNX's own numbers."""

    FLOAT = 1
    INT32 = 6
    INT64 = 7
    STRING = 8
    DOUBLE = 11


@dataclass(frozen=True, slots=True)
class Node:
    """One operator. An attribute that is an array is a tensor; a list is a list of numbers or strings."""

    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(slots=True)
class Graph:
    """Nodes in the order of the data flow, constants and inputs by name."""

    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    inputs: dict[str, tuple[Type, int]] = field(default_factory=dict)

    def input(self, name: str, kind: Type, width: int = 1) -> Wire:
        """Return what the caller will give under this name, (n, width); inputs come before all else."""
        self.inputs[name] = kind, width
        return Wire(self, name)

    def add(self, op: str, *operands: Operand, domain: str = "", **attributes: Any) -> Wire:
        """Return the only output of an operator."""
        return self.add_many(op, *operands, domain=domain, outputs=1, **attributes)[0]

    def add_many(
        self, op: str, *operands: Operand, domain: str = "", outputs: int, **attributes: Any
    ) -> tuple[Wire, ...]:
        """Return all outputs of an operator that has several."""
        given = tuple(self._wired(operand).name for operand in operands)
        made = tuple(self._name(f"{op}/{len(self.nodes)}/{number}") for number in range(outputs))
        self.nodes.append(Node(op, domain, given, made, attributes))
        return tuple(Wire(self, name) for name in made)

    def _wired(self, operand: Operand) -> Wire:
        if isinstance(operand, Wire):
            return operand
        name = self._name(f"constant/{len(self.constants)}")
        self.constants[name] = np.asarray(operand)
        return Wire(self, name)

    def _name(self, wanted: str) -> str:
        while wanted in self.inputs:
            wanted += "/"
        return wanted


@dataclass(frozen=True, slots=True, eq=False)
class Wire:
    """What flows between two nodes: rows of cells, (n, width) where nothing else is said."""

    graph: Graph
    name: str
    __array_ufunc__ = None  # an array on the left leaves the operator to the wire

    def apply(self, op: str, *others: Operand, domain: str = "", **attributes: Any) -> Wire:
        """Return what an operator makes of this wire and the others."""
        return self.graph.add(op, self, *others, domain=domain, **attributes)

    def __add__(self, other: Operand) -> Wire:
        return self.apply("Add", other)

    def __sub__(self, other: Operand) -> Wire:
        return self.apply("Sub", other)

    def __rsub__(self, other: Operand) -> Wire:
        return self.graph.add("Sub", other, self)

    def __mul__(self, other: Operand) -> Wire:
        return self.apply("Mul", other)

    def __truediv__(self, other: Operand) -> Wire:
        return self.apply("Div", other)

    def __mod__(self, other: Operand) -> Wire:
        """Whole numbers only; the sign is the divisor's, as in Python."""
        return self.apply("Mod", other)

    def __matmul__(self, other: Operand) -> Wire:
        return self.apply("MatMul", other)

    def __gt__(self, other: Operand) -> Wire:
        return self.apply("Greater", other)

    def __ge__(self, other: Operand) -> Wire:
        return self.apply("GreaterOrEqual", other)

    def __lt__(self, other: Operand) -> Wire:
        return self.apply("Less", other)

    def equals(self, other: Operand) -> Wire:
        return self.apply("Equal", other)

    def cast(self, kind: Type) -> Wire:
        return self.apply("Cast", to=int(kind))

    def clip(self, low: float, high: float) -> Wire:
        """Return cells within the bounds; NaN stays."""
        return self.apply("Clip", low, high)

    def where_gap(self, other: Operand) -> Wire:
        """Return the cells with ``other`` in the place of NaN."""
        return where(self.apply("IsNaN"), other, self)

    def columns(self, places: Sequence[int]) -> Wire:
        return self.apply("Gather", np.asarray(places, dtype=np.int64), axis=1)

    def sum(self, axis: int = 1, *, keep: bool = True) -> Wire:
        return self.apply("ReduceSum", np.array([axis]), keepdims=int(keep))

    def shaped(self, *sizes: int) -> Wire:
        """Return the same cells in another shape; 0 keeps a size, -1 is what is left."""
        return self.apply("Reshape", np.array(sizes))

    def each_row(self, row: NDArray[Any]) -> Wire:
        """Return this row, (width,), once for each row of the wire."""
        count = self.apply("Shape", start=0, end=1)
        shape = self.graph.add("Concat", count, np.array([len(row)]), axis=0)
        return self.graph.add("Expand", row[None, :], shape)


Operand = Wire | NDArray[Any] | np.generic | float | int


def where(condition: Wire, yes: Operand, no: Operand) -> Wire:
    return condition.apply("Where", yes, no)


def beside(wires: Sequence[Wire]) -> Wire:
    """Put columns next to each other; at least one wire."""
    return wires[0] if len(wires) == 1 else wires[0].apply("Concat", *wires[1:], axis=1)


def one_hot(codes: Wire, width: int) -> Wire:
    """Return (n, width) doubles, a 1 at the place that each code (n, 1) names."""
    return codes.equals(np.arange(width)).cast(Type.DOUBLE)


@dataclass(frozen=True, slots=True)
class Wires:
    """A ``Matrix`` that is drawn, all of it doubles.

    Attributes:
        dense: (n, ``width``), NaN where missing; None where ``width`` is 0.
        sparse: the other columns, made dense; None where there are none.
    """

    dense: Wire | None
    width: int
    sparse: Wire | None = None
    sparse_width: int = 0

    @property
    def joined(self) -> Wire:
        """The dense columns, then the others."""
        return beside([part for part in (self.dense, self.sparse) if part is not None])

    def part(self, columns: Sequence[int], words: Sequence[int] = ()) -> Wire | None:
        """Return some of the dense columns and some of the others beside them; None where none are wanted."""
        wanted = ((self.dense, columns), (self.sparse, words))
        parts = [wire.columns(places) for wire, places in wanted if wire is not None and len(places)]
        return beside(parts) if parts else None


def side_by_side(parts: Sequence[Wires]) -> Wires:
    """Put drawn matrices of the same rows next to each other, the dense parts before the sparse ones."""
    dense = [part.dense for part in parts if part.dense is not None]
    crossed = [part.sparse for part in parts if part.sparse is not None]
    return Wires(
        beside(dense) if dense else None,
        sum(part.width for part in parts),
        beside(crossed) if crossed else None,
        sum(part.sparse_width for part in parts),
    )
