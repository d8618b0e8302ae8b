"""The exam that every model family sits. It knows nothing about any particular family.

Subclass ``FamilyExam`` and give it a ``family`` fixture; the rooms for differences are the class attributes.
"""

import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.bundle.onnx_file import write_onnx
from lepton_ray.features.chain import View, for_schema
from lepton_ray.features.graph import Graph, Type, Wires
from lepton_ray.features.matrix import Matrix
from lepton_ray.features.step import learn
from lepton_ray.models.family import Batch, Drawable, Family, Model
from lepton_ray.table.schema import Column, Kind, Problem, Schema, Task
from lepton_ray.training.metrics import METRICS, default_metric

SCHEMA = Schema(
    (
        Column("amount", Kind.NUMBER),
        Column("age", Kind.NUMBER),
        Column("city", Kind.CATEGORY),
        Column("since", Kind.DATE),
        Column("note", Kind.TEXT),
    )
)
CLASSES = {Task.BINARY: ("no", "yes"), Task.MULTICLASS: ("high", "low", "middle"), Task.REGRESSION: ()}


@dataclass(frozen=True)
class Paper:
    """One exam paper: a family's view of a toy table, and how to look at more rows through it."""

    problem: Problem
    X: Matrix
    y: np.ndarray
    block: pa.Table
    look: Any

    def batch(self, rows: Any = slice(None), weight: np.ndarray | None = None) -> Batch:
        return Batch(self.X.rows(rows), self.y[rows], weight)


def toy_block(rng: np.random.Generator, n: int) -> pa.Table:
    amount = np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(3.0, 1.0, n))
    day = datetime(2024, 1, 1)
    words = ("good", "bad", "late delivery", "great", "refund please", "太好了")
    return pa.table(
        {
            "amount": pa.array(amount, pa.float64(), from_pandas=True),
            "age": pa.array(rng.integers(18, 80, n).astype(float)),
            "city": pa.array([None if draw == 4 else f"city {draw}" for draw in rng.integers(0, 6, n)], pa.string()),
            "since": pa.array(
                [day + timedelta(hours=int(draw)) for draw in rng.integers(0, 20_000, n)], pa.timestamp("us")
            ),
            "note": pa.array([words[draw] for draw in rng.integers(0, len(words), n)], pa.string()),
        }
    )


def toy_target(block: pa.Table, task: Task, rng: np.random.Generator) -> np.ndarray:
    amount = np.nan_to_num(np.log1p(block["amount"].to_numpy()), nan=3.0)
    signal = amount + 0.03 * block["age"].to_numpy() + 2.0 * (block["city"].to_pandas() == "city 1").to_numpy()
    noisy = signal + rng.normal(0.0, 0.3, len(signal))
    if task is Task.REGRESSION:
        return np.exp(noisy / 3.0)
    edges = np.quantile(noisy, [0.6] if task is Task.BINARY else [0.3, 0.7])
    return np.searchsorted(edges, noisy).astype(np.int64)


def paper(family: Family, task: Task, n: int = 400, schema: Schema = SCHEMA, seed: int = 3) -> Paper:
    """The same paper for the same question, so that what was fitted on it can be looked at again."""
    return _paper(family.view, task, n, schema, seed)


@cache
def _paper(view: View, task: Task, n: int, schema: Schema, seed: int) -> Paper:
    rng = np.random.default_rng(seed)
    block = toy_block(rng, n)
    step = for_schema(schema, view)
    state = learn(step, [block])
    problem = Problem("target", task, CLASSES[task], default_metric(task), "yes" if task is Task.BINARY else None)
    y = toy_target(block, task, rng)
    return Paper(problem, step.apply(state, block), y, block, lambda more: step.apply(state, more))


def missing_row(block: pa.Table) -> pa.Table:
    return pa.table([pa.array([None], field.type) for field in block.schema], schema=block.schema)


def strange_row() -> pa.Table:
    return pa.table(
        {
            "amount": [1e300],
            "age": [-1e300],
            "city": ["Atlantis"],
            "since": pa.array([datetime(1900, 1, 1)], pa.timestamp("us")),
            "note": ["ξένος 🚀 !!!"],
        }
    )


def run_drawn(model: Model, X: Matrix, outputs: int, place: Path) -> np.ndarray:
    """Draw a model over a matrix whose sparse part is given as doubles, and run it."""
    import onnxruntime

    assert isinstance(model, Drawable), "the family says that its models can be drawn"
    parts = {"dense": X.dense, "sparse": np.empty((len(X), 0)) if X.sparse is None else X.sparse.toarray()}
    parts = {name: cells.astype(np.float64) for name, cells in parts.items() if cells.shape[1]}
    graph = Graph()
    wires = {name: graph.input(name, Type.DOUBLE, cells.shape[1]) for name, cells in parts.items()}
    widths = [parts[name].shape[1] if name in parts else 0 for name in ("dense", "sparse")]
    answer = model.draw(Wires(wires.get("dense"), widths[0], wires.get("sparse"), widths[1]))
    path = place / "drawn.onnx"
    write_onnx(path, graph, {"said": (answer, Type.DOUBLE, outputs)})
    (said,) = onnxruntime.InferenceSession(path).run(None, parts)
    return np.asarray(said)


PLAIN: dict[tuple[str, int], Model] = {}
"""By family and paper; papers are kept, so their ids are theirs alone."""


def never() -> bool:
    return False


class FamilyExam:
    """Every test takes the family from the fixture ``family`` and the task from the parameter."""

    weight_tolerance = 1e-9  # how far a weight of 2 may be from a doubled row, in predicted probability or deviations

    @pytest.fixture(params=list(Task), ids=lambda task: task.value)
    def task(self, request: pytest.FixtureRequest, family: Family) -> Task:
        if request.param not in family.tasks:
            pytest.skip(f"{family.name} does not do {request.param.value}")
        return request.param

    def fitted(self, family: Family, given: Paper, train: Batch | None = None, **more: Any) -> Model:
        options = {"valid": None, "config": self.config(family, given), "stop": never, "seed": 1, "threads": 1} | more
        valid, config = options.pop("valid"), options.pop("config")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return family.fit(train or given.batch(), valid, config, problem=given.problem, **options)

    def plain(self, family: Family, given: Paper) -> Model:
        """The family's default on a whole paper, fitted once for all tests that only look at it."""
        key = family.name, id(given)
        if key not in PLAIN:
            PLAIN[key] = self.fitted(family, given)
        return PLAIN[key]

    def obeys_weights(self, family: Family) -> None:
        if not family.weighted:
            pytest.skip(f"{family.name} says that it does not obey weights")

    def config(self, family: Family, given: Paper) -> dict[str, Any]:
        return family.configs(given.problem, len(given.y), given.X.width)[0]

    def check(self, model: Model, given: Paper, X: Matrix | None = None) -> np.ndarray:
        X = given.X if X is None else X
        said = model.predict(X)
        assert said.dtype == np.float64
        assert np.isfinite(said).all()
        if given.problem.task is Task.REGRESSION:
            assert said.shape == (len(X),)
        else:
            assert said.shape == (len(X), len(given.problem.classes))
            assert (said >= 0.0).all()
            assert np.allclose(said.sum(axis=1), 1.0, atol=1e-9)
        return said

    def test_predictions_have_shape_and_meaning(self, family: Family, task: Task) -> None:
        given = paper(family, task)
        self.check(self.plain(family, given), given)

    def test_is_no_worse_than_the_constant(self, family: Family, task: Task) -> None:
        given = paper(family, task)
        model = self.fitted(family, given, given.batch(slice(0, 300)))
        metric = METRICS["rmse" if task is Task.REGRESSION else "log_loss"]
        y = given.y[:300]
        constant = np.full(100, y.mean())
        if task is not Task.REGRESSION:
            constant = np.tile(np.bincount(y, minlength=len(given.problem.classes)) / 300, (100, 1))
        later = slice(300, 400)
        error = metric.error(given.y[later], model.predict(given.X.rows(later)))
        least = metric.error(given.y[later], constant)
        assert error <= least * (1.0 + 1e-12) if family.name == "constant" else error < 0.9 * least

    def test_every_shipped_and_drawn_config_fits(self, family: Family, task: Task) -> None:
        given = paper(family, task, 120)
        drawn = [family.sample(given.problem, np.random.default_rng(seed)) for seed in range(3)]
        for config in [*family.configs(given.problem, 120, given.X.width), *drawn]:
            valid = given.batch(slice(80, 120))
            model = self.fitted(family, given, given.batch(slice(0, 80)), valid=valid, config=config)
            self.check(model, given)

    def test_more_rows_and_columns_are_more_work(self, family: Family, task: Task) -> None:
        given = paper(family, task, 60)
        rng = np.random.default_rng(0)
        for config in [*family.configs(given.problem, 1000, 10), family.sample(given.problem, rng)]:
            work = family.work(config, given.problem, 1000, 10)
            assert 0.0 < work <= family.work(config, given.problem, 1000, 20)
            assert work < family.work(config, given.problem, 2000, 10)

    def test_effort_refits_without_validation_rows(self, family: Family, task: Task) -> None:
        given = paper(family, task)
        config = self.config(family, given)
        first = self.fitted(
            family, given, given.batch(slice(0, 300)), valid=given.batch(slice(300, 400)), config=config
        )
        again = self.fitted(family, given, config=config | first.effort)
        assert again.effort == first.effort
        self.check(again, given)

    def test_same_seed_same_model(self, family: Family, task: Task) -> None:
        given = paper(family, task)
        assert np.array_equal(self.plain(family, given).predict(given.X), self.fitted(family, given).predict(given.X))

    def test_a_frame_and_its_rows_agree_to_the_last_bit(self, family: Family, task: Task) -> None:
        given = paper(family, task, 150)
        model = self.plain(family, given)
        whole = model.predict(given.look(given.block))
        for index in range(0, 150, 7):
            assert np.array_equal(model.predict(given.look(given.block.slice(index, 1)))[0], whole[index])
        assert np.array_equal(model.predict(given.X.rows(slice(11, 80))), whole[11:80])
        assert len(model.predict(given.X.rows(slice(0, 0)))) == 0

    def test_saved_and_loaded_predicts_the_same_bits(self, family: Family, task: Task, tmp_path: Path) -> None:
        given = paper(family, task)
        model = self.plain(family, given)
        model.save(tmp_path)
        loaded = family.load(tmp_path)
        assert np.array_equal(loaded.predict(given.X), model.predict(given.X))
        assert loaded.effort == model.effort
        assert loaded.importances() == model.importances()
        assert not [file.name for file in tmp_path.rglob("*") if file.suffix in (".pkl", ".pickle", ".joblib", ".npy")]

    def test_drawn_as_onnx_it_says_the_same(self, family: Family, task: Task, tmp_path: Path) -> None:
        pytest.importorskip("onnxruntime", reason="needs the extra [onnx] and onnxruntime")
        columns = tuple(column for column in SCHEMA.columns if column.kind in family.exports)
        if not columns:
            pytest.skip(f"{family.name} says that it cannot be exported")
        given = paper(family, task, schema=Schema(columns))
        model = self.plain(family, given)
        block = given.block.select([column.name for column in columns])
        for X in (given.X, given.look(missing_row(block)), given.look(strange_row().select(block.column_names))):
            expected = model.predict(X)
            drawn = run_drawn(model, X, given.problem.n_outputs, tmp_path)
            if task is Task.REGRESSION:
                np.testing.assert_allclose(drawn[:, 0], expected, rtol=1e-5)
            else:
                np.testing.assert_allclose(drawn, expected, rtol=0.0, atol=1e-5)

    def test_stopped_at_once_is_still_usable(self, family: Family, task: Task) -> None:
        given = paper(family, task)
        valid = given.batch(slice(300, 400))
        self.check(self.fitted(family, given, stop=lambda: True), given)
        self.check(self.fitted(family, given, valid=valid, stop=lambda: True), given)

    def test_weight_zero_is_absence(self, family: Family, task: Task) -> None:
        self.obeys_weights(family)
        given = paper(family, task)
        weight = np.ones(400)
        weight[200:] = 0.0
        weighed = self.fitted(family, given, given.batch(weight=weight))
        absent = self.fitted(family, given, given.batch(slice(0, 200), weight=weight[:200]))
        assert np.array_equal(weighed.predict(given.X), absent.predict(given.X))

    def test_weight_two_is_a_doubled_row(self, family: Family, task: Task) -> None:
        self.obeys_weights(family)
        given = paper(family, task)
        doubled = np.concatenate([np.arange(400), np.arange(100)])
        weighed = self.fitted(family, given, given.batch(weight=np.where(np.arange(400) < 100, 2.0, 1.0)))
        twice = self.fitted(family, given, given.batch(doubled))
        spread = np.std(given.y) if task is Task.REGRESSION else 1.0
        gap = np.abs(weighed.predict(given.X) - twice.predict(given.X)).mean() / spread
        assert gap <= self.weight_tolerance

    def test_unknown_rows_get_an_answer(self, family: Family, task: Task) -> None:
        given = paper(family, task)
        model = self.plain(family, given)
        self.check(model, given, given.look(missing_row(given.block)))
        self.check(model, given, given.look(strange_row()))

    @pytest.mark.parametrize("column", SCHEMA.columns, ids=lambda column: column.name)
    def test_one_column_is_enough(self, family: Family, task: Task, column: Column) -> None:
        given = paper(family, task, 100, Schema((column,)))
        self.check(self.plain(family, given), given)

    def test_constant_columns_do_no_harm(self, family: Family, task: Task) -> None:
        rng = np.random.default_rng(0)
        schema = Schema((Column("amount", Kind.NUMBER), Column("city", Kind.CATEGORY)))
        block = pa.table({"amount": np.full(60, 7.0), "city": pa.array(["x"] * 60)})
        step = for_schema(schema, family.view)
        X = step.apply(learn(step, [block]), block)
        y = rng.lognormal(size=60) if task is Task.REGRESSION else rng.integers(0, len(CLASSES[task]), 60)
        problem = Problem("target", task, CLASSES[task], default_metric(task))
        given = Paper(problem, X, y, block, None)
        self.check(self.fitted(family, given), given)

    def test_three_rows_are_enough(self, family: Family, task: Task) -> None:
        given = paper(family, task, 3)
        self.check(self.plain(family, given), given)

    def test_constant_target(self, family: Family, task: Task) -> None:
        given = paper(family, task, 60)
        same = np.full(60, 5.0) if task is Task.REGRESSION else np.zeros(60, np.int64)
        said = self.check(self.fitted(family, given, Batch(given.X, same)), given)
        assert np.allclose(said if task is Task.REGRESSION else said[:, 0], same[0] or 1.0, atol=1e-3)

    def test_classes_absent_in_training_keep_their_place(self, family: Family, task: Task) -> None:
        if task is not Task.MULTICLASS:
            pytest.skip("needs more than two classes")
        given = paper(family, task)
        seen = np.flatnonzero(given.y != 1)
        said = self.check(self.fitted(family, given, given.batch(seen)), given)
        assert said[:, 1].max() < 0.05

    def test_importances_are_shares_of_known_features(self, family: Family, task: Task) -> None:
        given = paper(family, task)
        shares = self.plain(family, given).importances()
        if shares is not None:
            texts = () if given.X.texts is None else given.X.texts.column_names
            assert set(shares) <= {*given.X.names, *(name for name, _ in given.X.groups), *texts}
            assert sum(shares.values()) == pytest.approx(1.0)
