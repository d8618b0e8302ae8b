"""Families that read texts: where they are of use, when they come, and how wide a text is."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from lepton_ray.models.linear import LinearFamily
from lepton_ray.models.registry import family
from lepton_ray.on_host import choosing
from lepton_ray.on_host.opening import portfolio_of, wide_as
from lepton_ray.search.portfolio import Place
from lepton_ray.search.priors import shipped_priors
from lepton_ray.table.schema import Column, Kind, Problem, Schema, Task
from tests.on_host.rows import spec

reader = replace(LinearFamily(), name="reader", view="text")


def test_what_reads_texts_is_of_use_where_there_are_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"{__name__}:reader"
    monkeypatch.setattr(choosing, "installed", lambda: ["linear", address])
    numbers, texts = (Schema((Column("a", kind),)) for kind in (Kind.NUMBER, Kind.TEXT))
    of_numbers = choosing.chosen_families(spec(tmp_path), Task.BINARY, numbers)
    assert of_numbers.names == ("constant", "linear") and not of_numbers.left_out
    assert choosing.chosen_families(spec(tmp_path), Task.BINARY, texts).names == ("constant", "linear", address)
    asked = choosing.chosen_families(spec(tmp_path, families=f"linear,{address}"), Task.BINARY, numbers)
    assert asked.left_out == {address: "it reads texts, and the table has none."}


def test_over_texts_alone_what_reads_them_comes_right_after_the_first_model() -> None:
    problem = Problem("b", Task.BINARY, ("no", "yes"), "log_loss", "yes")
    families = {name: family(name) for name in ("constant", "linear", "lightgbm")} | {"reader": reader}
    for texts, place in ((True, 2), (False, 3)):
        order = portfolio_of(shipped_priors().portfolio, families, problem, Place(1000, 1, 2), texts=texts)
        names = [name for name, _ in order]
        assert names[:2] == ["constant", "linear"]
        assert names.index("reader") == place if texts else names.index("reader") >= place


def test_a_text_is_as_wide_as_it_is_long() -> None:
    schema = Schema((Column("a", Kind.NUMBER), Column("b", Kind.TEXT)))
    table = pa.table({"a": [1.0, 2.0], "b": pa.array(["x" * 20, "好" * 10])})
    assert wide_as(table, schema) == 1 + 25
    assert wide_as(pa.table({"a": [1.0], "b": pa.array([None], pa.string())}), schema) == 2
    assert wide_as(pa.table({"a": [1.0], "b": ["x" * 100_000]}), schema) < 5000
