"""Checkpoints: states of a training on any pyarrow filesystem, written beside the training. It knows nothing about Ray.

A checkpoint is a folder named after its epoch and step. It exists when its ``manifest.json`` exists, which is written
last and has the names, sizes and SHA-256 of the others: ``state.safetensors`` and ``state.json``. Nothing is unpickled.
One process writes to a folder; a state is written whole by that process, so models that are sharded over workers are
not held. Importing this imports torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from pyarrow import fs
from safetensors import SafetensorError
from safetensors.torch import load, save

from lepton_ray.errors import BundleError, EnvironmentFault, UsageError
from lepton_ray.training.state import State

FORMAT = 1
_TENSORS, _FACTS, _MANIFEST = "state.safetensors", "state.json", "manifest.json"
_DAMAGED = (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError)


def name_of(epoch: int, step: int) -> str:
    return f"{epoch:06d}-{step:09d}"


class Checkpoints:
    """The checkpoints in one folder, of which the last few are kept."""

    def __init__(self, filesystem: fs.FileSystem, folder: str, *, keep: int = 2) -> None:
        if keep < 1:
            raise UsageError(f"{keep} checkpoints are to be kept.", "Keep at least 1.")
        self._files, self._folder, self._keep = filesystem, folder.rstrip("/"), keep
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._last: Future[None] | None = None

    @classmethod
    def at(cls, place: str, *, keep: int = 2) -> Checkpoints:
        """Return those at a path, or at a URI that pyarrow knows, such as s3://bucket/folder."""
        try:
            filesystem, folder = fs.FileSystem.from_uri(place) if "://" in place else (fs.LocalFileSystem(), place)
        except (ValueError, OSError) as fault:
            raise UsageError(f"Checkpoints cannot be kept at {place}: {fault}.", "Name a folder or a URI.") from fault
        return cls(filesystem, folder, keep=keep)

    def save(self, state: State) -> None:
        """Begin to write this state, once the one before is written.

        Raises:
            EnvironmentFault: the one before could not be written; checkpoints that are whole stay.
        """
        self.wait()
        self._last = self._writer.submit(self._write, state)

    def wait(self) -> None:
        """Return when the state that was handed over last is written.

        Raises:
            EnvironmentFault: it could not be.
        """
        last, self._last = self._last, None
        if last is not None:
            last.result()

    def close(self) -> None:
        """Wait, as ``wait`` does, and write no more."""
        try:
            self.wait()
        finally:
            self._writer.shutdown()

    def names(self) -> list[str]:
        """Return the checkpoints that have a manifest, the oldest first."""
        with self._faults("read"):
            found = self._files.get_file_info(fs.FileSelector(self._folder, allow_not_found=True))
            places = [entry for entry in found if entry.type == fs.FileType.Directory]
            marks = self._files.get_file_info([f"{place.path}/{_MANIFEST}" for place in places])
        return sorted(p.base_name for p, mark in zip(places, marks, strict=True) if mark.type == fs.FileType.File)

    def latest(self) -> State | None:
        """Return the newest that is whole, or None where there is none; one that is damaged is passed over."""
        for name in reversed(self.names()):
            try:
                return self.load(name)
            except BundleError:
                continue
        return None

    def load(self, name: str) -> State:
        """Return the state of this name.

        Raises:
            BundleError: a file of it is missing or differs from its manifest.
        """
        try:
            manifest = json.loads(self._read(name, _MANIFEST))
            if manifest["format"] != FORMAT:
                raise BundleError(f"The checkpoint {name} has format {manifest['format']}.", "Use a newer lepton_ray.")
            tensors, facts = (self._checked(name, file, manifest["files"][file]) for file in (_TENSORS, _FACTS))
            return State(load(tensors), json.loads(facts))
        except _DAMAGED as fault:
            raise BundleError(
                f"The checkpoint {self._folder}/{name} cannot be read: {str(fault) or type(fault).__name__}.",
                "Go on from an earlier one.",
            ) from fault

    def _checked(self, name: str, file: str, told: dict[str, Any]) -> bytes:
        content = self._read(name, file)
        if len(content) != told["bytes"] or hashlib.sha256(content).hexdigest() != told["sha256"]:
            raise ValueError(f"{file} is not what its manifest says")
        return content

    def _read(self, name: str, file: str) -> bytes:
        with self._files.open_input_stream(f"{self._folder}/{name}/{file}", compression=None) as stream:
            content: bytes = stream.read()
        return content

    def _write(self, state: State) -> None:
        name = name_of(state.facts["epoch"], state.facts["step"])
        contents = {_TENSORS: save(dict(state.tensors)), _FACTS: json.dumps(dict(state.facts)).encode()}
        told = {file: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()} for file, c in contents.items()}
        with self._faults("written"):
            self._remove(name)
            self._files.create_dir(f"{self._folder}/{name}", recursive=True)
            for file, content in contents.items():
                self._put(name, file, content)
            self._put(name, _MANIFEST, json.dumps({"format": FORMAT, "files": told}).encode())
            for old in self.names()[: -self._keep]:
                self._remove(old)

    def _put(self, name: str, file: str, content: bytes) -> None:
        with self._files.open_output_stream(f"{self._folder}/{name}/{file}", compression=None) as stream:
            stream.write(content)

    def _remove(self, name: str) -> None:
        """Remove a checkpoint, its manifest first: half of one does not exist."""
        place = f"{self._folder}/{name}"
        if self._files.get_file_info(f"{place}/{_MANIFEST}").type == fs.FileType.File:
            self._files.delete_file(f"{place}/{_MANIFEST}")
        if self._files.get_file_info(place).type == fs.FileType.Directory:
            self._files.delete_dir(place)

    @contextmanager
    def _faults(self, done: str) -> Iterator[None]:
        try:
            yield
        except OSError as fault:
            raise EnvironmentFault(
                f"A checkpoint in {self._folder} could not be {done}: {fault}.",
                "Bring the storage back or free some space; checkpoints that are whole are kept.",
            ) from fault
