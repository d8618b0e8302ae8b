"""A torch module of anybody's as a graph of aten operations: JSON, and tensors. It knows no class of the user's.

``torch.export`` traces the module; what is kept is the list of operations, so that the process that answers needs
none of the user's code, and nothing is unpickled: a graph can name nothing but operations of ``torch.ops.aten`` that
take no file, and a few of arithmetic over sizes. Importing this imports torch.
"""

from __future__ import annotations

import io
import logging
import math
import operator
import re
import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.graph_signature import InputKind, OutputKind
from torch.fx import Node

from lepton_ray.errors import BundleError, UsageError

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    name: getattr(operator, name)
    for name in (
        "getitem",
        "add",
        "sub",
        "mul",
        "floordiv",
        "truediv",
        "mod",
        "neg",
        "eq",
        "ne",
        "ge",
        "gt",
        "le",
        "lt",
    )
}
_ATEN = re.compile(r"aten\.([A-Za-z_][A-Za-z0-9_]*)\.([A-Za-z_][A-Za-z0-9_]*)")
_WORDS = (torch.dtype, torch.layout, torch.memory_format)
_HELD = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
_MORE_ROWS = 3
"""Beside the rows that a graph is traced with, it is tried with one row and with so many times as many."""


@dataclass(frozen=True, slots=True)
class Graph:
    """What a module says, without the module.

    Attributes:
        facts: JSON values: ``inputs`` by their names in the graph, ``held`` (name in the graph -> tensor), ``steps``
            of [name, operation, arguments, named arguments], ``output``, and ``rows``: how many it must
            be asked for at once, or none.
        tensors: parameters, buffers and constants.
    """

    facts: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    steps: tuple[tuple[str, Callable[..., Any], Any, Any], ...]

    @classmethod
    def of(cls, module: nn.Module, inputs: tuple[Tensor, ...]) -> Graph:
        """Trace a module in evaluation mode, for any number of rows; where it holds on to their number, for so many as
        these, by which it then answers part by part.

        Args:
            inputs: at least three rows, on the CPU as the module is.

        Raises:
            UsageError: the module cannot be traced, changes itself, or what was traced answers otherwise than it does.
        """
        if next((p for p in module.parameters() if p.device.type != "cpu"), None) is not None:
            raise ValueError("the module must be on the CPU")
        module.eval()
        faults: list[BaseException] = []
        for free in (True, False):
            try:
                graph = _read_off(_traced(module, inputs, free), None if free else len(inputs[0]))
            except UsageError:
                raise
            except Exception as fault:  # torch raises whatever the user's forward leads to
                faults.append(fault)
                continue
            _compare(module, graph, inputs)
            return graph
        raise _untraceable(module, _first(faults[-1])) from faults[-1]

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Graph:
        """Take up what ``facts`` and ``tensors`` of another one hold.

        Raises:
            BundleError: it names an operation that is not one of these, or a tensor that is not there.
        """
        steps = tuple((str(name), _operation(op), args, more) for name, op, args, more in facts["steps"])
        if lost := [key for key in facts["held"].values() if key not in tensors]:
            raise BundleError(f"The graph holds {lost[0]}, which is not among its tensors.", "Take it from its source.")
        return cls(facts, tensors, steps)

    @torch.no_grad()
    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return what the module returns for these rows."""
        size, count = self.facts.get("rows"), inputs[0].shape[0]
        if size is None or size == count:
            return self._said(inputs)
        picked = torch.arange(-(-count // size) * size) % count  # the last part is filled up with rows from the first
        return torch.cat(
            [self._said(tuple(one[part] for one in inputs)) for part in picked.reshape(-1, size).unbind()]
        )[:count]

    def _said(self, inputs: tuple[Tensor, ...]) -> Tensor:
        found: dict[str, Any] = {name: self.tensors[key] for name, key in self.facts["held"].items()}
        found |= zip(self.facts["inputs"], inputs, strict=True)
        for name, operation, args, more in self.steps:
            found[name] = operation(*_meant(args, found), **_meant(more, found))
        answer: Tensor = _meant(self.facts["output"], found)
        return answer


def _traced(module: nn.Module, inputs: tuple[Tensor, ...], free: bool) -> Any:
    rows = (tuple({0: torch.export.Dim.DYNAMIC} for _ in inputs),) if free else None
    copies = tuple(one.clone() for one in inputs)  # some forwards write into what they are given
    loudest = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # what cannot be traced is said in one sentence, and not in torch's forty
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()), torch.no_grad():
            warnings.simplefilter("ignore")
            return torch.export.export(module, copies, dynamic_shapes=rows, strict=False).run_decompositions({})
    finally:
        logging.disable(loudest)


def _read_off(program: Any, rows: int | None) -> Graph:
    """What a trace holds; ``rows``: that it is of so many, and of no other number."""
    held, tensors, inputs = {}, {}, []
    for one in program.graph_signature.input_specs:
        if one.kind is InputKind.USER_INPUT:
            inputs.append(one.arg.name)
        elif one.kind in _HELD:
            source = program.state_dict if one.target in program.state_dict else program.constants
            held[one.arg.name] = one.target
            tensors[one.target] = source[one.target].detach().clone().contiguous()
        else:
            raise TypeError(f"it holds {one.target}, which is no tensor")
    kinds = [one.kind for one in program.graph_signature.output_specs]
    if set(kinds) - {OutputKind.USER_OUTPUT, OutputKind.USER_INPUT_MUTATION}:
        raise TypeError("it changes itself while it answers")
    steps = []
    for node in program.graph.nodes:
        if node.op == "call_function":
            named = {name: _written(value) for name, value in node.kwargs.items()}
            steps.append([node.name, _name_of(node.target), _written(node.args), named])
        elif node.op == "output":
            (answers,) = node.args
            output = _written(answers[kinds.index(OutputKind.USER_OUTPUT)])
    facts = {"inputs": inputs, "held": held, "steps": steps, "output": output, "rows": rows}
    return Graph.from_facts(facts, tensors)


def _name_of(target: Any) -> str:
    for name, one in _ARITHMETIC.items():
        if target is one:
            return name
    name = str(target)
    if not _ATEN.fullmatch(name):
        raise TypeError(f"it calls {name}, which is no operation of aten")
    return name


def _operation(name: str) -> Callable[..., Any]:
    """The operation of that name; none that reads or writes files."""
    if name in _ARITHMETIC:
        return _ARITHMETIC[name]
    match = _ATEN.fullmatch(name)
    packet = None if match is None else getattr(torch.ops.aten, match[1], None)
    found = None if packet is None or match is None else getattr(packet, match[2], None)
    if not isinstance(found, torch._ops.OpOverload) or any(a.name == "filename" for a in found._schema.arguments):
        raise BundleError(f"The graph names {name!r}, which it may not call.", "Take it from its source again.")
    return found


def _written(value: Any) -> Any:
    """An argument as JSON."""
    if isinstance(value, Node):
        return {"of": value.name}
    if isinstance(value, list | tuple):
        return [_written(one) for one in value]
    if isinstance(value, _WORDS):
        return {"torch": str(value).removeprefix("torch.")}
    if isinstance(value, torch.device):
        return {"device": "cpu"}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"it calls an operation with a {type(value).__name__}")


def _meant(value: Any, found: Mapping[str, Any]) -> Any:
    """An argument as it was before ``_written``."""
    if isinstance(value, list):
        return [_meant(one, found) for one in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1 and (kind := next(iter(value))) in _MEANINGS:
        return _MEANINGS[kind](value[kind], found)
    return {name: _meant(one, found) for name, one in value.items()}


def _word(name: str) -> Any:
    found = getattr(torch, name, None)
    if not isinstance(found, _WORDS):
        raise BundleError(f"The graph names torch.{name}, which is no type of numbers.", "Take it from its source.")
    return found


_MEANINGS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "of": lambda name, found: found[name],
    "torch": lambda name, found: _word(name),
    "device": lambda name, found: torch.device("cpu"),
    "float": lambda text, found: float(text),
}


def _compare(module: nn.Module, graph: Graph, inputs: tuple[Tensor, ...]) -> None:
    """Refuse a graph that says something else than its module, of these rows, of one, or of more than these."""
    for rows in (inputs, tuple(x[:1] for x in inputs), tuple(torch.cat([x] * _MORE_ROWS) for x in inputs)):
        try:
            with torch.no_grad():
                said = module(*(one.clone() for one in rows))
            same = torch.allclose(graph(*rows), said, rtol=1e-3, atol=1e-4, equal_nan=True)
        except Exception as fault:  # of the module itself, or of what was traced
            raise _untraceable(module, f"it fails on {len(rows[0])} rows: {_first(fault)}") from fault
        if not same:
            raise _untraceable(module, f"what was traced answers otherwise than it does on {len(rows[0])} rows")


def _untraceable(module: nn.Module, why: str) -> UsageError:
    name = type(getattr(module, "module", module)).__name__
    return UsageError(
        f"{name} cannot be carried into another process: {why.rstrip('.')}.",
        "Its forward must be one course of torch operations, whatever the values and however many rows.",
    )


def _first(fault: BaseException) -> str:
    lines = [line.strip() for line in str(fault).splitlines() if line.strip()]
    return (lines[0] if lines else type(fault).__name__)[:300]
