"""Taking a step's state apart into JSON and arrays, and putting it together. It knows nothing about what it means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lepton_ray.features.step import State

_ARRAY = "__array__"


def split_state(state: State) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the part that JSON can hold, and the arrays by number: ready for ``json`` and ``safetensors``."""
    arrays: dict[str, NDArray[Any]] = {}

    def strip(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            key = f"a{len(arrays)}"
            arrays[key] = np.ascontiguousarray(value)
            return {_ARRAY: key}
        if isinstance(value, Mapping):
            return {str(name): strip(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [strip(inner) for inner in value]
        return value

    return strip(state), arrays


def join_state(json_part: dict[str, Any], arrays: Mapping[str, NDArray[Any]]) -> State:
    """Undo ``split_state``."""

    def fill(value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) == {_ARRAY}:
                return arrays[value[_ARRAY]]
            return {name: fill(inner) for name, inner in value.items()}
        if isinstance(value, list):
            return [fill(inner) for inner in value]
        return value

    state: State = fill(json_part)
    return state
