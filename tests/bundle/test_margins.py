from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.bundle.bundle import write_bundle
from lepton_ray.bundle.margins import FEWEST, NAME, Margin, block_of, from_json, margins_of, to_json
from lepton_ray.errors import BundleError
from lepton_ray.table.schema import Column, Kind, Schema
from tests.sealed import parts

SCHEMA = Schema((Column("n", Kind.NUMBER), Column("c", Kind.CATEGORY), Column("d", Kind.DATE), Column("t", Kind.TEXT)))


def clean_block(rows: int = 400) -> pa.Table:
    numbers = [None if i % 10 == 0 else float(i) for i in range(rows)]
    levels = ["rare" if i < FEWEST - 1 else ("often" if i % 4 else "seldom") for i in range(rows)]
    days = [datetime(2024, 1, 1 + i % 28) for i in range(rows)]
    types = [pa.float64(), pa.string(), pa.timestamp("us"), pa.string()]
    columns = [numbers, levels, days, [f"secret {i}" for i in range(rows)]]
    arrays = [pa.array(values, kind) for values, kind in zip(columns, types, strict=True)]
    return pa.table(arrays, names=list(SCHEMA.names))


def test_margins_hold_quantiles_and_frequent_levels_and_nothing_rare() -> None:
    margins = margins_of(clean_block(), SCHEMA)
    numbers = margins["n"]
    assert list(numbers.values) == sorted(numbers.values) and len(numbers.values) == 32
    assert 1.0 < numbers.values[0] and numbers.values[-1] < 399.0
    assert numbers.values[16] == pytest.approx(205, abs=10)
    assert (numbers.missing, numbers.whole) == (0.1, True)
    assert margins["c"].values == ("often", "seldom") and not margins["c"].whole
    assert margins["d"].values[0] == "2024-01-01T00:00:00"
    assert margins["t"].values == ()
    text = to_json(margins)
    assert "rare" not in text and "secret" not in text
    assert from_json(text, SCHEMA) == margins


def test_few_rows_have_few_quantiles() -> None:
    assert len(margins_of(clean_block(22), SCHEMA)["n"].values) == 3
    assert margins_of(clean_block(4), SCHEMA)["n"].values == ()


def test_slots_are_spread_as_the_column_is() -> None:
    slots = Margin(("a", "b"), (0.75, 0.25), missing=0.2).slots(20)
    assert (slots.count("a"), slots.count("b"), slots.count(None)) == (12, 4, 4)
    assert Margin(()).slots(3) == [None] * 3


def test_rows_drawn_from_margins_are_clean_and_the_same_again() -> None:
    margins = margins_of(clean_block(), SCHEMA)
    block = block_of(margins, SCHEMA, 16, np.random.default_rng(3))
    assert block.schema == clean_block().schema
    assert block.equals(block_of(margins, SCHEMA, 16, np.random.default_rng(3)))
    assert block.column("t").null_count == 16
    assert set(block.column("c").to_pylist()) == {"often", "seldom"}
    assert np.nanmean(block.column("n").to_pandas()) == pytest.approx(200, abs=40)


def test_a_bundle_keeps_its_margins_and_stands_without(tmp_path: Path) -> None:
    made = parts()
    kept = write_bundle(tmp_path / "with", **made)
    assert kept.margins == made["margins"] and (kept.folder / NAME).exists()
    bare = write_bundle(tmp_path / "without", **made | {"margins": None})
    assert bare.margins is None and not (bare.folder / NAME).exists()


@pytest.mark.parametrize("text", ["", "{}", '{"columns": {"n": 7}}', "[" * 100_000])
def test_what_tells_of_no_columns_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match=NAME):
        from_json(text, SCHEMA)


def test_levels_that_are_no_dates_are_refused() -> None:
    margins = margins_of(clean_block(), SCHEMA)
    with pytest.raises(BundleError, match=NAME):
        from_json(to_json(margins | {"d": replace(margins["d"], values=("soon",))}), SCHEMA)
