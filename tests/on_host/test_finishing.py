"""Finishing: the winner is fitted again, scored where nothing saw the rows, and never chosen by that score."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.errors import SearchError, UsageError
from lepton_ray.money.lease import Lease
from lepton_ray.on_host import blending, finishing, telling
from lepton_ray.on_host import search as host_search
from lepton_ray.on_host.bench import Bench
from lepton_ray.on_host.choosing import Chosen, chosen_families
from lepton_ray.on_host.concluding import rows_of
from lepton_ray.on_host.opening import open_desk
from lepton_ray.on_host.out_of_fold import load_folds, path_of, save_folds
from lepton_ray.on_host.preparation import prepare
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.on_host.worker_client import Outcome as Ended
from lepton_ray.on_host.worker_client import Status
from lepton_ray.search import ensemble
from lepton_ray.search.bias import Judged
from lepton_ray.search.ensemble import Room
from lepton_ray.search.trial import Outcome, Trial
from lepton_ray.table.schema import Column, Kind, Schema, Task
from lepton_ray.training.metrics import METRICS
from tests.examples import one_in
from tests.on_host.rows import bench, columns, spec, write

NUMBERS = Schema((Column("x", Kind.NUMBER),))


@dataclass
class Here:
    """A worker without a process: the bench itself, which also may lose a task."""

    bench: Bench
    lose: tuple[str, ...] = ()
    lose_pairs: tuple[tuple[str, str], ...] = ()
    given: list[tuple[dict[str, Any], Lease]] = field(default_factory=list)
    busy: bool = False

    def ready_within(self, timeout: float) -> bool:
        return True

    def submit(self, task: dict[str, Any], lease: Lease) -> None:
        self.given.append((json.loads(json.dumps(task)), lease))

    def poll(self, timeout: float) -> Ended:
        task, lease = self.given[-1]
        fit = () if task["kind"] == "seal" else (task.get("rows"), task["trial"]["family"])
        if set(fit) & set(self.lose) or fit in self.lose_pairs:
            return Ended(task, Status.KILLED, None, "it outlived its lease and was killed", lease.started, lease.until)
        value = self.bench.run(task, lease)
        return Ended(task, Status.DONE, json.loads(json.dumps(value)), "", lease.started, lease.until)


@dataclass
class Made:
    """A small run whose search is over."""

    course: Any
    prepared: Any
    sealer: Sealer
    desk: Any
    worker: Here
    booked: list[tuple[str, str, bool]] = field(default_factory=list)

    def finish(
        self, until: float = 60.0, members: int = 1, recipe: blending.Recipe | None = None
    ) -> finishing.Finished:
        recipe = recipe or blending.recipe_of(
            self.prepared.plan.problem,
            self.prepared.dev,
            self.desk.outcomes(),
            self.desk.best(),
            self.course.folder.scratch,
            refit_seconds=lambda outcome: finishing.refit_seconds(self.desk.fit_seconds(outcome)),
            room=Room(members=members),
            rng=np.random.default_rng(0),
            value=self.course.value,
        )
        sealed = blending.as_sealed(
            self.prepared.plan.problem, self.prepared.dev, self.desk.best(), self.course.folder.scratch, None
        )
        return finishing.finish(
            recipe,
            sealed,
            [self.worker],  # type: ignore[list-item]
            self.sealer,
            self.course.clock,
            scratch=self.course.folder.scratch,
            rows=rows_of(self.prepared),
            rung=self.desk.rungs[self.desk.best().trial.rung],
            seconds=lambda outcome: finishing.refit_seconds(self.desk.fit_seconds(outcome)),
            until=until,
            trials=3,
            book=lambda refit, complete: self.booked.append((refit.outcome.trial.id, refit.part, complete)),
        )

    @property
    def result(self) -> dict[str, Any]:
        return dict(json.loads((self.course.folder.path / "result.json").read_text()))


def searched(folder: Path, *, trials: int = 3, rows: int = 1200, lose: tuple[str, ...] = (), **options: Any) -> Made:
    wanted = {"drop": "row,value", "out": str(folder / "run"), "families": "linear"} | options
    table = options.pop("table", None) or columns(rows)
    wanted.pop("table", None)
    course, prepared, on = bench(spec(write(folder / "table.csv", table), **wanted))
    sealer = Sealer(course.folder, telling.opening_facts(course, prepared), course.clock)
    made = Made(course, prepared, sealer, open_desk(course, prepared, sealer), Here(on, lose))
    course.meter.enter("first models")
    done = lambda: len(made.desk.outcomes()) >= trials  # noqa: E731
    host_search.run(made.desk, [made.worker], course.clock, threads=1, hand_over=done)  # type: ignore[arg-type]
    return made


def test_a_search_seals_as_it_goes(tmp_path: Path) -> None:
    made = searched(tmp_path, trials=2)
    assert [outcome.trial.family for outcome in made.desk.outcomes()] == ["constant", "linear"]
    result = made.result
    assert (result["trials"], result["baseline_score"]) == (2, 0.5)
    assert result["score"] == made.desk.best().held_out["score"] > 0.7
    assert Bundle.load(result["bundle"]).id == result["bundle_id"]
    assert [outcome.to_dict() for outcome in made.course.folder.trials()] == [
        outcome.to_dict() for outcome in made.desk.outcomes()
    ]
    attributed = [charge for charge in made.course.meter.ledger.charges() if charge.book == "attributed"]
    assert [charge.what for charge in attributed] == ["t000", "t001"]


def test_the_winner_is_fitted_on_all_rows_and_keeps_the_score_measured_before(tmp_path: Path) -> None:
    made = searched(tmp_path)
    found = made.finish()
    last = [(task["kind"], task["rows"]) for task, _ in made.worker.given[-3:]]
    assert last == [("refit", "all"), ("seal", "dev"), ("seal", "all")]
    winner = made.desk.best().trial.id
    assert made.booked == [(winner, "dev", True), (winner, "all", True)]
    assert found.fitted_on == "all" and found.importances
    assert found.predictions is not None and len(np.load(found.predictions)) == len(made.prepared.held.y)
    sealed = Bundle.load(made.result["bundle"])
    assert sealed.manifest.facts["fitted_on"] == "all"
    assert sealed.manifest.facts["score"] == made.result["score"] == found.held_out["score"]
    assert [path.name for path in (made.course.folder.path / "bundles").iterdir()] == [sealed.id[:12]]


def test_a_blend_is_fitted_sealed_and_told_as_one(tmp_path: Path) -> None:
    made = searched(tmp_path, trials=8, families="linear,lightgbm")
    found = made.finish(members=3)
    bundle = Bundle.load(made.result["bundle"])
    assert len(bundle.manifest.members) == len(found.recipe.members)
    assert sum(member.share for member in bundle.manifest.members) == pytest.approx(1.0)
    assert [member.family for member in bundle.manifest.members] == [
        outcome.trial.family for outcome, _ in found.recipe.members
    ]
    scored = np.load(found.predictions)
    assert METRICS["roc_auc"].score(made.prepared.held.y, scored, None) == pytest.approx(found.held_out["score"])


def blend(made: Made, *names: str) -> blending.Recipe:
    """These trials in equal shares, whatever the search would have chosen."""
    return blended(made, [outcome for outcome in made.desk.outcomes() if outcome.trial.id in names])


def blended(made: Made, outcomes: list[Outcome]) -> blending.Recipe:
    members = tuple((outcome, 1 / len(outcomes)) for outcome in outcomes)
    parts = {outcome.trial.id: np.full((2, 2), 0.5) for outcome in outcomes}
    return blending.Recipe(members, made.prepared.plan.problem, parts, np.arange(2), Judged(np.array([0, 1])))


def at_the_last_rung(made: Made, *families: str) -> blending.Recipe:
    """A trial of each of these families that came so far, in equal shares."""
    last = len(made.desk.rungs) - 1
    orders = [
        {"trial": Trial(f"t9{at}", family, {}, rung=last).to_dict(), "beat": None} for at, family in enumerate(families)
    ]
    rest = {"kind": "trial", "driver": "host", "threads": 1, "again": False, "judging": 0.5}
    answers = [made.worker.bench.run({**rest, **order}, Lease("t", 0.0, 3600.0)) for order in orders]
    return blended(made, [Outcome.from_dict(answer) for answer in answers])


@pytest.mark.exam
def test_refits_on_every_row_come_before_those_for_a_better_score(tmp_path: Path) -> None:
    made = searched(tmp_path, trials=2, families="linear,lightgbm")
    found = made.finish(recipe=at_the_last_rung(made, "linear", "lightgbm"))
    asked = [(task["kind"], task.get("rows")) for task, _ in made.worker.given if task["kind"] != "trial"]
    refits = [*[("refit", "all")] * 2, *[("refit", "dev")] * 2]
    assert asked == [("seal", "search"), *refits, ("seal", "dev"), ("seal", "all")]
    assert found.fitted_on == "all" and Bundle.load(made.result["bundle"]).manifest.facts["refitted"] == 2


@pytest.mark.exam
@pytest.mark.parametrize(
    "lose, fitted_on, again",
    [(("dev", "all"), "search", 0), (("dev", "lightgbm"), "some", 1), (("all",), "development", 2)],
)
def test_a_member_whose_refit_did_not_end_stays_as_the_search_left_it(
    tmp_path: Path, lose: tuple[str, ...], fitted_on: str, again: int
) -> None:
    made = searched(tmp_path, trials=2, families="linear,lightgbm")
    recipe = at_the_last_rung(made, "linear", "lightgbm")
    made.worker.lose = lose
    found = made.finish(recipe=recipe)
    bundle = Bundle.load(made.result["bundle"])
    assert [member.family for member in bundle.manifest.members] == ["linear", "lightgbm"]
    assert found.fitted_on == fitted_on and (fitted_on != "some" or "1 of the 2 models" in found.note)
    assert bundle.manifest.facts["refitted"] == again
    scored = np.load(found.predictions)
    assert METRICS["roc_auc"].score(made.prepared.held.y, scored, None) == pytest.approx(found.held_out["score"])
    assert bundle.manifest.facts["score"] == made.result["score"] == found.held_out["score"]


@pytest.mark.exam
def test_a_member_whose_refit_did_not_end_leaves_the_blend_to_the_others(tmp_path: Path) -> None:
    made = searched(tmp_path, trials=9, families="linear,lightgbm")
    made.worker.lose = ("lightgbm",)
    first = {outcome.trial.family: outcome.trial.id for outcome in reversed(made.desk.outcomes())}
    found = made.finish(recipe=blend(made, first["linear"], first["lightgbm"]))
    (only,) = Bundle.load(made.result["bundle"]).manifest.members
    assert (only.family, only.share) == ("linear", 1.0) and found.fitted_on == "all"
    assert [outcome.trial.family for outcome, _ in found.recipe.members] == ["linear"]


@pytest.mark.exam
def test_where_no_refit_ends_the_champion_stays_with_its_own_score(tmp_path: Path) -> None:
    """The blend may be led by a trial that was never the best so far: it has no bundle and no score of its own."""
    made = searched(tmp_path, trials=9, families="linear,lightgbm")
    other = next(one for one in made.desk.outcomes() if one.trial.id != made.desk.best().trial.id)
    recipe = blend(made, other.trial.id)
    recipe = replace(recipe, members=((replace(other, held_out=None, bundle=None), 1.0),))
    made.worker.lose = ("dev", "all")
    found = made.finish(recipe=recipe)
    assert found.fitted_on == "search" and found.recipe.winner is made.desk.best()
    assert found.held_out == made.desk.best().held_out and found.predictions.exists()
    assert found.recipe.temperature == 1.0 and len(found.recipe.predictions) == len(found.recipe.rows)


@pytest.mark.exam
def test_a_score_stands_beside_the_model_that_it_measures(tmp_path: Path) -> None:
    made = searched(tmp_path, trials=9, families="linear,lightgbm")
    first = {outcome.trial.family: outcome.trial.id for outcome in reversed(made.desk.outcomes())}
    made.worker.lose_pairs = (("dev", "lightgbm"), ("all", "linear"))
    found = made.finish(recipe=blend(made, first["linear"], first["lightgbm"]))
    bundle = Bundle.load(made.result["bundle"])
    assert found.fitted_on == "development" and bundle.manifest.facts["fitted_on"] == "dev"
    assert [member.family for member in bundle.manifest.members] == ["linear"]


def test_no_time_leaves_the_model_of_the_search(tmp_path: Path) -> None:
    made = searched(tmp_path)
    before = made.result
    found = made.finish(until=made.course.clock() + 0.01)
    assert found.fitted_on == "search" and "did not allow a refit" in found.note
    assert found.importances and set(found.importances) >= {"height"}
    assert made.result["bundle_id"] == before["bundle_id"] and found.held_out == made.desk.best().held_out


@pytest.mark.parametrize(
    "lose, fitted_on", one_in(3, [(("dev", "all"), "search"), (("dev",), "all"), (("all",), "development")])
)
def test_a_refit_that_did_not_end_is_put_aside(tmp_path: Path, lose: tuple[str, ...], fitted_on: str) -> None:
    made = searched(tmp_path)
    made.worker.lose = lose
    found = made.finish()
    assert found.fitted_on == fitted_on
    assert Bundle.load(made.result["bundle"]).id == made.result["bundle_id"]
    assert made.result["score"] == found.held_out["score"]


def test_a_refit_that_scores_worse_replaces_the_model_all_the_same(tmp_path: Path) -> None:
    """A choice by the held-out score would make it optimistic."""
    made = searched(tmp_path)
    best = made.desk.best()
    flattered = replace(best, held_out={**best.held_out, "score": 0.9999})
    made.desk.best = lambda: flattered
    assert made.finish().held_out["score"] < 0.9999


@pytest.mark.exam
def test_a_wish_to_stop_does_not_stop_the_refit(tmp_path: Path) -> None:
    made = searched(tmp_path)
    (made.course.folder.scratch / "stop").touch()
    assert made.finish().fitted_on == "all"


def test_a_small_table_has_one_refit_and_a_corrected_score(tmp_path: Path) -> None:
    made = searched(tmp_path, rows=300, trials=6)
    found = made.finish()
    assert found.fitted_on == "all" and found.predictions is None
    assert {task["rows"] for task, _ in made.worker.given if task["kind"] == "refit"} == {"dev"}
    assert found.measured(0.5, [0.4, 0.6]).held_out["interval"] == [0.4, 0.6]


@pytest.mark.exam
def test_a_family_that_is_lost_costs_its_lease_and_no_more(tmp_path: Path) -> None:
    made = searched(tmp_path, trials=9, families="lightgbm,linear", lose=("lightgbm",))
    lost = [outcome for outcome in made.desk.outcomes() if outcome.trial.family == "lightgbm"]
    assert lost and all((one.state, one.bundle) == ("killed", None) for one in lost)
    assert made.desk.best().trial.family == "linear"


@pytest.mark.exam
def test_a_parent_stands_for_itself_where_its_promotion_was_judged_on_other_rows(tmp_path: Path) -> None:
    made = searched(tmp_path, trials=3)
    first, second = made.desk.outcomes()[1:3]
    promotion = replace(second, trial=replace(second.trial, id="t009", rung=1, parent=second.trial.id))
    scratch = made.course.folder.scratch
    folds = load_folds(path_of(scratch, second.trial.id))
    given = (made.prepared.plan.problem, made.prepared.dev, (*made.desk.outcomes(), promotion), first, scratch)
    rest: dict[str, Any] = {"refit_seconds": lambda outcome: 0.0, "room": Room(), "rng": np.random.default_rng(0)}
    seen: list[list[str]] = []

    def choose(metric: Any, judged: Any, candidates: Any, **how: Any) -> Any:
        seen.append(sorted(one.id for one in candidates))
        return ensemble.choose(metric, judged, candidates, **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blending, "choose", choose)
        for kept in (folds, folds[:-1], [*folds, folds[0]]):  # all the rows; fewer; cut short within a repeat
            save_folds(path_of(scratch, "t009"), kept)
            blending.recipe_of(*given, **rest)
    one, other = first.trial.id, second.trial.id
    assert seen == [[one, "t009"], *[[one, other]] * 2], "and never the constant"


@pytest.mark.exam
def test_a_score_that_the_held_out_rows_do_not_define_comes_from_the_folds(tmp_path: Path) -> None:
    table = columns(1500)
    table["left"] = ["yes" if number < 6 else "no" for number in range(1500)]
    path = write(tmp_path / "rare.csv", table)
    alone = (seed for seed in range(60) if prepare(spec(path, drop="row,value", seed=seed)).held.y.sum() == 0)
    made = searched(tmp_path, table=table, seed=next(alone))
    found = made.finish()
    assert found.held_out["how"] == "cross_validation" and found.held_out["interval"] is None
    assert made.result["score"] == found.recipe.winner.score
    assert np.isfinite(made.result["baseline_score"])


def test_a_refit_is_expected_to_take_a_fit_on_more_rows_without_a_judge() -> None:
    assert 0.5 < finishing.refit_seconds(1.0) < 2.0
    assert finishing.refit_seconds(10.0) == 10.0 * finishing.refit_seconds(1.0)


def test_the_constant_is_always_tried_and_a_family_that_cannot_is_refused(tmp_path: Path) -> None:
    wanted = spec(tmp_path, families="linear")
    assert chosen_families(wanted, Task.BINARY, NUMBERS).names == ("constant", "linear")
    assert chosen_families(spec(tmp_path, families="constant"), Task.BINARY, NUMBERS).names == ("constant",)
    assert chosen_families(spec(tmp_path), Task.REGRESSION, NUMBERS).names[0] == "constant"
    with pytest.raises(UsageError):
        chosen_families(spec(tmp_path, families="tests.no:Such"), Task.BINARY, NUMBERS)
    own = "tests.on_host.test_finishing:Regressor"
    with pytest.raises(SearchError, match="can do a binary task"):
        chosen_families(spec(tmp_path, families=own), Task.BINARY, NUMBERS)


def test_what_is_left_out_of_a_search_is_told_with_its_reason(tmp_path: Path) -> None:
    weighed = chosen_families(spec(tmp_path, families="linear,knn", weight="w"), Task.BINARY, NUMBERS)
    assert weighed.names == ("constant", "linear") and "row weights (--weight)" in weighed.left_out["knn"]
    own = "tests.on_host.test_finishing:Regressor"
    onnx = spec(tmp_path, families=f"linear,{own}", onnx=True)
    found = chosen_families(onnx, Task.REGRESSION, NUMBERS)
    assert found.names == ("constant", "linear") and list(found.left_out) == [own]
    assert "cannot be exported as ONNX: `x` (--onnx)." in found.sentences[0]
    with pytest.raises(SearchError, match="be exported"):
        chosen_families(replace(onnx, families=(own,)), Task.REGRESSION, NUMBERS)
    needs = {"knn": "1 CPU, 1 GPU"}.get
    placed = chosen_families(spec(tmp_path, families="linear,knn"), Task.BINARY, NUMBERS, needs)
    assert placed.names == ("constant", "linear") and placed.left_out["knn"].startswith(
        "no node has what it needs (1 C"
    )
    with pytest.raises(SearchError, match="where it may run"):
        chosen_families(spec(tmp_path, families="knn"), Task.BINARY, NUMBERS, needs)
    texts = Schema((Column("x", Kind.NUMBER), Column("note", Kind.TEXT)))
    with pytest.raises(UsageError, match="--onnx.*`note`") as refused:
        chosen_families(onnx, Task.REGRESSION, texts)
    assert "--drop note" in refused.value.hint


def test_where_every_family_failed_the_reason_is_told(tmp_path: Path) -> None:
    floor = Outcome(Trial("t000", "constant", {}, 0), "done", "host", 0.0, 1.0, error=0.5)
    broken = [replace(floor, trial=Trial(f"t00{at}", "own", {}, 0), error=None, reason="two\nlines.") for at in (1, 2)]
    told = telling.alone(floor, [floor, *broken], Chosen(("constant", "own"), {"other": "it has no list."}))
    assert told == "every family failed, so the model is the constant one (own: two lines; other: it has no list)"
    assert telling.alone(floor, [floor], Chosen(("constant",))) is None
    better = replace(floor, trial=Trial("t003", "linear", {}, 0))
    assert telling.alone(floor, [floor, *broken, better], Chosen(("constant",))) is None


class Regressor:
    name, view, tasks, weighted = "own", "tree", frozenset({Task.REGRESSION}), False
    exports: frozenset[Any] = frozenset()

    def configs(self, *given: Any) -> list[Any]: ...  # type: ignore[empty-body]
    def sample(self, *given: Any) -> Any: ...
    def work(self, *given: Any) -> Any: ...
    def fit(self, *given: Any) -> Any: ...
    def load(self, *given: Any) -> Any: ...


class Timed:
    """Workers without processes on one clock: each refit takes what is said, less on more threads."""

    def __init__(self, workers: int, takes: dict[str, float]) -> None:
        self.now, self.takes = 0.0, takes
        self.ends: dict[int, tuple[float, dict[str, Any]]] = {}
        self.begun: list[tuple[str, float, int]] = []
        self.booked: list[tuple[str, bool]] = []
        self.slow: dict[str, float] = {}
        self.workers = [TimedWorker(self, at) for at in range(workers)]

    def refits(self, cores: int, until: float) -> list[tuple[str, float, int]]:
        """(name, begun at, threads) of each refit that was begun."""
        tried = [Trial(name, "linear", {}, 0) for name in self.takes]
        waiting = [("all", Outcome(trial, "done", "host", 0.0, 1.0, error=0.1)) for trial in tried]
        seconds = lambda one: self.takes[one.trial.id]  # noqa: E731
        crew: Any = self.workers
        ends = {"all": until}
        book = lambda refit, complete: self.booked.append((refit.outcome.trial.id, complete))  # noqa: E731
        finishing._Refits(crew, cores, lambda: self.now, waiting, ends, seconds, book).carried_out()
        return self.begun


@dataclass
class TimedWorker:
    shared: Timed
    at: int

    def ready_within(self, timeout: float) -> bool:
        return self.at not in self.shared.ends

    def submit(self, task: dict[str, Any], lease: Lease) -> None:
        speed = 1.0 + finishing.PER_THREAD * (task["threads"] - 1)
        name = task["trial"]["id"]
        self.shared.begun.append((name, self.shared.now, task["threads"]))
        takes = self.shared.takes[name] + self.shared.slow.get(name, 0.0)
        self.shared.ends[self.at] = self.shared.now + takes / speed, task

    def poll(self, timeout: float) -> Ended | None:
        self.shared.now += timeout
        end, task = self.shared.ends[self.at]
        if end > self.shared.now:
            return None
        del self.shared.ends[self.at]
        return Ended(task, Status.DONE, {"complete": True}, "", 0.0, end)


def test_refits_share_the_cores_and_the_last_has_all_that_are_free() -> None:
    assert Timed(2, {"t1": 4.0, "t2": 4.0}).refits(2, 9.0) == [("t1", 0.0, 1), ("t2", 0.0, 1)]
    assert Timed(2, {"t1": 4.0}).refits(4, 9.0) == [("t1", 0.0, 4)]
    assert Timed(2, {"t1": 4.0, "t2": 4.0}).refits(8, 9.0) == [("t1", 0.0, 4), ("t2", 0.0, 4)]


def test_nobody_waits_for_a_refit_that_is_late_where_another_worker_can_seal() -> None:
    late = Timed(2, {"t1": 9.0, "t2": 2.0})
    late.slow = {"t1": 5.0}
    assert late.refits(2, 9.0) == [("t1", 0.0, 1), ("t2", 0.0, 1)]
    assert late.booked == [("t2", True), ("t1", False)] and late.now == pytest.approx(9.31, abs=0.05)


def test_who_is_late_is_given_nothing_more() -> None:
    late, there = Here(None, busy=True), Here(None)  # type: ignore[arg-type]
    assert finishing._free([late, there]) is there  # type: ignore[list-item]


def test_what_fits_in_time_on_all_cores_only_has_them_when_nothing_else_runs() -> None:
    first, second = Timed(2, {"t1": 10.0, "t2": 1.0}).refits(2, 6.0)
    assert first == ("t2", 0.0, 1) and second == ("t1", pytest.approx(1.0, abs=0.1), 2)
    assert Timed(2, {"t1": 30.0, "t2": 1.0}).refits(2, 6.0) == [("t2", 0.0, 1)]
