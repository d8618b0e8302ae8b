"""The receipt: what a run cost, line by line, as a value, a text and a section of HTML. It knows no file and no clock.

Billed lines and ``unexplained`` add up to the total, and the total is rate x wall, to the micro-dollar; so do the legs
of a run that was broken off and taken up again, and the nodes of one that was not on one machine alone. Attributed
lines say which trials the search paid for, and which models were fitted again in the end; ``overhead`` is what the
search's stages were billed beyond its trials. An endpoint that served after the run is a line of its own, outside the
total.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

from lepton_ray.money.budget import Budget
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import duration_text
from lepton_ray.money.ledger import UNEXPLAINED, Ledger
from lepton_ray.money.lives import Hired, Life, cost_of_each
from lepton_ray.money.prices import MachinePrice
from lepton_ray.money.usage import Charge, Leg

SEARCH, FINISH = "search", "finish"
INTERRUPTED = "interrupted"
"""How a usage ended whose node went away."""
BEGAN_ON = "this machine"
OPENS, CLOSES = "<!--receipt-->", "<!--/receipt-->"


@dataclass(frozen=True, slots=True)
class StageLine:
    """Time and money of one stage, all its visits together."""

    stage: str
    seconds: float
    dollars: Dollars


@dataclass(frozen=True, slots=True)
class TrialLine:
    """A trial's share of the search, all its spells together; what is not a sum is the latest spell's."""

    trial: str
    family: str
    driver: str
    seconds: float
    cpus: float
    dollars: Dollars
    outcome: str

    @property
    def sentence(self) -> str:
        parts = (self.family, f"on {self.driver}" if self.driver else "", f"{self.cpus:g} cpu", self.outcome)
        return ", ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class LegLine:
    """What one leg of a run was billed; ``down`` are the seconds before it, which nobody is billed for."""

    started_at: float
    down: float
    seconds: float
    dollars: Dollars


@dataclass(frozen=True, slots=True)
class NodeLine:
    """What one node was billed for its life in the run, and what its interruptions cost.

    Attributes:
        joined: second of the run from which on it was billed.
        interruptions: trials that were on it when it went away; ``lost``: the price of their work since the last fold.
        why: it was no longer held; empty where it was until the end.
    """

    node: str
    market: str
    joined: float
    seconds: float
    machine: MachinePrice
    dollars: Dollars
    interruptions: int
    lost: Dollars
    why: str

    @property
    def sentence(self) -> str:
        parts = [self.market.replace("_", "-"), self.machine.sentence, f"from {self.joined:.1f} s", self.why]
        if self.interruptions:
            trials = "1 trial" if self.interruptions == 1 else f"{self.interruptions} trials"
            parts.append(f"{trials} interrupted, {self.lost} of work lost")
        return "; ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a run cost; ``endpoint`` is None where nothing served, ``budget`` where the ledger has none noted."""

    run_id: str
    started_at: float
    machine: MachinePrice
    stages: tuple[StageLine, ...]
    unexplained: StageLine
    trials: tuple[TrialLine, ...]
    overhead: Dollars
    total: StageLine
    endpoint: StageLine | None
    budget: Budget | None
    bundle: str | None
    closed: bool
    legs: tuple[LegLine, ...] = ()
    refits: tuple[TrialLine, ...] = ()
    nodes: tuple[NodeLine, ...] = ()

    @classmethod
    def from_ledger(
        cls, ledger: Ledger, *, at: float | None = None, budget: Budget | None = None, bundle: str | None = None
    ) -> Self:
        """Draw up the receipt; budget and bundle default to the ledger's notes.

        Args:
            at: now, where the ledger is still open.
        """
        charges = ledger.charges(at)
        billed = [charge for charge in charges if charge.book == "billed"]
        attributed = [charge for charge in charges if charge.book == "attributed"]
        searched = [charge for charge in attributed if charge.stage != FINISH]
        endpoint = [charge for charge in charges if charge.book == "endpoint"]
        wall = billed[-1].ended if billed else 0.0  # not a sum of spans, whose float error could break a deadline
        noted = ledger.notes.get("budget")
        if budget is None and noted is not None:
            budget = Budget.from_dict(noted, ledger.machine.per_hour)
        return cls(
            run_id=ledger.run_id,
            started_at=ledger.started_at,
            machine=ledger.machine,
            stages=_stage_lines(charge for charge in billed if charge.stage != UNEXPLAINED),
            unexplained=_line(UNEXPLAINED, [charge for charge in billed if charge.stage == UNEXPLAINED]),
            trials=_trial_lines(searched),
            refits=_trial_lines(charge for charge in attributed if charge.stage == FINISH),
            overhead=_overhead(billed, searched),
            total=StageLine("total", wall, Dollars.total(charge.dollars for charge in billed)),
            endpoint=_line("endpoint", endpoint) if endpoint else None,
            budget=budget,
            bundle=bundle or ledger.notes.get("bundle"),
            closed=ledger.closed or bool(endpoint),
            legs=_leg_lines(ledger.legs, billed),
            nodes=_node_lines(ledger, attributed, wall),
        )

    @property
    def attributed(self) -> Dollars:
        return Dollars.total(line.dollars for line in self.trials)

    @property
    def held(self) -> bool | None:
        """Whether the run stayed within both limits; None where there is no budget to compare with."""
        if self.budget is None:
            return None
        return self.total.dollars <= self.budget.dollars and self.total.seconds <= self.budget.deadline_seconds

    def to_dict(self) -> dict[str, Any]:
        """The receipt as JSON values, money in dollars."""
        budget, endpoint = self.budget, self.endpoint
        return {
            "run": self.run_id,
            "started": self.started_at,
            "stages": [_stage_dict(line) for line in self.stages],
            "unexplained": _stage_dict(self.unexplained),
            "legs": [_leg_dict(line) for line in self.legs],
            "nodes": [_node_dict(line) for line in self.nodes],
            "trials": [_trial_dict(line) for line in self.trials],
            "refits": [_trial_dict(line) for line in self.refits],
            "attributed_usd": float(self.attributed),
            "overhead_usd": float(self.overhead),
            "spent_usd": float(self.total.dollars),
            "wall_seconds": self.total.seconds,
            "budget_usd": float(budget.dollars) if budget else None,
            "deadline_seconds": budget.deadline_seconds if budget else None,
            "wall_held": self.held,
            "closed": self.closed,
            "usd_per_hour": float(self.machine.per_hour),
            "price": self.machine.sentence,
            "bundle": self.bundle,
            "endpoint": {**_stage_dict(endpoint), "usd_per_hour": float(self.machine.per_hour)} if endpoint else None,
        }

    def to_text(self) -> str:
        """The receipt for a terminal."""
        rows = list(_rows(self))
        width = max(len(label) for _, label, _, _, _ in rows)
        lines = [f"receipt of run {self.run_id}"]
        for kind, label, seconds, dollars, remark in rows:
            if kind == "total":
                lines.append("-" * (width + 31))
            spent = f"{seconds:.2f} s" if seconds is not None else ""
            lines.append(f"{label:<{width}} {spent:>12}  {_aligned(dollars)}  {remark}".rstrip())
        return "\n".join([*lines, "", *_sentences(self)]) + "\n"

    def to_html(self) -> str:
        """The receipt as one ``<section class="receipt">`` with one table, everything escaped."""
        from html import escape  # late: the supervisor imports this floor, and starts before everything

        body = []
        for kind, label, seconds, dollars, remark in _rows(self):
            spent = f"{seconds:.2f} s" if seconds is not None else ""
            cells = f'<th scope="row">{escape(label.strip())}</th><td>{spent}</td><td>{escape(str(dollars))}</td>'
            body.append(f'<tr class="{kind}">{cells}<td>{escape(remark)}</td></tr>')
        head = "<tr><th>stage</th><th>time</th><th>dollars</th><th></th></tr>"
        table = f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"
        sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in _sentences(self))
        return f'<section class="receipt">{table}{sentences}</section>'


def swap_receipt(html: str, receipt: Receipt) -> str:
    """Replace what stands between a report's receipt markers; the markers stay, so it can be done again.

    Raises:
        ValueError: the page has no such markers.
    """
    before, opens, rest = html.partition(OPENS)
    _, closes, after = rest.partition(CLOSES)
    if not (opens and closes):
        raise ValueError(f"the page has no {OPENS} … {CLOSES}")
    return f"{before}{OPENS}{receipt.to_html()}{CLOSES}{after}"


def _line(name: str, charges: Iterable[Charge]) -> StageLine:
    charges = list(charges)
    return StageLine(name, sum(charge.seconds for charge in charges), Dollars.total(one.dollars for one in charges))


def _by(charges: Iterable[Charge], key: str) -> dict[str, list[Charge]]:
    groups: dict[str, list[Charge]] = {}
    for charge in charges:
        groups.setdefault(getattr(charge, key), []).append(charge)
    return groups


def _stage_lines(billed: Iterable[Charge]) -> tuple[StageLine, ...]:
    return tuple(_line(stage, charges) for stage, charges in _by(billed, "stage").items())


def _leg_lines(legs: Sequence[Leg], billed: Sequence[Charge]) -> tuple[LegLine, ...]:
    """What each leg was billed: no charge reaches over the end of one."""
    ends = [*(leg.at for leg in legs[1:]), float("inf")]
    lines = []
    for leg, end in zip(legs, ends, strict=True):
        together = _line("", (charge for charge in billed if leg.at <= charge.started < end))
        lines.append(LegLine(leg.started_at, leg.down, together.seconds, together.dollars))
    return tuple(lines)


def _node_lines(ledger: Ledger, attributed: Sequence[Charge], wall: float) -> tuple[NodeLine, ...]:
    """The machine that the run began on and each node beside it; nothing where there was none."""
    if not ledger.lives:
        return ()
    host, each = cost_of_each(ledger.rates, ledger.lives, wall)
    lines = [_node_line(Life(Hired(BEGAN_ON, ledger.machine), 0.0), host, wall, attributed)]
    return (*lines, *(_node_line(*pair, wall, attributed) for pair in zip(ledger.lives, each, strict=True)))


def _node_line(life: Life, dollars: Dollars, wall: float, attributed: Sequence[Charge]) -> NodeLine:
    name, machine = life.node.name, life.node.machine
    usages = [one.usage for one in attributed if one.usage is not None and one.usage.outcome == INTERRUPTED]
    broken = [one for one in usages if one.node == name and life.joined <= one.started and one.ended <= life.left]
    lost = Dollars.total(machine.share(one.cpus, one.lost) for one in broken)
    seconds = min(life.left, wall) - life.joined
    return NodeLine(name, life.node.market, life.joined, seconds, machine, dollars, len(broken), lost, life.why)


def _trial_lines(attributed: Iterable[Charge]) -> tuple[TrialLine, ...]:
    lines = []
    for trial, charges in _by(attributed, "what").items():
        together = _line(trial, charges)
        last = charges[-1].usage
        assert last is not None  # every attributed charge is made from a usage
        lines.append(
            TrialLine(trial, last.family, last.driver, together.seconds, last.cpus, together.dollars, last.outcome)
        )
    return tuple(lines)


def _overhead(billed: Iterable[Charge], attributed: Iterable[Charge]) -> Dollars:
    """What the stages that paid for trials were billed beyond the trials' shares."""
    attributed = list(attributed)
    paying = {charge.stage for charge in attributed} | {SEARCH}
    paid = Dollars.total(charge.dollars for charge in billed if charge.stage in paying)
    return paid - Dollars.total(charge.dollars for charge in attributed)


Row = tuple[str, str, float | None, Dollars, str]


def _rows(receipt: Receipt) -> Iterator[Row]:
    """Kind, label, seconds, dollars and remark of each line of the table."""
    for stage in receipt.stages:
        yield "stage", stage.stage, stage.seconds, stage.dollars, ""
    yield UNEXPLAINED, UNEXPLAINED, receipt.unexplained.seconds, receipt.unexplained.dollars, ""
    yield "total", "total", receipt.total.seconds, receipt.total.dollars, ""
    if len(receipt.legs) > 1:
        yield from _leg_rows(receipt.legs)
    for node in receipt.nodes:
        yield "node", f"  node {node.node}", node.seconds, node.dollars, node.sentence
    for trial in receipt.trials:
        yield "trial", f"  trial {trial.trial}", trial.seconds, trial.dollars, trial.sentence
    for refit in receipt.refits:
        yield "refit", f"  refit {refit.trial}", refit.seconds, refit.dollars, refit.sentence
    yield "overhead", "  overhead", None, receipt.overhead, "of the search: billed, but no trial's"


def _leg_rows(legs: Sequence[LegLine]) -> Iterator[Row]:
    """Where the total came from, leg by leg, and the time between them."""
    for number, leg in enumerate(legs, 1):
        if number > 1:
            yield "down", "  broken off", leg.down, Dollars(0), "down: not billed, and no part of the total"
        began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(leg.started_at))
        yield "leg", f"  leg {number}", leg.seconds, leg.dollars, f"{'resumed' if number > 1 else 'began'} {began}"


def _sentences(receipt: Receipt) -> Iterator[str]:
    """What the table cannot say."""
    budget = receipt.budget
    if budget is not None:
        held = "The wall held" if receipt.held else "THE WALL DID NOT HOLD"
        spent = f"{receipt.total.dollars} of {budget.dollars}"
        yield f"{held}: {spent}, {receipt.total.seconds:.2f} s of {duration_text(budget.deadline_seconds)}."
    if not receipt.closed:
        yield "The run has not been closed: this counts until its last event."
    yield f"Price: {receipt.machine.sentence}."
    if receipt.nodes:
        yield (
            "Nodes: this machine is billed for the whole run, each other one from when the run took it on until it let "
            "it go or it went away, busy or idle. What else there is in the cluster is not on this receipt."
        )
    if receipt.endpoint is not None:
        ran = f"ran {receipt.endpoint.seconds:.1f} s for {receipt.endpoint.dollars}"
        yield f"Endpoint: {receipt.machine.per_hour} per hour, {ran}, not part of the total."
    if receipt.bundle:
        yield f"Bundle: {receipt.bundle}"


def _stage_dict(line: StageLine) -> dict[str, Any]:
    return {"stage": line.stage, "seconds": line.seconds, "usd": float(line.dollars)}


def _leg_dict(line: LegLine) -> dict[str, Any]:
    facts = {"started": line.started_at, "down_seconds": line.down}
    return {**facts, "seconds": line.seconds, "usd": float(line.dollars)}


def _node_dict(line: NodeLine) -> dict[str, Any]:
    price = {"market": line.market, "usd_per_hour": float(line.machine.per_hour), "price": line.machine.sentence}
    life = {"joined": line.joined, "seconds": line.seconds, "usd": float(line.dollars), "why": line.why}
    return {"node": line.node, **price, **life, "interruptions": line.interruptions, "lost_usd": float(line.lost)}


def _trial_dict(line: TrialLine) -> dict[str, Any]:
    facts = {"trial": line.trial, "family": line.family, "driver": line.driver, "outcome": line.outcome}
    return {**facts, "seconds": line.seconds, "cpus": line.cpus, "usd": float(line.dollars)}


def _aligned(dollars: Dollars) -> str:
    """The amount with its point in a fixed column."""
    whole, decimals = str(dollars).split(".")
    return f"{whole:>6}.{decimals:<6}"
