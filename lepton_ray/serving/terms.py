"""What an operator promises of an endpoint and will pay for it, in words and as plain values. It decides nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lepton_ray.errors import MoneyError, UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.money.duration import duration_text, parse_duration
from lepton_ray.serving.fleet import Fleet
from lepton_ray.serving.limits import Limits

WAKE_SECONDS = 30.0
LONGEST_WAKE = 600.0
MOST_REPLICAS = 1000


@dataclass(frozen=True, slots=True)
class Terms:
    """Between which numbers of replicas an endpoint moves, and why.

    Attributes:
        p99: seconds within which 99 of 100 requests are to be answered; None: only queues count.
        cap: the most dollars an hour that its machines may cost; None: no such bound.
        least: replicas that always run. most: replicas that run at most.
        idle: seconds without any request after which no replica runs; None: never.
        wake: seconds that a request waits for the first replica then.
    """

    p99: float | None = None
    cap: Dollars | None = None
    least: int = 1
    most: int = 1
    idle: float | None = None
    wake: float = WAKE_SECONDS

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        return {**asdict(self), "cap": None if self.cap is None else self.cap.micros}

    @classmethod
    def from_plain(cls, given: Mapping[str, Any]) -> "Terms":
        """What ``plain`` gave."""
        return cls(**{**given, "cap": None if given["cap"] is None else Dollars(given["cap"])})


@dataclass(frozen=True, slots=True)
class Scaling:
    """The terms, and the machines that they are about."""

    terms: Terms
    fleet: Fleet

    @classmethod
    def on_one_host(cls, cores: int, per_hour: Dollars | None, asked: "Asked", limits: Limits) -> "Scaling":
        """Of one machine, which runs and costs the same whatever stands on it: by default a replica for each core.

        Raises:
            UsageError, MoneyError: what was asked for makes no sense.
        """
        seats = max(cores, asked.max_replicas or 0, asked.min_replicas or 0)
        fleet = Fleet(per_hour, seats, kept=1)
        return cls(asked.terms(fleet, limits, cores), fleet)

    def plain(self) -> dict[str, Any]:
        """As values of JSON."""
        return {"terms": self.terms.plain(), "fleet": self.fleet.plain()}


@dataclass(frozen=True, slots=True)
class Asked:
    """What was written, each as a person writes it; "" and None: nothing.

    The names are those of the options, of the keywords in Python and of the arguments in the YAML of ``serve deploy``.
    """

    p99: str | float = ""
    max_usd_per_hour: str | float = ""
    min_replicas: int | None = None
    max_replicas: int | None = None
    scale_to_zero_after: str | float = ""
    wake_timeout: str | float = ""

    def words(self) -> list[str]:
        """The same as options of ``lepton serve``."""
        given = ((f"--{name.replace('_', '-')}", value) for name, value in self.given().items())
        return [word for name, value in given for word in (name, str(value))]

    def given(self) -> dict[str, str | float | int]:
        """What was said at all."""
        return {name: value for name, value in asdict(self).items() if value not in ("", None)}

    def terms(self, fleet: Fleet, limits: Limits, most: int) -> Terms:
        """Read it for machines like these, and refuse what makes no sense; ``most`` is the usual largest number.

        Raises:
            UsageError: it contradicts itself, or promises what the limits rule out.
            MoneyError: the cap pays for less than the fewest replicas, and it says what the smallest would be.
        """
        idle = self._seconds("scale_to_zero_after", "10m") if self.scale_to_zero_after != "" else None
        terms = Terms(
            p99=self._seconds("p99", "50ms") if self.p99 != "" else None,
            cap=self._cap(),
            least=self._least(idle),
            most=self._most(most),
            idle=idle,
            wake=self._wake(idle),
        )
        if terms.p99 is not None and terms.p99 >= limits.time:
            raise UsageError(
                f"A p99 of {duration_text(terms.p99)} promises nothing: a request is refused after {limits.time:g} s.",
                "Promise less than that, or raise the limit: --limits time=SECONDS.",
            )
        _check_cap(terms, fleet)
        return terms

    def _cap(self) -> Dollars | None:
        return Dollars.parse(self.max_usd_per_hour, name="cap per hour") if self.max_usd_per_hour != "" else None

    def _least(self, idle: float | None) -> int:
        least = self.min_replicas
        if least is None:
            return 0 if idle is not None else 1
        if least < 0:
            raise UsageError(f"--min-replicas {least} makes no sense.", "Give 0 or more.")
        if least == 0 and idle is None:
            raise UsageError("--min-replicas 0 does not say when the last one goes.", "Give --scale-to-zero-after 10m.")
        if least > 0 and idle is not None:
            raise UsageError(
                f"--min-replicas {least} and --scale-to-zero-after contradict each other.", "Leave one of them out."
            )
        return least

    def _most(self, usual: int) -> int:
        least = self.min_replicas or 0
        most = max(usual, least) if self.max_replicas is None else self.max_replicas
        if not 1 <= most <= MOST_REPLICAS:
            raise UsageError(f"--max-replicas {most} makes no sense.", f"Give a number from 1 to {MOST_REPLICAS}.")
        if most < least:
            raise UsageError(f"--min-replicas {least} is more than --max-replicas {most}.", "Swap them.")
        return most

    def _wake(self, idle: float | None) -> float:
        if self.wake_timeout == "":
            return WAKE_SECONDS
        wake = self._seconds("wake_timeout", "30s")
        if idle is None:
            raise UsageError("--wake-timeout is for an endpoint that sleeps.", "Give --scale-to-zero-after, too.")
        if wake > LONGEST_WAKE:
            raise UsageError(f"--wake-timeout {self.wake_timeout} is longer than anybody waits.", "Give 10m at most.")
        return wake

    def _seconds(self, name: str, like: str) -> float:
        option = f"--{name.replace('_', '-')}"
        try:
            return parse_duration(getattr(self, name), name=option)
        except MoneyError as error:
            raise UsageError(error.what, f"Write it like {option} {like}.") from None


def _check_cap(terms: Terms, fleet: Fleet) -> None:
    """Refuse a cap that cannot pay for the fewest replicas that are asked to run."""
    if terms.cap is None:
        return
    if fleet.per_node is None:
        raise MoneyError("A cap per hour needs the price of a machine.", "Give the price of an hour of one: price.")
    fewest = max(1, terms.least)
    nodes = fleet.nodes(fewest)
    needed = Dollars(fleet.per_node.micros * nodes)
    if terms.cap < needed:
        machines = "one machine" if nodes == 1 else f"{nodes} machines, which {fewest} replicas take,"
        raise MoneyError(
            f"The cap of {terms.cap} per hour is less than {machines} of {fleet.per_node} per hour.",
            f"The smallest that would do is {str(needed)[1:]}.",
        )
