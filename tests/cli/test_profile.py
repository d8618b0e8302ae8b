"""A look at a table: what it says in words, and how that reads in a narrow terminal."""

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from lepton_ray.cli.main import app
from lepton_ray.on_host.looking import in_short, look_at

NAME = "a_name_that_is_longer_than_most [usd] columns"


def write(folder: Path) -> str:
    rows = 4_000
    frame = pd.DataFrame({NAME: range(rows), "left": ["no", "yes"] * (rows // 2)})
    frame[NAME] = frame[NAME] * 7 % 3_989
    for number in range(5):
        frame[f"gap{number}"] = [
            None if row < 10**number // 8 or row % 5 == 0 < number else row % 3 for row in range(rows)
        ]
    frame.loc[3, ["gap0", "gap1"]] = None
    frame = pd.concat([frame, frame.head(2)])
    frame.to_csv(folder / "table.csv", index=False)
    return str(folder / "table.csv")


@pytest.mark.parametrize("target", [None, "left"])
def test_gaps_are_told_in_one_sentence_and_duplicates_once(tmp_path: Path, target: str | None) -> None:
    seen = look_at(write(tmp_path), target=target)
    (gaps,) = [said for said in seen.sentences if "missing" in said]
    assert gaps.startswith("Cells are missing in 5 columns: gap4 (") and gaps.endswith(" or less.")
    assert len([said for said in seen.sentences if "exactly" in said]) == 1


def test_a_share_is_never_rounded_to_nothing_and_no_count_exceeds_the_rows(tmp_path: Path) -> None:
    rows = {row[0]: row for row in look_at(write(tmp_path), target="left").rows}
    assert rows["gap0"][2] == "<1%" and rows["left"][2] == ""
    assert int(rows[NAME][3].removeprefix("about ").replace(",", "")) <= 4_002


def test_few_gaps_are_told_one_by_one(tmp_path: Path) -> None:
    pd.DataFrame({"a": [1, None, 3, 4] * 9, "left": [0, 1] * 18}).to_csv(tmp_path / "t.csv", index=False)
    seen = look_at(str(tmp_path / "t.csv"), target="left")
    assert seen.plan is not None and in_short(seen.plan.findings, seen.profile)[0].startswith(
        "a: 9 of 36 cells are missing"
    )


def test_every_name_is_whole_in_a_narrow_terminal(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["profile", write(tmp_path), "--target", "left"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    assert max(len(line) for line in shown.output.splitlines()) <= 80 and "…" not in shown.output
    narrow = "".join(line[:45].strip() for line in shown.output.splitlines())
    assert "[usd]" in narrow
