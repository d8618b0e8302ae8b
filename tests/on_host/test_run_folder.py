"""The run's folder: every file whole or not there, one bundle at a time behind a link, leavings taken away."""

import errno
import json
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest

from lepton_ray.errors import EnvironmentFault, UsageError
from lepton_ray.on_host import handover
from lepton_ray.on_host.fits import SEARCH, home_of
from lepton_ray.on_host.run_folder import LEAVINGS, Begun, RunFolder, claimed
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.search.trial import DONE, INTERRUPTED, Outcome, Trial
from tests.sealed import seal


def folder(path: Path) -> RunFolder:
    made = RunFolder(path)
    made.prepare()
    return made


def test_a_write_replaces_the_whole_file_and_leaves_no_other(tmp_path: Path) -> None:
    made = folder(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    for text in ("a long text " * 1000, "short"):
        assert made.write("report.html", text).read_text() == text
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*before, "report.html"])


def test_a_number_that_is_none_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    made = folder(tmp_path)
    made.write_json("result.json", {"score": 1.0})
    with pytest.raises(ValueError):
        made.write_json("result.json", {"score": float("nan")})
    assert json.loads((tmp_path / "result.json").read_text()) == {"score": 1.0}


def test_trials_come_back_and_a_torn_line_is_none(tmp_path: Path) -> None:
    made = folder(tmp_path)
    assert made.trials() == []
    outcome = Outcome(Trial("t000", "linear", {"C": 1.0}, 0), DONE, "host", 1.0, 2.0, error=0.1, fold_errors=(0.1,))
    made.log_trial(outcome)
    with (tmp_path / "trials.jsonl").open("a") as file:
        file.write('{"trial": {"id": "t001", "fam')
    assert made.trials() == [outcome]


def test_what_a_failed_run_has_left_is_taken_away(tmp_path: Path) -> None:
    for name in (*LEAVINGS, "plan.json", "mine.txt"):
        (tmp_path / name).write_text("x")
    folder(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *(".resume", ".work", "bundles", "mine.txt", "plan.json")
    ]


def test_files_that_are_no_runs_are_left_alone(tmp_path: Path) -> None:
    for name in ("receipt.txt", "result.json"):
        (tmp_path / name).write_text("the user's own")
    folder(tmp_path)
    assert (tmp_path / "receipt.txt").exists() and (tmp_path / "result.json").exists()


def test_a_bundle_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    made, seconds = folder(tmp_path), iter([1.0, 2.0])
    sealer = Sealer(made, {"run": "r", "task": "binary"}, lambda: next(seconds))
    held = {"score": 0.9, "interval": [0.8, 1.0], "how": "held_out"}
    ids = []
    for number in range(2):
        one = seal(made.scratch / "sealed" / f"t{number}", created=1.7e9 + number)
        ids.append(one.id)
        sealer.seal(one.folder, held, trials=number)
        result = json.loads((tmp_path / "result.json").read_text())
        assert (tmp_path / "bundle").resolve() == Path(result["bundle_folder"]) == tmp_path / "bundles" / one.id[:12]
        assert (result["bundle_id"], result["wall_seconds"], result["trials"]) == (one.id, number + 1.0, number)
    assert ids[0] != ids[1] and [path.name for path in (tmp_path / "bundles").iterdir()] == [ids[1][:12]]


def test_the_same_bundle_twice_is_no_harm(tmp_path: Path) -> None:
    made = folder(tmp_path)
    one = seal(made.scratch / "sealed" / "t0")
    home = made.adopt(one.folder, one.id)
    again = seal(made.scratch / "sealed" / "t1")
    assert again.id == one.id and made.adopt(again.folder, again.id) == home and home.exists()


def test_what_has_begun_is_told_from_what_ended(tmp_path: Path) -> None:
    made = folder(tmp_path)
    begun = [Begun(Trial(f"t00{n}", "linear", {"C": n}, 0), "ray", float(n)) for n in range(3)]
    for one in begun:
        made.log_begun(one)
    with (made.kept / "begun.jsonl").open("a") as file:
        file.write('{"trial": {"id')
    assert made.begun() == begun
    made.log_begun(begun[0])
    assert made.begun() == [*begun, begun[0]]


def test_a_line_after_a_torn_one_is_whole(tmp_path: Path) -> None:
    made = folder(tmp_path)
    outcome = Outcome(
        Trial("t000", "linear", {}, 0), DONE, "host", 1.0, 2.0, error=0.1, fold_errors=(float("nan"), 0.1)
    )
    (tmp_path / "trials.jsonl").write_text('{"trial": {"id": "t0')
    made.log_trial(outcome)
    assert [str(one) for one in made.trials()] == [str(outcome)] and made.torn() == 1


def test_what_is_kept_has_a_bound_and_the_worst_of_the_lowest_rung_goes_first(tmp_path: Path) -> None:
    made = folder(tmp_path)
    told = [("t000", 0, 0.5), ("t001", 0, 0.2), ("t002", 0, None), ("t003", 1, 0.9), ("t004", 1, 0.1)]
    outcomes = [Outcome(Trial(name, "f", {}, rung), DONE, "host", 0.0, 1.0, error=error) for name, rung, error in told]
    for name, _, _ in told:
        (made.scratch / "oof" / f"{name}.npz").write_bytes(b"0" * 100)

    def left(most: int) -> list[str]:
        made.trim(outcomes, most)
        return sorted(path.stem for path in (made.kept / "oof").iterdir())

    assert left(500) == ["t000", "t001", "t002", "t003", "t004"]
    assert left(450) == ["t001", "t002", "t003", "t004"]
    assert left(250) == ["t003", "t004"]
    assert left(100) == ["t004"]


def test_what_was_interrupted_counts_once(tmp_path: Path) -> None:
    made = folder(tmp_path)
    again = Trial("t000", "f", {}, 0)
    outcomes = [
        Outcome(again, INTERRUPTED, "ray", 0.0, 1.0),
        Outcome(again, DONE, "ray", 1.0, 1.0, error=0.9),
        Outcome(Trial("t001", "f", {}, 1), DONE, "ray", 1.0, 1.0, error=0.8),
        Outcome(Trial("t002", "f", {}, 1), DONE, "ray", 1.0, 1.0, error=0.7),
    ]
    for one in outcomes:
        (made.kept / "oof" / f"{one.trial.id}.npz").write_bytes(b"0" * 100)
    made.trim(outcomes, 100)
    assert [path.stem for path in (made.kept / "oof").iterdir()] == ["t002"]


def test_a_model_goes_with_what_it_said(tmp_path: Path) -> None:
    made = folder(tmp_path)
    outcomes = [
        Outcome(Trial(name, "f", {}, 1), DONE, "host", 0.0, 1.0, error=error)
        for name, error in (("t000", 0.5), ("t001", 0.2))
    ]
    for one in outcomes:
        (made.scratch / "oof" / f"{one.trial.id}.npz").write_bytes(b"0" * 100)
        home = home_of(made.scratch, SEARCH, one.trial.id)
        (home / "trees").mkdir(parents=True)
        (home / "trees" / "all").write_bytes(b"0" * 900)
    made.trim(outcomes, 2000)
    assert len(list((made.scratch / "fits" / SEARCH).iterdir())) == 2
    made.trim(outcomes, 1900)
    assert [home.name for home in (made.scratch / "fits" / SEARCH).iterdir()] == ["t001"]
    assert [path.stem for path in (made.kept / "oof").iterdir()] == ["t001"]


def test_what_trials_said_outlives_the_scratch_folder(tmp_path: Path) -> None:
    made = folder(tmp_path)
    (made.scratch / "oof" / "t000.npz").write_bytes(b"said")
    (tmp_path / ".result.json.ab.tmp").touch()
    (tmp_path / "ledger.jsonl.7.new").touch()
    handover.remove([str(made.scratch)], None, time.monotonic() + 10)
    assert not made.scratch.exists()
    made.mend()
    assert (made.scratch / "oof" / "t000.npz").read_bytes() == b"said" and not list(tmp_path.glob("*.new"))
    assert not list(tmp_path.glob(".*.tmp"))


def claim(place: Path) -> Path:
    with claimed(place) as folder:
        return folder.path


def test_a_folder_is_made_where_it_was_asked_for(tmp_path: Path) -> None:
    found = claim(tmp_path / "a" / "b")
    assert found == tmp_path / "a" / "b" and list(found.iterdir()) == []


@pytest.mark.parametrize("result", [None, '{"score": 1}', "torn", '{"error": "", "bundle": "b"}'])
def test_another_run_is_never_overwritten(tmp_path: Path, result: str | None) -> None:
    (tmp_path / "ledger.jsonl").write_text("{}")
    if result is not None:
        (tmp_path / "result.json").write_text(result)
    if result is not None and "bundle" in result:
        (tmp_path / "bundle").mkdir()
    with pytest.raises(UsageError, match="already holds a run"):
        claim(tmp_path)


def test_one_that_failed_without_a_model_makes_way(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text("{}")
    (tmp_path / "result.json").write_text('{"error": "The table is odd."}')
    assert claim(tmp_path) == tmp_path


def test_of_two_that_begin_in_one_folder_at_once_the_second_is_refused(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with claimed(tmp_path / "run") as first:
            second = pool.submit(claim, tmp_path / "run")
            assert not wait([second], 0.2).done
            first.ledger.write_text("{}")
        with pytest.raises(UsageError, match="already holds a run"):
            second.result()


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/lepton"])
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    with pytest.raises(EnvironmentFault) as caught:
        claim(Path(out))
    assert out in caught.value.what and "--out" in caught.value.hint


def test_of_a_look_at_a_full_disk_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    with pytest.raises(EnvironmentFault, match="No space left"):
        claim(tmp_path)
    assert list(tmp_path.iterdir()) == []
