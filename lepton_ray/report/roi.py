"""What a model is worth: the threshold that earns most, value minus cost with an interval, and the payback time.

Thresholds and constants are chosen on predictions for rows that the model was not fitted on (out of fold, or
validation) and their earning is measured on rows held out from everything. Without such rows the earning is
cross-fitted: each fifth of the rows is judged with a threshold chosen on the other four.

It knows nothing about models, tables or pages. Money that was spent is Dollars; a statistical estimate of money to come
has no whole micro-dollars and is an Estimate.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lepton_ray.errors import DataError
from lepton_ray.money.dollars import Dollars
from lepton_ray.report.predictions import Floats, Predictions
from lepton_ray.report.threshold import FEWEST_ROWS, NEVER, best_threshold, earnings
from lepton_ray.report.value import Value
from lepton_ray.report.wording import DAY_SECONDS, count, figure, percent, plural, short, span_of_days, usd

YEAR_DAYS = 365.25
RESAMPLES = 2_000
FOLDS = 5
CURVE_POINTS = 201


@dataclass(frozen=True, slots=True)
class Estimate:
    """A quantity in dollars that is only known within a 95 % interval."""

    value: float
    low: float
    high: float

    def scaled(self, factor: float, shift: float = 0.0) -> "Estimate":
        """Multiply, then add; the factor must not be negative."""
        return Estimate(self.value * factor + shift, self.low * factor + shift, self.high * factor + shift)

    def __str__(self) -> str:
        return usd(self.value, self.low, self.high)

    @property
    def span(self) -> str:
        """The interval in words."""
        return f"{usd(self.low, self.low, self.high)} to {usd(self.high, self.low, self.high)}"


@dataclass(frozen=True, slots=True)
class Costs:
    """What the model has cost to make, and what its endpoint costs while it runs."""

    training: Dollars
    serving_per_hour: Dollars

    @property
    def serving_per_year(self) -> Dollars:
        """The endpoint, up day and night."""
        return Dollars.of_rate(self.serving_per_hour, YEAR_DAYS * DAY_SECONDS)


@dataclass(frozen=True, slots=True)
class Roi:
    """A model's worth to its owner. ``constant`` is the best decision that looks at nothing, the rule to beat.

    ``threshold``: act from this probability up; 0 is always, NEVER is never, None is a target that is a number.
    ``curve``: (threshold, dollars per decision) on the rows that measured it.
    """

    value: Value
    costs: Costs
    answer: str  # the positive class, or the target's name
    rows: int
    cross_fitted: bool
    threshold: float | None
    constant: float  # 1 = always act, 0 = never act, or the constant prediction
    model_per_decision: float
    constant_per_decision: float
    gain_per_year: Estimate  # over the constant, before costs
    net: Estimate  # over the horizon, after all costs
    curve: tuple[tuple[float, float], ...] = ()

    @property
    def payback_days(self) -> float | None:
        """Days until the gain has paid what was spent once; None where it never does."""
        return _payback(self.gain_per_year.value, self.value, self.costs)

    @property
    def payback_range(self) -> tuple[float | None, float | None]:
        """The payback in days at the good and at the bad end of the interval."""
        worst, best = self.gain_per_year.low, self.gain_per_year.high
        return _payback(best, self.value, self.costs), _payback(worst, self.value, self.costs)

    @property
    def rule(self) -> str:
        """The best decision that looks at nothing, in words."""
        if self.threshold is None:
            return f"always predicting {figure(self.constant)}"
        return "always acting" if self.constant else "never acting"

    def sentences(self) -> tuple[str, ...]:
        """Say it all in plain words."""
        return (*self._decision(), self._yearly(), self._net(), self._payback())

    def _decision(self) -> tuple[str, ...]:
        rows = f"{plural(self.rows, 'row')} that {'was' if self.rows == 1 else 'were'}"
        on = f"Measured on {rows} {'judged by a threshold chosen on other rows' if self.cross_fitted else 'held out'}"
        if self.threshold is None:
            on = f"Measured on {rows} held out" if not self.cross_fitted else "Measured in cross-validation"
            return (
                f"{on}, the model's errors cost {usd(-self.model_per_decision)} per prediction; "
                f"{self.rule} costs {usd(-self.constant_per_decision)}.",
            )
        act = (
            "The decision that earns most is to act every time."
            if self.threshold <= 0
            else "The decision that earns most is never to act."
            if self.threshold == NEVER
            else f"Act when the predicted probability of “{short(self.answer)}” is {percent(self.threshold)} or more: "
            "of all thresholds, this one earned most on rows that the model had not been fitted on."
        )
        return (
            act,
            f"{on}, it earns {usd(self.model_per_decision)} per decision; the best rule that looks at nothing, "
            f"{self.rule}, earns {usd(self.constant_per_decision)}.",
        )

    def _yearly(self) -> str:
        if self.gain_per_year.low == self.gain_per_year.high == 0:
            return f"On these rows the model decides just as {self.rule} would, so it adds nothing."
        return (
            f"At {count(self.value.decisions_per_year)} decisions a year, the model is worth {self.gain_per_year} "
            f"a year against {self.rule} (95 % interval: {self.gain_per_year.span}), before costs."
        )

    def _net(self) -> str:
        years = self.value.horizon_years
        project = f", {usd(_usd(self.value.project_cost))} for the project" if self.value.project_cost else ""
        return (
            f"After {_years(years)}, with {self.costs.training} of training{project} and "
            f"{usd(_usd(self.costs.serving_per_year))} a year for an endpoint that is always up "
            f"({self.costs.serving_per_hour} per hour) taken off, {self.net} remain (95 % interval: {self.net.span})."
        )

    def _payback(self) -> str:
        days, (best, worst) = self.payback_days, self.payback_range
        if days is None:
            return "It does not pay for itself: the endpoint costs more than the model adds."
        first, last = ("never" if end is None else span_of_days(end) for end in (best, worst))
        ends = f" (95 % interval: {first} to {last})" if first != last else ""
        return f"It has paid for itself after {span_of_days(days)}{ends}."


def measure_roi(
    value: Value,
    chosen_on: Predictions,
    held_out: Predictions | None,
    costs: Costs,
    *,
    answer: str,
    rng: np.random.Generator,
) -> Roi:
    """Choose on one set of predictions, measure on the other; without another, cross-fit on the one.

    ``answer`` is the positive class, or the target's name where the target is a number.
    """
    chosen_on = chosen_on.usable()
    judged = chosen_on if held_out is None else held_out.usable()
    if min(len(chosen_on), len(judged)) < FEWEST_ROWS:
        raise DataError(
            f"Only {plural(min(len(chosen_on), len(judged)), 'row')} could be used to measure what the model is worth.",
            f"At least {FEWEST_ROWS} rows with a known answer are needed.",
        )
    decide = _decide_class if value.payoff else _decide_number
    model, constant = np.empty(len(judged)), np.empty(len(judged))
    for choose, judge in _turns(len(judged)) if held_out is None else [(None, slice(None))]:
        seen = chosen_on if choose is None else Predictions(chosen_on.y[choose], chosen_on.values[choose])
        model[judge], constant[judge], *_ = decide(value, seen, Predictions(judged.y[judge], judged.values[judge]))
    *_, threshold, rule = decide(value, chosen_on, judged)
    gain = bootstrap_mean(model - constant, rng).scaled(value.decisions_per_year)
    years = value.horizon_years
    spent = _usd(costs.training) + _usd(value.project_cost) + years * _usd(costs.serving_per_year)
    return Roi(
        value=value,
        costs=costs,
        answer=answer,
        rows=len(judged),
        cross_fitted=held_out is None,
        threshold=threshold,
        constant=rule,
        model_per_decision=float(model.mean()),
        constant_per_decision=float(constant.mean()),
        gain_per_year=gain,
        net=gain.scaled(years, -spent),
        curve=profit_curve(judged, value) if value.payoff else (),
    )


def bootstrap_mean(gains: Floats, rng: np.random.Generator, resamples: int = RESAMPLES) -> Estimate:
    """Estimate a mean with the percentile bootstrap (Efron 1979) over rows.

    Few distinct values are drawn as one multinomial, which is the same thing and needs no row to be touched.
    """
    distinct, rows = np.unique(gains, return_counts=True)
    if len(distinct) <= 64:
        means = rng.multinomial(len(gains), rows / len(gains), size=resamples) @ distinct / len(gains)
    else:
        draws = resamples if len(gains) <= 5_000 else resamples // 5
        means = np.array([gains[rng.integers(0, len(gains), len(gains))].mean() for _ in range(draws)])
    low, high = np.quantile(means, (0.025, 0.975))
    return Estimate(float(gains.mean()), float(low), float(high))


def profit_curve(judged: Predictions, value: Value) -> tuple[tuple[float, float], ...]:
    """Dollars per decision at thresholds evenly spaced from 0 to 1."""
    p = judged.values[:, 1]
    order = np.argsort(p, kind="stable")
    act, rest = earnings(judged.y, np.True_, value)[order], earnings(judged.y, np.False_, value)[order]
    passed, acted = np.concatenate(([0.0], np.cumsum(rest))), np.concatenate(([0.0], np.cumsum(act)))
    thresholds = np.linspace(0, 1, CURVE_POINTS)
    below = np.searchsorted(p[order], thresholds)
    earned = (passed[below] + acted[-1] - acted[below]) / len(p)
    return tuple(zip(thresholds.tolist(), earned.tolist(), strict=True))


def _decide_class(value: Value, seen: Predictions, judged: Predictions) -> tuple[Floats, Floats, float | None, float]:
    """Earnings of the model and of the best constant, both chosen on ``seen``; the threshold; the constant."""
    threshold = best_threshold(seen.y, seen.values[:, 1], value)
    always = earnings(seen.y, np.True_, value).sum() > earnings(seen.y, np.False_, value).sum()
    model = earnings(judged.y, judged.values[:, 1] >= threshold, value)
    return model, earnings(judged.y, np.bool_(always), value), threshold, float(always)


def _decide_number(value: Value, seen: Predictions, judged: Predictions) -> tuple[Floats, Floats, float | None, float]:
    """The same for a number; the constant that costs least is the median."""
    unit, constant = _usd(value.unit_of_error), float(np.median(seen.y))
    return -unit * np.abs(judged.y - judged.values), -unit * np.abs(judged.y - constant), None, constant


def _turns(rows: int) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Each fold in turn: the rows to choose on, the rows to judge."""
    fold = np.arange(rows) % FOLDS
    return [(np.flatnonzero(fold != turn), np.flatnonzero(fold == turn)) for turn in range(FOLDS)]


def _payback(gain_per_year: float, value: Value, costs: Costs) -> float | None:
    left = (gain_per_year - _usd(costs.serving_per_year)) / YEAR_DAYS
    return (_usd(costs.training) + _usd(value.project_cost)) / left if left > 0 else None


def _usd(dollars: Dollars | None) -> float:
    return float(dollars) if dollars else 0.0


def _years(years: float) -> str:
    return "one year" if years == 1 else f"{years:g} years"
