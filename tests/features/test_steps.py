"""Laws of every feature step: any partition, any order, any block gives the same."""

import json
from datetime import datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from lepton_ray.features.chain import chain, for_schema
from lepton_ray.features.matrix import Matrix
from lepton_ray.features.numeric import raw_numbers
from lepton_ray.features.state import join_state, split_state
from lepton_ray.features.step import State, learn
from lepton_ray.table.schema import Column, Kind, Schema
from tests.examples import examples

SCHEMA = Schema(
    (
        Column("amount", Kind.NUMBER),
        Column("city", Kind.CATEGORY),
        Column("since", Kind.DATE),
        Column("note", Kind.TEXT),
    )
)
VIEWS = ("tree", "linear", "text")

rows = st.lists(
    st.tuples(
        st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, 1.0, 2.5]),
        st.none() | st.sampled_from(["a", "b", "c", "é", ""]) | st.text(max_size=3),
        st.none() | st.datetimes(datetime(1800, 1, 1), datetime(2200, 1, 1)),
        st.none() | st.sampled_from(["good thing", "bad thing", "bad bad", "太好了", "a!?"]) | st.text(max_size=12),
    ),
    min_size=1,
    max_size=12,
)


def block_of(given_rows: list[tuple[object, ...]]) -> pa.Table:
    kinds = (pa.float64(), pa.string(), pa.timestamp("us"), pa.string())
    columns = zip(*given_rows, strict=True)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(dict(zip(SCHEMA.names, arrays, strict=True)))


def toy(n: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    notes = ("late again", "very good", "good", "refund please", "太好了")
    day = datetime(2024, 2, 28)
    return block_of(
        [
            (
                None if rng.random() < 0.1 else float(rng.normal()),
                None if rng.random() < 0.1 else f"level {rng.integers(0, 5)}",
                None if rng.random() < 0.1 else day + timedelta(minutes=int(rng.integers(0, 10**6))),
                None if rng.random() < 0.1 else notes[rng.integers(0, len(notes))],
            )
            for _ in range(n)
        ]
    )


def same_state(a: State, b: State) -> bool:
    (json_a, arrays_a), (json_b, arrays_b) = split_state(a), split_state(b)
    same_arrays = all(np.array_equal(arrays_a[key], arrays_b[key]) for key in arrays_a)
    return json.dumps(json_a) == json.dumps(json_b) and arrays_a.keys() == arrays_b.keys() and same_arrays


def same_bits(a: Matrix, b: Matrix) -> bool:
    if (a.sparse is None) != (b.sparse is None) or a.names != b.names or a.groups != b.groups:
        return False
    crossed = a.sparse is None or np.array_equal(a.sparse.toarray(), b.sparse.toarray())
    told = (a.texts is None) == (b.texts is None) and (a.texts is None or a.texts.equals(b.texts))
    return crossed and told and np.array_equal(a.dense, b.dense, equal_nan=True)


@pytest.mark.parametrize("view", VIEWS)
@examples(60)
@given(rows=rows, cut=st.integers(0, 12), data=st.data())
def test_any_partition_in_any_order_gives_the_same_state(view, rows, cut, data) -> None:
    step = for_schema(SCHEMA, view)
    shuffled = data.draw(st.permutations(rows))
    parts = [part for part in (shuffled[:cut], shuffled[cut : cut + 2], shuffled[cut + 2 :]) if part]
    states = [step.init(block_of(part)) for part in parts]
    merged = states[0]
    for state in states[1:]:
        merged = step.merge(state, merged)
    assert same_state(merged, step.init(block_of(rows)))


@pytest.mark.parametrize("view", VIEWS)
@examples(40)
@given(rows=rows, seen=rows)
def test_a_row_does_not_depend_on_its_neighbours(view, rows, seen) -> None:
    step = for_schema(SCHEMA, view)
    state = learn(step, [block_of(seen)])
    whole = step.apply(state, block_of(rows))
    for index, row in enumerate(rows):
        assert same_bits(step.apply(state, block_of([row])), whole.rows(slice(index, index + 1)))
    if view == "linear":
        assert np.isfinite(whole.dense).all()
        assert np.isfinite(whole.sparse.data).all()


@pytest.mark.parametrize("view", VIEWS)
def test_sealing_changes_no_matrix_and_ends_merging(view) -> None:
    step, block = for_schema(SCHEMA, view), toy(50)
    state = step.init(block)
    sealed = step.seal(state)
    assert same_bits(step.apply(state, block), step.apply(sealed, block))
    assert same_state(step.seal(sealed), sealed)
    if view == "linear":
        with pytest.raises(ValueError, match="sealed"):
            step.merge(sealed, state)


@pytest.mark.parametrize("view", VIEWS)
def test_a_state_survives_json_and_safetensors(view) -> None:
    step, block = for_schema(SCHEMA, view), toy(80)
    for state in (step.init(block), learn(step, [block])):
        json_part, arrays = split_state(state)
        back = join_state(json.loads(json.dumps(json_part)), load(save(arrays)) if arrays else {})
        assert same_state(back, state)
        assert same_bits(step.apply(back, block), step.apply(state, block))


def test_names_and_groups_describe_every_column() -> None:
    for view in VIEWS:
        step, block = for_schema(SCHEMA, view), toy(80)
        X = step.apply(learn(step, [block]), block)
        assert len(X) == 80
        assert X.width == len(X.names) + sum(width for _, width in X.groups)


def test_learn_needs_a_block() -> None:
    with pytest.raises(ValueError, match="at least one block"):
        learn(for_schema(SCHEMA, "tree"), [])


def test_a_chain_refuses_two_steps_of_one_name() -> None:
    with pytest.raises(ValueError, match="different names"):
        chain(raw_numbers(["a"]), raw_numbers(["b"]))


def test_an_empty_block_is_looked_at_without_complaint() -> None:
    for view in VIEWS:
        step, block = for_schema(SCHEMA, view), toy(30)
        X = step.apply(learn(step, [block]), block.slice(0, 0))
        assert len(X) == 0
