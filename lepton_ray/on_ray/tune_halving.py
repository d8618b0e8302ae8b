"""Two rungs for anybody's own ``tune.Tuner``: every trial is looked at once, and the ones worth their money go on.

At its first rung a trial goes on, is ended, or is paused until ``search/halving.py`` says which; who still waits when
nothing else is left to run is ended then. A trial that saves no checkpoint begins again. It knows no search space.

Two facts about Tune 2.60 shaped it: ``fit()`` hangs on a paused trial that nobody resumes or stops, and
``max_concurrent_trials`` counts paused trials as running. The second one only costs: when nothing runs any more, the
worst of the paused makes room. Let ``TUNE_MAX_PENDING_TRIALS_PG`` keep the cores busy instead.
"""

import math
from collections.abc import Collection
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from lepton_ray.errors import UsageError
from lepton_ray.on_ray.tune_budget import BudgetStopper
from lepton_ray.search.halving import Judged, hopeless, promotion


class CostAwareHalving(TrialScheduler):
    """Promotes the best part of the trials from a first look to their end, by expected gain per dollar.

    Args:
        first: where a trial is looked at, in units of ``time_attr``.
        one_in: how many trials are looked at for each that goes on.
        metric, mode: what trials are judged by; from TuneConfig where they are not given.
        cost_attr: what a trial has cost until then, in any unit.
        budget: the experiment's stopper; as its money runs out, gain counts more and cost less.

    Raises:
        UsageError: an argument is out of its range.
    """

    _supports_buffered_results = False

    def __init__(
        self,
        first: float = 1,
        *,
        one_in: int = 3,
        metric: str | None = None,
        mode: str | None = None,
        time_attr: str = "training_iteration",
        cost_attr: str = "time_total_s",
        budget: BudgetStopper | None = None,
    ) -> None:
        if not first > 0 or one_in < 2 or mode not in (None, "min", "max"):
            raise UsageError(
                f"CostAwareHalving cannot work with first={first!r}, one_in={one_in!r}, mode={mode!r}.",
                "Give a first look after 0, at least two for one, and the mode min or max.",
            )
        super().__init__()  # type: ignore[no-untyped-call]
        self._first, self._one_in = first, one_in
        self._metric, self._mode = metric, mode
        self._time_attr, self._cost_attr = time_attr, cost_attr
        self._budget = budget
        self._judged: dict[str, Judged] = {}
        self._promoted: dict[str, float | None] = {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        if (self._metric and metric) or (self._mode and mode):
            return False
        self._metric, self._mode = self._metric or metric, self._mode or mode
        if self._metric is None or self._mode is None:
            raise UsageError(
                "CostAwareHalving does not know what to judge by.", 'Give metric="loss", mode="min" to TuneConfig.'
            )
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None: ...

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None: ...

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None: ...

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        name = trial.trial_id
        if name in self._judged or result.get(self._time_attr, 0) < self._first:
            return str(TrialScheduler.CONTINUE)
        score = self._score(result)
        if score is None:
            return str(TrialScheduler.STOP)
        self._judged[name] = Judged(name, score, float(result.get(self._cost_attr, 0.0)))
        if self._next({*_paused(tune_controller), name}) == name:
            self._promoted[name] = None
            return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.STOP if self._hopeless([name]) else TrialScheduler.PAUSE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        if trial.trial_id in self._promoted:
            self._promoted[trial.trial_id] = self._score(result)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """The paused trial that goes on now; None leaves the choice among new ones to Tune."""
        paused = _paused(tune_controller)
        for name in paused.keys() & self._promoted.keys():
            return paused[name]
        chosen = self._next(paused.keys())
        if chosen is not None:
            self._promoted[chosen] = None
            return paused[chosen]
        ended = self._hopeless(paused)
        live = tune_controller.get_live_trials()
        if not ended and not any(trial.status in (Trial.PENDING, Trial.RUNNING) for trial in live):
            ended = self._when_idle(tune_controller, paused)
        for name in ended:
            tune_controller.stop_trial(paused[name])
        return None

    def _when_idle(self, tune_controller: Any, paused: dict[str, Trial]) -> list[str]:
        """Who waits in vain when nothing runs: all of them, or the worst one where more may come."""
        worst = sorted(paused, key=lambda name: self._judged[name].score if name in self._judged else math.inf)
        return worst if tune_controller.search_alg.is_finished() else worst[-1:]

    def _hopeless(self, waiting: Collection[str]) -> list[str]:
        return hopeless(list(self._judged.values()), waiting, one_in=self._one_in)

    def _next(self, waiting: Collection[str]) -> str | None:
        share = 1.0 if self._budget is None else self._budget.account.share_left
        judged = list(self._judged.values())
        return promotion(judged, waiting, self._promoted, one_in=self._one_in, share_left=share)

    def _score(self, result: dict[str, Any]) -> float | None:
        score = result.get(str(self._metric))
        if not isinstance(score, int | float) or not math.isfinite(score):
            return None
        return float(score) if self._mode == "min" else -float(score)

    def debug_string(self) -> str:
        return f"CostAwareHalving: {len(self._judged)} looked at, {len(self._promoted)} went on"


def _paused(tune_controller: Any) -> dict[str, Trial]:
    return {trial.trial_id: trial for trial in tune_controller.get_live_trials() if trial.status == Trial.PAUSED}
