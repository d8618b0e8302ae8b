"""A look at a table: what it says in words, and how that reads in a narrow terminal."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from lepton_ray.cli.main import app
from lepton_ray.errors import DataError, UsageError
from lepton_ray.on_host.looking import in_short, look_at
from lepton_ray.on_host.preparation import prepare, under_plan
from tests.examples import one_in
from tests.on_host import rows

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


@pytest.mark.parametrize(
    "options",
    one_in(
        3,
        [
            {},
            {"seed": 3, "drop": "height"},
            {"group": "city", "metric": "log_loss"},
            {"time": "age", "weight": "height", "positive": "no"},
            {"task": "multiclass", "types": "age=category"},
            {"test": "table.csv"},
        ],
    ),
    ids=" ".join,
)
def test_the_plan_is_the_one_that_a_run_would_make(tmp_path: Path, options: dict[str, Any]) -> None:
    path = rows.write(tmp_path / "table.csv", rows.columns(1500) | {"gap": ["", *range(1499)]})
    if "test" in options:
        options = {"test": str(path)}
    made, out = prepare(rows.spec(path, **options)), tmp_path / "plan.json"
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    shown = CliRunner().invoke(app, ["profile", str(path), "--target", "left", "--plan", str(out), *words])
    assert shown.exit_code == 0, shown.output
    assert out.read_text() == made.plan.to_json()
    split = made.how in ("held_out", "latest")
    assert (f"made from {len(made.dev.y):,} rows" in " ".join(shown.output.split())) is split
    given = under_plan(rows.spec(path, plan=str(out), **{k: v for k, v in options.items() if k in ("seed", "test")}))
    again = prepare(given)
    assert again.plan.to_json() == made.plan.to_json() and (again.dev.y == made.dev.y).all()


def test_an_option_that_does_not_fit_is_told_as_in_a_run(tmp_path: Path) -> None:
    path = str(rows.write(tmp_path / "table.csv", rows.columns(60)))
    with pytest.raises(UsageError, match="'rmse' does not fit a binary task"):
        look_at(path, target="left", metric="rmse")
    with pytest.raises(DataError, match="no column 'hight' \\(--group\\)"):
        look_at(path, target="left", group="hight")
