"""A run that goes on knows what it knew, pays on from where it was, and refuses what would not be the same run."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.errors import DataError, EnvironmentFault, LeptonError, MoneyError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host import blending, resuming, telling
from lepton_ray.on_host import search as host_search
from lepton_ray.on_host.bench import Bench
from lepton_ray.on_host.broken import Broken
from lepton_ray.on_host.concluding import conclude
from lepton_ray.on_host.course import Course
from lepton_ray.on_host.opening import open_desk
from lepton_ray.on_host.out_of_fold import out_of_fold, path_of
from lepton_ray.on_host.preparation import prepare
from lepton_ray.on_host.pulse import beat
from lepton_ray.on_host.resuming import Past, spec_of, take_up
from lepton_ray.on_host.run_folder import Begun
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.search.trial import BROKEN_OFF, DONE, Outcome, Trial
from lepton_ray.spec import Surroundings
from tests.examples import one_in
from tests.on_host.rows import Silent, columns, write
from tests.on_host.test_finishing import Here, Made, at_the_last_rung, searched

IN_HAND = {"family": "linear", "config": {"C": 0.123}, "rung": 0}


def broken_off(folder: Path, **options: Any) -> Made:
    """A run that was broken off in its next trial, whose line in the log was torn."""
    made = searched(folder, **options)
    resuming.lay_grounds(made.course, made.prepared)
    made.course.folder.log_begun(Begun(in_hand(made), "host", made.course.clock()))
    with (made.course.folder.path / "trials.jsonl").open("a") as file:
        file.write('{"trial": {"id": "t0')
    beat(made.course.folder.pulse, made.course.clock())
    return made


def in_hand(made: Made) -> Trial:
    return Trial(f"t{len(made.desk.outcomes()):03d}", **IN_HAND)


def around(made: Made, **changes: Any) -> Surroundings:
    """A new process, whose clock stands where the run was broken off."""
    spent = Broken.of(made.course.folder.path).spent_seconds
    return replace(made.course.around, started=time.monotonic() - spent, **changes)


def taken_up(made: Made, screen: Silent | None = None, **changes: Any) -> tuple[Course, Past]:
    folder = made.course.folder.path
    return take_up(spec_of(folder, **changes), folder, around(made), screen or Silent())


def goes_on(made: Made, screen: Silent | None = None) -> Made:
    """The same run up to its search, as the driver goes on with it."""
    return gone_on(made, screen)[0]


def gone_on(made: Made, screen: Silent | None = None) -> tuple[Made, Past]:
    """The same, and what its earlier legs have left."""
    course, past = taken_up(made, screen)
    course.meter.enter("read")
    prepared = prepare(course.spec)
    telling.write_setup(course, prepared)
    sealer = Sealer(course.folder, telling.opening_facts(course, prepared), course.clock)
    desk = open_desk(course, prepared, sealer)
    past.replay(prepared, desk, sealer, course.folder.scratch)
    course.meter.enter("first models")
    return Made(course, prepared, sealer, desk, Here(Bench(course.folder.scratch))), past


def test_what_was_known_is_known_again_and_the_search_goes_on(tmp_path: Path) -> None:
    screen, made = Silent(), broken_off(tmp_path, families="linear,lightgbm")
    before, champion, result = made.desk.outcomes(), made.desk.best(), made.result
    again = goes_on(made, screen)
    *known, lost = again.desk.outcomes()
    assert [replace(one, bundle=None) for one in known] == [replace(one, bundle=None) for one in before]
    assert (lost.trial, lost.state, lost.error) == (in_hand(made), BROKEN_OFF, None)
    assert replace(again.desk.best(), bundle=None) == replace(champion, bundle=None)
    kept = ("bundle_id", "score", "score_interval", "baseline_score", "threshold")
    assert {name: again.result[name] for name in kept} == {name: result[name] for name in kept}
    assert any("3 trials" in one and "not billed" in one for one in screen.said), screen.said
    assert any("1 trial that" in one for one in screen.said) and any("1 line of its log" in one for one in screen.said)
    done = lambda: len(again.desk.outcomes()) >= 7  # noqa: E731
    host_search.run(again.desk, [again.worker], again.course.clock, threads=1, hand_over=done)  # type: ignore[arg-type]
    assert [one.trial.id for one in again.desk.outcomes()] == [f"t{number:03d}" for number in range(7)]
    found = again.finish(members=3)
    assert found.fitted_on == "all" and Bundle.load(again.result["bundle"]).id == again.result["bundle_id"]


@pytest.mark.exam
def test_what_earlier_trials_said_can_still_join_a_blend(tmp_path: Path) -> None:
    made = broken_off(tmp_path, trials=6, families="linear,lightgbm")
    before = {one.trial.id: out_of_fold(path_of(made.course.folder.scratch, one.trial.id)) for one in learned(made)}
    again = goes_on(made)
    scratch = again.course.folder.scratch
    for name, said in before.items():
        found = out_of_fold(path_of(scratch, name))
        assert found is not None and said is not None and np.array_equal(found.predictions, said.predictions)
    first = [one for one in learned(again) if one.trial.rung == 0][:2]
    blend = blending.of_members(
        again.prepared.plan.problem, again.prepared.dev, [(one, 0.5) for one in first], scratch, None
    )
    assert len(first) == 2 and len(blend.predictions) == len(again.prepared.dev.y)
    path_of(scratch, first[0].trial.id).write_bytes(b"PK half of a file")
    with pytest.raises(EnvironmentFault, match=first[0].trial.id):
        blending.of_members(blend.problem, again.prepared.dev, [(one, 0.5) for one in first], scratch, None)


def learned(made: Made) -> list[Outcome]:
    return [one for one in made.desk.outcomes() if one.state == DONE and one.trial.family != "constant"]


@pytest.mark.exam
def test_both_legs_are_billed_once_and_the_time_between_them_never(tmp_path: Path) -> None:
    made = broken_off(tmp_path)
    folder = made.course.folder.path
    ended = made.course.clock()
    beat(made.course.folder.pulse, ended)
    spent = Broken.of(folder).spent_seconds
    assert spent == pytest.approx(ended + 1.0, abs=1e-3), "the second in which it ended is billed whole"
    again = goes_on(made)
    again.course.meter.close()
    receipt = Receipt.from_ledger(again.course.meter.ledger)
    assert receipt.legs[0].seconds == pytest.approx(spent) and receipt.legs[1].seconds < 60
    assert Dollars.total(leg.dollars for leg in receipt.legs) == receipt.total.dollars
    assert receipt.total.dollars == Dollars.of_rate(receipt.machine.per_hour, again.course.meter.ledger.second)
    lost = next(line for line in receipt.trials if line.trial == in_hand(made).id)
    assert lost.outcome == BROKEN_OFF and 0 <= lost.seconds <= spent
    assert "not billed" in receipt.to_text() and receipt.to_dict()["legs"][1]["down_seconds"] >= 0


@pytest.mark.exam
def test_a_run_can_be_broken_off_again_and_again(tmp_path: Path) -> None:
    made = broken_off(tmp_path)
    for leg in (2, 3):
        made = goes_on(made)
        beat(made.course.folder.pulse, made.course.clock())
        assert len(made.course.meter.ledger.legs) == leg
    assert [one.trial.id for one in made.desk.outcomes()] == ["t000", "t001", "t002", "t003"]


@pytest.mark.exam
def test_a_model_that_was_finished_is_reported_as_it_is(tmp_path: Path) -> None:
    made = broken_off(tmp_path, trials=6, families="linear,lightgbm")
    made.course.meter.ledger.note("stopped_because", "it was enough")
    before = made.finish(members=3)
    result = made.result
    course, past = taken_up(made)
    course.meter.enter("read")
    prepared = prepare(course.spec)
    sealer = Sealer(course.folder, telling.opening_facts(course, prepared), course.clock)
    desk = open_desk(course, prepared, sealer)
    past.replay(prepared, desk, sealer, course.folder.scratch)
    found = past.concluded(course, prepared, sealer, until=60.0)
    assert past.searched and found is not None and found.fitted_on == before.fitted_on == "all"
    shares = [(one.trial.id, share) for one, share in before.recipe.members]
    assert [(one.trial.id, share) for one, share in found.recipe.members] == shares
    assert found.importances == Bundle.load(result["bundle"]).model.importances()
    assert found.held_out["score"] == before.held_out["score"]
    html = telling.report_html(course, prepared, desk, sealer, found)
    assert "it was enough" in html and sealer.facts["bundle_id"] == result["bundle_id"]


@pytest.mark.exam
def test_a_blend_that_was_sealed_as_it_is_is_fitted_again(tmp_path: Path) -> None:
    made = broken_off(tmp_path, trials=2, families="linear,lightgbm")
    recipe = at_the_last_rung(made, "linear", "lightgbm")
    for outcome, _ in recipe.members:
        made.course.folder.log_trial(outcome)
    made.course.meter.ledger.note("stopped_because", "it was enough")
    made.worker.lose = ("dev", "all")
    before = made.finish(recipe=recipe)
    assert before.fitted_on == "search" and made.result["score"] == before.held_out["score"]
    again, past = gone_on(made)
    late = past.concluded(again.course, again.prepared, again.sealer, until=again.course.clock() + 1.0)
    assert late is not None and late.fitted_on == "search" and len(late.recipe.members) == 2
    assert past.searched and past.concluded(again.course, again.prepared, again.sealer, until=60.0) is None
    assert again.desk.view(0.0).stopped_because == "it was enough"
    best, hire = again.desk.best(), lambda refits, seconds: [again.worker]
    found = conclude(again.course, again.prepared, again.desk, again.sealer, best, hire=hire, until=60.0)
    assert found.fitted_on == "all" and {one.trial.id for one, _ in found.recipe.members} <= {"t90", "t91"}
    asked = [(task["kind"], task.get("rows")) for task, _ in again.worker.given]
    assert asked[:2] == [("seal", "search"), ("refit", "all")], "a fit that is there needs no other one to be scored"
    assert Bundle.load(again.result["bundle"]).manifest.facts["fitted_on"] == "all"


@pytest.mark.exam
def test_without_any_model_what_had_found_one_is_tried_again(tmp_path: Path) -> None:
    made = broken_off(tmp_path)
    made.course.folder.bundle.unlink()
    (made.course.folder.path / "bundles").rename(tmp_path / "lost")
    again = goes_on(made)
    assert again.desk.best() is None and {one.state for one in again.desk.outcomes()} == {BROKEN_OFF}
    done = lambda: again.desk.best() is not None  # noqa: E731
    host_search.run(again.desk, [again.worker], again.course.clock, threads=1, hand_over=done)  # type: ignore[arg-type]
    assert again.desk.outcomes()[-1].trial == Trial("t004", "constant", {}, 0)
    assert Bundle.load(again.result["bundle"]).id == again.result["bundle_id"]


def test_a_bundle_whose_link_was_not_swapped_is_the_runs(tmp_path: Path) -> None:
    made = broken_off(tmp_path)
    champion = made.course.folder.bundle.resolve()
    old = tmp_path / "run" / "bundles" / "old"
    champion.rename(tmp_path / "newest")
    (old / "model").mkdir(parents=True)  # half removed already
    made.course.folder.bundle.unlink()
    made.course.folder.bundle.symlink_to("bundles/old")
    (tmp_path / "newest").rename(champion)
    goes_on(made)
    assert made.course.folder.bundle.resolve() == champion and not old.exists()


def changed(made: Made) -> None:
    write(Path(made.course.spec.table), columns(1200, seed=4))


def gone(made: Made) -> None:
    Path(made.course.spec.table).unlink()


def retold(**facts: Any) -> Callable[[Made], None]:
    """The spec as it was not."""

    def act(made: Made) -> None:
        path = made.course.folder.path / "spec.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))

    return act


def cleaned(made: Made) -> None:
    shutil.rmtree(made.course.folder.kept)


def torn(name: str, text: str) -> Callable[[Made], None]:
    """A file of the run that is not as it was written."""

    def act(made: Made) -> None:
        (made.course.folder.path / name).write_text(text)

    return act


def nearly_over(made: Made) -> None:
    beat(made.course.folder.pulse, 55.0)


@pytest.mark.parametrize(
    ("act", "kind", "words"),
    one_in(
        4,
        [
            (changed, DataError, "no longer the one"),
            (gone, DataError, "There is no file"),
            (cleaned, DataError, "nobody can say whether"),
            (torn("spec.json", '{"table": ' * 100_000), DataError, "spec.json is nested too deeply"),
            (torn("spec.json", "{"), DataError, "spec.json is not JSON"),
            (torn(".resume/grounds.json", "[" * 100_000), DataError, "grounds.json is nested too deeply"),
            (torn(".resume/grounds.json", "{}"), DataError, "grounds.json has no field 'source'"),
            (retold(table="a pandas frame of 9 x 2"), DataError, "went with the program"),
            (retold(price="1.5"), MoneyError, "began on a machine at $0.096 per hour, and this one costs $1.50"),
            (nearly_over, MoneyError, "Of 1m this run has"),
        ],
    ),
)
def test_a_run_that_cannot_be_the_same_is_refused_and_left_as_it_is(
    tmp_path: Path, act: Callable[[Made], None], kind: type[LeptonError], words: str
) -> None:
    made = broken_off(tmp_path)
    act(made)
    before = {path: path.read_bytes() for path in made.course.folder.path.rglob("*") if path.is_file()}
    with pytest.raises(kind) as fault:
        taken_up(made)
    assert words in fault.value.what and fault.value.hint
    assert {path: path.read_bytes() for path in made.course.folder.path.rglob("*") if path.is_file()} == before
    assert Broken.of(made.course.folder.path).run_id == "run-1", "it can be taken up once that is mended"


def test_a_machine_at_another_price_is_refused_and_one_at_the_price_that_was_given_is_not(tmp_path: Path) -> None:
    made = broken_off(tmp_path)
    folder, larger = made.course.folder.path, around(made, vcpus=4)
    with pytest.raises(MoneyError, match=r"at \$0.096 per hour, and this one costs \$0.192") as fault:
        take_up(spec_of(folder), folder, larger, Silent())
    assert "--warm-start" in fault.value.hint and len(made.course.meter.ledger.legs) == 1
    retold(price="0.096")(made)
    course, _ = take_up(spec_of(folder), folder, larger, Silent())
    assert course.meter.ledger.machine.per_hour == Dollars.parse("0.096") and len(course.meter.ledger.legs) == 2


@pytest.mark.exam
def test_a_table_made_ready_otherwise_is_refused(tmp_path: Path) -> None:
    made = broken_off(tmp_path)
    retold(seed=7)(made)
    with pytest.raises(EnvironmentFault, match="made ready otherwise"):
        goes_on(made)


def test_the_call_says_how_it_is_told_and_whether_to_serve(tmp_path: Path) -> None:
    made = searched(tmp_path)
    asked = spec_of(made.course.folder.path, json=True, serve="30s")
    assert asked == replace(made.course.spec, json=True, serve="30s") and Path(asked.table).is_absolute()


@pytest.mark.exam
def test_what_it_was_to_begin_with_may_be_gone(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    old = searched(tmp_path / "old")
    made = broken_off(tmp_path / "new", warm_start=str(old.course.folder.bundle))
    assert made.desk.outcomes()[1].trial.config == old.desk.best().trial.config
    screen = Silent()
    assert taken_up(made, screen)[0].warm is not None
    (tmp_path / "old").rename(tmp_path / "gone")
    assert taken_up(made, screen)[0].warm is None and any("without --warm-start" in one for one in screen.said)


@pytest.mark.exam
def test_an_outcome_is_done_only_once_it_is_logged(tmp_path: Path) -> None:
    made = broken_off(tmp_path)
    states = [one.state for one in made.course.folder.trials()]
    assert states == [DONE] * 3 and made.course.folder.torn() == 1
