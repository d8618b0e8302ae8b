"""What the search's trials make together: the blend that is handed over, and its score where no rows are held out.

It reads out-of-fold predictions from disk and asks ``search.ensemble``. It fits nothing and sees no held-out row.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lepton_ray.bundle.blend import tempered
from lepton_ray.on_host.bench import Part
from lepton_ray.on_host.out_of_fold import OutOfFold, out_of_fold, path_of
from lepton_ray.report.threshold import deciding_threshold
from lepton_ray.report.value import Value
from lepton_ray.search.bias import CorrectedScore, Judged, corrected_score
from lepton_ray.search.ensemble import (
    Blending,
    Candidate,
    Room,
    blended,
    choose,
    greedy,
    temperature_of,
)
from lepton_ray.search.trial import DONE, Outcome
from lepton_ray.table.schema import Problem, Task
from lepton_ray.training.metrics import METRICS

FEWEST_CALIBRATION_ROWS = 200
"""Fewer out-of-fold rows than this do not say how sure a model should be."""
FEW_MEMBERS = 4
"""That a blend may have while its choice is being scored by repeating it."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The models to fit again, and how to blend them.

    Attributes:
        members: (trial's outcome, share), the largest first.
        rows: (n,) development rows that were predicted out of fold; ``predictions`` (n,) or (n, k) of the blend there.
        chosen: how the choice came about, None where only one trial could be read.
        decided: the threshold that earns most on these rows and their number, where a value was given.
        repeats: how many times over each row was predicted.
    """

    members: tuple[tuple[Outcome, float], ...]
    temperature: float
    rows: np.ndarray
    predictions: np.ndarray
    chosen: Blending | None = None
    repeats: int = 1
    decided: dict[str, Any] = field(default_factory=dict)

    @property
    def winner(self) -> Outcome:
        """The member with the largest share."""
        return self.members[0][0]

    def only(self, trials: Sequence[str]) -> "Recipe":
        """The same with these members alone; at least one of them must be one."""
        kept = [(outcome, share) for outcome, share in self.members if outcome.trial.id in trials]
        whole = sum(share for _, share in kept)
        members = tuple((outcome, share / whole) for outcome, share in kept)
        return replace(self, members=members)


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
    """Choose among the champion and the trials that were judged on the same rows as it.

    Args:
        part: the development rows.
        refit_seconds: what fitting a member again is expected to take.
    """
    own = out_of_fold(path_of(scratch, champion.trial.id))
    if own is None:
        return Recipe(((champion, 1.0),), 1.0, np.empty(0, np.int64), np.empty(0))
    rivals = [one for one in outcomes if one.state == DONE and one.trial.rung == champion.trial.rung]
    found = {one.trial.id: (one, seen) for one in rivals if (seen := _same_rows(scratch, one, own)) is not None}
    found[champion.trial.id] = champion, own
    candidates = [
        Candidate(name, seen.mean, refit_seconds(one), one.row_seconds) for name, (one, seen) in found.items()
    ]
    judged = judged_rows(part, own.rows)
    chosen = choose(METRICS[problem.metric], judged, candidates, room=room, rng=rng)
    predictions = blended(chosen.shares, {name: seen.mean for name, (_, seen) in found.items()})
    temperature = 1.0
    if problem.classes and len(own.rows) >= FEWEST_CALIBRATION_ROWS:
        temperature = temperature_of(judged.y, predictions, judged.weight)
        predictions = tempered(predictions, temperature)
    members = tuple((found[name][0], share) for name, share in chosen.shares)
    decided = {}
    if value is not None and problem.task is Task.BINARY:
        threshold = deciding_threshold(value, judged.y, predictions[:, 1])
        decided = {"threshold": threshold, "rows": len(own.rows)}
    return Recipe(members, temperature, own.rows, predictions, chosen, len(own.predictions), decided)


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


def _same_rows(scratch: Path, outcome: Outcome, like: OutOfFold) -> OutOfFold | None:
    seen = out_of_fold(path_of(scratch, outcome.trial.id))
    return seen if seen is not None and np.array_equal(seen.rows, like.rows) else None
