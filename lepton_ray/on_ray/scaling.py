"""The pure policy as Ray Serve takes one: an object that its controller asks ten times a second. It decides nothing.

Serve pickles this file by value and makes one object for each deployment, with ``Scaling.plain()`` as its arguments.
Replicas report a ``Beat`` twice a second (``record_autoscaling_stats``). Serve's own delays are off.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from lepton_ray.money.dollars import Dollars
from lepton_ray.money.rates import Rates
from lepton_ray.on_ray import board
from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.recent import Beat
from lepton_ray.serving.scaling import Decision, Memory, Snapshot, decide
from lepton_ray.serving.standing import Scale
from lepton_ray.serving.terms import Scaling, Terms

if TYPE_CHECKING:
    from ray.serve.config import AutoscalingContext

PATH = "lepton_ray.on_ray.scaling:Policy"
PUSH_SECONDS = 0.5
LOOK_BACK_SECONDS = 3.0
WRITE_SECONDS = 5.0
"""The board is written anew at least so often: what was spent grows."""

NODE = "node"
BOUNDS = {
    "cap": "the cap on dollars binds",
    "most": "the largest number of replicas binds",
    "": "nothing binds any more",
}


def autoscaling_config(scaling: Scaling) -> dict[str, Any]:
    """What Serve calls an ``autoscaling_config``, with the policy in it and everything explicit that it would add."""
    terms = scaling.terms
    return {
        "min_replicas": terms.least,
        "max_replicas": terms.most,
        **({} if terms.least else {"initial_replicas": 1}),
        "metrics_interval_s": PUSH_SECONDS,
        "look_back_period_s": LOOK_BACK_SECONDS,
        "upscale_delay_s": 0.0,
        "downscale_delay_s": 0.0,
        "downscale_to_zero_delay_s": 0.0,
        "policy": {"policy_function": PATH, "policy_kwargs": scaling.plain()},
    }


def reported(beat: Beat, node: str) -> dict[str, float]:
    """A beat as Serve carries it: numbers only; ``node`` is the id of the machine, in hex."""
    return {**{name: float(value) for name, value in asdict(beat).items()}, NODE: float(int(node[:12] or "0", 16))}


class Policy:
    """The policy of one deployment."""

    def __init__(self, terms: Mapping[str, Any], fleet: Mapping[str, Any]) -> None:
        self._terms, self._fleet = Terms.from_plain(terms), Fleet.from_plain(fleet)
        self._memory, self._began = Memory(), time.monotonic()
        self._rates: Rates | None = None
        self._seen: Snapshot | None = None
        self._before: Dollars | None = None
        self._written, self._last = -WRITE_SECONDS, Scale(-1, -1)
        self._log = logging.getLogger("ray.serve")

    def __call__(self, ctx: "AutoscalingContext") -> tuple[int, dict[str, Any]]:
        """Decide for what Serve has seen."""
        now = time.monotonic() - self._began
        seen = seen_in(ctx, now)
        decision = decide(self._terms, self._fleet, seen, self._memory)
        self._memory = decision.memory
        self._tell(ctx.app_name or "", seen, decision)
        return decision.replicas, {}

    def _book(self, seen: Snapshot, spread: bool) -> Dollars | None:
        """Book what runs now, and return what it costs an hour.

        Serve does not ask while it wakes the first replica: that time is booked when it does.
        """
        if self._seen is not None and not self._seen.running and seen.running:
            self._since(self._seen.now, self._fleet.per_hour(self._fleet.nodes(seen.wanted, spread)))
        self._seen = seen
        nodes = max(self._fleet.nodes(max(seen.running, seen.wanted), spread), seen.nodes)
        per_hour = self._fleet.per_hour(nodes)
        self._since(seen.now, per_hour)
        return per_hour

    def _since(self, at: float, per_hour: Dollars | None) -> None:
        if per_hour is not None:
            self._rates = Rates(((0.0, per_hour),)) if self._rates is None else self._rates.then(at, per_hour)

    def _tell(self, application: str, seen: Snapshot, decision: Decision) -> None:
        """Write what is new on the board and into the controller's log; without a board the endpoint scales on."""
        per_hour = self._book(seen, decision.memory.spread)
        now, last = (seen.running, decision.replicas, decision.bound), self._last
        if seen.now - self._written < WRITE_SECONDS and now == (last.running, last.wanted, last.bound):
            return
        self._written = seen.now
        try:
            if self._before is None:
                told = board.read(application)
                self._before = Dollars(0) if told is None else told.spent
            spent = self._before if self._rates is None else self._before + self._rates.cost(seen.now)
            self._last = Scale(*now, decision.reason, per_hour, spent)
            board.write(application, self._last)
        except Exception as error:  # the head is away
            self._log.warning("lepton_ray: the size of the endpoint was not written: %s", type(error).__name__)
        if decision.bound != last.bound:
            self._log.warning("lepton_ray: %s: %s", BOUNDS[decision.bound], self._last)
        elif decision.replicas != last.wanted:
            self._log.info("lepton_ray: %s", self._last)


def seen_in(ctx: "AutoscalingContext", now: float) -> Snapshot:
    """What the policy is told of what Serve's controller knows; a replica that is silent yet has done nothing."""
    said = ctx.raw_metrics or {}
    latest = [
        {name: series[replica][-1].value for name, series in said.items() if series.get(replica)}
        for replica in ctx.running_replicas
    ]
    names = [field.name for field in fields(Beat)]
    beats = [Beat(**{name: one[name] for name in names if name in one}) for one in latest]  # type: ignore[arg-type]
    nodes = {one[NODE] for one in latest if NODE in one}
    queued = float(ctx.total_queued_requests or 0.0)
    return Snapshot.of(now, ctx.target_num_replicas, beats, outside=queued, nodes=len(nodes))
