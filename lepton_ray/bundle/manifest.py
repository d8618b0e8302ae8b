"""What a bundle says about itself: its problem, inputs, model, versions, score and files. Knows no models.

The manifest is plain JSON; the SHA-256 of its bytes is the bundle's id, and it holds the SHA-256 of every other file.
"""

import hashlib
import json
import math
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any, get_args

import numpy as np

from lepton_ray.bundle.files import regular_files, sha256
from lepton_ray.bundle.interval import Interval
from lepton_ray.errors import BundleError
from lepton_ray.features.chain import View
from lepton_ray.table.schema import Problem, Schema, Task

FORMAT = 2
NAME = "manifest.json"
LARGEST = 16 << 20
PACKAGES = ("lepton_ray", "lightgbm", "numpy", "pandas", "pyarrow", "safetensors", "scikit-learn", "scipy")
READ_BY = {"lightgbm": "lightgbm"}
"""Family -> the package whose major version must be the one that wrote the model."""

_SAFE_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_AGAIN = "Take the bundle from its source again, or train a new one."


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One file of a bundle: its relative name, its size in bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """One model of the bundle: the family that made it, the view it reads, its configuration, its share."""

    family: str
    view: View
    config: Mapping[str, Any]
    share: float

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "MemberFacts":
        if values["view"] not in get_args(View):
            raise ValueError(f"`view` is none of {', '.join(get_args(View))}")
        if not isinstance(values["config"], dict) or not isinstance(values["family"], str):
            raise TypeError("a member's `config` is not dict or its `family` not str")
        return cls(values["family"], values["view"], values["config"], float(values["share"]))


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about a bundle except the numbers of its model.

    Attributes:
        schema: the columns that a caller sends, with their kinds.
        members: the models in the order of their folders ``model/0``, ``model/1``, …
        temperature: what the blend's log probabilities are divided by.
        threshold: from which probability on the positive class of a binary problem is predicted.
        example: one ordinary row, for the first request and the documentation; it may hold nulls.
        interval: where the truth lies around a predicted value, for a regression that was judged on enough rows.
        facts: what the run says of this model: score, interval, trials, how it was refitted.
    """

    created: float
    versions: Mapping[str, str]
    problem: Problem
    schema: Schema
    members: tuple[MemberFacts, ...]
    temperature: float
    threshold: float | None
    example: Mapping[str, Any]
    facts: Mapping[str, Any]
    files: tuple[StoredFile, ...]
    interval: Interval | None = None
    format: int = FORMAT

    @property
    def outputs(self) -> tuple[str, ...]:
        """The columns of a prediction, in order."""
        bounds = () if self.interval is None else ("prediction_low", "prediction_high")
        return ("prediction", *bounds, *(f"probability_{name}" for name in self.problem.classes))

    @property
    def family(self) -> str:
        """What the model is, for people: "lightgbm", or "lightgbm + linear"."""
        return " + ".join(dict.fromkeys(member.family for member in self.members))

    @property
    def views(self) -> tuple[View, ...]:
        """The views that the members read, each once."""
        return tuple(dict.fromkeys(member.view for member in self.members))

    def to_json(self) -> str:
        """The manifest's exact text."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values |= {"problem": self.problem.to_dict(), "schema": self.schema.to_dict()}
        values["members"] = [asdict(member) for member in self.members]
        values["interval"] = None if self.interval is None else self.interval.to_dict()
        values["files"] = [{"name": file.name, "size": file.size, "sha256": file.sha256} for file in self.files]
        return json.dumps(values, indent=2, sort_keys=True, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: Path) -> "Manifest":
        """Read what ``to_json`` wrote.

        Raises:
            BundleError: it is not that, or of a format that this version does not know.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict) or "format" not in values:
                raise ValueError("no format is named")
            if str(values["format"]).startswith("tensors"):
                raise BundleError(
                    f"{where.parent} is a bundle of tensors, made of somebody's own model, and reads no table.",
                    "Serve it with lepton serve, or load it with lepton_ray.bundle.tensors.TensorBundle.",
                )
            if values["format"] != FORMAT:
                raise BundleError(
                    f"{where} has format {values['format']!r}; this lepton_ray reads format {FORMAT}.",
                    "Read it with the lepton_ray that wrote it, or train a new bundle.",
                )
            return cls._from_values(values)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise BundleError(f"{where} is not the manifest of a bundle: {_reason(error)}.", _AGAIN) from error

    @classmethod
    def _from_values(cls, values: dict[str, Any]) -> "Manifest":
        problem = Problem.from_dict(values["problem"])
        if problem.task is Task.BINARY:
            values["threshold"] = float(values["threshold"])
        members = tuple(MemberFacts.from_dict(member) for member in values["members"])
        if not members:
            raise ValueError("`members` is empty")
        for name, kind in (("versions", dict), ("facts", dict), ("example", dict)):
            if not isinstance(values[name], kind):
                raise TypeError(f"`{name}` is not {kind.__name__}")
        return cls(
            **values
            | {
                "created": float(values["created"]),
                "members": members,
                "temperature": float(values["temperature"]),
                "interval": None if values.get("interval") is None else Interval.from_dict(values["interval"]),
                "problem": problem,
                "schema": Schema.from_dict(values["schema"]),
                "files": tuple(
                    StoredFile(_safe_name(file["name"]), file["size"], file["sha256"]) for file in values["files"]
                ),
            }
        )

    def check_versions(self, where: Path) -> None:
        """Refuse a model that was written by another major version of the package that must read it."""
        for package in sorted({READ_BY[member.family] for member in self.members if member.family in READ_BY}):
            wrote, reads = self.versions.get(package, "none"), _version(package)
            if wrote.split(".")[0] == reads.split(".")[0]:
                continue
            raise BundleError(
                f"{where} was written with {package} {wrote}, but {reads} is installed.",
                f"Install {package} {wrote}, or train a new bundle.",
            )

    def check_files(self, folder: Path) -> None:
        """Refuse a folder that does not hold exactly the files that the manifest names, byte for byte."""
        check_stored(self.files, folder)


def check_stored(files: Sequence[StoredFile], folder: Path) -> None:
    """Refuse a folder that does not hold exactly these files beside its manifest, byte for byte."""
    expected = {file.name: file for file in files}
    there = set(regular_files(folder)) - {NAME}
    for name in sorted(expected.keys() - there):
        raise BundleError(f"{folder} is damaged: {name} is missing.", _AGAIN)
    for name in sorted(there - expected.keys()):
        raise BundleError(f"{folder} holds {name}, which its manifest does not name.", f"Remove {name}.")
    for name, file in expected.items():
        path = folder / name
        if path.stat().st_size != file.size or sha256(path) != file.sha256:
            raise BundleError(f"{folder} is damaged: {name} is not the file that was sealed.", _AGAIN)


def read_manifest(folder: Path) -> tuple[str, Manifest]:
    """Read a bundle's id and manifest, and nothing else.

    Raises:
        BundleError: there is no manifest, or it is damaged.
    """
    bundle_id, text = manifest_text(folder)
    return bundle_id, Manifest.from_json(text, folder / NAME)


def manifest_text(folder: Path) -> tuple[str, str]:
    """Read the id and the text of whatever manifest lies in a folder.

    Raises:
        BundleError: there is none, or it is none.
    """
    path = folder / NAME
    try:
        if path.stat().st_size > LARGEST:
            raise BundleError(f"{path} is larger than a manifest can be.", "Take the bundle from its source again.")
        content = path.read_bytes()
        text = content.decode()
    except UnicodeDecodeError as error:
        raise BundleError(f"{path} is not text.", "Take the bundle from its source again.") from error
    except OSError as error:
        raise BundleError(
            f"{folder} is not a bundle: {NAME} cannot be read ({error.strerror}).", "Name the folder that a run made."
        ) from error
    return hashlib.sha256(content).hexdigest(), text


def stored_files(folder: Path) -> tuple[StoredFile, ...]:
    """Measure every file of a folder that is about to be sealed."""
    return tuple(
        StoredFile(_safe_name(name), (folder / name).stat().st_size, sha256(folder / name))
        for name in regular_files(folder)
        if name != NAME
    )


def installed_versions() -> dict[str, str]:
    """The versions of Python and of every package that has a say in a prediction."""
    return {"python": platform.python_version()} | {package: _version(package) for package in PACKAGES}


def plain(value: Any) -> Any:
    """The JSON value nearest to ``value``: arrays and tuples become lists, numbers that are not finite null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        if package == "lepton_ray":
            from lepton_ray import __version__

            return __version__
        return "none"


def _safe_name(name: object) -> str:
    if not isinstance(name, str):
        raise ValueError(f"a file's name is {name!r}")
    if name == NAME or not all(_SAFE_PART.fullmatch(part) for part in name.split("/")):
        raise ValueError(f"{name!r} is not a file name that a bundle may hold")
    return PurePosixPath(name).as_posix()


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"`{error.args[0]}` is missing"
    return str(error).split("\n")[0].rstrip(".")
