"""scripts/bench_wall.py DATA [--out FILE]: whether the wall holds, by an outside clock; and what is idle.

``lepton run --spend-it-all`` on six tables at 15 to 60 s, once with the deadline as the wall and once with the dollars
(a price of $0.0001 a second, a deadline four times as far): 60 runs. One JSON line each: seconds from exec to exit and
dollars, billed and by the outside clock, against the budget; whether the model beats the constant; how much of the
cores was busy, and how much of them was in fits and scores of trials that came to something. What is in FILE already is
skipped. ``--table`` prints what FILE says. ``--seconds 60,300 --walls deadline`` is the exam of the overhead.

CPU is sampled from /proc ten times a second and held against the stamps of trials.jsonl and of the ledger; see
``benching.overhead``: each row has an account of every core second that was asked for.
"""

import argparse
import itertools
import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench_search import environment
from benching import clock, lines, overhead
from benching.summary import grid
from benching.tables import METRIC, TABLES, Table, hold_out

A_SECOND = 0.0001
EVERY = 0.1
SIX = "german_credit,telco_churn,online_shoppers,hotel_bookings,diabetes_readmission,flights"
WALLS = {"deadline": 1.0, "dollars": 4.0}
"""The wall that is to hold, and how many times the seconds the deadline is."""


def command(stage: argparse.Namespace, files: tuple[Path, Path], table: Table, line: lines.Line) -> list[str]:
    train, out = files
    seconds, wall = line["seconds"], line["wall"]
    asked = {"target": table.target, "task": table.task, "metric": METRIC[table.task], "seed": line["seed"]}
    asked |= {"price": 3600 * A_SECOND, "deadline": f"{WALLS[wall] * seconds:g}s", "out": out}
    if wall == "dollars":
        asked["budget"] = f"{seconds * A_SECOND:.6f}"
    if table.priors(stage.priors):
        asked["priors"] = table.priors(stage.priors)
    words = [word for name, value in asked.items() for word in (f"--{name}", str(value))]
    return [stage.python, "-m", "lepton_ray", "run", str(train), *words, "--spend-it-all", "--no-serve", "--json"]


def run_one(line: lines.Line, stage: argparse.Namespace) -> lines.Line:
    """One run in a folder of its own, and what it came to."""
    table, seconds = TABLES[line["table"]], line["seconds"]
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as place:
        held, out = hold_out(table, stage.data, line["seed"], Path(place)), Path(place, "run")
        words, began = command(stage, (held.train, out), table, line), time.time()
        took = clock.timed(words, Path(place, "run-log"), cap=5 * seconds, env=environment(ours=True), every=EVERY)
        printed = Path(place, "run-log.out").read_text()
        told: dict[str, Any] = json.loads(printed) if printed.strip() else {}
        trials, ledger = ([*map(json.loads, log_lines(out / name))] for name in ("trials.jsonl", "ledger.jsonl"))
        said = Path(place, "run-log.err").read_text(errors="replace").strip().splitlines()
    used = [one for one in trials if one["error"] is not None]
    stages, asked, budget = overhead.stages_of(ledger), WALLS[line["wall"]] * seconds, seconds * A_SECOND
    core_seconds = stage.cores * took.seconds
    account = overhead.account(took, trials, stages, cores=stage.cores, wall=asked)
    return {
        **line,
        "code": took.code,
        "outside_seconds": round(took.seconds, 3),
        "of_seconds": took.seconds / asked,
        "of_dollars": max(told.get("spent_usd") or 0.0, took.seconds * A_SECOND) / budget,
        "billed_of_dollars": (told.get("spent_usd") or 0.0) / budget,
        "metric": held.metric,
        "score": told.get("score"),
        "constant": told.get("baseline_score"),
        "beats": beats(held.metric, told.get("score"), told.get("baseline_score")),
        "trials": len(trials),
        "stopped_because": told.get("stopped_because") or (said[-1][:300] if said else None),
        "cores_busy": took.cpu_seconds / core_seconds,
        "cores_in_trials": overhead.in_trials(account) * stage.cores * asked / core_seconds,
        "account": account,
        "trials_say": sum(one["fit_seconds"] or 0.0 for one in used) / core_seconds,
        "processes_left": took.left,
        "others": round(took.others, 3),
        "began": round(began),
    }


def log_lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def beats(metric: str, score: float | None, constant: float | None) -> bool:
    if score is None or constant is None:
        return False
    return score > constant if metric == "roc_auc" else score < constant


def markdown(found: list[lines.Line]) -> str:
    """Figures by wall and length, and the worst of all."""
    if not found:
        return "nothing measured yet"
    rows = []
    for wall, seconds in sorted({(one["wall"], one["seconds"]) for one in found}):
        own = [one for one in found if (one["wall"], one["seconds"]) == (wall, seconds)]
        use = [one["of_seconds" if wall == "deadline" else "of_dollars"] for one in own]
        shares = [median(one[key] for one in own) for key in ("cores_busy", "cores_in_trials", "trials_say")]
        without = sum(not one["beats"] for one in own)
        largest = [max(one[key] for one in own) for key in ("of_seconds", "of_dollars", "billed_of_dollars")]
        rows.append(
            [
                wall,
                f"{seconds} s",
                str(len(own)),
                *(f"{one:.3f}" for one in largest),
                f"{median(use):.0%}",
                str(without),
            ]
            + [f"{share:.0%}" for share in shares]
        )
    head = [
        "wall",
        "asked",
        "runs",
        "seconds ÷ deadline, largest",
        "outside $ ÷ budget, largest",
        "billed $ ÷ budget, largest",
        "median use",
        "beats no constant",
        "cores busy",
        "in trials",
        "trials say",
    ]
    late = [one for one in found if one["seconds"] >= 30]
    use = [max(one["of_seconds"], one["of_dollars"]) for one in found]
    whole = (
        f"{len(found)} runs: largest ÷ budget {max(use):.3f}; median use {median(use):.0%}; "
        f"from 30 s on {sum(not one['beats'] for one in late)} of {len(late)} do not beat the constant; "
        f"other work took {median(one['others'] for one in found):.0%} of the cores (median), at most "
        f"{max(one['others'] for one in found):.0%}"
    )
    return "\n\n".join([grid(head, rows), whole, *accounts(found)])


def accounts(found: list[lines.Line]) -> list[str]:
    """Where the core seconds went that were asked for, mean by length, where the deadline was the wall."""
    told = []
    for seconds in sorted({one["seconds"] for one in found if one["wall"] == "deadline"}):
        own = [one["account"] for one in found if (one["wall"], one["seconds"]) == ("deadline", seconds)]
        means = {
            what: sum(one.get(what, 0.0) for one in own) / len(own) for what in {what for one in own for what in one}
        }
        ranked = sorted(means.items(), key=lambda entry: -entry[1])
        told.append(
            grid(
                [f"of {seconds} s x cores, {len(own)} runs", "share"],
                [[what, f"{share:.1%}"] for what, share in ranked],
            )
        )
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("."))
    parser.add_argument("--out", type=Path, default=Path("bench_wall.jsonl"))
    parser.add_argument("--python", default=sys.executable, help="interpreter that has lepton_ray")
    parser.add_argument("--priors", type=Path, help="folder that mine_leaving_out filled; else lepton's own priors")
    parser.add_argument("--tables", default=SIX, help=f"comma separated, of {', '.join(TABLES)}")
    parser.add_argument("--seconds", default="15,20,30,45,60")
    parser.add_argument("--walls", default=",".join(WALLS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--table", action="store_true", help="print what FILE says as Markdown and end")
    asked = parser.parse_args()
    found = lines.read(asked.out)
    if asked.table:
        print(markdown(found))
        return 0
    done = {(one["table"], one["seconds"], one["wall"], one["seed"]) for one in found}
    clock.keep_to(asked.cores)
    stamp = {**lines.our_versions(asked.python, environment(ours=True)), **lines.machine(asked.cores)}
    wanted = (text.split(",") for text in (asked.seeds, asked.seconds, asked.tables, asked.walls))
    for seed, seconds, table, wall in itertools.product(*wanted):
        if (table, int(seconds), wall, int(seed)) in done:
            continue
        who = {"table": table, "seconds": int(seconds), "wall": wall, "seed": int(seed)}
        line = run_one(who, asked)
        lines.append(asked.out, {**line, "versions": stamp})
        print(
            json.dumps({name: line[name] for name in (*who, "of_seconds", "of_dollars", "beats", "code")}), flush=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
