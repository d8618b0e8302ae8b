"""Feature states on disk: a JSON part, and arrays as safetensors, for each view. Knows nothing of what they mean."""

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from lepton_ray.errors import BundleError
from lepton_ray.features.state import join_state, split_state
from lepton_ray.features.step import State


def save_state(state: State, folder: Path, view: str) -> None:
    """Write the state into an existing folder."""
    values, arrays = split_state(state)
    (folder / f"{view}.json").write_text(json.dumps(values, separators=(",", ":")) + "\n", encoding="utf-8")
    save_file(arrays, folder / f"{view}.safetensors")


def load_state(folder: Path, view: str) -> State:
    """Read what ``save_state`` wrote.

    Raises:
        BundleError: the two files do not make a state.
    """
    try:
        values = json.loads((folder / f"{view}.json").read_text(encoding="utf-8"))
        return join_state(values, load_file(folder / f"{view}.safetensors"))
    except (KeyError, TypeError, ValueError, RecursionError, OSError, SafetensorError) as error:
        raise BundleError(
            f"The features in {folder} cannot be read: {type(error).__name__}.", "Use a complete copy of the bundle."
        ) from error
