"""What the lines of bench_search.py say, as Markdown. It measures nothing.

"Better" is: the mean over seeds ahead by more than its paired standard error; within it is a tie and counts half.
"""

from collections import defaultdict
from collections.abc import Iterable
from statistics import mean, median, stdev

from benching.lines import Line

OURS, BEST = "lepton", "autogluon_best"
FLAML = ("flaml", "flaml_ensemble")
BETTER_FLAML = "flaml, the better one"
Scores = dict[str, dict[int, float]]
"""System -> seed -> held-out error, lower is better."""


def error_of(line: Line, score: float | None = None) -> float:
    """A score as an error, lower is better: 1 - AUC, log loss, RMSE."""
    value = line["score"] if score is None else score
    return 1 - value if line["metric"] == "roc_auc" else value


def markdown(found: list[Line]) -> str:
    """All sections, one block for each number of seconds."""
    if not found:
        return "nothing measured yet"
    parts = [section for seconds in sorted({line["seconds"] for line in found}) for section in block(found, seconds)]
    return "\n\n".join([*parts, *reached(found), versions(found)])


def block(found: list[Line], seconds: int) -> Iterable[str]:
    """Scores, comparison and conduct of all systems at one number of seconds."""
    lines = [line for line in found if line["seconds"] == seconds]
    systems = [name for name in dict.fromkeys(sorted(line["system"] for line in lines))]
    systems.sort(key=lambda name: name != OURS)
    yield f"### {seconds} s"
    yield scores(lines, systems)
    if OURS in systems and len(systems) > 1:
        yield comparison(lines)
    yield conduct(lines, systems)


def scores(lines: list[Line], systems: list[str]) -> str:
    """Mean score of each system on each table, and the seconds that it took; † says that a run had no model."""
    rows = []
    for table in dict.fromkeys(line["table"] for line in lines):
        of_table = [line for line in lines if line["table"] == table]
        first, seeds = of_table[0], sorted({line["seed"] for line in of_table})
        sign = "" if first["metric"] == "roc_auc" else " ↓"
        cells = [cell([line for line in of_table if line["system"] == name]) for name in systems]
        constant = f"{mean({line['seed']: line['constant'] for line in of_table}.values()):.4g}"
        rows.append([table, f"{first['metric']}{sign}", str(len(seeds)), constant, *cells])
    return grid(["table", "metric", "seeds", "constant", *systems], rows)


def cell(own: list[Line]) -> str:
    if not own:
        return ""
    mark = "†" * sum(line["failed"] is not None for line in own)
    took = mean(line["train_seconds"] for line in own)
    return f"{mean(line['score'] for line in own):.5g}{mark} ({took:.0f} s)"


def errors_of(lines: list[Line]) -> dict[str, Scores]:
    """Table -> system -> seed -> error."""
    found: dict[str, Scores] = defaultdict(lambda: defaultdict(dict))
    for line in lines:
        found[line["table"]][line["system"]][line["seed"]] = error_of(line)
    return found


def ahead(ours: dict[int, float], theirs: dict[int, float]) -> float | None:
    """1 where ours is better over the seeds that both have, 0 where theirs is, 1/2 within the paired standard error."""
    gains = [theirs[seed] - ours[seed] for seed in ours if seed in theirs]
    if not gains:
        return None
    noise = stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
    return 0.5 if abs(mean(gains)) <= noise else float(mean(gains) > 0)


def with_better_flaml(of_table: Scores) -> Scores:
    """FLAML with and without its ensemble as one rival: on each table the one with the lower mean error."""
    own = [of_table[name] for name in FLAML if name in of_table]
    rest = {name: seeds for name, seeds in of_table.items() if name not in FLAML}
    return rest | ({BETTER_FLAML: min(own, key=lambda seeds: mean(seeds.values()))} if own else {})


def comparison(lines: list[Line]) -> str:
    """Mean rank among the rivals, and how often lepton is better than each."""
    wins: dict[str, list[float]] = defaultdict(list)
    ranks: dict[str, list[float]] = defaultdict(list)
    whole = 0
    merged = {table: with_better_flaml(found) for table, found in errors_of(lines).items()}
    rivals = {name for found in merged.values() for name in found}
    for found in merged.values():
        for name in sorted(rivals & set(found) - {OURS}):
            one = ahead(found[OURS], found[name]) if OURS in found else None
            if one is not None:
                wins[name].append(one)
        if rivals <= set(found):
            whole += 1
            for seed in set.intersection(*(set(seeds) for seeds in found.values())):
                for name in found:
                    ranks[name].append(rank(found[name][seed], [seeds[seed] for seeds in found.values()]))
    rows = [
        [name, f"{mean(ranks[name]):.2f}" if ranks[name] else "", verdict(wins.get(name))]
        for name in sorted(rivals, key=lambda name: mean(ranks[name]) if ranks[name] else 99)
    ]
    head = [f"of {len(rivals)}, on {whole} tables", "mean rank ↓", f"{OURS} better · tie · worse (share, tie = ½)"]
    return grid(head, rows)


def rank(own: float, everyone: list[float]) -> float:
    """1 is best; equal ones share the mean of their places."""
    return 1 + sum(one < own for one in everyone) + (sum(one == own for one in everyone) - 1) / 2


def verdict(won: list[float] | None) -> str:
    if not won:
        return ""
    return f"{won.count(1.0)} · {won.count(0.5)} · {won.count(0.0)} of {len(won)} ({mean(won):.0%})"


def conduct(lines: list[Line], systems: list[str]) -> str:
    """Time taken against time asked, what it believed against what came, and failures."""
    rows = []
    for name in systems:
        own = [line for line in lines if line["system"] == name]
        used = [line["train_seconds"] / line["seconds"] for line in own]
        shares = [line["cpu_seconds"] / line["train_seconds"] / line["versions"]["cores_given"] for line in own]
        billed = [line["spent_usd"] / line["budget_usd"] for line in own if line.get("budget_usd")]
        rows.append(
            [
                name,
                f"{median(used):.2f} · {max(used):.2f}",
                f"{max(billed):.3f}" if billed else "",
                f"{median(shares):.0%}",
                gap(own, "believed"),
                gap(own, "best_trial"),
                f"{sum(line['failed'] is not None for line in own)} of {len(own)}",
                f"{max(line['others'] for line in own):.0%}",
            ]
        )
    head = [
        "",
        "seconds ÷ asked: median · largest",
        "$ billed ÷ budget: largest",
        "cores busy",
        "held-out ÷ believed error − 1: median · mean size",
        "the same to its best trial's error",
        "no model",
        "other work on the machine, largest",
    ]
    return grid(head, rows)


def gap(lines: list[Line], key: str) -> str:
    """How much larger the held-out error is than a score that the run had before; + means it was too hopeful."""
    told = [line for line in lines if line.get(key) is not None and error_of(line, line[key]) > 0]
    gaps = [error_of(line) / error_of(line, line[key]) - 1 for line in told]
    return f"{median(gaps):+.1%} · {mean(map(abs, gaps)):.1%}" if gaps else ""


def reached(found: list[Line]) -> Iterable[str]:
    """Which of lepton's shorter runs came up to AutoGluon best's longest, and with what share of its seconds."""
    longest = max((line["seconds"] for line in found if line["system"] == BEST), default=0)
    shorter = sorted({line["seconds"] for line in found if line["system"] == OURS and line["seconds"] < longest})
    if not shorter:
        return
    rows = []
    for table in dict.fromkeys(line["table"] for line in found):
        best = [one for one in found if (one["table"], one["system"], one["seconds"]) == (table, BEST, longest)]
        if best:
            cells = [came_up(found, table, seconds, best) for seconds in shorter]
            rows.append([table, cell(best), *cells])
    if rows:
        yield f"### {BEST} at {longest} s, reached with less (✓ = better or a tie; share of its seconds)"
        yield grid(["table", f"{BEST} {longest} s", *(f"{OURS} {seconds} s" for seconds in shorter)], rows)


def came_up(found: list[Line], table: str, seconds: int, best: list[Line]) -> str:
    own = [one for one in found if (one["table"], one["system"], one["seconds"]) == (table, OURS, seconds)]
    one = ahead({line["seed"]: error_of(line) for line in own}, {line["seed"]: error_of(line) for line in best})
    if one is None:
        return ""
    share = mean(line["train_seconds"] for line in own) / mean(line["train_seconds"] for line in best)
    return f"{cell(own)} {'✓' if one else '✗'} {share:.2f}"


def versions(found: list[Line]) -> str:
    """Everything that was at work, once."""
    said = {
        (line["system"], tuple(sorted((key, str(value)) for key, value in line["versions"].items()))) for line in found
    }
    return "\n".join(f"- {name}: {', '.join(f'{key} {value}' for key, value in facts)}" for name, facts in sorted(said))


def grid(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rows])
