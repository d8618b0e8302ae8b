"""The recorder and the miners as they are called: what is there is skipped, and what is mined is mined alike."""

import subprocess
import sys
from pathlib import Path

import pytest

from lepton_ray.search import cost, portfolio
from lepton_ray.search.records import read_blends, read_records, recorded_tables
from tests.search.recording import RECORDED

pytestmark = pytest.mark.process
SCRIPTS = Path(__file__).parents[2] / "scripts"
TABLES = """
- {table: "builtin:wine", target: cultivar, rows: 150}
- {name: made, make: friedman3, with: {n_samples: 1200, noise: 0.2, random_state: 4}, rows: 1100}
"""


def call(script: str, *words: object) -> None:
    subprocess.run([sys.executable, SCRIPTS / script, *map(str, words)], check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recording")
    (folder / "tables.yaml").write_text(TABLES)
    record(folder)
    return folder / "recorded.jsonl"


def record(folder: Path) -> None:
    out = folder / "recorded.jsonl"
    call("record_trials.py", folder / "tables.yaml", "--out", out, "--families", "constant,linear", "--draws", 1)


def test_every_configuration_is_judged_at_two_rungs_on_two_folds(recorded: Path) -> None:
    stamps, records = read_records(recorded)
    made, wine = recorded_tables(records)
    assert (made.facts.name, made.facts.classes, made.facts.source) == ("made", 0, "made")
    assert (wine.facts.name, wine.facts.classes, wine.facts.source) == ("wine@150", 3, "wine")
    for table in (made, wine):
        assert len(table.rungs) == 2 and len(table.everywhere()) >= 6
        assert all(len(run.fold_errors) == 2 for run in table.everywhere().values())
        floor = table.rungs[1]["constant", "{}"].held_error
        assert min(run.held_error for run in table.rungs[1].values()) < 0.8 * floor
    assert {one.stamp for one in records} <= set(stamps)
    assert all(one.train_rows < 0.3 * one.table.rows for one in records if one.rung == 0)


def test_what_is_there_is_not_recorded_again(recorded: Path) -> None:
    before = read_records(recorded)[1]
    with recorded.open("a") as out:
        out.write('{"table": "made", "fam')  # killed in mid-line
    record(recorded.parent)
    assert read_records(recorded)[1] == before


def test_blends_of_all_pairs(recorded: Path) -> None:
    call("record_blends.py", recorded)
    call("record_blends.py", recorded)
    tables, blends = recorded_tables(read_records(recorded)[1]), read_blends(recorded)
    assert recorded.read_text().count('"keys"') == 2
    for table in tables:
        found = blends[table.facts.name]
        assert set(found.keys) == set(table.rungs[1])
        alone = {key: (run.error + run.held_error) / 2 for key, run in table.rungs[1].items()}
        for one, other, error in found.pairs():
            assert 0.0 < error < 1.05 * max(alone[one], alone[other])


@pytest.mark.parametrize("script", ["mine_portfolio.py", "mine_costs.py"])
def test_mining_gives_the_same_file_byte_for_byte(script: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        call(script, "--from", RECORDED, "--out", tmp_path / name)
    call(script, "--from", RECORDED, "--out", tmp_path / "less", "--without", "telco_churn")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() != (tmp_path / "less").read_bytes()


@pytest.mark.exam
@pytest.mark.parametrize(
    ("script", "shipped"), [("mine_portfolio.py", portfolio.PORTFOLIO_FILE), ("mine_costs.py", cost.PRIOR_FILE)]
)
def test_what_is_shipped_is_what_is_mined_from_the_record(script: str, shipped: str, tmp_path: Path) -> None:
    call(script, "--from", SCRIPTS / "recorded.jsonl.xz", "--out", tmp_path / "mined")
    assert (tmp_path / "mined").read_bytes() == Path(cost.__file__).with_name(shipped).read_bytes()


def test_the_cost_model_is_measured_on_tables_that_it_has_not_seen(tmp_path: Path) -> None:
    call("bench_cost.py", "--from", RECORDED)
