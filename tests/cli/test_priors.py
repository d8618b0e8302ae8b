"""A search by mined files of one's own: what they name is what is tried first."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lepton_ray.search.cost import PRIOR_FILE
from lepton_ray.search.portfolio import PORTFOLIO_FILE, Place, Portfolio
from lepton_ray.search.priors import shipped_priors
from tests.cli.lepton import lepton
from tests.on_host.rows import columns, write

OWN = {"C": 0.123}


@pytest.mark.process
def test_what_was_mined_is_tried(tmp_path: Path) -> None:
    mined = tmp_path / "mined"
    mined.mkdir()
    portfolio = replace(shipped_priors().portfolio, configs=(("linear", OWN),), orders=((Place(1000, 4, 2), (0,)),))
    assert isinstance(portfolio, Portfolio)
    (mined / PORTFOLIO_FILE).write_text(json.dumps(portfolio.to_dict()))
    (mined / PRIOR_FILE).write_text(json.dumps(shipped_priors().costs.to_dict()))
    table = write(tmp_path / "table.csv", columns(1200))
    words = [table, "--target", "left", "--families", "linear", "--deadline", "15s", "--no-serve", "--json"]
    done = lepton("run", *words, "--priors", mined, "--out", tmp_path / "run")
    done.promised(done.code == 0)
    lines = (tmp_path / "run" / "trials.jsonl").read_text().splitlines()
    assert OWN in [json.loads(line)["trial"]["config"] for line in lines[:4]]
