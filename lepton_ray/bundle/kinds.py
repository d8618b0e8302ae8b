"""Which kind of bundle lies in a folder, and both of them by one call. It knows nothing about what they predict."""

import json
from collections.abc import Collection
from pathlib import Path

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.manifest import NAME, Manifest, manifest_text
from lepton_ray.bundle.tensors import FORMAT, TensorBundle, TensorManifest


def manifest_of(folder: Path) -> tuple[str, Manifest | TensorManifest]:
    """Read a bundle's id and manifest, and nothing else.

    Raises:
        BundleError: there is no manifest, or it is damaged.
    """
    bundle_id, text = manifest_text(folder)
    read = TensorManifest.from_json if _is_of_tensors(text) else Manifest.from_json
    return bundle_id, read(text, folder / NAME)


def load_any(
    folder: Path | str, *, expected_id: str | None = None, trust: Collection[str] = ()
) -> Bundle | TensorBundle:
    """Verify and load a bundle of either kind; the arguments are those of ``Bundle.load``.

    Raises:
        BundleError: it is no bundle, damaged, or made by something that is not here.
    """
    if _is_of_tensors(manifest_text(Path(folder).resolve())[1]):
        return TensorBundle.load(folder, expected_id=expected_id)
    return Bundle.load(folder, expected_id=expected_id, trust=trust)


def _is_of_tensors(text: str) -> bool:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("format") == FORMAT
