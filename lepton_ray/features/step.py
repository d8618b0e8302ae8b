"""The contract of a feature step: pure functions over blocks. It knows nothing about any particular column kind.

    state  = merge(init(block_1), merge(init(block_2), ...))    the same for every partition of the rows, in every order
    state  = seal(state)                                        small, quick to apply, can no longer be merged
    matrix = apply(state, block)                                row by row: never depends on a row's neighbours

A state is a dict of JSON values, lists of strings, numpy arrays and such dicts: saved without pickle (``state.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lepton_ray.features.graph import Wire, Wires
from lepton_ray.features.matrix import Matrix

State = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Step:
    """Three pure functions, a fourth that closes the state, and a fifth that says ``apply`` as nodes of ONNX.

    ``seal`` keeps only what ``apply`` needs (a column's median, not its value counts). ``apply`` takes a state of
    either form and gives the same matrix for both; sealing twice changes nothing. ``draw`` gets the clean columns as
    wires (n, 1): numbers as doubles and dates as seconds since 1970, NaN where missing, categories as strings, empty
    where missing; None where ONNX has no operators for it.
    """

    name: str
    init: Callable[[pa.Table], State]
    merge: Callable[[State, State], State]
    apply: Callable[[State, pa.Table], Matrix]
    seal: Callable[[State], State]
    draw: Callable[[State, Mapping[str, Wire]], Wires] | None = None


def learn(step: Step, blocks: Iterable[pa.Table]) -> State:
    """Walk once over the training blocks; the sealed state is the same for any partition of the same rows."""
    state: State | None = None
    for block in blocks:
        seen = step.init(block)
        state = seen if state is None else step.merge(state, seen)
    if state is None:
        raise ValueError("learn needs at least one block, but got none")
    return step.seal(state)


def is_sealed(state: State) -> bool:
    return bool(state.get("sealed"))


def refuse_sealed(*states: State) -> None:
    if any(is_sealed(state) for state in states):
        raise ValueError("a sealed state has forgotten its counts and cannot be merged")
