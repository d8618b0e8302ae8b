"""What being right or wrong is worth to the owner, read from a small YAML file. It knows nothing about any model.

For a question with two answers, in dollars per decision (costs are negative):

    true_positive: 40          # acted, and it was right to
    false_positive: -5         # acted in vain
    true_negative: 0           # let be, rightly
    false_negative: -20        # let be, and should have acted
    decisions_per_year: 12000

For a number:

    unit_of_error: 2.50        # what each unit of error costs, in either direction
    decisions_per_year: 12000

Optional for both: ``project_cost`` (dollars, once; 0) and ``horizon_years`` (over which cost is set against value; 1).
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from lepton_ray.errors import UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.report.wording import short
from lepton_ray.search.economics import Worth

OUTCOMES = ("true_positive", "false_positive", "true_negative", "false_negative")
ERROR = ("unit_of_error",)
YEARLY = ("decisions_per_year",)
OPTIONAL = ("project_cost", "horizon_years")
LARGEST = 1e12
LARGEST_FILE_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Payoff:
    """Dollars per decision for each of the four ways that a yes-or-no decision can end."""

    true_positive: Dollars
    false_positive: Dollars
    true_negative: Dollars
    false_negative: Dollars

    def __post_init__(self) -> None:
        for right, wrong in (("true_positive", "false_negative"), ("true_negative", "false_positive")):
            good, bad = getattr(self, right), getattr(self, wrong)
            if good <= bad:
                raise UsageError(
                    f"In the value file {right} ({good}) is not worth more than {wrong} ({bad}), "
                    "so being right would not pay.",
                    "Write what a mistake costs as a negative number.",
                )


@dataclass(frozen=True, slots=True)
class Value:
    """Worth per decision, decisions per year and what the project itself costs; one of the two kinds is None."""

    payoff: Payoff | None
    unit_of_error: Dollars | None
    decisions_per_year: float
    project_cost: Dollars = Dollars(0)
    horizon_years: float = 1.0

    @classmethod
    def from_file(cls, path: str | Path) -> "Value":
        """Read a value file."""
        try:
            with open(path, "rb") as file:
                raw = file.read(LARGEST_FILE_BYTES + 1)
        except OSError as error:
            raise UsageError(
                f"The value file {path} cannot be read: {error.strerror}.", "Give --value a file that you may read."
            ) from error
        if len(raw) > LARGEST_FILE_BYTES:
            raise UsageError(f"The value file {path} is larger than 64 KiB.", "It should hold a handful of lines.")
        try:
            return cls.parse(raw.decode("utf-8-sig"), str(path))
        except UnicodeDecodeError as error:
            raise UsageError(f"The value file {path} is not UTF-8 text.", "Save it as UTF-8.") from error

    @classmethod
    def parse(cls, text: str, name: str = "given") -> "Value":
        """Read the YAML of a value file; ``name`` is what to call the file in an error."""
        return cls.from_mapping(_mapping(text, name), name)

    @classmethod
    def from_mapping(cls, given: Mapping[Any, Any], name: str = "given") -> "Value":
        """Build from keys and numbers, strictly: nothing unknown, nothing missing, nothing that is not a number."""
        wanted = _wanted_keys(given, name)
        _refuse_strangers(given, (*wanted, *OPTIONAL), name)
        missing = [key for key in wanted if key not in given]
        if missing:
            raise UsageError(
                f"The value file {name} lacks {', '.join(missing)}.", f"It needs {', '.join(wanted)}; add the missing."
            )
        number = {key: _number(given[key], key, name) for key in given}
        for key in (*YEARLY, "horizon_years", *ERROR):
            if number.get(key, 1.0) <= 0:
                raise UsageError(f"In the value file {name}, {key} is {given[key]}.", "Give a number above zero.")
        if number.get("project_cost", 0.0) < 0:
            raise UsageError(
                f"In the value file {name}, project_cost is negative.", "Give a cost as a positive number."
            )
        if number.get("horizon_years", 1.0) > 100:
            raise UsageError(f"In the value file {name}, horizon_years is above 100.", "Give at most 100 years.")
        outcomes = [_dollars(number[key]) for key in OUTCOMES if key in number]
        return cls(
            payoff=Payoff(*outcomes) if outcomes else None,
            unit_of_error=_dollars(number["unit_of_error"]) if "unit_of_error" in number else None,
            decisions_per_year=number["decisions_per_year"],
            project_cost=_dollars(number.get("project_cost", 0.0)),
            horizon_years=number.get("horizon_years", 1.0),
        )

    def worth_of(self, metric: str, y: np.ndarray) -> Worth | None:
        """What a better score is worth in a year, or None where this file does not say it of this metric.

        An AUC is the share of pairs of a positive and a negative that are ranked rightly. Each decision meets one of
        either kind with their shares p and 1 - p, and ranking the pair rightly turns two wrong ends into right ones.

        Args:
            y: (n,) class codes or values.
        """
        if self.unit_of_error is not None and metric in ("mae", "rmse"):
            return Worth(self.unit_of_error.micros / 1e6 * self.decisions_per_year, 1.0, relative=False)
        if self.payoff is not None and metric == "roc_auc":
            p, ends = float(np.mean(y)), self.payoff
            right = ends.true_positive.micros + ends.true_negative.micros
            wrong = ends.false_positive.micros + ends.false_negative.micros
            pair = max(0, right - wrong) / 1e6
            return Worth(0.01 * self.decisions_per_year * p * (1.0 - p) * pair, 0.01, relative=False)
        return None

    def to_mapping(self) -> dict[str, float]:
        """The keys and numbers that ``from_mapping`` reads back."""
        worth: dict[str, float] = {}
        if self.payoff is not None:
            worth = {key: float(getattr(self.payoff, key)) for key in OUTCOMES}
        if self.unit_of_error is not None:
            worth = {"unit_of_error": float(self.unit_of_error)}
        rest = {"decisions_per_year": self.decisions_per_year, "horizon_years": self.horizon_years}
        return {**worth, **rest, "project_cost": float(self.project_cost)}

    def check_task(self, task: str) -> None:
        """Refuse a value that does not fit the question."""
        if task == "multiclass":
            raise UsageError(
                "A value file cannot yet price a question with more than two answers.",
                "Leave --value out, or ask about one answer against the rest.",
            )
        if task == "binary" and self.payoff is None:
            raise UsageError(
                "The value file prices the error of a number, but the target has two classes.",
                f"Give {', '.join(OUTCOMES)} in it.",
            )
        if task == "regression" and self.unit_of_error is None:
            raise UsageError(
                "The value file prices yes-or-no decisions, but the target is a number.", "Give unit_of_error in it."
            )


def _mapping(text: str, name: str) -> dict[Any, Any]:
    """Load one flat YAML mapping; a key given twice is refused rather than lost."""
    try:
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        loaded = yaml.safe_load(text)
    except RecursionError:
        raise UsageError(
            f"The value file {name} is nested too deeply.",
            "Write one `key: number` a line, for example `true_positive: 40`.",
        ) from None
    except (yaml.YAMLError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        raise UsageError(
            f"The value file {name} is not YAML{where}.",
            "Write one `key: number` a line, for example `true_positive: 40`.",
        ) from error
    if not isinstance(tree, yaml.MappingNode) or not isinstance(loaded, dict):
        raise UsageError(
            f"The value file {name} holds no keys.", "Write one `key: number` a line, for example `true_positive: 40`."
        )
    written = [key.value for key, _ in tree.value if isinstance(key, yaml.ScalarNode)]
    twice = sorted({key for key in written if written.count(key) > 1})
    if twice:
        raise UsageError(f"The value file {name} gives {short(twice[0])} twice.", "Keep one of the two lines.")
    return loaded


def _wanted_keys(given: Mapping[Any, Any], name: str) -> tuple[str, ...]:
    """Tell which of the two kinds of value is meant."""
    outcomes, error = any(key in given for key in OUTCOMES), any(key in given for key in ERROR)
    if outcomes and error:
        raise UsageError(
            f"The value file {name} prices both decisions and the error of a number.",
            f"Keep either {', '.join(OUTCOMES)} or unit_of_error.",
        )
    if outcomes or error:
        return (*(OUTCOMES if outcomes else ERROR), *YEARLY)
    _refuse_strangers(given, (*OUTCOMES, *ERROR, *YEARLY, *OPTIONAL), name)
    raise UsageError(
        f"The value file {name} says nothing about what a decision is worth.",
        f"Give {', '.join(OUTCOMES)} for two classes, or unit_of_error for a number.",
    )


def _refuse_strangers(given: Mapping[Any, Any], known: tuple[str, ...], name: str) -> None:
    """Refuse a key that is not known, naming the nearest that is."""
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=2, cutoff=0.5)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"It may hold {', '.join(known)}."
            raise UsageError(f"The value file {name} has an unknown key, {short(key)}.", hint)


def _number(given: Any, key: str, name: str) -> float:
    """Take a plain finite number and nothing else."""
    fine = isinstance(given, int | float) and not isinstance(given, bool)
    if not fine or not abs(given) <= LARGEST:  # also refuses nan
        raise UsageError(
            f"In the value file {name}, {key} is {short(repr(given))}, which is not a usable number.",
            "Write a plain number such as 40 or -2.50, without quotes, commas or a currency sign.",
        )
    return float(given)


def _dollars(number: float) -> Dollars:
    """Turn a signed number into money, to the micro-dollar; Dollars.parse itself takes no sign."""
    worth = Dollars.parse(round(abs(number), 6))
    return -worth if number < 0 else worth
