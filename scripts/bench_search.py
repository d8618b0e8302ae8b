"""scripts/bench_search.py DATA --peers FOLDER [--out FILE]: lepton beside FLAML and AutoGluon, same rows, same seconds.

A cell is a table, a seed and a number of seconds. The bench holds a fifth of the table out, gives each system the other
rows as a file, and runs them one after the other in an order shuffled by the cell; each has the same cores. The clock
runs from the exec to the exit of the process that leaves a model on disk; predicting the held-out rows is timed apart.
All predictions are judged by one scorer; without a model the constant's score counts and the line says why. One JSON
line for each run; what is in FILE already is skipped, so that it can be interrupted.

    scripts/bench_search.py --install FOLDER                                # the peers' environments, once
    scripts/bench_search.py DATA --peers FOLDER                             # 60 s, eight tables, two seeds
    scripts/bench_search.py DATA --peers FOLDER --seconds 300 --tables four --systems lepton,flaml,autogluon_best
    scripts/bench_search.py --slice short [--peers FOLDER]                  # some minutes, no data needed
    scripts/bench_search.py --table                                         # Markdown from FILE
"""

import argparse
import itertools
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benching import clock, lines, summary
from benching.tables import LISTS, TABLES, Held, hold_out

PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True, slots=True)
class System:
    """Whom to run: lepton, or a peer with settings of its own."""

    peer: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


SYSTEMS = {
    "lepton": System(),
    "flaml": System("flaml"),
    "flaml_ensemble": System("flaml", {"ensemble": True}),
    "autogluon_medium": System("autogluon", {"presets": "medium_quality"}),
    "autogluon_best": System("autogluon", {"presets": "best_quality"}),
}


@dataclass(frozen=True, slots=True)
class Cell:
    table: str
    seed: int
    seconds: int

    def order(self, systems: list[str]) -> list[str]:
        """The systems, shuffled by the cell."""
        return random.Random(f"{self.table} {self.seed} {self.seconds}").sample(sorted(systems), len(systems))


@dataclass(frozen=True, slots=True)
class Stage:
    """What all runs share: interpreters, versions, cores, the factor of the hard cap, lepton's priors."""

    pythons: dict[str, str]
    versions: dict[str, lines.Line]
    cores: int
    cap: float
    priors: Path | None


def environment(*, ours: bool) -> dict[str, str]:
    """This process's; peers are not to see the project's path, nor anybody the settings of an earlier run."""
    hidden = ("LEPTON", "RAY_", "VIRTUAL_ENV") + (() if ours else ("PYTHONPATH",))
    return {name: value for name, value in os.environ.items() if not name.startswith(hidden)}


def commands(system: System, job: dict[str, Any], stage: Stage) -> tuple[list[str], list[str]]:
    """The process that leaves a model, and the one that predicts."""
    python = stage.pythons[system.peer]
    if system.peer:
        path = Path(job["folder"], "job.json")
        path.write_text(json.dumps({**job, "settings": system.settings}))
        run = [python, str(PEERS / f"run_{system.peer}.py")]
        return [*run, "train", str(path)], [*run, "predict", str(path)]
    run = [python, "-m", "lepton_ray"]
    asked = {name: str(job[name]) for name in ("target", "task", "metric", "seed")}
    options = [word for name, value in asked.items() for word in (f"--{name}", value)]
    if job["priors"]:
        options += ["--priors", job["priors"]]
    promise = ["--deadline", f"{job['seconds']}s", "--spend-it-all", "--no-serve", "--json", "--out", job["model"]]
    return (
        [*run, "run", job["train"], *options, *promise],
        [*run, "predict", f"{job['model']}/bundle", job["test"], "--out", job["predictions"]],
    )


def facts_of(system: System, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    """What a system says of its own run: the score that its search believed, its model, and for lepton its money and
    what it measured on rows that it had held out itself."""
    if system.peer:
        return json.loads(Path(job["facts"]).read_text())
    told = json.loads((folder / "train.out").read_text())
    manifest = json.loads(Path(job["model"], "bundle", "manifest.json").read_text())
    trials = [json.loads(line) for line in Path(job["model"], "trials.jsonl").read_text().splitlines()]
    usable = [one for one in trials if one["error"] is not None]
    top = max(one["trial"]["rung"] for one in usable)
    kept = ("spent_usd", "budget_usd", "wall_seconds", "trials", "stopped_because")
    return {
        "believed": told["believed_score"],
        "measured": told["score"],
        "priors": "without the table" if job["priors"] else "shipped",
        "model": " + ".join(member["family"] for member in manifest["members"]),
        **{name: told[name] for name in kept},
        "best_trial": min((one["error"], one["score"]) for one in usable if one["trial"]["rung"] == top)[1],
        "trial_seconds": round(sum(one["fit_seconds"] or 0.0 for one in usable), 2),
    }


def reason_of(step: str, took: clock.Taken, folder: Path) -> str:
    if took.code is None:
        return f"{step}: killed after {took.seconds:.0f} s"
    said = [line.strip() for line in (folder / f"{step}.err").read_text(errors="replace").splitlines() if line.strip()]
    return f"{step}: exit {took.code}: {said[-1][:300] if said else 'nothing said'}"


def run_one(name: str, cell: Cell, held: Held, stage: Stage, folder: Path) -> lines.Line:
    """Train, predict and judge one system; what goes wrong is the constant's score and a reason."""
    system, table = SYSTEMS[name], TABLES[cell.table]
    job = {
        "folder": str(folder),
        "model": str(folder / "model"),
        "facts": str(folder / "facts.json"),
        "train": str(held.train),
        "test": str(held.test),
        "predictions": str(folder / "predictions.csv"),
        "target": table.target,
        "task": table.task,
        "metric": held.metric,
        "seconds": cell.seconds,
        "seed": cell.seed,
        "cores": stage.cores,
        "priors": str(table.priors(stage.priors) or ""),
    }
    env, failed = environment(ours=not system.peer), None
    env |= {"RAY_TMPDIR": str(folder)} if system.peer else {}
    train, predict = commands(system, job, stage)
    began, score, facts = time.time(), held.constant, {}
    took = clock.timed(train, folder / "train", cap=stage.cap * cell.seconds, env=env)
    line = {
        "train_seconds": round(took.seconds, 3),
        "cpu_seconds": round(took.cpu_seconds, 2),
        "largest_process_mb": round(took.peak_mb),
        "processes_left": took.left,
        "others": round(took.others, 3),
    }
    if took.code == 0:
        said = clock.timed(predict, folder / "predict", cap=stage.cap * max(60, cell.seconds), env=env)
        line["predict_seconds"] = round(said.seconds, 3)
        try:
            failed = None if said.code == 0 else reason_of("predict", said, folder)
            if failed is None:
                score, facts = held.score(Path(job["predictions"])), facts_of(system, folder, job)
        except (ValueError, KeyError, OSError) as fault:
            failed = f"judge: {type(fault).__name__}: {fault}"[:300]
    else:
        failed = reason_of("train", took, folder)
    who = {"system": name, "table": cell.table, "seed": cell.seed, "seconds": cell.seconds}
    rows = {"train_rows": held.train_rows, "test_rows": len(held.truth), "began": round(began)}
    judged = {"metric": held.metric, "score": score, "constant": held.constant, "failed": failed}
    return {**who, **judged, **facts, **line, **rows, "versions": stage.versions[system.peer]}


def keep_logs(folder: Path, place: Path) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for file in [*folder.glob("*.out"), *folder.glob("*.err")]:
        shutil.copy(file, place)


def run_cells(cells: list[Cell], systems: list[str], stage: Stage, asked: argparse.Namespace) -> None:
    done = {(one["system"], one["table"], one["seed"], one["seconds"]) for one in lines.read(asked.out)}
    for cell in cells:
        todo = [name for name in cell.order(systems) if (name, cell.table, cell.seed, cell.seconds) not in done]
        if not todo:
            continue
        # A short path: where its sockets' names grow too long, Ray waits a minute for a dashboard that cannot start.
        with tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp", ignore_cleanup_errors=True) as place:
            held = hold_out(TABLES[cell.table], asked.data, cell.seed, Path(place))
            for number, name in enumerate(todo):
                folder = Path(place, str(number))
                folder.mkdir()
                line = run_one(name, cell, held, stage, folder)
                if asked.logs:
                    keep_logs(folder, asked.logs / f"{cell.table}-{cell.seed}-{cell.seconds}-{name}")
                lines.append(asked.out, line)
                print(
                    f"{cell.table:20} seed {cell.seed} {cell.seconds} s  {name:16} {held.metric} {line['score']:.5g}"
                    f" (believed {line.get('believed')}) in {line['train_seconds']:.1f} s"
                    f" {line['failed'] or line.get('model')}",
                    flush=True,
                )


def stage_of(asked: argparse.Namespace, systems: list[str]) -> Stage:
    pythons = {"": asked.python}
    found = {"": lines.our_versions(asked.python, environment(ours=True)) if "lepton" in systems else {}}
    for peer in {SYSTEMS[name].peer for name in systems} - {""}:
        pythons[peer] = python_of(asked.peers, peer)
        found[peer] = lines.versions(pythons[peer], lines.THEIRS, environment(ours=False))
    facts = lines.machine(asked.cores)
    versions = {peer: {**one, **facts} for peer, one in found.items()}
    return Stage(pythons, versions, asked.cores, asked.cap, asked.priors)


def python_of(peers: Path | None, peer: str) -> str:
    return "" if peers is None else str((peers / peer / "bin" / "python").absolute())


def there(name: str, peers: Path | None) -> bool:
    peer = SYSTEMS[name].peer
    return not peer or os.access(python_of(peers, peer), os.X_OK)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", default=Path("."), help="folder of the tables")
    parser.add_argument("--out", type=Path, default=Path("bench_search.jsonl"))
    parser.add_argument("--peers", type=Path, help="folder that --install filled; else lepton alone")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="make the peers' environments and end")
    parser.add_argument("--python", default=sys.executable, help="interpreter that has lepton_ray")
    parser.add_argument("--priors", type=Path, help="folder that mine_leaving_out filled; else lepton's own priors")
    parser.add_argument("--systems", help=f"comma separated, of {', '.join(SYSTEMS)}; else all that are installed")
    parser.add_argument("--tables", default="eight", help=f"{', '.join(LISTS)}, or names of {', '.join(TABLES)}")
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--seconds", default="60", help="comma separated")
    parser.add_argument("--cores", type=int, default=2, help="that every system is told and given")
    parser.add_argument("--cap", type=float, default=4.0, help="times the seconds: then it is killed")
    parser.add_argument("--logs", type=Path, help="keep there what the systems print")
    parser.add_argument("--slice", choices=["short"], help="one small table, 15 s, one seed")
    parser.add_argument("--table", action="store_true", help="print what FILE says as Markdown and end")
    asked = parser.parse_args()
    if asked.slice:
        asked.tables, asked.seeds, asked.seconds = "breast_cancer", "0", "15"
    return asked


def main() -> int:
    asked = arguments()
    if asked.install:
        return subprocess.run([PEERS / "install", asked.install], env=environment(ours=False)).returncode
    if asked.table:
        print(summary.markdown(lines.read(asked.out)))
        return 0
    systems = asked.systems.split(",") if asked.systems else [name for name in SYSTEMS if there(name, asked.peers)]
    tables = [name for word in asked.tables.split(",") for name in LISTS.get(word, (word,))]
    unknown = [name for name in systems if name not in SYSTEMS] + [name for name in tables if name not in TABLES]
    if unknown:
        sys.exit(f"unknown: {', '.join(unknown)}; see --help")
    missing = [name for name in systems if not there(name, asked.peers)]
    if missing:
        sys.exit(f"{', '.join(missing)} not installed: call with --install FOLDER, then with --peers FOLDER")
    places = {name: TABLES[name].file for name in tables if not TABLES[name].file.startswith("builtin:")}
    absent = [str(asked.data / file) for file in places.values() if not (asked.data / file).exists()]
    if absent:
        sys.exit(f"not there: {', '.join(absent)}")
    clock.keep_to(asked.cores)
    numbers = ([int(one) for one in text.split(",")] for text in (asked.seconds, asked.seeds))
    cells = [
        Cell(table, seed, seconds) for (seconds, seed), table in itertools.product(itertools.product(*numbers), tables)
    ]
    run_cells(cells, systems, stage_of(asked, systems), asked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
