"""The bench: a trial is judged, sealed when it is the best so far, and whatever a family does becomes a sentence."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.features.matrix import Matrix
from lepton_ray.models.family import Batch
from lepton_ray.models.linear import LinearFamily
from lepton_ray.money.lease import Lease
from lepton_ray.on_host.bench import LateBench, come_to, joined, open_bench
from lepton_ray.on_host.blending import cross_validated
from lepton_ray.on_host.fits import SEARCH
from lepton_ray.search.trial import DONE, FAILED, PARTIAL, Outcome, Trial
from lepton_ray.table.schema import Task
from lepton_ray.training.metrics import METRICS
from tests.examples import one_in
from tests.on_host import rows as small
from tests.on_host.rows import bench, columns, spec, task, write

LONG = Lease("t", 0.0, 3600.0)
OWN = "tests.on_host.test_bench:"


class Odd(LinearFamily):
    """A family that does not do what it should; each kind below does something else."""

    name = "odd"

    def fit(self, train: Batch, valid: Batch | None, config: Any, **given: Any) -> Any:
        return self.do(super().fit(train, valid, config, **given))

    def do(self, model: Any) -> Any:
        return model


class Raising(Odd):
    def do(self, model: Any) -> Any:
        raise ZeroDivisionError("one by none")


class Hungry(Odd):
    def do(self, model: Any) -> Any:
        raise MemoryError


class NotANumber(Odd):
    def do(self, model: Any) -> Any:
        return Saying(model, lambda told: told * np.nan)


class TooFew(Odd):
    def do(self, model: Any) -> Any:
        return Saying(model, lambda told: told[:-1])


class Saying:
    def __init__(self, model: Any, change: Any) -> None:
        self.model, self.change, self.effort = model, change, model.effort

    def predict(self, X: Matrix) -> Any:
        return self.change(self.model.predict(X))


def made(folder: Path, table: Any = None, **options: Any) -> Any:
    path = write(folder / "table.csv", columns(1200) if table is None else table)
    return bench(spec(path, **{"drop": "row,value", "out": str(folder / "run")} | options))


def run(on: Any, order: dict[str, Any], lease: Lease = LONG) -> Outcome:
    return Outcome.from_dict(on.run(order, lease))


@pytest.mark.parametrize("target, drop", one_in(3, [("left", "row,value"), ("city", "row"), ("value", "row,left")]))
def test_a_trial_is_judged_and_sealed_and_beats_the_constant(tmp_path: Path, target: str, drop: str) -> None:
    _, prepared, on = made(tmp_path, target=target, drop=drop)
    held = prepared.held
    metric = METRICS[prepared.plan.problem.metric]
    errors = {}
    for number, family in enumerate(("constant", "linear", "lightgbm")):
        found = run(on, task(family, name=f"t{number:03d}"))
        assert (found.state, found.reason, found.driver) == (DONE, "", "host")
        assert found.error is not None and found.score is not None and found.bundle is not None
        assert found.error == pytest.approx(1 - found.score if metric.greater_is_better else found.score)
        assert len(found.fold_errors) == 5
        sealed = Bundle.load(found.bundle)
        told = sealed.predict_block(text_of(held.table))
        if prepared.plan.problem.task is Task.REGRESSION:
            values = np.array(told.column("prediction"))
        else:
            values = np.column_stack([np.array(column) for column in told.columns[1:]])
        errors[family] = metric.error(held.y, values)
        assert found.held_out is not None and found.held_out["how"] == "held_out"
        assert found.held_out["score"] == pytest.approx(metric.score(held.y, values), abs=1e-9)
        low, high = found.held_out["interval"]
        assert low <= found.held_out["score"] <= high
    assert errors["linear"] < errors["constant"] and errors["lightgbm"] < errors["constant"]


def text_of(table: pa.Table) -> pa.Table:
    """Clean rows as somebody would send them."""
    return pa.table({name: table.column(name).cast(pa.string()) for name in table.column_names})


def test_only_what_beats_the_best_is_sealed(tmp_path: Path) -> None:
    _, _, on = made(tmp_path)
    first = run(on, task("linear"))
    again = run(on, task("linear", name="t001", beat=list(first.fold_errors)))
    assert again.error == first.error and again.bundle is None and again.held_out is None
    better = run(on, task("linear", name="t002", beat=[error + 0.01 for error in first.fold_errors]))
    assert better.bundle is not None and sorted(p.name for p in (on.scratch / "sealed").iterdir()) == ["t000", "t002"]


def test_out_of_fold_predictions_are_kept_for_every_row_once(tmp_path: Path) -> None:
    _, prepared, on = made(tmp_path)
    found = run(on, task("linear", name="t007"))
    with np.load(on.scratch / "oof" / "t007.npz", allow_pickle=False) as saved:
        assert sorted(saved["rows"]) == list(range(len(prepared.dev.y)))
        assert saved["predictions"].shape == (len(prepared.dev.y), 2)
        pooled = METRICS["roc_auc"].score(prepared.dev.y[saved["rows"]], saved["predictions"])
    assert found.score == pytest.approx(pooled, abs=0.02)


@pytest.mark.exam
def test_the_same_trial_twice_is_the_same(tmp_path: Path) -> None:
    _, _, on = made(tmp_path)
    one, two = run(on, task("lightgbm")), run(on, task("lightgbm", name="t001"))
    assert one.fold_errors == two.fold_errors and one.effort == two.effort


@pytest.mark.parametrize(
    "family, told",
    one_in(
        5,
        [
            ("Raising", "ZeroDivisionError: one by none"),
            ("Hungry", "more memory than a trial may have"),
            ("NotANumber", "not finite"),
            ("TooFew", "shape"),
            ("Nowhere", "has no 'Nowhere'"),
        ],
    ),
)
def test_a_family_that_fails_becomes_a_sentence_and_the_bench_goes_on(tmp_path: Path, family: str, told: str) -> None:
    _, _, on = made(tmp_path)
    found = run(on, task(OWN + family))
    assert (found.state, found.error, found.bundle) == (FAILED, None, None)
    assert told in found.reason and list((on.scratch / "sealed").iterdir()) == []
    assert run(on, task("linear", name="t001")).state == DONE


def test_a_family_of_the_users_own_is_sealed_under_the_name_it_is_found_by(tmp_path: Path) -> None:
    _, _, on = made(tmp_path)
    found = run(on, task(OWN + "Odd"))
    assert found.state == DONE and found.bundle is not None, found.reason
    assert Bundle.load(found.bundle, trust=(OWN + "Odd",)).manifest.family == OWN + "Odd"


def test_a_lease_that_is_over_leaves_one_fold(tmp_path: Path) -> None:
    _, _, on = made(tmp_path)
    found = run(on, task("lightgbm", {"rounds": 500}), Lease("t", 0.0, 0.0))
    assert found.state == PARTIAL and "lease ended" in found.reason
    assert len(found.fold_errors) == 1 and found.error is not None and found.bundle is not None


def test_a_wish_to_stop_leaves_one_fold(tmp_path: Path) -> None:
    _, _, on = made(tmp_path)
    (on.scratch / "stop").touch()
    found = run(on, task("lightgbm", {"rounds": 500}))
    assert found.state == PARTIAL and len(found.fold_errors) == 1


def test_what_refits_read_is_laid_out_before_unless_the_run_is_to_end(tmp_path: Path) -> None:
    (_, _, on), order = made(tmp_path), {"kind": "warm", "families": ["linear", "lightgbm"]}
    (on.scratch / "stop").touch()
    assert on.run(order, LONG) == {} and not on._matrices
    (on.scratch / "stop").unlink()
    assert on.run(order, LONG) == {}
    assert set(on._matrices) == {(part, view) for part in ("dev", "all") for view in ("linear", "tree")}


def refit(rows: str, trial: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"kind": "refit", "trial": trial, "effort": {}, "rows": rows, "threads": 1, **more}


def seal(rows: str, *members: dict[str, Any], held_out: Any = None) -> dict[str, Any]:
    """The task of sealing trials in equal shares, each as it was fitted on these rows."""
    given = [{"trial": trial, "effort": {}, "share": 1 / len(members), "fit": rows} for trial in members]
    return {
        "kind": "seal",
        "rows": rows,
        "members": given,
        "temperature": 1.0,
        "score": 0.5,
        "held_out": held_out,
        "decided": {},
    }


def test_a_refit_learns_from_more_rows_and_keeps_the_score_that_was_measured(tmp_path: Path) -> None:
    _, prepared, on = made(tmp_path)
    trial = task("linear")["trial"]
    fitted = on.run(refit("dev", trial), LONG)
    assert fitted == {"complete": True, "rows": int(prepared.dev.usable.sum())}
    dev = on.run(seal("dev", trial), LONG)
    assert dev["importances"] is not None and dev["held_out"]["rows"] == len(prepared.held.y)
    every = on.run(refit("all", trial), LONG)
    assert every["rows"] > fitted["rows"]
    sealed = on.run(seal("all", trial, held_out=dev["held_out"]), LONG)
    first, second = Bundle.load(dev["bundle"]), Bundle.load(sealed["bundle"])
    assert first.id != second.id
    assert second.manifest.facts["fitted_on"] == "all" and second.manifest.facts["fitted_rows"] == every["rows"]
    assert first.manifest.facts["score"] == second.manifest.facts["score"] == dev["held_out"]["score"]


def test_members_are_sealed_as_one_and_scored_as_one(tmp_path: Path) -> None:
    _, prepared, on = made(tmp_path)
    trials = [task("linear", name="t001")["trial"], task("lightgbm", name="t002")["trial"]]
    alone = []
    for trial in trials:
        on.run(refit("dev", trial), LONG)
        alone.append(Bundle.load(on.run(seal("dev", trial), LONG)["bundle"]).model.predict(prepared.held.table))
        (on.scratch / "sealed" / "blend-dev").rename(on.scratch / trial["id"])
    both = on.run(seal("dev", *trials), LONG)
    blend = Bundle.load(both["bundle"])
    assert [member.family for member in blend.manifest.members] == ["linear", "lightgbm"]
    expected = (alone[0] + alone[1]) / 2
    np.testing.assert_allclose(blend.model.predict(prepared.held.table), expected, rtol=1e-12)
    np.testing.assert_allclose(np.load(on.scratch / "predictions" / "blend-dev.npy"), expected, rtol=1e-12)
    metric = METRICS[prepared.plan.problem.metric]
    assert both["held_out"]["score"] == pytest.approx(metric.score(prepared.held.y, expected, None))


@pytest.mark.exam
def test_a_model_of_the_last_rung_is_kept_and_blended_as_it_is_or_fitted_again(tmp_path: Path) -> None:
    _, prepared, on = made(tmp_path)
    last = len(on.rungs) - 1
    orders = [task("linear", name="t001"), task("lightgbm", name="t002", beat=(-1.0,) * on.rungs[last].fits)]
    trials = [order["trial"] | {"rung": last} for order in orders]
    for order, trial in zip(orders, trials, strict=True):
        run(on, {**order, "trial": trial})
    as_is = on.run(seal(SEARCH, *trials), LONG)
    blend, kept = Bundle.load(as_is["bundle"]), np.load(on.scratch / "predictions" / "blend-search.npy")
    np.testing.assert_array_equal(blend.model.predict(prepared.held.table), kept)
    assert "fitted_rows" not in blend.manifest.facts and blend.manifest.facts["refitted"] == 0
    on.run(refit("all", trials[0]), LONG)
    order = seal("all", *trials, held_out=as_is["held_out"])
    order["members"][1]["fit"] = SEARCH
    mixed = Bundle.load(on.run(order, LONG)["bundle"])
    assert (mixed.manifest.facts["fitted_on"], mixed.manifest.facts["refitted"]) == ("all", 1)
    assert not np.array_equal(mixed.model.predict(prepared.held.table), kept)
    assert mixed.manifest.facts["score"] == as_is["held_out"]["score"]


def test_a_promotion_fits_only_what_its_parent_did_not(tmp_path: Path) -> None:
    _, _, on = made(tmp_path)
    assert len(on.rungs) == 2
    first = run(on, task("linear", name="t001"))
    order = task("linear", name="t002")
    order["trial"] |= {"rung": 1, "parent": "t001"}
    again = run(on, order)
    assert (first.fits, again.fits) == (on.rungs[0].fits, on.rungs[1].fits - on.rungs[0].fits)
    assert again.fold_errors[: first.fits] == first.fold_errors and len(again.fold_errors) == on.rungs[1].fits
    orphan = task("linear", name="t003")
    orphan["trial"] |= {"rung": 1, "parent": "t999"}
    assert run(on, orphan).fold_errors == again.fold_errors, "what is known already changes nothing"


def test_a_refit_cut_short_says_so(tmp_path: Path) -> None:
    _, _, on = made(tmp_path)
    assert not on.run(refit("dev", task("lightgbm")["trial"]), Lease("t", 0.0, 0.0))["complete"]


def test_effort_reaches_the_refit(tmp_path: Path) -> None:
    _, _, on = made(tmp_path)
    trial = task("lightgbm")["trial"]
    on.run(refit("dev", trial, effort={"rounds": 3}), LONG)
    done = on.run(seal("dev", trial), LONG)
    assert Bundle.load(done["bundle"]).model.members[0].model.effort["rounds"] == 3


@pytest.mark.exam
def test_without_held_out_rows_the_folds_score_and_it_is_corrected(tmp_path: Path) -> None:
    _, prepared, on = made(tmp_path, columns(400))
    outcomes = tuple(run(on, task(family, name=name)) for name, family in (("t000", "constant"), ("t001", "linear")))
    assert outcomes[1].held_out == {
        "score": outcomes[1].score,
        "interval": None,
        "how": "cross_validation",
        "rows": 400,
    }
    rng = np.random.default_rng(0)
    corrected = cross_validated(prepared.plan.problem, prepared.dev, outcomes, on.scratch, rng=rng)
    assert corrected is not None and corrected.low < corrected.score < corrected.high
    assert corrected.score == pytest.approx(outcomes[1].score, abs=0.03)


@pytest.mark.exam
def test_folds_in_time_are_corrected_over_the_rows_that_were_judged(tmp_path: Path) -> None:
    table = columns(400)
    table["day"] = (np.datetime64("2020-01-01") + np.arange(400)).astype(str).tolist()
    _, prepared, on = made(tmp_path, table, time="day")
    outcome = run(on, task("linear"))
    assert len(outcome.fold_errors) == 5
    rng = np.random.default_rng(0)
    assert cross_validated(prepared.plan.problem, prepared.dev, (outcome,), on.scratch, rng=rng) is not None


@pytest.mark.exam
def test_weights_change_the_fit_and_the_score(tmp_path: Path) -> None:
    table = columns(1200)
    table["importance"] = [9 if city == "Ulm" else 1 for city in table["city"]]
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    weighed = run(made(tmp_path / "a", table, weight="importance")[2], task("linear"))
    plain = run(made(tmp_path / "b", table, drop="row,value,importance")[2], task("linear"))
    assert weighed.error != plain.error
    assert weighed.held_out is not None and weighed.held_out["score"] != plain.held_out["score"]


def test_a_late_bench_waits_for_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", tempfile.tempdir)  # opening one moves this process's own
    wanted = spec(write(tmp_path / "table.csv", columns(1200)), drop="row,value", out=str(tmp_path / "run"))
    under_way = small.course(wanted)
    late = open_bench({"scratch": str(under_way.folder.scratch)})
    assert isinstance(late, LateBench)
    prepared = small.prepare(wanted)
    small.write_setup(under_way, prepared)
    assert run(late, task("constant")).score == 0.5


def test_parts_are_joined_in_order(tmp_path: Path) -> None:
    _, prepared, _ = made(tmp_path)
    both = joined(prepared.dev, prepared.held)
    assert len(both.y) == 1200 == both.table.num_rows == len(both.usable) == len(both.folds)
    assert (both.y[: len(prepared.dev.y)] == prepared.dev.y).all() and both.weight is None


@pytest.mark.parametrize(
    "effort, wanted, share",
    [
        ({"trees": 80, "power": 1.4}, {"trees": 100, "power": 1.4}, 0.8),
        ({"rounds": 300}, {"rounds": 200}, 1.5),
        ({}, {"rounds": 200}, 0.0),
        ({"C": 1.0}, {}, 0.0),
    ],
)
def test_how_far_a_refit_came_is_the_share_of_its_rounds(
    effort: dict[str, Any], wanted: dict[str, Any], share: float
) -> None:
    assert come_to(effort, wanted) == share


@pytest.mark.exam
def test_a_refit_that_its_lease_cuts_near_its_end_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on = made(tmp_path)[2]
    trial = Trial("t1", "extra_trees", {}, rung=0).to_dict()
    cut = Lease("t1", 0.0, 0.0)
    assert not on.run(refit("dev", trial, effort={"trees": 100}), cut)["complete"]
    monkeypatch.setattr("lepton_ray.on_host.bench.FAR_ENOUGH", 0.01)
    assert on.run(refit("dev", trial, effort={"trees": 100}), cut)["complete"]
