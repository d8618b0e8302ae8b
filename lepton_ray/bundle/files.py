"""Files that are whole or not there: fsynced, renamed, hashed, pointed at. Knows nothing about models."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lepton_ray.errors import BundleError, EnvironmentFault

_CHUNK = 1 << 20


def require_new(folder: Path) -> None:
    """Refuse a folder that is there.

    Raises:
        BundleError: it exists, if only as a link that leads nowhere.
    """
    if folder.exists() or folder.is_symlink():
        raise BundleError(f"{folder} exists already.", "A bundle is never overwritten: name another folder.")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary sibling that becomes ``folder`` when the block ends well, and vanishes when it does not."""
    require_new(folder)
    temporary = folder.parent / f".{folder.name}.{secrets.token_hex(4)}.tmp"
    with disk_faults(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        try:
            yield temporary
            sync_tree(temporary)
            os.rename(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync(folder.parent)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling that replaces ``path`` when the block ends well, and vanishes when it does not."""
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    with disk_faults(path):
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync(path.parent)


def point(link: Path, folder: Path) -> None:
    """Let the symbolic link ``link`` mean ``folder`` from now on; nobody ever sees it missing."""
    temporary = link.parent / f".{link.name}.{secrets.token_hex(4)}.tmp"
    with disk_faults(link):
        try:
            os.symlink(os.path.relpath(folder, link.parent), temporary)
            os.replace(temporary, link)
        finally:
            temporary.unlink(missing_ok=True)
        sync(link.parent)


@contextmanager
def disk_faults(path: Path) -> Iterator[None]:
    """Say in one sentence what the disk refused while ``path`` was written."""
    try:
        yield
    except OSError as error:
        hint = (
            "Free some space there."
            if error.errno in (errno.ENOSPC, errno.EDQUOT)
            else "Choose a place that can be written."
        )
        raise EnvironmentFault(f"{path} cannot be written: {error.strerror or error}.", hint) from error


def sync(path: Path) -> None:
    """Force one file, or the names in one folder, onto the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Force every file and folder below ``folder`` onto the disk."""
    for name in regular_files(folder):
        sync(folder / name)
    for place, _, _ in os.walk(folder):
        sync(Path(place))


def regular_files(folder: Path) -> list[str]:
    """The files below ``folder`` as sorted relative names with forward slashes.

    Raises:
        BundleError: something there is a link, or neither file nor folder.
    """
    names = []
    for place, folders, files in os.walk(folder):
        for entry in [*folders, *files]:
            path = Path(place, entry)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise BundleError(
                    f"{path} is a link or a special file, which a bundle never holds.",
                    "Take the bundle from its source again.",
                )
        names += [Path(place, entry).relative_to(folder).as_posix() for entry in files]
    return sorted(names)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
