"""scripts/bench_foundation.py DATA [--out FILE]: eight real tables, 60 s each, beside default LightGBM.

The peer has the same split. With --priors, ``scripts/mine_leaving_out``'s folder, no table's own trials are known.

For each table: ``lepton run --deadline 60s --no-serve`` timed by this process from exec to exit, then LightGBM's
scikit-learn defaults fitted on the same development rows and judged on the same held-out rows. One JSON line each;
a table that is in FILE already is skipped, so that the script can be interrupted.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TABLES: dict[str, tuple[str, str]] = {
    "telco_churn.csv": ("Churn", "customerID"),
    "adult_income.csv": ("income", ""),
    "bank_marketing.csv": ("y", "duration"),
    "german_credit.csv": ("risk", ""),
    "hotel_bookings.csv": ("is_canceled", "reservation_status,reservation_status_date"),
    "diamonds.csv": ("price", "rownames"),
    "bike_sharing.csv": ("cnt", "instant,casual,registered"),
    "flights.parquet": ("arr_delay", "arr_time,air_time"),
}


def ours(path: Path, target: str, drop: str, *, seconds: int, seed: int, priors: Path | None) -> dict[str, Any]:
    """Run the command line in a folder of its own; times are this process's."""
    mined = None if priors is None or not (priors / path.stem).is_dir() else priors / path.stem
    with tempfile.TemporaryDirectory() as place:
        words = ["run", str(path), "--target", target, "--deadline", f"{seconds}s", "--no-serve", "--json"]
        words += ["--out", f"{place}/run", "--seed", str(seed)] + (["--drop", drop] if drop else [])
        words += [] if mined is None else ["--priors", str(mined)]
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-m", "lepton_ray", *words], capture_output=True, text=True, check=False)
        wall = time.monotonic() - began
        result: dict[str, Any] = json.loads(done.stdout)
        lines = Path(place, "run", "trials.jsonl").read_text().splitlines()
        drivers = [json.loads(line)["driver"] for line in lines]
        return {**result, "outside_seconds": wall, "on_ray": drivers.count("ray"), "on_host": drivers.count("host")}


def default_lightgbm(path: Path, target: str, drop: str, seed: int) -> tuple[float, str]:
    """LightGBM's defaults on the same cleaned columns and the same split."""
    import lightgbm
    import numpy as np
    import pandas as pd

    from lepton_ray.on_host.preparation import prepare
    from lepton_ray.spec import RunSpec
    from lepton_ray.table.schema import Kind, Task
    from lepton_ray.training.metrics import METRICS

    prepared = prepare(RunSpec(str(path), target, drop=tuple(filter(None, drop.split(","))), seed=seed))
    problem, schema = prepared.plan.problem, prepared.plan.schema
    assert prepared.held is not None
    frames = [part.table.to_pandas() for part in (prepared.dev, prepared.held)]
    for name in schema.of(Kind.CATEGORY):
        levels = pd.CategoricalDtype(frames[0][name].dropna().unique())
        known = [frame[name].where(frame[name].isin(levels.categories)).astype(levels) for frame in frames]
        frames = [frame.assign(**{name: column}) for frame, column in zip(frames, known, strict=True)]
    for name in schema.of(Kind.DATE):
        frames = [frame.assign(**{name: frame[name].astype("int64")}) for frame in frames]
    dev, held = (frame.drop(columns=list(schema.of(Kind.TEXT))) for frame in frames)
    dev.columns = held.columns = [f"c{number}" for number in range(dev.shape[1])]
    usable = prepared.dev.usable
    kind = lightgbm.LGBMRegressor if problem.task is Task.REGRESSION else lightgbm.LGBMClassifier
    model = kind(verbosity=-1, n_jobs=2, random_state=seed).fit(dev[usable], prepared.dev.y[usable])
    said = model.predict(held) if problem.task is Task.REGRESSION else model.predict_proba(held)
    return float(METRICS[problem.metric].score(prepared.held.y, np.asarray(said), None)), problem.metric


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("bench_foundation.jsonl"))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--priors", type=Path)
    asked = parser.parse_args()
    done = {json.loads(line)["table"] for line in asked.out.read_text().splitlines()} if asked.out.exists() else set()
    for name, (target, drop) in TABLES.items():
        if name in done:
            continue
        how = {"seconds": asked.seconds, "seed": asked.seed, "priors": asked.priors}
        result = ours(asked.data / name, target, drop, **how)
        peer, metric = default_lightgbm(asked.data / name, target, drop, asked.seed)
        line = {"table": name, "seed": asked.seed, "default_lightgbm": peer, "metric": metric, **result}
        with asked.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        why = result.get("stopped_because") or result.get("error")
        print(
            f"{name:20} {metric:8} ours {result.get('score')} lightgbm {peer:.4f} spent {result.get('spent_usd')} of "
            f"{result.get('budget_usd')} wall {result['outside_seconds']:.1f} trials {result.get('trials')} "
            f"({result['on_host']} host, {result['on_ray']} ray) {why}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
