"""lepton keys: one line out when it is made, its hash afterwards."""

import re
from pathlib import Path

from tests.cli.conftest import Inside


def test_a_key_is_made_listed_and_revoked(inside: Inside, tmp_path: Path) -> None:
    made = inside("keys", "add", "shop", cwd=tmp_path)
    assert made.code == 0 and re.fullmatch(r"lepton_[A-Za-z0-9_-]{43}\n", made.out)
    assert inside("keys", "add", "prometheus", "--scopes", "admin", cwd=tmp_path).code == 0
    listed = inside("keys", "list", cwd=tmp_path).out
    assert [line.split()[:2] for line in listed.splitlines()] == [["shop", "predict"], ["prometheus", "admin"]]
    assert made.out.strip() not in listed + (tmp_path / "lepton-keys.json").read_text()
    assert inside("keys", "revoke", "shop", cwd=tmp_path).code == 0
    assert "revoked 20" in inside("keys", "list", cwd=tmp_path).out.splitlines()[0]


def test_what_is_wrong_is_one_sentence(inside: Inside, tmp_path: Path) -> None:
    for words, code, said in (
        (("add",), 2, "lepton keys --help"),
        (("add", "shop", "--scopes", "write"), 2, "no scope 'write'"),
        (("revoke", "shop"), 8, "cannot be read"),
        (("list", "--file", "nowhere/keys.json"), 8, "cannot be read"),
    ):
        done = inside("keys", *words, cwd=tmp_path)
        assert (done.code, done.out) == (code, ""), done
        assert said in done.err and "Traceback" not in done.err


def test_an_endpoint_is_not_brought_up_with_keys_or_limits_that_cannot_be(inside: Inside, tmp_path: Path) -> None:
    for words, code, said in (
        (("--keys", "nowhere.json"), 8, "nowhere.json cannot be read"),
        (("--limits", "rows=0"), 2, "rows=0"),
        (("--limits", "speed=9"), 2, "There are body, rows, read"),
    ):
        done = inside("serve", "bundle", *words, cwd=tmp_path)
        assert (done.code, done.out) == (code, ""), done
        assert said in done.err
