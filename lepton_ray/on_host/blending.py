"""What the search's trials make together: the blend that is handed over, and its score where no rows are held out.

It reads out-of-fold predictions from disk and asks ``search.ensemble``. It fits nothing and sees no held-out row.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ray.bundle.blend import tempered
from lepton_ray.errors import EnvironmentFault
from lepton_ray.on_host.bench import Part, decided_by
from lepton_ray.on_host.out_of_fold import OutOfFold, load_folds, out_of_fold, path_of
from lepton_ray.report.value import Value
from lepton_ray.search.bias import CorrectedScore, Judged, corrected_score
from lepton_ray.search.ensemble import (
    Candidate,
    Room,
    blended,
    choose,
    greedy,
    temperature_of,
)
from lepton_ray.search.title import FLOOR
from lepton_ray.search.trial import DONE, Outcome
from lepton_ray.table.schema import Problem
from lepton_ray.training.metrics import METRICS

FEWEST_CALIBRATION_ROWS = 200
"""Fewer out-of-fold rows than this do not say how sure a model should be."""
FEW_MEMBERS = 4
"""That a blend may have while its choice is being scored by repeating it."""


@dataclass(frozen=True)  # no slots: what follows from the members is worked out once
class Recipe:
    """The models to fit again, and how to blend them.

    Attributes:
        members: (trial's outcome, share), the largest first.
        parts: trial id -> (n,) or (n, k), what each member said out of fold of ``rows``.
        rows: (n,) development rows that were predicted out of fold; ``judged`` is the truth about them.
        repeats: how many times over each row was predicted.
        value: what decisions are worth, where a threshold is to follow it.
        calibrated: whether its probabilities are; the search seals its models as they are.
    """

    members: tuple[tuple[Outcome, float], ...]
    problem: Problem
    parts: Mapping[str, np.ndarray]
    rows: np.ndarray
    judged: Judged
    repeats: int = 1
    value: Value | None = None
    calibrated: bool = True

    @property
    def winner(self) -> Outcome:
        """The member with the largest share."""
        return self.members[0][0]

    @cached_property
    def temperature(self) -> float:
        """What makes the blend as sure as it should be."""
        if not self.calibrated or not self.problem.classes or len(self.rows) < FEWEST_CALIBRATION_ROWS:
            return 1.0
        return temperature_of(self.judged.y, self._blended(), self.judged.weight)

    @cached_property
    def predictions(self) -> np.ndarray:
        """(n,) or (n, k) what the blend says of ``rows``."""
        return tempered(self._blended(), self.temperature) if self.problem.classes else self._blended()

    @cached_property
    def believed(self) -> float:
        """The score that the search takes it to have, out of fold on the rows that it was chosen by; NaN where these do
        not define it."""
        return float(self.judged.score(METRICS[self.problem.metric], self.predictions, np.arange(len(self.rows))))

    @cached_property
    def decided(self) -> dict[str, Any]:
        """What ``rows`` decide, see ``bench.decided_by``."""
        return decided_by(self.problem, self.value, self.judged.y, self.predictions)

    def only(self, trials: Collection[str]) -> "Recipe":
        """The blend of these members alone; at least one of them must be one."""
        kept = [(outcome, share) for outcome, share in self.members if outcome.trial.id in trials]
        whole = sum(share for _, share in kept)
        return replace(self, members=tuple((outcome, share / whole) for outcome, share in kept))

    def _blended(self) -> np.ndarray:
        return blended([(outcome.trial.id, share) for outcome, share in self.members], self.parts)


def recipe_of(
    problem: Problem,
    part: Part,
    outcomes: Sequence[Outcome],
    champion: Outcome,
    scratch: Path,
    *,
    refit_seconds: Callable[[Outcome], float],
    room: Room,
    rng: np.random.Generator,
    value: Value | None = None,
) -> Recipe:
    """Choose among the champion and all trials that were judged on its rows, each as the last of its promotions there.

    A promotion that was judged on other rows, or cut short within a repeat, cannot stand for its parent.

    Args:
        part: the development rows.
        refit_seconds: what fitting a member again is expected to take.
    """
    own = out_of_fold(path_of(scratch, champion.trial.id))
    if own is None:
        return replace(as_sealed(problem, part, champion, scratch, value), calibrated=True)
    found = _rivals(own, outcomes, scratch)
    found[champion.trial.id] = champion, own
    candidates = [
        Candidate(name, seen.mean, refit_seconds(one), one.row_seconds) for name, (one, seen) in found.items()
    ]
    judged = judged_rows(part, own.rows)
    chosen = choose(METRICS[problem.metric], judged, candidates, room=room, rng=rng)
    members = tuple((found[name][0], share) for name, share in chosen.shares)
    parts = {name: found[name][1].mean for name, _ in chosen.shares}
    return Recipe(members, problem, parts, own.rows, judged, len(own.predictions), value)


def _rivals(own: OutOfFold, outcomes: Sequence[Outcome], scratch: Path) -> dict[str, tuple[Outcome, OutOfFold]]:
    """The usable trials that were judged on these rows, without the constant, which tells no row from another, and
    without the parents of others among them."""
    found: dict[str, tuple[Outcome, OutOfFold]] = {}
    stood_for: set[str | None] = set()
    for one in reversed(outcomes):  # a promotion ends after its parent
        name = one.trial.id
        able = one.usable and one.trial.family != FLOOR and name not in stood_for
        seen = _on_rows_of(own, scratch, one) if able else None
        if seen is not None:
            found[name] = one, seen
        if seen is not None or name in stood_for:
            stood_for.add(one.trial.parent)
    return dict(reversed(found.items()))


def as_sealed(problem: Problem, part: Part, outcome: Outcome, scratch: Path, value: Value | None) -> Recipe:
    """One trial as the search sealed it; where it was cut short, by what it said of the rows that it came to.

    Raises:
        EnvironmentFault: what it said of them is gone.
    """
    path = path_of(scratch, outcome.trial.id)
    whole = out_of_fold(path)
    if whole is not None:
        rows, said, repeats = whole.rows, whole.mean, len(whole.predictions)
    else:
        folds, repeats = load_folds(path), 1
        if not folds:
            raise EnvironmentFault(
                f"What the trial {outcome.trial.id} said of the rows is gone from {path.parent}.",
                "Let nobody remove anything of a run that is under way; its best bundle so far is whole.",
            )
        rows = np.concatenate([fold.rows for fold in folds])
        said = np.concatenate([fold.prediction for fold in folds])
    judged, parts = judged_rows(part, rows), {outcome.trial.id: said}
    return Recipe(((outcome, 1.0),), problem, parts, rows, judged, repeats, value, calibrated=False)


def of_members(
    problem: Problem, part: Part, members: Sequence[tuple[Outcome, float]], scratch: Path, value: Value | None
) -> Recipe:
    """The blend of these trials, which were judged on the same rows, in these shares.

    Raises:
        EnvironmentFault: what one of them said of the rows is gone.
    """
    said = {outcome.trial.id: out_of_fold(path_of(scratch, outcome.trial.id)) for outcome, _ in members}
    there = {name: one for name, one in said.items() if one is not None}
    if len(there) < len(said):
        raise EnvironmentFault(
            f"What the trials {', '.join(said.keys() - there.keys())} said of the rows is gone.",
            "The bundle is whole; only the report of this run cannot be drawn.",
        )
    first = next(iter(there.values()))
    parts = {name: one.mean for name, one in there.items()}
    judged = judged_rows(part, first.rows)
    return Recipe(tuple(members), problem, parts, first.rows, judged, len(first.predictions), value)


def cross_validated(
    problem: Problem,
    part: Part,
    outcomes: Sequence[Outcome],
    scratch: Path,
    *,
    rng: np.random.Generator,
    late: Callable[[], bool] = lambda: False,
) -> CorrectedScore | None:
    """The bias-corrected score of choosing and blending as ``recipe_of`` does, over all trials that predicted the same
    rows out of fold, or None without any.

    A trial and its promotion count once, as the promotion. These are all rows, or with folds in time all but the
    earliest.
    """
    promoted = {one.trial.parent for one in outcomes if one.state == DONE}
    seen = [
        found
        for one in outcomes
        if one.state == DONE and one.trial.id not in promoted
        if (found := out_of_fold(path_of(scratch, one.trial.id))) is not None
    ]
    if not seen:
        return None
    most = max(seen, key=lambda one: len(one.rows)).rows
    predictions = [one.predictions for one in seen if np.array_equal(one.rows, most)]
    metric, judged = METRICS[problem.metric], judged_rows(part, most)

    def rule(means: Sequence[np.ndarray], rows: np.ndarray) -> list[tuple[int, float]]:
        candidates = [Candidate(str(at), mean) for at, mean in enumerate(means)]
        found = greedy(metric, judged, candidates, rows=rows, room=Room(members=FEW_MEMBERS))
        return [(int(name), share) for name, share in found.shares]

    return corrected_score(metric, judged, predictions, rule=rule, rng=rng, late=late)


def judged_rows(part: Part, rows: np.ndarray) -> Judged:
    """The truth about these development rows; folds are those of the first repeat."""
    return Judged(part.y[rows], None if part.weight is None else part.weight[rows], part.folds[rows, 0])


def _on_rows_of(own: OutOfFold, scratch: Path, outcome: Outcome) -> OutOfFold | None:
    """What a trial said of the same rows as often, or None where it was judged on others."""
    seen = out_of_fold(path_of(scratch, outcome.trial.id))
    if seen is None or len(seen.predictions) < len(own.predictions):
        return None
    at = np.minimum(np.searchsorted(seen.rows, own.rows), len(seen.rows) - 1)
    if not np.array_equal(seen.rows[at], own.rows):
        return None
    return OutOfFold(own.rows, seen.predictions[: len(own.predictions), at])
