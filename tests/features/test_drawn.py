"""The steps drawn as ONNX make the same matrix as the steps themselves."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from lepton_ray.bundle.onnx_file import write_onnx
from lepton_ray.features.calendar import calendar_parts, scaled_calendar
from lepton_ray.features.category import category_codes, one_hot
from lepton_ray.features.chain import View, for_schema
from lepton_ray.features.graph import Graph, Type, Wire
from lepton_ray.features.numeric import raw_numbers, scaled_numbers
from lepton_ray.features.step import Step, learn
from lepton_ray.table.schema import Column, Kind, Schema

pytest.importorskip("onnx", reason="needs the extra [onnx]")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")

KINDS = {"x": Kind.NUMBER, "flat": Kind.NUMBER, "few": Kind.NUMBER, "word": Kind.CATEGORY, "day": Kind.DATE}
STEPS = {
    "raw": (raw_numbers, ("x", "flat", "few")),
    "scaled": (scaled_numbers, ("x", "flat", "few")),
    "codes": (category_codes, ("word",)),
    "one-hot": (one_hot, ("word",)),
    "calendar": (calendar_parts, ("day",)),
    "scaled calendar": (scaled_calendar, ("day",)),
}


def block(seed: int, rows: int = 500) -> pa.Table:
    """Numbers of every size, words of which some are rare, days of a thousand years to the microsecond; gaps in all."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows) * 10.0 ** rng.integers(-8, 9, rows)
    spans = rng.integers(-500 * 365 * 86_400, 500 * 365 * 86_400, rows), rng.integers(0, 1_000_000, rows)
    days = [datetime(1970, 1, 1) + timedelta(seconds=int(s), microseconds=int(m)) for s, m in zip(*spans, strict=True)]
    days[:4] = [
        datetime(2000, 2, 29),
        datetime(1900, 2, 28, 23, 59, 59, 999_999),
        datetime(1969, 12, 31),
        datetime(2100, 3, 1),
    ]

    def with_gaps(values: Sequence[object], kind: pa.DataType) -> pa.Array:
        gaps = rng.random(rows) < 0.1
        return pa.array([None if gap else value for value, gap in zip(values, gaps, strict=True)], kind)

    return pa.table(
        {
            "x": with_gaps(x.tolist(), pa.float64()),
            "flat": pa.array(np.full(rows, 7.0)),
            "few": with_gaps(rng.integers(0, 3, rows).astype(float).tolist(), pa.float64()),
            "word": with_gaps([f"w{draw}" for draw in rng.geometric(0.05, rows)], pa.string()),
            "day": with_gaps(days, pa.timestamp("us")),
        }
    )


def cells_of(block: pa.Table, name: str) -> np.ndarray:
    """A clean column as the graph reads it."""
    column = block[name]
    if KINDS[name] is Kind.CATEGORY:
        return np.array(pc.fill_null(column, "").to_pylist(), dtype=object)[:, None]
    if KINDS[name] is Kind.DATE:
        column = pc.divide(column.cast(pa.int64()).cast(pa.float64(), safe=False), 1e6)
    return np.asarray(column.to_numpy(), dtype=np.float64)[:, None]


def drawn_matrix(step: Step, state: dict[str, object], more: pa.Table, path: Path) -> np.ndarray:
    """The joined matrix of more rows, by ONNX Runtime."""
    assert step.draw is not None
    graph, feeds = Graph(), {name: cells_of(more, name) for name in more.column_names}
    wires: dict[str, Wire] = {
        name: graph.input(name, Type.STRING if KINDS[name] is Kind.CATEGORY else Type.DOUBLE) for name in feeds
    }
    drawn = step.draw(state, wires)
    write_onnx(path, graph, {"matrix": (drawn.joined, Type.DOUBLE, drawn.width + drawn.sparse_width)})
    (said,) = onnxruntime.InferenceSession(path).run(None, feeds)
    return np.asarray(said)


def agrees(step: Step, columns: Sequence[str], path: Path) -> None:
    learned, more = block(1).select(list(columns)), block(2).select(list(columns))
    state = learn(step, [learned])
    expected = step.apply(state, more)
    joined = expected.dense if expected.sparse is None else np.hstack([expected.dense, expected.sparse.toarray()])
    np.testing.assert_allclose(drawn_matrix(step, state, more, path), joined, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", STEPS)
def test_a_step_drawn_makes_the_same_matrix(name: str, tmp_path: Path) -> None:
    make, columns = STEPS[name]
    agrees(make(columns), columns, tmp_path / "step.onnx")


@pytest.mark.parametrize("view", ["tree", "linear"])
def test_a_chain_drawn_makes_the_same_matrix(view: View, tmp_path: Path) -> None:
    schema = Schema(tuple(Column(name, kind) for name, kind in KINDS.items()))
    agrees(for_schema(schema, view), tuple(KINDS), tmp_path / "chain.onnx")


def test_a_chain_with_texts_cannot_be_drawn() -> None:
    schema = Schema((Column("x", Kind.NUMBER), Column("note", Kind.TEXT)))
    assert for_schema(schema, "tree").draw is None


def test_a_column_may_have_the_name_of_a_node(tmp_path: Path) -> None:
    graph = Graph()
    x, y = graph.input("Add/0/0", Type.DOUBLE), graph.input("constant/0", Type.DOUBLE)
    write_onnx(tmp_path / "names.onnx", graph, {"sum": (x + y + 1.0, Type.DOUBLE, 1)})
    feeds = {"Add/0/0": np.array([[1.0]]), "constant/0": np.array([[20.0]])}
    assert onnxruntime.InferenceSession(tmp_path / "names.onnx").run(None, feeds)[0].tolist() == [[22.0]]
