"""The last acts stand alone: what is damaged is told and passed over, what is not temporary stays."""

import json
import os
import time
from pathlib import Path

import pytest

from lepton_ray.money.dollars import Dollars
from lepton_ray.on_host import handover
from lepton_ray.on_host.messages import Wall


def wall(folder: Path) -> Wall:
    return Wall("r", str(folder), 10.0, 3_600_000, 2_000_000, 10.0)


NO_RESULTS = ["", "{", "[]", "{}", '{"bundle": null}', '{"bundle": "/no/such/folder"}', "\udcff", "[" * 100_000]


@pytest.mark.parametrize("text", NO_RESULTS, ids=lambda text: ascii(text[:20]))
def test_a_result_without_a_bundle_on_disk_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "result.json").write_bytes(os.fsencode(text))
    assert handover.sealed_result(tmp_path) is None
    assert handover.sealed_result(tmp_path / "nowhere") is None


@pytest.mark.parametrize("text", [None, "", "not a ledger"])
def test_a_ledger_that_cannot_be_read_costs_rate_times_wall(tmp_path: Path, text: str | None, capfd) -> None:
    if text is not None:
        (tmp_path / "ledger.jsonl").write_text(text)
    books = handover.close_run(wall(tmp_path), 1.0, 2.0)
    assert books.spent == Dollars(2_000) and books.seconds == 2.0
    assert "Could not close the ledger" in capfd.readouterr().err


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path, capfd) -> None:
    (tmp_path / "result.json").mkdir()
    handover.write_result(wall(tmp_path), {"a": 1})
    assert "Could not write the result" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_run_without_a_model_leaves_word(tmp_path: Path) -> None:
    handover.write_failure(wall(tmp_path), {"error": "e", "hint": "h", "exit_code": 4}, handover.Books(Dollars(5), 1.0))
    found = json.loads((tmp_path / "result.json").read_text())
    assert found["run"] == "r" and found["error"] == "e" and found["spent_usd"] == 5e-06


@pytest.mark.parametrize(
    ("believed", "said"),
    [
        (0.8533, "believed  0.8533 by the search, 0.0105 more than measured\n"),
        (0.84, "believed  0.84 by the search, 0.0028 less than measured\n"),
        (0.8428, "believed  0.8428 by the search, as measured\n"),
        (None, ""),
    ],
)
def test_the_summary_says_how_far_the_search_was_from_what_was_measured(believed: float | None, said: str) -> None:
    facts = {"metric": "roc_auc", "score": 0.8428, "spent_usd": 0.1, "wall_seconds": 9.0, "bundle": "b"}
    told = handover.summary(dict.fromkeys(handover.KEYS) | facts | {"believed_score": believed})
    assert said in told and ("believed" in told) == bool(said)


def test_only_temporary_folders_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temp, kept, here = tmp_path / "temp", tmp_path / "kept", tmp_path / "here"
    for folder in (temp / "a" / "b", kept / "run", here):
        folder.mkdir(parents=True)
        (folder / "file").touch()
    (temp / "a" / "link").symlink_to(kept)
    (tmp_path / "alias").symlink_to(kept)
    monkeypatch.chdir(here)
    doomed = [str(path) for path in (temp, tmp_path, kept, here, tmp_path / "alias", tmp_path / "none", "relative")]
    handover.remove(doomed, kept / "run", time.monotonic() + 10)
    assert not temp.exists() and (kept / "run" / "file").exists() and (here / "file").exists()


def test_removal_ends_with_the_time(tmp_path: Path, capfd) -> None:
    (tmp_path / "temp" / "much").mkdir(parents=True)
    handover.remove([str(tmp_path / "temp")], None, time.monotonic() - 1)
    assert (tmp_path / "temp").exists() and "lepton clean" in capfd.readouterr().err


def test_a_full_pipe_that_nobody_reads_holds_up_nothing() -> None:
    reader, writer = os.pipe()
    kept = os.dup(2)
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(writer, True)
    os.dup2(writer, 2)
    try:
        handover.tell("nobody hears this")
    finally:
        os.dup2(kept, 2)
        for number in (reader, writer, kept):
            os.close(number)
