"""How long a trial will take: one log-linear law per family, a prior from recorded trials, learned on as trials end.

    log(seconds / fits) = u + a + b log(work) + c log(rows) + d log(columns) + e log(outputs) + noise

``u`` is what this machine and this table do to every family (its prior is the probe's ratio to the machine that
recorded), (a … e) are the family's own. All are normal with the mean and covariance that ``cost_mining`` found, so each
finished trial updates them exactly (a Kalman step); the noise's variance is learned beside them, from a prior worth a
few trials. A family without a prior starts from what all families took on as many cells, give or take a factor of
four, and from then on scales with its work. Where it says itself how long it takes, that is its start, and what the
others took tells nothing of it: they do not read texts as it does, and the probe multiplies no matrices.
Lee et al. 2020 (arXiv:2011.11456) found that such low-variance models predict cost well. What a trial took beside its
law (rounds until it stopped by itself, say) its promotion takes too, as far as the two were found to go together: the
law's ``kinship``. It knows no families, budgets or clocks.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LONGEST_SECONDS = 30 * 24 * 3600.0
SHORTEST_SECONDS = 0.05
"""Of a fit: below this what is measured is a process that wakes up and a clock, which follow no law of work. Exponents
mined from such fits were too small for large tables, linear models on 76,000 rows took six times what was forecast."""
PRIOR_FILE = "cost_prior.json"
PROBE_WIDTH = 0.25
"""Standard deviation of log seconds that the ratio of two probes leaves open."""
UNSEEN_WIDTH, UNSEEN_SLOPE_WIDTH, UNSEEN_NOISE = 1.4, 0.3, 0.5
"""Of a family that nobody recorded: of its level, of its exponent of work, and of a trial around both."""
UNSEEN_WEIGHT = 2.0
UNSEEN_KINSHIP = 0.7
FARTHEST = 4.0
"""Standard deviations beyond which a trial counts as if it were that far off: a stall is not a law."""


def log_of(seconds: float) -> float:
    """Of what a fit took, as far as there is a law of it."""
    return math.log(max(seconds, SHORTEST_SECONDS))


@dataclass(frozen=True, slots=True)
class Size:
    """What a trial's seconds depend on: ``fits`` fits and judgements, each of this ``work`` on so many rows.

    Attributes:
        work: what ``Family.work`` says, above 0.
        outputs: 1 for a regression, else the number of classes.
        seconds: what the family itself says that a fit takes, which counts where nobody has recorded any.
    """

    work: float
    rows: int
    columns: int
    outputs: int = 1
    fits: int = 1
    seconds: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.work < math.inf:
            raise ValueError(f"work must be positive and finite, got {self.work!r}")

    @property
    def features(self) -> Floats:
        """(5,): 1 and the logarithms of work, rows, columns and outputs."""
        sizes = (self.work, max(self.rows, 1), max(self.columns, 1), max(self.outputs, 1))
        return np.array([1.0, *(math.log(size) for size in sizes)])


@dataclass(frozen=True, slots=True)
class Kin:
    """A trial of the same configuration that has ended: its size and its seconds."""

    size: Size
    seconds: float


@dataclass(frozen=True, slots=True)
class Law:
    """What is known of a family: (a … e) around ``centre`` are normal, and so is a trial around them.

    Attributes:
        noise: variance of one trial's log seconds; ``weight``: how many trials' worth it is known.
        tail: the 90 % quantile of new tables' trials, in the normal's; upper quantiles are stretched by it.
        kinship: correlation of a trial's noise with its promotion's.
    """

    centre: Floats
    mean: Floats
    cov: Floats
    noise: float
    weight: float
    tail: float = 1.0
    kinship: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        arrays = {"centre": self.centre.tolist(), "mean": self.mean.tolist(), "cov": self.cov.tolist()}
        return {**arrays, "noise": self.noise, "weight": self.weight, "tail": self.tail, "kinship": self.kinship}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        arrays: dict[str, Any] = {name: np.array(facts[name], np.float64) for name in ("centre", "mean", "cov")}
        return cls(**arrays, **{name: facts[name] for name in ("noise", "weight", "tail", "kinship")})


@dataclass(frozen=True, slots=True)
class CostPrior:
    """What recorded trials tell before the first one here.

    Attributes:
        probe_seconds: what ``probe`` took where they were recorded.
        shared: variance of what a table does to all families alike.
        per_cell: log seconds of any family at no cells, and their rise with log(rows * columns).
    """

    probe_seconds: float
    shared: float
    per_cell: tuple[float, float]
    laws: Mapping[str, Law]

    def law(self, key: str, size: Size) -> Law:
        """The family's law, or one around this size for a family that was not recorded."""
        if key in self.laws:
            return self.laws[key]
        x = size.features
        level = self.per_cell[0] + self.per_cell[1] * (x[2] + x[3]) if size.seconds is None else log_of(size.seconds)
        widths = np.array([UNSEEN_WIDTH, UNSEEN_SLOPE_WIDTH, 0.0, 0.0, 0.0])
        mean = np.array([level, 1.0, 0.0, 0.0, 0.0])
        centre, cov = np.array([0.0, *x[1:]]), np.diag(widths**2)
        return Law(centre, mean, cov, UNSEEN_NOISE**2, UNSEEN_WEIGHT, kinship=UNSEEN_KINSHIP)

    def to_dict(self) -> dict[str, Any]:
        laws = {name: self.laws[name].to_dict() for name in sorted(self.laws)}
        facts = {"probe_seconds": self.probe_seconds, "shared": self.shared, "per_cell": list(self.per_cell)}
        return {**facts, "laws": laws}

    @classmethod
    def from_dict(cls, facts: Mapping[str, Any]) -> Self:
        laws = {name: Law.from_dict(law) for name, law in facts["laws"].items()}
        intercept, slope = facts["per_cell"]
        return cls(facts["probe_seconds"], facts["shared"], (intercept, slope), laws)


@dataclass(frozen=True, slots=True, eq=False)
class CostModel:
    """Everything learned so far; observing returns a new model.

    Attributes:
        mean, cov: of ``u`` and then of the five numbers of each family that was observed, in the order of ``known``.
        known: of each family that was observed, the law's centre, and the noise's variance and weight by now.
    """

    prior: CostPrior
    mean: Floats
    cov: Floats
    known: Mapping[str, tuple[Floats, float, float]] = field(default_factory=dict)

    @classmethod
    def begin(cls, prior: CostPrior, probe_seconds: float | None = None) -> Self:
        """Before the first trial, on a machine whose ``probe`` took so long; None: one as fast as the recording one."""
        ratio = 0.0 if probe_seconds is None else math.log(probe_seconds / prior.probe_seconds)
        return cls(prior, np.array([ratio]), np.array([[prior.shared + PROBE_WIDTH**2]]))

    def observe(self, key: str, size: Size, seconds: float) -> Self:
        """Learn from a trial that has ended."""
        if not 0 <= seconds < math.inf:
            raise ValueError(f"seconds must be finite and not negative, got {seconds!r}")
        model = self._with(key, size)
        at, (centre, noise, weight) = model._row(key, size), model.known[key]
        spread = float(at @ model.cov @ at) + noise
        miss = log_of(seconds / size.fits) - max(float(at @ model.mean), log_of(0.0))
        miss = max(-FARTHEST, min(FARTHEST, miss / math.sqrt(spread))) * math.sqrt(spread)
        gain = model.cov @ at / spread
        told = (noise * weight + noise * miss * miss / spread) / (weight + 1.0)
        return replace(
            model,
            mean=model.mean + gain * miss,
            cov=model.cov - np.outer(gain, gain) * spread,
            known={**model.known, key: (centre, told, weight + 1.0)},
        )

    def quantile(self, key: str, size: Size, q: float = 0.9, kin: Kin | None = None) -> float:
        """The seconds that a trial of this size stays below with probability ``q``."""
        mean, width = self.predict(key, size, kin)
        widths = NormalDist().inv_cdf(q) * (self.prior.law(key, size).tail if q > 0.5 else 1.0)
        log_seconds = mean + widths * width
        return math.exp(min(max(log_seconds, log_of(0.0) + math.log(size.fits)), math.log(LONGEST_SECONDS)))

    def predict(self, key: str, size: Size, kin: Kin | None = None) -> tuple[float, float]:
        """Mean and standard deviation of the log seconds of a trial of this size, promoted from ``kin`` if given."""
        model = self._with(key, size)
        at, noise = model._row(key, size), model.known[key][1]
        mean = float(at @ model.mean) + math.log(size.fits)
        if kin is not None:
            alike, before = self.prior.law(key, size).kinship, model._row(key, kin.size)
            beside = log_of(kin.seconds / kin.size.fits) - max(float(before @ model.mean), log_of(0.0))
            mean += alike * beside
            at, noise = at - alike * before, noise * (1.0 - alike**2)
        return mean, math.sqrt(max(0.0, float(at @ model.cov @ at)) + noise)

    def _with(self, key: str, size: Size) -> Self:
        """The same, with the family's prior beside what is known."""
        if key in self.known:
            return self
        law = self.prior.law(key, size)
        n, k = len(self.mean), len(law.mean)
        cov = np.zeros((n + k, n + k))
        cov[:n, :n], cov[n:, n:] = self.cov, law.cov
        known = {**self.known, key: (law.centre, law.noise, law.weight)}
        return replace(self, mean=np.concatenate([self.mean, law.mean]), cov=cov, known=known)

    def _alone(self, key: str, size: Size) -> bool:
        """Whether the family is known by what it says itself, and not by ``u``."""
        return key not in self.prior.laws and size.seconds is not None

    def _row(self, key: str, size: Size) -> Floats:
        """What the mean is to be multiplied with."""
        row = np.zeros(len(self.mean))
        start = 1 + 5 * list(self.known).index(key)
        row[0] = 0.0 if self._alone(key, size) else 1.0
        row[start : start + 5] = size.features - self.known[key][0]
        return row
