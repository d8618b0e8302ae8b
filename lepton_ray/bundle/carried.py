"""A bundle carried in memory, as the bytes of its files: what an object holds that may be copied and pickled.

It knows nothing about what the files mean: ``Bundle.load`` verifies and reads them.
"""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.files import new_folder, regular_files


class Carried:
    """The files of one sealed bundle by name; a pickle of it holds their bytes and no live model.

    Attributes:
        trust: families outside lepton_ray whose code may be imported, see ``Bundle.load``.
    """

    def __init__(self, files: Mapping[str, bytes], trust: Sequence[str] = ()) -> None:
        self.files = dict(files)
        self.trust = tuple(trust)
        self._bundle: Bundle | None = None

    @classmethod
    def of(cls, folder: Path, trust: Sequence[str] = ()) -> Self:
        """Take up the bundle in ``folder``, which may go then.

        Raises:
            BundleError: it is none, or a damaged one.
        """
        home = folder.resolve()
        carried = cls({name: (home / name).read_bytes() for name in regular_files(home)}, trust)
        carried._bundle = Bundle.load(home, trust=carried.trust)
        return carried

    @property
    def bundle(self) -> Bundle:
        """The bundle, loaded when first asked for.

        Raises:
            BundleError: it needs packages of another version than those that are installed.
        """
        if self._bundle is None:
            with tempfile.TemporaryDirectory(prefix="lepton-bundle-") as place:
                self._bundle = self.unpack(Path(place) / "bundle")
        return self._bundle

    def unpack(self, folder: Path) -> Bundle:
        """Write the files into a new folder, whole or not at all, and load them from there.

        Raises:
            BundleError: the folder exists. EnvironmentFault: the disk refused.
        """
        with new_folder(folder) as place:
            for name, content in self.files.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_bytes(content)
        return Bundle.load(folder, trust=self.trust)

    def __getstate__(self) -> tuple[dict[str, bytes], tuple[str, ...]]:
        return self.files, self.trust

    def __setstate__(self, state: tuple[dict[str, bytes], tuple[str, ...]]) -> None:
        self.files, self.trust = state
        self._bundle = None
