"""A table gives the same whether it comes as one block or as many."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pytest

from lepton_ray.on_host import preparation
from lepton_ray.on_host.bench import Part
from lepton_ray.on_host.preparation import Prepared, open_table, prepare, prepare_blocks
from lepton_ray.spec import RunSpec
from lepton_ray.table import splitting
from lepton_ray.table.passes import Answer, Rows, Work
from lepton_ray.table.splitting import Census

ROWS = 5_000
"""More than a tally of values keeps."""
ROOM = 180_000
"""Bytes; less than half of those rows."""


class Chopped:
    """A table of many blocks, one of them empty."""

    def __init__(self, raw: pa.Table, seed: int, rows_about: int | None = None) -> None:
        self.rows_about = rows_about
        self.passes: list[str] = []
        cuts = np.sort(np.random.default_rng(seed).integers(0, raw.num_rows, 6)).tolist()
        bounds = [0, *cuts, cuts[-1], raw.num_rows]
        self._blocks = [raw.slice(a, b - a) for a, b in zip(bounds, bounds[1:], strict=False)]

    def each(self, work: Work[Answer]) -> Iterator[Answer]:
        self.passes.append(type(work).__name__)
        for block in self._blocks:
            yield work(Rows(block))


def table(rows: int) -> pa.Table:
    rng = np.random.default_rng(5)
    x = rng.normal(size=rows).round(3)
    days = np.datetime64("2021-01-01") + np.sort(rng.integers(0, 900, rows))
    y = np.where(rng.random(rows) < 0.01, "", np.where(x + rng.normal(size=rows) > 0, "yes", "no"))
    columns = {
        "x": [str(number) if number > -2 else "n/a" for number in x],
        "city": rng.choice(["Oslo", "Wien", " Rom ", ""], rows),
        "note": [f"order {n} of {n % 7}" for n in rng.integers(0, rows, rows)],
        "day": days.astype(str),
        "weight": rng.integers(1, 4, rows).astype(str),
        "who": rng.integers(0, rows // 20, rows).astype(str),
        "amount": np.round(x * 3 + rng.normal(size=rows), 2).astype(str),
        "churn": y,
    }
    level = np.where(np.arange(rows) % (rows // 7) == 5, "peak", "low")
    columns["level"] = np.where(np.arange(rows) % (rows // 2) == 9, "Few", level)
    whole = pa.table({name: pa.array(cells, pa.string()) for name, cells in columns.items()})
    return pa.concat_tables([whole, whole.slice(10, 50)])


def same_part(one: Part | None, other: Part | None) -> None:
    if one is None or other is None:
        assert one is other
        return
    assert one.table.equals(other.table)
    for name in ("y", "weight", "usable", "folds"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), name)


def same(one: Prepared, other: Prepared) -> None:
    assert one.plan.to_json() == other.plan.to_json()
    assert one.profile.to_dict() == other.profile.to_dict()
    np.testing.assert_array_equal(one.profile.row_tally.hashes, other.profile.row_tally.hashes)
    same_part(one.dev, other.dev)
    same_part(one.held, other.held)
    facts = ("how", "rows", "columns", "rejected", "note")
    assert [getattr(one, name) for name in facts] == [getattr(other, name) for name in facts]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tables") / "t.csv"
    pv.write_csv(table(ROWS), place)
    return place


@pytest.fixture(autouse=True)
def more_rows_than_leaks_are_looked_for_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparation, "LEAK_SAMPLE_ROWS", ROWS // 2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param({"time": "day", "seed": 3}, marks=pytest.mark.exam),
        pytest.param({"group": "who", "weight": "weight"}, marks=pytest.mark.exam),
        pytest.param({"target": "amount", "drop": ["note"], "test": "itself"}, marks=pytest.mark.exam),
        pytest.param({"target": "level", "drop": ["note"], "task": "multiclass"}, marks=pytest.mark.exam),
        pytest.param({"target": "level", "drop": ["note"], "group": "city"}, marks=pytest.mark.exam),
    ],
    ids=lambda options: "-".join(options) or "plain",
)
def test_one_block_or_many(path: Path, options: dict[str, object]) -> None:
    options = {"target": "churn", "table": str(path), **options}
    if "test" in options:
        options["test"] = str(path)
    spec = RunSpec.from_options(options)
    source = open_table(spec.table)
    whole = prepare(spec)
    for rows_about in (None, whole.rows // 2):
        same(whole, prepare_blocks(spec, source, Chopped(source.read(), 1, rows_about)))
    assert whole.note is None and (whole.held is not None)


@pytest.mark.exam
def test_rows_that_their_plan_makes_equal_are_on_one_side_from_one_block_or_many(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    raw = table(1000).select(["x", "note", "churn"]).append_column("z", pa.array(rng.normal(size=1050).astype(str)))
    raw = pa.concat_tables([raw, raw.slice(0, 400)])
    raw = raw.append_column("number", pa.array([f"n{place}" for place in range(raw.num_rows)]))
    pv.write_csv(raw, tmp_path / "t.csv")
    spec = RunSpec.from_options({"table": str(tmp_path / "t.csv"), "target": "churn"})
    source, whole = open_table(spec.table), prepare(spec)
    assert whole.held is not None and "number" not in whole.plan.schema.names
    said = [{(row["z"], row["x"]) for row in part.table.to_pylist()} for part in (whole.dev, whole.held)]
    assert not said[0] & said[1]
    blocks = Chopped(source.read(), 1, raw.num_rows)
    same(whole, prepare_blocks(spec, source, blocks))
    assert blocks.passes == ["Survey", "Compare", "Survey", "Clean"]


@pytest.mark.exam
def test_a_good_guess_spares_a_pass_and_a_bad_one_costs_none(path: Path) -> None:
    spec = RunSpec.from_options({"table": str(path), "target": "churn"})
    source = open_table(spec.table)
    raw = source.read()
    whole = prepare(spec)
    guesses = {raw.num_rows: ["Survey", "Clean"], 10**9: ["Survey", "LookAt", "Clean"]}
    for rows_about, passes in guesses.items():
        blocks = Chopped(raw, 1, rows_about)
        same(whole, prepare_blocks(spec, source, blocks))
        assert blocks.passes == passes


@pytest.mark.exam
def test_few_rows_are_cross_validated_from_many_blocks(tmp_path: Path) -> None:
    pv.write_csv(table(700), tmp_path / "t.csv")
    spec = RunSpec.from_options({"table": str(tmp_path / "t.csv"), "target": "churn"})
    source = open_table(spec.table)
    many = prepare_blocks(spec, source, Chopped(source.read(), 1, 700))
    assert many.how == "cross_validation" and many.held is None
    same(prepare(spec), many)


@pytest.mark.exam
def test_more_than_fits_is_chosen_evenly_and_said(path: Path) -> None:
    spec = RunSpec.from_options({"table": str(path), "target": "churn"})
    source = open_table(spec.table)
    whole = prepare(spec)
    some = prepare_blocks(spec, source, Chopped(source.read(), 1), room=ROOM)
    assert 0.1 < len(some.dev.y) / len(whole.dev.y) < 0.9
    assert some.note is not None and f"of {whole.profile.rows:,} rows" in some.note
    assert some.dev.table.nbytes < 1.5 * ROOM
    assert abs(some.dev.y.mean() - whole.dev.y.mean()) < 0.03
    assert np.bincount(some.dev.folds[:, 0]).min() > 0.18 * len(some.dev.y)
    assert pc.all(pc.is_in(some.dev.table.column("x"), whole.dev.table.column("x").combine_chunks())).as_py()
    same_part(whole.held, some.held)
    again = prepare_blocks(spec, source, Chopped(source.read(), 2), room=ROOM)
    same_part(some.dev, again.dev)


@pytest.mark.parametrize("draw", ["distinct", "few", "heavy"])
def test_a_census_forgets_nothing_that_a_holdout_needs(monkeypatch: pytest.MonkeyPatch, draw: str) -> None:
    monkeypatch.setattr(splitting, "MAX_HELD_OUT", 300)
    rng = np.random.default_rng(0)
    draws: dict[str, Callable[[], np.ndarray]] = {
        "distinct": lambda: rng.integers(0, 2**63, 20_000),
        "few": lambda: rng.integers(0, 40, 20_000),
        "heavy": lambda: np.where(rng.random(20_000) < 0.9, 7, rng.integers(0, 2**63, 20_000)),
    }
    keys = draws[draw]().astype(np.uint64)
    whole = Census.of(keys, None).holdout()
    parts = [Census.of(part, 301) for part in np.array_split(keys, 17)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.add(part)
    assert len(merged.places) <= 301 and merged.rows == len(keys)
    assert merged.holdout() == whole
