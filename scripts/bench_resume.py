"""scripts/bench_resume.py [--kills 30] [--deadline 15] [--table T] [--out FILE]: real runs, killed whole at random
moments and resumed, each of which must keep what had ended, add up to the micro-dollar and leave a usable bundle.

One JSON line a kill; numbers that are in FILE already are skipped, so that the script can be interrupted. A run of
which too little is left must say so with exit code 4 and leave its best model where it was.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lepton_ray.bundle.bundle import Bundle
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.ledger import Ledger
from lepton_ray.money.receipt import Receipt
from lepton_ray.on_host import processes
from lepton_ray.on_host.run_folder import RunFolder

LEPTON = [sys.executable, "-m", "lepton_ray"]


def killed(words: list[str], place: Path, after: float) -> tuple[Path, float]:
    """The folder of a run whose processes were all stopped and killed after so many seconds, and how long it lived."""
    began = time.monotonic()
    with subprocess.Popen([*LEPTON, *words], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        time.sleep(max(0.0, began + after - time.monotonic()))

        def family() -> list[processes.Process]:
            table = processes.snapshot()
            found = [*processes.descendants(run.pid, table), table.get(run.pid)]
            return [one for one in found if one is not None and not one.dead]

        processes.sweep(family, seconds=5.0)
        lived = time.monotonic() - began
    folders = list(place.glob("lepton-runs/*/ledger.jsonl"))
    return (folders[0].parent if folders else place), lived


def one(number: int, asked: argparse.Namespace) -> dict[str, Any]:
    """One run, killed at a moment of its own and resumed: what was found out, and what was broken."""
    after = random.Random(f"{asked.seed} {number}").uniform(0.3, asked.deadline)
    words = ["run", asked.table, *asked.words, "--deadline", f"{asked.deadline}s", "--no-serve", "--json"]
    with tempfile.TemporaryDirectory() as place:
        folder, lived = killed(words, Path(place), after)
        facts: dict[str, Any] = {"number": number, "after": round(after, 2), "table": asked.table}
        if folder == Path(place):
            return facts | {"end": "killed before it had begun", "faults": []}
        before, was = RunFolder(folder).trials(), Ledger.open(folder / "ledger.jsonl")
        begun = time.monotonic()
        done = subprocess.run([*LEPTON, "resume", str(folder), "--json"], capture_output=True, text=True, check=False)
        result = json.loads(done.stdout)
        facts |= {"stage": was.stage, "before": len(before), "code": done.returncode, "torn": was.torn}
        facts |= {"resumed_seconds": round(time.monotonic() - begun, 2), "error": result.get("error")}
        faults = [] if before == RunFolder(folder).trials()[: len(before)] else ["a trial that had ended is lost"]
        if before and not (folder / "bundle").exists():
            faults.append("there is no bundle")
        elif before:
            Bundle.load(folder / "bundle")
        if done.returncode == 0:
            faults += broken_promises(folder, result, lived)
            facts |= {"trials": result["trials"], "score": result["score"], "stopped": result["stopped_because"]}
        elif done.returncode != 4 and "come to its end" not in str(result.get("error")):
            faults.append(f"exit code {done.returncode}")
        return facts | {"faults": faults}


def broken_promises(folder: Path, result: dict[str, Any], lived: float) -> list[str]:
    """What of a resumed run's books does not hold."""
    receipt = Receipt.from_ledger(Ledger.open(folder / "ledger.jsonl"))
    first = receipt.legs[0].seconds
    checks = {
        "the first leg is not billed to within a second": lived - 0.3 <= first <= lived + 1.05,
        "the legs do not add up": Dollars.total(leg.dollars for leg in receipt.legs) == receipt.total.dollars,
        "the result says another price": Dollars.parse(result["spent_usd"]) == receipt.total.dollars,
        "the wall did not hold": receipt.held is True and receipt.closed,
        "a trial is not in the books": {line.trial for line in receipt.trials}
        == {outcome.trial.id for outcome in RunFolder(folder).trials()},
        "there is no report": Path(result["report"] or "/none").exists(),
    }
    return [fault for fault, holds in checks.items() if not holds]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--deadline", type=float, default=15.0)
    parser.add_argument("--table", default="builtin:breast_cancer")
    parser.add_argument("--words", nargs="*", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("bench_resume.jsonl"))
    asked = parser.parse_args()
    done = {json.loads(line)["number"] for line in asked.out.read_text().splitlines()} if asked.out.exists() else set()
    failed = 0
    for number in range(asked.first, asked.first + asked.kills):
        if number in done:
            continue
        found = one(number, asked)
        failed += bool(found["faults"])
        with asked.out.open("a") as file:
            file.write(json.dumps(found) + "\n")
        print(json.dumps(found), flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
