from dataclasses import replace
from functools import cache
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.bundle.blend import Blend, Member
from lepton_ray.bundle.bundle import Bundle
from lepton_ray.bundle.contributions import EDGE, Explainer, on_scale
from lepton_ray.bundle.margins import Margin
from lepton_ray.errors import DataError
from lepton_ray.table.schema import Column, Kind, Schema
from tests.examples import one_in
from tests.sealed import parts, raw_table

FAMILIES = ["constant", "linear", "lightgbm", "random_forest", "catboost", "knn", "svm"]
SLOW = ("random_forest", "catboost", "knn", "svm")


def bundle_of(task: str, *families: str, **changes: Any) -> Bundle:
    """A bundle in memory: a blend of these families, of equal shares."""
    made = [parts(task, name) for name in families]
    members = tuple(replace(one["blend"].members[0], share=1 / len(made)) for one in made)
    states = {view: state for one in made for view, state in one["blend"].states.items()}
    first = made[0]
    blend = Blend(first["plan"].schema, first["plan"].problem, members, states, changes.pop("temperature", 1.0))
    manifest = _Manifest(first["plan"], first["example"])
    filled: dict[str, Any] = {"margins": first["margins"]} | changes
    return Bundle(Path(), "0" * 64, manifest, first["plan"], blend, **filled)  # type: ignore[arg-type]


class _Manifest:
    """As much of a manifest as explaining asks for."""

    def __init__(self, plan: Any, example: Any) -> None:
        self.problem, self.schema, self.example = plan.problem, plan.schema, example


@cache
def clean_rows(task: str, count: int = 6) -> pa.Table:
    return parts(task)["plan"].clean(raw_table().slice(10, count))


def explained(bundle: Bundle, clean: pa.Table, seed: int = 0) -> list[Any]:
    return Explainer.of(bundle, np.random.default_rng(seed)).explain(clean)


def check_sum(bundle: Bundle, clean: pa.Table) -> None:
    said = on_scale(bundle.model.predict(clean), bundle)
    for number, one in enumerate(explained(bundle, clean)):
        wanted = said[number, bundle.problem.classes.index(one.of)] if said.shape[1] > 1 else said[number, 0]
        assert one.value == pytest.approx(wanted, abs=1e-6)
        assert sum(one.parts.values()) == pytest.approx(one.value - one.base, abs=1e-6)
        assert tuple(one.parts) == bundle.schema.names


@pytest.mark.parametrize(
    "family", [pytest.param(name, marks=pytest.mark.exam if name in SLOW else ()) for name in FAMILIES]
)
def test_the_sum_is_the_prediction_minus_the_base(family: str) -> None:
    check_sum(bundle_of("binary", family), clean_rows("binary"))


@pytest.mark.parametrize("task", one_in(2, ["regression", "multiclass"]))
def test_so_it_is_for_the_other_tasks(task: str) -> None:
    check_sum(bundle_of(task, "lightgbm"), clean_rows(task))
    check_sum(bundle_of(task, "linear"), clean_rows(task))


@pytest.mark.parametrize("task", one_in(3, ["binary", "multiclass", "regression"]))
def test_so_it_is_for_a_blend(task: str) -> None:
    check_sum(bundle_of(task, "lightgbm", "linear", temperature=1.3), clean_rows(task))


def test_the_predicted_class_of_several_is_explained() -> None:
    bundle, clean = bundle_of("multiclass", "lightgbm"), clean_rows("multiclass")
    likely = bundle.model.predict(clean).argmax(axis=1)
    assert [one.of for one in explained(bundle, clean)] == [bundle.problem.classes[code] for code in likely]


def test_a_model_that_adds_up_is_told_exactly_whatever_is_drawn() -> None:
    bundle, clean = bundle_of("regression", "linear"), clean_rows("regression")
    explainer = Explainer.of(bundle, np.random.default_rng(0))
    row, typical = clean.slice(0, 1), explainer.typical
    for name, part in explainer.explain(row)[0].parts.items():
        place = typical.column_names.index(name)
        swapped = typical.set_column(place, name, pa.concat_arrays([row.column(name).combine_chunks()] * len(typical)))
        change = bundle.model.predict(swapped) - bundle.model.predict(typical)
        assert part == pytest.approx(change.mean(), abs=1e-9)


@pytest.mark.exam
def test_sampled_values_are_near_the_exact_ones() -> None:
    bundle, clean = bundle_of("binary", "lightgbm"), clean_rows("binary", 3)
    explainer = Explainer.of(bundle, np.random.default_rng(0))
    for number, one in enumerate(explainer.explain(clean)):
        exact = exactly(explainer, clean.slice(number, 1))
        spread = max(abs(part) for part in exact.values())
        assert max(abs(one.parts[name] - exact[name]) for name in exact) < 0.1 * spread


def exactly(explainer: Explainer, row: pa.Table) -> dict[str, float]:
    """Shapley values by their definition: every set of columns, every typical row."""
    bundle, names = explainer.bundle, explainer.bundle.schema.names

    def worth(chosen: tuple[str, ...]) -> float:
        block = explainer.typical
        for name in chosen:
            cells = pa.concat_arrays([row.column(name).combine_chunks()] * len(block))
            block = block.set_column(block.column_names.index(name), name, cells)
        return float(on_scale(bundle.model.predict(block), bundle).mean())

    found = {}
    for name in names:
        rest = [other for other in names if other != name]
        found[name] = sum(
            factorial(size) * factorial(len(rest) - size) / factorial(len(names))
            * (worth((*some, name)) - worth(some))
            for size in range(len(names))
            for some in combinations(rest, size)
        )  # fmt: skip
    return found


def test_a_column_that_changes_nothing_gets_nothing_and_the_constant_model_has_no_reasons() -> None:
    assert set(explained(bundle_of("binary", "constant"), clean_rows("binary"))[0].parts.values()) == {0.0}


def test_a_row_is_told_the_same_alone_and_among_others() -> None:
    bundle, clean = bundle_of("binary", "lightgbm"), clean_rows("binary")
    explainer = Explainer.of(bundle, np.random.default_rng(0))
    assert explainer.explain(clean)[3] == explainer.explain(clean.slice(3, 1))[0]


def test_without_margins_a_row_is_compared_with_the_example() -> None:
    bundle, clean = bundle_of("binary", "lightgbm", margins=None), clean_rows("binary")
    explainer = Explainer.of(bundle, np.random.default_rng(0))
    assert explainer.typical.num_rows == 1
    check_sum(bundle, clean)
    example = explainer.explain(explainer.typical)[0]
    assert example.value == example.base and set(example.parts.values()) == {0.0}


def test_certainty_counts_as_the_edge() -> None:
    class Certain:
        def predict(self, X: Any) -> Any:
            return np.tile([0.0, 1.0], (X.n_rows if hasattr(X, "n_rows") else len(X), 1))

    bundle = bundle_of("binary", "linear")
    member = bundle.model.members[0]
    sure = Member(member.family, member.view, member.config, Certain())  # type: ignore[arg-type]
    certain = replace(bundle, model=replace(bundle.model, members=(sure,)))
    one = explained(certain, clean_rows("binary", 1))[0]
    assert one.value == pytest.approx(np.log((1 - EDGE) / EDGE))


def test_a_table_too_wide_is_refused() -> None:
    bundle = bundle_of("binary", "lightgbm")
    wide = Schema(tuple(Column(f"c{i}", Kind.NUMBER) for i in range(501)))
    bundle.manifest.schema = wide  # type: ignore[misc]
    many = replace(bundle, margins={column.name: Margin((1.0,)) for column in wide.columns})
    with pytest.raises(DataError, match="500 columns"):
        explained(many, clean_rows("binary"))
