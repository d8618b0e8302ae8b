"""scripts/bench_tune_native.py [--budget SECONDS] [--repeats N]: how far Tune overshoots a budget, three ways.

Two trials that block for 25 s, a budget of 5 s (in dollars where the way knows dollars), every trial on an actor of its
own; timed by this process from ``fit()`` to its return. ``silent`` trials report nothing after their first word,
``talking`` ones four times a second. Workers that have imported Tune already wait for the trials, so that this is
about ending and not about starting; on a busy machine an actor still takes four seconds: give it more budget. One JSON
line each.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

BLOCK_SECONDS = 25.0
A_SECOND = 0.0001
"""Dollars, for a machine of $0.36 an hour."""


def silent(config: dict[str, Any]) -> None:
    from ray import tune

    tune.report({"loss": 1.0})
    time.sleep(BLOCK_SECONDS)


def talking(config: dict[str, Any]) -> None:
    from ray import tune

    until = time.monotonic() + BLOCK_SECONDS
    while time.monotonic() < until:
        tune.report({"loss": until - time.monotonic()})
        time.sleep(0.25)


def time_budget(seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    return {"time_budget_s": seconds}, {}


def stopper(seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    import lepton_ray

    return {}, {"stop": lepton_ray.BudgetStopper(seconds * A_SECOND, price=3600 * A_SECOND)}


def callback(seconds: float) -> tuple[dict[str, Any], dict[str, Any]]:
    import lepton_ray

    stop = lepton_ray.BudgetStopper(seconds * A_SECOND, price=3600 * A_SECOND)
    return {}, {"stop": stop, "callbacks": [lepton_ray.BudgetCallback(stop)]}


def warm_workers() -> None:
    """Two idle workers with Tune in them: Ray gives them to the next two actors."""
    import ray

    @ray.remote(num_cpus=0.5)
    def import_tune(seconds: float) -> None:
        import ray.tune  # noqa: F401
        import ray.tune.trainable.function_trainable  # noqa: F401

        time.sleep(seconds)

    ray.get([import_tune.remote(1.0) for _ in range(2)])


def measure(
    trainable: Callable[..., None], way: Callable[[float], Any], budget: float, storage: Path
) -> dict[str, Any]:
    from ray import tune

    tuning, running = way(budget)
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 0.5}),
        tune_config=tune.TuneConfig(num_samples=2, **tuning),
        run_config=tune.RunConfig(storage_path=str(storage), verbose=0, **running),
    )
    warm_workers()
    began = time.monotonic()
    results = tuner.fit()
    seconds = time.monotonic() - began
    kept = sum("loss" in (result.metrics or {}) for result in results)
    row = {
        "budget": budget,
        "way": way.__name__,
        "trials": trainable.__name__,
        "seconds": round(seconds, 2),
        "with_metrics": kept,
    }
    stop = running.get("stop")
    money = {"usd_by_outside_clock": round(seconds * A_SECOND, 6), "usd_billed": float(stop.spent) if stop else None}
    return row | {"of_budget": round(seconds / budget, 3)} | money


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budget", type=float, default=5.0)
    given = parser.parse_args()
    from lepton_ray.on_ray.session import Session, short_temp_dir

    session = Session(short_temp_dir(), cpus=2, object_store_bytes=0).start()
    session.wait()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as place:
        for _ in range(given.repeats):
            for trainable in (silent, talking):
                for way in (time_budget, stopper, callback):
                    print(json.dumps(measure(trainable, way, given.budget, Path(place))), flush=True)
    session.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
