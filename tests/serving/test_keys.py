"""Keys: made, kept as hashes, looked up, revoked."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lepton_ray.errors import EnvironmentFault, LeptonError, UsageError
from lepton_ray.serving.keys import KeyFile, KeyRing, digest_of, new_key

DAY = "2026-11-23T12:00:00Z"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


def test_a_key_is_shown_once_and_kept_as_a_hash_for_its_owner_alone(file: KeyFile) -> None:
    shown = file.add("shop", ["admin", "predict"], DAY)
    (key,) = file.read()
    assert (key.name, key.scopes, key.created, key.revoked) == ("shop", ("predict", "admin"), DAY, "")
    assert key.digest == digest_of(shown) and shown not in file.path.read_text()
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert [path.name for path in file.path.parent.iterdir()] == ["keys.json"]


def test_keys_are_256_bits_and_differ() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100 and {len(key) for key in keys} == {len("lepton_") + 43}


def test_several_keys_are_told_apart_and_a_revoked_one_is_gone_within_the_period(file: KeyFile) -> None:
    clock = Clock()
    shop, till = file.add("shop", ["predict"], DAY), file.add("till", ["predict"], DAY)
    ring = KeyRing(file.path, clock)
    for shown, name in ((shop, "shop"), (till, "till")):
        found = ring.find(shown)
        assert found is not None and found.name == name
    assert ring.find(shop[:-1]) is None and ring.find(digest_of(shop)) is None and ring.find("ключ") is None
    file.revoke("shop", DAY)
    clock.now += 1.0
    assert ring.find(shop) is None and ring.find(till) is not None
    again = file.add("shop", ["predict"], DAY)
    clock.now += 1.0
    assert ring.find(shop) is None and ring.find(again) is not None
    assert [key.revoked for key in file.read()] == [DAY, "", ""]


def test_a_file_that_is_gone_or_damaged_or_open_lets_nobody_in_until_it_is_mended(file: KeyFile) -> None:
    clock = Clock()
    shown = file.add("shop", ["predict"], DAY)
    ring, whole = KeyRing(file.path, clock), file.path.read_bytes()
    file.path.unlink()
    assert ring.find(shown) is not None  # within the second
    for content, mode in ((None, 0), (b"{}", 0o600), (whole[:-9], 0o600), (whole, 0o644)):
        if content is not None:
            file.path.write_bytes(content)
            file.path.chmod(mode)
        clock.now += 1.0
        for _ in range(2):
            with pytest.raises(LeptonError, match="keys"):
                ring.find(shown)
    file.path.chmod(0o600)
    assert ring.find(shown) is not None


def test_a_probe_predicts_for_two_minutes(file: KeyFile) -> None:
    clock, probe = Clock(), new_key()
    file.add("shop", ["admin"], DAY)
    ring = KeyRing(file.path, clock, probe=digest_of(probe))
    found = ring.find(probe)
    assert found is not None and found.scopes == ("predict",)
    clock.now += 120
    assert ring.find(probe) is None


def test_what_cannot_be_a_key_is_refused(file: KeyFile) -> None:
    file.add("shop", ["predict"], DAY)
    for name, scopes, said in (
        ("shop", ["predict"], "There is a key shop"),
        ("a b", ["predict"], "name of a key"),
        ("", ["predict"], "name of a key"),
        ("till", ["write"], "scope 'write'"),
        ("till", [], "without a scope"),
    ):
        with pytest.raises(UsageError, match=said):
            file.add(name, scopes, DAY)
    with pytest.raises(UsageError, match="No key till holds"):
        file.revoke("till", DAY)
    with pytest.raises(EnvironmentFault, match="cannot be used"):
        KeyFile(file.path.parent / "nowhere" / "keys.json").add("shop", ["predict"], DAY)
    with pytest.raises(EnvironmentFault, match="cannot be read"):
        KeyFile(file.path.parent / "other.json").read()


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{", b'{"version":2,"keys":[]}', b'{"version":1,"keys":[{"name":"a"}]}', b"[" * 100_000, b"\xff"],
)
def test_what_is_no_file_of_keys_is_refused(file: KeyFile, content: bytes) -> None:
    file.path.write_bytes(content)
    file.path.chmod(0o600)
    with pytest.raises(UsageError, match="no file of keys"):
        file.read()


def test_a_digest_that_is_none_is_refused(file: KeyFile) -> None:
    file.add("shop", ["predict"], DAY)
    damaged = json.loads(file.path.read_text())
    damaged["keys"][0]["digest"] = "é" * 64
    file.path.write_text(json.dumps(damaged))
    with pytest.raises(UsageError, match="no file of keys"):
        file.read()


def test_writers_at_once_lose_no_key(file: KeyFile) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: file.add(f"key-{number}", ["predict"], DAY), range(24)))
    assert {key.name for key in file.read()} == {f"key-{number}" for number in range(24)}
