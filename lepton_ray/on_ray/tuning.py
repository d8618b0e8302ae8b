"""Settings of somebody's own model searched on Ray Tune within a budget: of a torch module, or of an estimator.

The searcher walks from what is cheap, trials are looked at early and those worth their money go on, and the wall ends
whatever lives (``tune_search``, ``tune_halving``, ``tune_budget``). It knows nothing about bundles or who asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ray
from ray import tune
from ray.tune import CheckpointConfig

from lepton_ray.errors import MoneyError, UsageError
from lepton_ray.money.dollars import Dollars
from lepton_ray.on_ray.at_hand import ray_at_hand
from lepton_ray.on_ray.session import quiet_tune
from lepton_ray.on_ray.tune_budget import BudgetCallback, BudgetStopper
from lepton_ray.on_ray.tune_halving import CostAwareHalving
from lepton_ray.on_ray.tune_search import CostAwareSearch

if TYPE_CHECKING:
    from lepton_ray.on_ray.network import Learned
    from lepton_ray.training.state import State
    from lepton_ray.training.teaching import Part, Recipe, Subject
    from lepton_ray.training.telling import Ending, Told

LEDGER = "ledger.jsonl"
FIRST_EPOCHS = 3
"""After so many a network's trial is looked at."""
NETWORK_SETTINGS = ("rate", "decay", "batch_size")


@dataclass(frozen=True, slots=True)
class Tuned:
    """What a search came to.

    Attributes:
        settings: the best; empty where no trial said anything.
        seconds: that the best trial took. learned: its network.
    """

    settings: dict[str, Any]
    trials: int
    seconds: float
    ended: str
    learned: Learned | None = None


class Fold(Protocol):
    """Rows to fit an estimator on, and how wrong a fitted one is on others."""

    @property
    def X(self) -> Any: ...

    @property
    def y(self) -> Any: ...

    def error(self, fitted: Any) -> float: ...


class NetworkTrial(tune.Trainable):
    """One recipe for a module, an epoch at a step; it is paused and taken up again by its checkpoint."""

    _ended: Ending | None

    def setup(self, config: dict[str, Any], **given: Any) -> None:
        """Take the subject, the recipe and, in a list, where the rows are."""
        import torch

        torch.set_num_threads(1)
        self._given = given["subject"], given["recipe"], ray.get(given["rows"][0])
        self._begin(config, None)

    def reset_config(self, config: dict[str, Any]) -> bool:
        self._begin(config, None)
        return True

    def step(self) -> dict[str, Any]:
        """Run epochs until one has ended; its loss is the best judgement so far."""
        before = len(self._epochs)
        while self._ended is None and len(self._epochs) == before:
            stopped = self._course.run_epoch()
            self._ended = self._course.go_back() if stopped is None else self._course.conclude(stopped)
        errors = [error for error in self._epochs if error is not None and math.isfinite(error)]
        return {"loss": min(errors, default=math.inf), "done": self._ended is not None}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        from lepton_ray.training.checkpoint import Checkpoints

        if self._state is not None:
            kept = Checkpoints.at(checkpoint_dir, keep=1)
            kept.save(self._state)
            kept.close()

    def load_checkpoint(self, checkpoint: Any) -> None:
        from lepton_ray.training.checkpoint import Checkpoints

        self._begin(self.config, Checkpoints.at(str(checkpoint)).latest())

    def _begin(self, config: Mapping[str, Any], resume: State | None) -> None:
        from lepton_ray.training.around import Around
        from lepton_ray.training.course import Course
        from lepton_ray.training.teaching import taught

        subject, recipe, (train, valid) = self._given
        recipe = replace(recipe, **config)
        made = taught(subject, recipe, train, valid)
        self._epochs: list[float | None] = []
        self._state: State | None = resume
        around = Around(judge=made.judge, save=self._keep, resume=resume)
        self._course = Course(
            made.model,
            made.batches,
            recipe.settings(judged=True),
            self._hear,
            loss=made.loss,
            optimizer=made.optimizer(made.model),
            around=around,
        )
        self._ended = self._course.begin()

    def _keep(self, state: State) -> None:
        self._state = state

    def _hear(self, told: Told) -> None:
        from lepton_ray.training.telling import Epoch

        if isinstance(told, Epoch):
            self._epochs.append(told.error)


class EstimatorTrial(tune.Trainable):
    """One setting of an estimator, fitted and judged in one step."""

    def setup(self, config: dict[str, Any], **given: Any) -> None:
        """Take the estimator and, in a list, where the rows are."""
        self._estimator, self._rows = given["estimator"], ray.get(given["rows"][0])
        self._config = config

    def reset_config(self, config: dict[str, Any]) -> bool:
        self._config = config
        return True

    def step(self) -> dict[str, Any]:
        from sklearn.base import clone

        errors = [
            fold.error(clone(self._estimator).set_params(**self._config).fit(fold.X, fold.y)) for fold in self._rows
        ]
        return {"loss": float(sum(errors) / len(errors)), "done": True}

    def save_checkpoint(self, checkpoint_dir: str) -> None: ...

    def load_checkpoint(self, checkpoint: Any) -> None: ...


def tune_network(
    subject: Subject,
    recipe: Recipe,
    rows: tuple[Part, Part | None],
    space: Mapping[str, Any] | None,
    *,
    folder: Path,
    begin: Callable[[], None],
    until: float,
    price: Dollars | None,
    cpus: int,
) -> Tuned:
    """Search the recipe until ``until`` (seconds of the ledger in ``folder``), and return the best trial's network.

    Args:
        begin: is called when Ray is up.

    Raises:
        UsageError: the space names what no recipe has, or there are no rows to judge by.
    """
    from lepton_ray.on_ray.network import bytes_of, check_travels

    if rows[1] is None:
        raise UsageError(f"{len(rows[0])} rows are too few to compare settings on.", "Give at least 20 in X_train.")
    wanted = dict(space) if space else _network_space(len(rows[0]))
    if foreign := wanted.keys() - set(NETWORK_SETTINGS):
        raise UsageError(
            f"A network's {min(foreign)} is not searched.",
            f"Its space has {', '.join(NETWORK_SETTINGS)}; the module itself is taken as it is.",
        )
    with ray_at_hand(cpus, 2 * bytes_of(rows)):
        check_travels(subject)
        begin()
        trial = tune.with_parameters(NetworkTrial, subject=subject, recipe=recipe, rows=[ray.put(rows)])
        return _tuned(trial, wanted, folder=folder, stop=_stop(until, price), seed=recipe.seed)


def tune_estimator(
    estimator: Any,
    folds: Sequence[Fold],
    space: Mapping[str, Any] | None,
    *,
    folder: Path,
    begin: Callable[[], None],
    until: float,
    price: Dollars | None,
    cpus: int,
    seed: int,
    most: int,
) -> Tuned:
    """Search the settings of an estimator until ``until`` (seconds of the ledger in ``folder``).

    Args:
        begin: is called when Ray is up.
        folds: the mean of their errors is what settings are judged by.
        most: settings that are tried at most.

    Raises:
        UsageError: the estimator has no settings that are searched by default, and there is no space.
    """
    wanted = dict(space) if space else estimator_space(estimator)
    with ray_at_hand(cpus):
        begin()
        trial = tune.with_parameters(EstimatorTrial, estimator=estimator, rows=[ray.put(list(folds))])
        return _tuned(trial, wanted, folder=folder, stop=_stop(until, price), seed=seed, most=most)


def _network_space(rows: int) -> dict[str, Any]:
    sizes = [size for size in (16, 32, 64, 128, 256, 512) if size <= max(16, rows // 8)]
    return {
        "rate": tune.loguniform(1e-4, 3e-2),
        "decay": tune.loguniform(1e-5, 1e-1),
        "batch_size": tune.choice(sizes),
    }


_ESTIMATOR_SPACE: dict[str, Any] = {
    "C": tune.loguniform(1e-3, 1e3),
    "alpha": tune.loguniform(1e-6, 1e2),
    "eta0": tune.loguniform(1e-4, 1.0),
    "l2_regularization": tune.loguniform(1e-6, 1e1),
    "learning_rate": tune.loguniform(1e-2, 0.5),
    "max_features": tune.uniform(0.1, 1.0),
    "max_leaf_nodes": tune.lograndint(4, 256),
    "min_samples_leaf": tune.lograndint(1, 64),
    "n_neighbors": tune.lograndint(1, 64),
    "var_smoothing": tune.loguniform(1e-12, 1e-2),
}
_NOT_OF = {"max_features": ("Vectorizer",)}


def estimator_space(estimator: Any) -> dict[str, Any]:
    """The settings that are searched where nobody names any: those of scikit-learn that matter most, where it has them
    and their meaning is the usual one.

    Raises:
        UsageError: it has none of them.
    """
    params = estimator.get_params(deep=True)
    found = {name: _ESTIMATOR_SPACE[last] for name in params if (last := _last(name)) in _ESTIMATOR_SPACE}
    found = {name: domain for name, domain in found.items() if _usual(estimator, params, name)}
    if not found:
        raise UsageError(
            f"None of the settings of {type(estimator).__name__} is searched by default.",
            'Give space={"setting": tune.uniform(low, high), …}; its settings are those of get_params().',
        )
    return found


def _last(name: str) -> str:
    return name.rpartition("__")[2]


def _usual(estimator: Any, params: Mapping[str, Any], name: str) -> bool:
    """Whether a value of the usual kind is allowed there, by what the owner says of itself."""
    owner_name, _, last = name.rpartition("__")
    owner = params[owner_name] if owner_name else estimator
    rules = getattr(owner, "_parameter_constraints", {}).get(last)
    if not isinstance(rules, list):
        return False
    domain = _ESTIMATOR_SPACE[last]
    probe = (domain.lower + domain.upper) / 2
    kind = "Integral" if isinstance(domain, tune.search.sample.Integer) else "Real"
    kinds = {getattr(getattr(rule, "type", None), "__name__", "") for rule in rules}
    return bool(probe) and (kind in kinds or (kind == "Real" and "RealNotInt" in kinds))


def _stop(until: float, price: Dollars | None) -> BudgetStopper:
    if not math.isfinite(until):
        raise MoneyError("A search needs a wall.", "Give a budget or a deadline.")
    return BudgetStopper(deadline=until, price=price)


def _tuned(
    trial: Any, space: dict[str, Any], *, folder: Path, stop: BudgetStopper, seed: int, most: int | None = None
) -> Tuned:
    """Run the experiment; its ledger goes on with the one in the folder. ``most``: trials of an estimator, at most."""
    network = most is None
    hard = BudgetCallback(stop, metric="loss", ledger=folder / LEDGER)
    search = CostAwareSearch(budget=stop, seed=seed, low_cost={})
    config = tune.TuneConfig(
        metric="loss",
        mode="min",
        num_samples=most or -1,
        search_alg=search,
        scheduler=CostAwareHalving(first=FIRST_EPOCHS, budget=stop) if network else None,
        reuse_actors=True,
    )
    kept = CheckpointConfig(
        num_to_keep=1 if network else None,
        checkpoint_frequency=1 if network else 0,
        checkpoint_at_end=network,
    )
    place = str(folder / ".work")
    running = tune.RunConfig(
        name="trials",
        storage_path=place,
        stop=stop,
        callbacks=[hard],
        verbose=0,
        checkpoint_config=kept,
    )
    with quiet_tune():
        tuner = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}), param_space=space, tune_config=config, run_config=running
        )
        results = tuner.fit()
    trials = len(results)
    full = f"{trials} settings were tried; so few rows could not tell more apart"
    ended = full if trials == most else "nothing was left to try"
    if stop.stopped_because is not None:
        ended = "no time was left for another trial"
    if hard.best is None:
        return Tuned({}, trials, 0.0, ended)
    seconds = float(hard.best.metrics.get("time_total_s", 0.0))
    learned = _network_of(results, hard.best.trial_id) if network else None
    return Tuned(dict(hard.best.config), trials, seconds, ended, learned)


def _network_of(results: Any, trial_id: str) -> Learned | None:
    """What the best trial had learned, as its latest checkpoint holds it."""
    from lepton_ray.on_ray.network import Learned
    from lepton_ray.training.checkpoint import Checkpoints
    from lepton_ray.training.telling import Outcome

    for result in results:
        if result.metrics and result.metrics.get("trial_id") == trial_id and result.checkpoint is not None:
            with result.checkpoint.as_directory() as place:
                state = Checkpoints.at(str(place)).latest()
            if state is not None:
                facts = state.facts
                outcome = Outcome(facts["ended"] or "lease", facts["done"], facts["best"], facts["error"])
                return Learned(outcome, state.weights(), 1, 1)
    return None
