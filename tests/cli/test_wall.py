"""Promises about little time and little money, kept by the real command line, with a clock outside of it."""

from pathlib import Path

import numpy as np
import pytest

from lepton_ray.bundle.bundle import Bundle
from tests.cli.conftest import Inside
from tests.cli.lepton import lepton
from tests.on_host.rows import columns, write
from tests.outside import Done

pytestmark = pytest.mark.process
EXEC_SECONDS = 0.15
"""What this process needs to start another one, which counts from its own start."""


def walled(*words: object, cwd: Path, seconds: float) -> Done:
    """A run that has ended by its wall, whatever the machine does, and has a model, if the cores were its own."""
    done = lepton("run", *words, "--no-serve", "--json", cwd=cwd)
    assert done.seconds <= seconds + EXEC_SECONDS, done
    done.promised(done.code == 0)
    assert done.result["spent_usd"] <= done.result["budget_usd"]
    return done


@pytest.mark.parametrize(
    "limit",
    [
        ("--deadline", "8s"),
        pytest.param(("--budget", "0.000214", "--price", "0.096"), marks=pytest.mark.slow),
    ],
)
def test_the_smallest_limit_that_a_refusal_names_buys_a_model(
    tmp_path: Path, inside: Inside, limit: tuple[str, ...]
) -> None:
    table = write(tmp_path / "table.csv", columns(1200))
    less = [limit[0], "0.00001" if "budget" in limit[0] else "5s", "--no-serve", "--json"]
    refused = inside("run", table, "--target", "left", *less, cwd=tmp_path)
    assert refused.code == 4 and "Give " + " ".join(limit[:2]) in refused.result["hint"], refused
    done = walled(table, "--target", "left", "--drop", "row,value", *limit, cwd=tmp_path, seconds=8.1)
    assert Bundle.load(done.result["bundle"]).id == done.result["bundle_id"]


@pytest.mark.slow
def test_fifteen_seconds_on_forty_thousand_rows_beat_the_constant(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = columns(40_000)
    table |= {f"number{n}": rng.normal(size=40_000).round(4).tolist() for n in range(6)}
    table |= {f"word{n}": rng.choice(["a", "b", "c", "d"], 40_000).tolist() for n in range(3)}
    path = write(tmp_path / "table.csv", table)
    words = [path, "--target", "left", "--drop", "row,value", "--deadline", "15s"]
    done = walled(*words, cwd=tmp_path, seconds=15)
    done.promised(done.result["score"] > 0.7 > done.result["baseline_score"])


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1200, 12_000])
def test_a_wall_is_held_on_tables_of_every_width(tmp_path: Path, rows: int) -> None:
    rng = np.random.default_rng(1)
    table = columns(rows) | {f"n{n}": rng.normal(size=rows).round(3).tolist() for n in range(120)}
    path = write(tmp_path / "wide.csv", table)
    done = walled(path, "--target", "left", "--drop", "row,value", "--deadline", "20s", cwd=tmp_path, seconds=20)
    done.promised(done.result["score"] > 0.7)
