"""Our searcher and our scheduler in somebody's own Tuner, each alone, together, and beside a budget.

Ray is imported in functions: it reads its environment once, and the session writes that first.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lepton_ray
from lepton_ray.errors import UsageError
from lepton_ray.on_ray.session import Session, short_temp_dir

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    session = Session(short_temp_dir(), cpus=2, object_store_bytes=0).start()
    session.wait(60)
    yield
    session.stop()


def fit(name: str, place: Path, space: dict[str, Any] | None, *, running: dict[str, Any], **tuning: Any) -> Any:
    from ray import tune

    from tests.on_ray import trainables

    tuner = tune.Tuner(
        tune.with_resources(getattr(trainables, name), {"cpu": 0.5}),
        param_space=space,
        tune_config=tune.TuneConfig(metric="loss", mode="min", **tuning),
        run_config=tune.RunConfig(storage_path=str(place), verbose=0, **running),
    )
    return tuner.fit()


def test_a_third_of_the_paused_goes_on_and_nothing_is_left_waiting(tmp_path: Path) -> None:
    from ray import tune

    halving = lepton_ray.CostAwareHalving(first=2)
    results = fit(
        "Counting",
        tmp_path,
        {"x": tune.grid_search([0.1 * n for n in range(1, 10)])},
        running={"checkpoint_config": tune.CheckpointConfig(checkpoint_at_end=False)},
        scheduler=halving,
        reuse_actors=True,
    )
    assert not results.errors
    assert Counter(result.metrics["steps"] for result in results) == {2: 6, 6: 3}, "each went on from its checkpoint"
    assert results.get_best_result().metrics["loss"] == pytest.approx(0.04)
    assert halving.debug_string() == "CostAwareHalving: 9 looked at, 3 went on"


def test_searcher_scheduler_and_budget_work_together_on_a_function(tmp_path: Path) -> None:
    from ray import tune

    stop = lepton_ray.BudgetStopper("0.02 usd", deadline="2m")
    callback = lepton_ray.BudgetCallback(stop, metric="loss")
    space = {"x": tune.loguniform(0.01, 1.0), "kept": "as it is", "deep": {"n": tune.randint(1, 50)}}
    results = fit(
        "counting",
        tmp_path,
        space,
        running={"stop": stop, "callbacks": [callback]},
        search_alg=lepton_ray.CostAwareSearch(low_cost={"deep": {"n": 1}}, budget=stop),
        scheduler=lepton_ray.CostAwareHalving(first=2, budget=stop),
        num_samples=6,
    )
    assert not results.errors and stop.stopped_because is None
    configs = [result.config for result in results]
    assert configs[0]["deep"]["n"] == 1 and len({str(config) for config in configs}) == 6
    assert all(config["kept"] == "as it is" and 0.01 <= config["x"] <= 1.0 for config in configs)
    assert Counter(result.metrics["steps"] for result in results)[6] >= 2
    receipt = callback.receipt()
    assert receipt.held and len(receipt.trials) == 6
    assert callback.best is not None
    assert callback.best.metrics["loss"] == pytest.approx(results.get_best_result().metrics["loss"])


def test_a_limit_on_trials_at_once_slows_it_down_but_does_not_hang_it(tmp_path: Path) -> None:
    from ray import tune

    results = fit(
        "Counting",
        tmp_path,
        {"x": tune.uniform(0.1, 1.0)},
        running={},
        search_alg=lepton_ray.CostAwareSearch(),
        scheduler=lepton_ray.CostAwareHalving(first=2),
        num_samples=6,
        max_concurrent_trials=2,
        reuse_actors=True,
    )
    assert not results.errors and len(results) == 6
    assert Counter(result.metrics["steps"] for result in results)[6] >= 1


def test_a_trial_that_the_money_would_cut_short_is_not_begun() -> None:
    from ray import tune

    from lepton_ray.money.dollars import Dollars

    stop = lepton_ray.BudgetStopper(deadline=100)
    search = lepton_ray.CostAwareSearch(
        {"n": tune.lograndint(1, 1000)}, metric="loss", mode="max", low_cost={"n": 1}, budget=stop
    )
    for name in "abcdef":
        config = search.suggest(name)
        search.on_trial_complete(name, {"loss": config["n"], "time_total_s": 0.1 * config["n"]})
    stop.account.tick(0.0, Dollars(1))
    stop.account.tick(99.0, Dollars(1))
    dear = search.suggest("g")
    assert dear == "FINISHED" or dear["n"] < 10


def test_it_goes_on_from_what_it_saved(tmp_path: Path) -> None:
    from ray import tune

    space = {"x": tune.quniform(0.0, 1.0, 0.25), "kind": tune.choice(["a", "b"])}
    search = lepton_ray.CostAwareSearch(space, metric="loss", mode="min")
    asked = []
    for name in range(6):
        asked.append(search.suggest(str(name)))
        search.on_trial_complete(str(name), {"loss": asked[-1]["x"], "time_total_s": 1.0})
    search.save(str(tmp_path / "state"))
    assert json.loads((tmp_path / "state").read_text())["asked"] >= 6
    other = lepton_ray.CostAwareSearch(space, metric="loss", mode="min")
    other.restore(str(tmp_path / "state"))
    rest = [other.suggest("next")]
    assert rest[0] == search.suggest("next") and rest[0] not in asked
    while other.suggest("more") not in ("FINISHED", None):
        other.on_trial_complete("more", error=True)
    assert other.suggest("more") is None, "one is under way"
    other.on_trial_complete("next", {"loss": float("nan")})
    assert len(other._tried) >= 9, "nearly every point of the space was tried, and none twice"


def test_what_cannot_be_searched_is_refused() -> None:
    from ray import tune

    for space, low_cost, says in (
        ({"x": tune.grid_search([1, 2])}, None, "grid"),
        ({"x": tune.randn(0, 1)}, None, "lower and upper"),
        ({"x": 1}, None, "nothing to search"),
        ({"x": tune.uniform(0, 1)}, {"y": 1}, "names y"),
        ({"x": tune.uniform(0, 1)}, {"x": 2}, "not in its range"),
        ({"x": tune.choice("ab")}, {"x": "c"}, "not in its range"),
    ):
        with pytest.raises(UsageError, match=says):
            lepton_ray.CostAwareSearch(space, low_cost=low_cost)
    with pytest.raises(UsageError, match="does not know"):
        lepton_ray.CostAwareSearch({"x": tune.uniform(0, 1)}).suggest("a")
    with pytest.raises(UsageError, match="cannot work"):
        lepton_ray.CostAwareHalving(first=0)
