"""The wall, examined from outside: the ends and the hostile trials that test_supervisor.py leaves out."""

from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from lepton_ray.money.duration import duration_text
from lepton_ray.money.ledger import Ledger
from lepton_ray.on_host import broken
from tests.on_host import test_supervisor as part
from tests.on_host.supervised import (
    ENDS,
    UNWATCHED,
    WATCHED,
    Run,
    check_ended_at_its_lease,
    check_ended_at_the_wall,
    check_its_endpoint_ended,
    check_nothing_is_left,
    check_passed_on,
    check_within_its_wall,
    side_by_side,
)
from tests.outside import Done

pytestmark = pytest.mark.exam
WATCHED_HERE = [name for name in WATCHED if name not in part.WATCHED]
UNWATCHED_HERE = [name for name in UNWATCHED if name not in part.UNWATCHED]
ENDS_HERE = [name for name in ENDS if name not in part.ENDS]
ALONE = {
    **{f"unwatched {name}": UNWATCHED[name] for name in UNWATCHED_HERE},
    **{f"watched {name}": WATCHED[name] for name in WATCHED_HERE},
    "no model": {"seal": False, "end": "sleep", "notes": 1},
    **{name: ENDS[name].scenario for name in ENDS_HERE},
    "endpoint killed": {"end": "serve-and:signal=9"},
}


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[tuple[Run, Done]]]]:
    with side_by_side(tmp_path_factory.mktemp("alone"), ALONE) as runs:
        yield runs


@pytest.mark.parametrize("name", ENDS_HERE)
def test_a_drivers_end_is_passed_on_in_words(alone, name: str) -> None:
    check_passed_on(name, *alone[name].result())


@pytest.mark.parametrize("trial", WATCHED_HERE)
def test_a_hostile_trial_ends_at_its_lease_and_the_driver_goes_on(alone, trial: str) -> None:
    check_ended_at_its_lease(trial, *alone[f"watched {trial}"].result())


@pytest.mark.parametrize("trial", UNWATCHED_HERE)
def test_at_the_wall_everything_ends_and_the_best_so_far_is_handed_over(alone, trial: str) -> None:
    check_ended_at_the_wall(*alone[f"unwatched {trial}"].result())


def test_no_model_before_the_wall_is_a_matter_of_money(alone) -> None:
    run, done = alone["no model"].result()
    assert done.code == 4
    check_within_its_wall(run, done)
    assert done.result.keys() == {"error", "hint", "exit_code"} and done.result["exit_code"] == 4
    assert f"deadline ended after {duration_text(run.wall)}" in done.result["error"]
    check_nothing_is_left(run)
    assert run.file("receipt.json")["closed"]


def test_an_endpoint_that_is_killed_ends_the_run(alone) -> None:
    run, done = alone["endpoint killed"].result()
    check_its_endpoint_ended(run, done, code=7)
    assert not broken.can_go_on(Ledger.open(run.folder / "ledger.jsonl"))
