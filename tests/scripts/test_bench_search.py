"""The benches as they are called: a peer that cannot run, lepton, what is there already, the table of it all."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.outside import ROOT, environment

pytestmark = pytest.mark.process


def call(script: str, *words: object, cwd: Path) -> str:
    command = [sys.executable, ROOT / "scripts" / script, *map(str, words)]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_peer_without_a_model_scores_as_the_constant_and_is_not_run_again(tmp_path: Path) -> None:
    python = tmp_path / "peers" / "flaml" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')  # an interpreter that has no FLAML
    python.chmod(0o755)
    words = ("--slice", "short", "--peers", tmp_path / "peers", "--systems", "flaml", "--out", "out.jsonl")
    call("bench_search.py", *words, cwd=tmp_path)
    text = (tmp_path / "out.jsonl").read_text()
    (line,) = map(json.loads, text.splitlines())
    assert (line["score"], line["table"], line["seconds"]) == (0.5, "breast_cancer", 15)
    assert "No module named 'flaml'" in line["failed"]
    (tmp_path / "out.jsonl").write_text(text + '{"system": "fla')  # killed in mid-line
    assert call("bench_search.py", *words, cwd=tmp_path) == ""
    assert (tmp_path / "out.jsonl").read_text() == text


def test_lepton_is_measured_from_outside(tmp_path: Path) -> None:
    words = ("--tables", "breast_cancer", "--seeds", 0, "--seconds", 10, "--systems", "lepton", "--out", "out.jsonl")
    call("bench_search.py", *words, cwd=tmp_path)
    (line,) = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert line["failed"] is None and line["score"] > 0.9 and line["believed"] > 0.9
    assert line["train_seconds"] >= line["wall_seconds"] - 0.1 and line["versions"]["lepton_ray"]
    said = call("bench_search.py", "--table", "--out", "out.jsonl", cwd=tmp_path)
    assert "### 10 s" in said and "| breast_cancer | roc_auc | 1 | 0.5 |" in said


def test_the_wall_is_measured_in_dollars(tmp_path: Path) -> None:
    words = ("--tables", "breast_cancer", "--seconds", 12, "--walls", "dollars", "--out", "wall.jsonl")
    call("bench_wall.py", *words, cwd=tmp_path)
    assert call("bench_wall.py", *words, cwd=tmp_path) == ""
    (line,) = map(json.loads, (tmp_path / "wall.jsonl").read_text().splitlines())
    assert line["code"] == 0 and line["beats"] is (line["score"] > line["constant"] == 0.5)
    assert 0 < line["billed_of_dollars"] <= line["of_dollars"] and line["of_seconds"] < 0.5
    assert 0 < line["cores_in_trials"] <= line["cores_busy"]
    assert "1 runs: largest" in call("bench_wall.py", "--table", "--out", "wall.jsonl", cwd=tmp_path)
