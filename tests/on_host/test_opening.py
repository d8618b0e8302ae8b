"""What is done with an outcome: the bundle of whoever holds the title is the one that is handed over."""

from dataclasses import replace
from pathlib import Path

from lepton_ray.on_host.finishing import WRITING_SECONDS, refit_seconds
from lepton_ray.on_host.opening import note_outcome, open_desk
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.search.desk import Desk
from lepton_ray.search.rungs import Rung
from lepton_ray.search.trial import DONE, Outcome, Trial
from tests.on_host.rows import bench, columns, course, spec, write
from tests.sealed import seal
from tests.search.test_desk import desk as desk_of

HELD = {"score": 0.5, "interval": None, "how": "held_out", "rows": 9}


def test_a_promotion_that_disappoints_hands_the_title_to_one_that_ended_before(tmp_path: Path) -> None:
    made = course(spec(write(tmp_path / "table.csv", columns(60)), drop="row", out=str(tmp_path / "run")))
    sealer = Sealer(made.folder, {"run": "run-1"}, made.clock)
    found: Desk = desk_of(trials=4, rungs=(Rung(None, 1), Rung(None, 2)))

    def ended(name: str, error: float, rung: int = 0, parent: str | None = None) -> Outcome:
        trial = Trial(name, "trees", {"of": parent or name}, rung, parent)
        seal(made.folder.scratch / "sealed" / name, family_name="constant", facts={"of": name}, created=1.7e9)
        bundle = str(made.folder.scratch / "sealed" / name)
        held = HELD | {"score": error}
        folds = (error,) * (1 + rung)
        return Outcome(trial, DONE, "host", 0.0, 1.0, error, error, folds, bundle=bundle, held_out=held)

    def sealed_after(outcome: Outcome) -> float:
        found.replay([outcome])
        note_outcome(made, sealer, found, outcome)
        return float(sealer.facts["score"])

    assert sealed_after(ended("t001", 0.50)) == 0.50
    assert sealed_after(ended("t002", 0.45)) == 0.45
    assert sealed_after(ended("t003", 0.40, 1, "t001")) == 0.45, "on the last rung t002 would come to 0.36"
    assert sealed_after(ended("t004", 0.42, 1, "t002")) == 0.40, "it came to 0.42"
    assert sealed_after(replace(ended("t005", 0.9), bundle=None)) == 0.40 and sealer.facts["trials"] == 5


def ended(name: str, family: str, error: float, *, fit: float, whole: float, at: float = 0.0) -> Outcome:
    """A trial of five folds whose fits took ``fit`` seconds of its ``whole``, after ``at`` for its features."""
    trial = Trial(name, family, {"of": name}, 0)
    bundle = None if family == "constant" else "sealed"
    found = Outcome(trial, DONE, "host", 1.0, whole, error, error, (error,) * 5, bundle=bundle, fits=5)
    return replace(found, fit_seconds=fit, fit_started=1.0 + at)


def reserved(folder: Path, *outcomes: Outcome) -> float:
    """What a desk of 60 s keeps beside what is fixed."""
    out = str(folder / "-".join(one.trial.id for one in outcomes))
    course, prepared, _ = bench(spec(write(folder / "t.csv", columns(1200)), drop="row", out=out))
    found = open_desk(course, prepared, Sealer(course.folder, {}, course.clock), kept=0.0, probed=False)
    found.replay(outcomes)
    return found.reserve_seconds()


def test_time_is_kept_for_scoring_two_seals_and_the_refits_of_families_that_are_not_far_behind(tmp_path: Path) -> None:
    best = ended("t1", "lightgbm", 0.20, fit=10.0, whole=11.0, at=0.7)
    near, far = (ended(name, name, error, fit=40.0, whole=40.0) for name, error in (("linear", 0.24), ("svm", 0.3)))
    alone = reserved(tmp_path, best)
    assert abs(alone - (0.3 + WRITING_SECONDS + refit_seconds(2.0))) < 1e-6
    assert reserved(tmp_path, best, far) == alone
    more = WRITING_SECONDS + refit_seconds(8.0)
    assert abs(reserved(tmp_path, best, near) - alone - more) < 1e-6, "on one core, one after the other"


def test_where_no_refit_can_be_begun_one_seal_is_kept_time_for(tmp_path: Path) -> None:
    assert abs(reserved(tmp_path, ended("t1", "lightgbm", 0.2, fit=500.0, whole=500.2)) - 0.2) < 1e-6
