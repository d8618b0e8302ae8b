"""A feature state on disk: its JSON part, and its arrays as safetensors. Knows nothing about what the state means."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lepton_ray.errors import BundleError
from lepton_ray.features.state import join_state, split_state
from lepton_ray.features.step import State

_JSON, _ARRAYS = "features.json", "features.safetensors"


def save_state(state: State, folder: Path) -> None:
    """Write the state into an existing folder."""
    values, arrays = split_state(state)
    (folder / _JSON).write_text(json.dumps(values, separators=(",", ":")) + "\n", encoding="utf-8")
    save_file(arrays, folder / _ARRAYS)


def load_state(folder: Path) -> State:
    """Read what ``save_state`` wrote.

    Raises:
        BundleError: the two files do not make a state.
    """
    try:
        return join_state(json.loads((folder / _JSON).read_text(encoding="utf-8")), load_file(folder / _ARRAYS))
    except (KeyError, TypeError, ValueError, RecursionError, OSError, SafetensorError) as error:
        raise BundleError(
            f"The features in {folder} cannot be read: {type(error).__name__}.", "Use a complete copy of the bundle."
        ) from error
