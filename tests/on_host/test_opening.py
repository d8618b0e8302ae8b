"""What is done with an outcome: the bundle of whoever holds the title is the one that is handed over."""

from dataclasses import replace
from pathlib import Path

from lepton_ray.on_host.opening import note_outcome
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.search.desk import Desk
from lepton_ray.search.rungs import Rung
from lepton_ray.search.trial import DONE, Outcome, Trial
from tests.on_host.rows import columns, course, spec, write
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
