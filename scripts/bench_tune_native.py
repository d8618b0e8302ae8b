"""scripts/bench_tune_native.py [--repeats N]: how far a Tune experiment overshoots its budget, four ways.

Two trials that block for 25 s, a budget of 5 s (in dollars where the way knows dollars), every trial on an actor of its
own; timed by this process from ``fit()`` to its return, with a Ray that is warm. ``silent`` trials report nothing
after their first word, ``talking`` ones four times a second. One JSON line each.
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

BUDGET_SECONDS = 5.0
BLOCK_SECONDS = 25.0


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


def time_budget() -> tuple[dict[str, Any], dict[str, Any]]:
    return {"time_budget_s": BUDGET_SECONDS}, {}


def stopper() -> tuple[dict[str, Any], dict[str, Any]]:
    import lepton_ray

    return {}, {"stop": lepton_ray.BudgetStopper(dollars(), price="0.36 usd")}


def callback() -> tuple[dict[str, Any], dict[str, Any]]:
    import lepton_ray

    stop = lepton_ray.BudgetStopper(dollars(), price="0.36 usd")
    return {}, {"stop": stop, "callbacks": [lepton_ray.BudgetCallback(stop)]}


def dollars() -> float:
    """What the budget's seconds cost at 0.36 dollars an hour."""
    return BUDGET_SECONDS * 0.0001


def measure(trainable: Callable[..., None], way: Callable[[], Any], storage: Path) -> dict[str, Any]:
    from ray import tune

    tuning, running = way()
    tuner = tune.Tuner(
        tune.with_resources(trainable, {"cpu": 0.5}),
        tune_config=tune.TuneConfig(num_samples=2, **tuning),
        run_config=tune.RunConfig(storage_path=str(storage), verbose=0, **running),
    )
    began = time.monotonic()
    results = tuner.fit()
    seconds = time.monotonic() - began
    kept = sum("loss" in (result.metrics or {}) for result in results)
    row = {"way": way.__name__, "trials": trainable.__name__, "seconds": round(seconds, 2), "with_metrics": kept}
    stop = running.get("stop")
    return row | {"of_budget": round(seconds / BUDGET_SECONDS, 3), "billed_usd": float(stop.spent) if stop else None}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    repeats = parser.parse_args().repeats
    from lepton_ray.on_ray.session import Session, short_temp_dir

    session = Session(short_temp_dir(), cpus=2, object_store_bytes=0).start()
    session.wait()
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as place:
        for _ in range(repeats):
            for trainable in (silent, talking):
                for way in (time_budget, stopper, callback):
                    print(json.dumps(measure(trainable, way, Path(place))), flush=True)
    session.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
