"""A model's folder: facts as JSON, arrays as safetensors. It knows nothing about their meaning, never unpickles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lepton_ray.errors import BundleError

_FACTS, _ARRAYS = "model.json", "model.safetensors"


def write_model(folder: Path, facts: dict[str, Any], arrays: dict[str, NDArray[Any]] | None = None) -> None:
    (folder / _FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    if arrays:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / _ARRAYS)


def read_model(folder: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return what ``write_model`` wrote, or say which file of the bundle is missing or damaged."""
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        arrays = load_file(folder / _ARRAYS) if (folder / _ARRAYS).exists() else {}
    except (OSError, ValueError, RecursionError, SafetensorError) as fault:
        raise BundleError(
            f"The model in {folder} cannot be read: {fault}.", "Use a complete copy of the bundle."
        ) from fault
    return facts, arrays
