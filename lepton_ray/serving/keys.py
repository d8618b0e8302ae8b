"""The keys of an endpoint: made, kept as hashes in a file that only its owner may read, looked up. It knows no HTTP.

A key is 256 random bits. One SHA-256 is enough for it: a slow hash protects what can be guessed, and this cannot be.

Who serves reads the file anew where a second has passed since the last time (``KeyRing``), so a revoked key is refused
within that second by every replica, on whichever node, as long as the file lies where all of them see it. A file that
cannot be read any more lets nobody in.
"""

import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lepton_ray.errors import EnvironmentFault, UsageError

PREDICT, ADMIN = "predict", "admin"
SCOPES = (PREDICT, ADMIN)
PERIOD = 1.0
"""Seconds after which what a file said is looked up again."""

DEFAULT_FILE = "lepton-keys.json"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Key:
    """One key, without the key itself.

    Attributes:
        digest: the SHA-256 of the key, in hexadecimal.
        created, revoked: dates; ``revoked`` is "" for a key that holds.
    """

    name: str
    scopes: tuple[str, ...]
    digest: str
    created: str
    revoked: str = ""


def new_key() -> str:
    """A key nobody has had before."""
    return f"lepton_{secrets.token_urlsafe(32)}"


def digest_of(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode()).hexdigest()


def match(keys: Collection[Key], shown: str) -> Key | None:
    """The key that holds and was shown; every key is compared, each in constant time."""
    digest, found = digest_of(shown), None
    for key in keys:
        if hmac.compare_digest(key.digest, digest) and not key.revoked:
            found = key
    return found


class KeyFile:
    """A file of keys. Writers lock its folder; readers see the file as it was before or after."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path).expanduser()

    def read(self) -> tuple[Key, ...]:
        """All keys, revoked ones included.

        Raises:
            EnvironmentFault: it is not there, or others than its owner may read it. UsageError: it holds no keys.
        """
        return _parsed(self._bytes(), self.path)

    def add(self, name: str, scopes: Collection[str], created: str) -> str:
        """Make a key, keep its hash, and return the key: this is the only time that anybody sees it.

        Raises:
            UsageError: the name is none or taken, or there is no such scope. EnvironmentFault: as ``read``.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be the name of a key.", "Use up to 64 letters, digits, dots and dashes.")
        unknown = [scope for scope in scopes if scope not in SCOPES]
        if unknown or not scopes:
            what = f"There is no scope {unknown[0]!r}." if unknown else "A key without a scope opens nothing."
            raise UsageError(what, f"Choose of {', '.join(SCOPES)}.")
        shown = new_key()
        with self._locked():
            keys = self.read() if self.path.exists() else ()
            if any(key.name == name and not key.revoked for key in keys):
                raise UsageError(f"There is a key {name} in {self.path}.", "Take another name, or revoke it first.")
            chosen = tuple(scope for scope in SCOPES if scope in scopes)
            self._write((*keys, Key(name, chosen, digest_of(shown), created)))
        return shown

    def revoke(self, name: str, revoked: str) -> None:
        """Let a key open nothing any more.

        Raises:
            UsageError: no key that holds has this name. EnvironmentFault: as ``read``.
        """
        with self._locked():
            keys = self.read()
            if not any(key.name == name and not key.revoked for key in keys):
                raise UsageError(f"No key {name} holds in {self.path}.", f"See lepton keys list --file {self.path}.")
            changed = (replace(k, revoked=revoked) if k.name == name and not k.revoked else k for k in keys)
            self._write(tuple(changed))

    def _bytes(self) -> bytes:
        try:
            with open(self.path, "rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                if mode & 0o077:
                    raise EnvironmentFault(f"Others may read the keys in {self.path}.", f"Run chmod 600 {self.path}.")
                return file.read()
        except OSError as fault:
            raise EnvironmentFault(
                f"The keys in {self.path} cannot be read: {fault.strerror}.", "Make one: lepton keys add NAME."
            ) from fault

    def _write(self, keys: tuple[Key, ...]) -> None:
        text = json.dumps({"version": 1, "keys": [asdict(key) for key in keys]}, indent=1) + "\n"
        draft = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, self.path)
        finally:
            draft.unlink(missing_ok=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            folder = os.open(self.path.parent, os.O_RDONLY)
        except OSError as fault:
            raise EnvironmentFault(
                f"The folder {self.path.parent} cannot be used: {fault.strerror}.", "Choose another place."
            ) from fault
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


class KeyRing:
    """The keys of a file as they are now, for who serves.

    Args:
        path: the file. clock: seconds of a clock that does not jump.
        probe: the digest of a key that predicts for two minutes from now: who brings the endpoint up proves with it
            that it answers, without a key of anybody.

    Raises:
        EnvironmentFault, UsageError: the file cannot be used, as ``KeyFile.read`` says.
    """

    PROBE_SECONDS = 120.0

    def __init__(self, path: Path | str, clock: Callable[[], float], *, probe: str = "") -> None:
        self._file, self._clock = KeyFile(path), clock
        self._keys: tuple[Key, ...] | None = self._file.read()
        self._read_at = clock()
        self._probe = Key("lepton-serve", (PREDICT,), probe, "") if probe else None
        self._probe_ends = self._read_at + self.PROBE_SECONDS

    def find(self, shown: str) -> Key | None:
        """The key that was shown, if it holds now.

        Raises:
            EnvironmentFault, UsageError: the file cannot be used any more.
        """
        now = self._clock()
        if now - self._read_at >= PERIOD or self._keys is None:
            self._keys = None
            self._keys, self._read_at = self._file.read(), now
        probe = (self._probe,) if self._probe is not None and now < self._probe_ends else ()
        return match((*self._keys, *probe), shown)


def _parsed(content: bytes, path: Path) -> tuple[Key, ...]:
    try:
        found = json.loads(content)
        if found["version"] != 1:
            raise ValueError("another version")
        return tuple(_key(**{**one, "scopes": tuple(one["scopes"])}) for one in found["keys"])
    except (ValueError, TypeError, KeyError, RecursionError) as fault:
        raise UsageError(f"{path} is no file of keys.", "Give one that `lepton keys add` has made.") from fault


def _key(**facts: Any) -> Key:
    key = Key(**facts)
    texts = (key.name, key.digest, key.created, key.revoked, *key.scopes)
    if not all(isinstance(text, str) for text in texts) or not _DIGEST.fullmatch(key.digest):
        raise ValueError("a key is damaged")
    return key
