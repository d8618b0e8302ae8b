"""Families of the user's that nothing can be planned with, or that always fail: left out with their reason, and the run
goes on."""

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from lepton_ray.models.linear import LinearFamily
from lepton_ray.on_host import choosing, telling
from lepton_ray.on_host.opening import open_desk
from lepton_ray.on_host.sealing import Sealer
from lepton_ray.search.trial import DONE, FAILED, Outcome, Trial
from tests.examples import one_in
from tests.on_host.rows import bench, columns, spec, write


class NoList(LinearFamily):
    def configs(self, *given: Any) -> list[dict[str, Any]]:
        raise ValueError("there is no list")


class NoWork(LinearFamily):
    def work(self, *given: Any) -> float:
        return float("nan")


class NoJson(LinearFamily):
    def sample(self, *given: Any) -> dict[str, Any]:
        return {"C": {1.0}}


class Hanging(LinearFamily):
    goes_on = Event()

    def configs(self, *given: Any) -> list[dict[str, Any]]:
        self.goes_on.wait()
        return []


class NoMoreDraws(LinearFamily):
    asked = 0

    def sample(self, *given: Any) -> dict[str, Any]:
        type(self).asked += 1
        if type(self).asked > 4:
            raise ValueError("nothing is left")
        return {"C": 0.5}


@pytest.mark.parametrize(
    ("name", "why"),
    one_in(
        3,
        [
            ("NoList", "ValueError: there is no list."),
            ("NoWork", "its work is nan"),
            ("NoJson", "TypeError: Object of"),
        ],
    ),
)
def test_a_family_that_nothing_can_be_planned_with_is_set_aside(tmp_path: Path, name: str, why: str) -> None:
    own = f"tests.on_host.test_choosing:{name}"
    for families, names in ((own, {"constant"}), (f"linear,{own}", {"constant", "linear"})):
        folder = tmp_path / str(len(names))
        folder.mkdir()
        made, prepared, _ = bench(
            spec(write(folder / "t.csv", columns(300)), out=str(folder / "run"), families=families)
        )
        facts = telling.opening_facts(made, prepared)
        assert facts["left_out"][own].startswith(why), facts["left_out"]
        desk = open_desk(made, prepared, Sealer(made.folder, facts, made.clock), probed=False)
        assert {family for family, _ in desk.portfolio} == names


def test_of_a_family_whose_draws_fail_nothing_more_is_drawn(tmp_path: Path) -> None:
    own = "tests.on_host.test_choosing:NoMoreDraws"
    made, prepared, _ = bench(spec(write(tmp_path / "t.csv", columns(300)), out=str(tmp_path / "run"), families=own))
    desk = open_desk(made, prepared, Sealer(made.folder, {}, made.clock), probed=False)
    tried: list[dict[str, Any]] = []
    while not hasattr(step := desk.next_step(0.0), "reason"):
        tried.append(step.trial.config)
        error = 0.5 - 0.01 * len(tried)
        desk.finish(Outcome(step.trial, DONE, "host", 0.0, 1.0, error, error, (error,), fits=1))
    said = made.screen.said  # type: ignore[attr-defined]
    assert len(tried) > 3 and sum("nothing is left" in one for one in said) == 1


def test_a_family_that_the_search_has_set_aside_is_told_as_left_out(tmp_path: Path) -> None:
    made, prepared, _ = bench(spec(write(tmp_path / "t.csv", columns(300)), families="linear", out=str(tmp_path / "r")))
    desk = open_desk(made, prepared, Sealer(made.folder, {}, made.clock), probed=False)
    assert telling.chosen_in_the_end(made, prepared, desk) == telling.chosen_of(made, prepared)
    failed = [Outcome(Trial(f"t{n}", "linear", {}, 0), FAILED, "host", 0.0, 1.0, reason="It hangs") for n in (1, 2)]
    desk.replay(failed)
    found = telling.chosen_in_the_end(made, prepared, desk)
    assert found.names == ("constant",) and found.left_out["linear"].endswith("because: It hangs.")


def test_a_family_that_never_says_what_it_would_try_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "ANSWER_SECONDS", 0.1)
    own = "tests.on_host.test_choosing:Hanging"
    made, prepared, _ = bench(spec(write(tmp_path / "t.csv", columns(300)), out=str(tmp_path / "r"), families=own))
    found = telling.chosen_of(made, prepared)
    assert found.names == ("constant",) and "did not say within" in found.left_out[own]
    monkeypatch.setattr(choosing, "ANSWER_SECONDS", 1e9)
    assert telling.chosen_of(made, prepared) == found, "it is waited for once"
    Hanging.goes_on.set()
