"""One training while it runs: where it is, what is good, what is best. ``loop.train`` tells its story.

It knows nothing about tables, files or Ray. Importing this imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from lepton_ray.errors import DataError
from lepton_ray.training.around import Around
from lepton_ray.training.averaging import Average
from lepton_ray.training.batches import Batches, Rows
from lepton_ray.training.settings import Settings, rate_factor
from lepton_ray.training.state import (
    State,
    copied,
    load_model,
    load_optimizer,
    load_random,
    optimizer_parts,
    random_parts,
)
from lepton_ray.training.stepping import Loss, Stepper
from lepton_ray.training.telling import Ending, Epoch, Note, Outcome, Report, Steps

LOOK_STEPS = 16
"""After so many steps losses are looked at, which on a GPU and among workers everybody has to wait for."""


@dataclass(slots=True)
class Progress:
    """Where training is; JSON values.

    Attributes:
        epoch, step: the epoch that runs, from 1, and how many of its ``steps`` are taken.
        total: the sum of their losses.
        done: how many epochs have ended.
        scale: what a loss that was not finite made of the learning rate.
        best, error: the epoch that was judged best, and how.
        ended: why nothing is left to do.
    """

    steps: int
    epoch: int = 1
    step: int = 0
    total: float = 0.0
    done: int = 0
    scale: float = 1.0
    best: int = 0
    error: float | None = None
    ended: Ending | None = None


class Course:
    """The moving parts of ``loop.train``, in the order in which it moves them."""

    def __init__(
        self,
        model: nn.Module,
        batches: Batches,
        settings: Settings,
        report: Report,
        *,
        loss: Loss,
        optimizer: torch.optim.Optimizer,
        around: Around,
    ) -> None:
        self._model, self._batches, self._settings, self._report = model, batches, settings, report
        self._optimizer, self._around = optimizer, around
        self._stepper = Stepper(
            model, optimizer, loss, settings, peers=around.peers, device=around.device, pieces=around.pieces
        )
        self._average = None if settings.average is None else Average(model, settings.average)
        self._rates = [group["lr"] for group in optimizer.param_groups]
        self._best: dict[str, Tensor] = {}
        self._sentence = ""
        self._progress = Progress(-(-len(batches) // settings.accumulate))
        self._began, self._rows, self._taken = around.clock(), 0, 0

    def begin(self) -> Ending | None:
        """Take up the state to go on from, if any; return why there is nothing left to do."""
        steps, resume = self._progress.steps, self._around.resume
        if resume is not None:
            self._restore(resume)
            self._best = {f"best/{name}": tensor for name, tensor in resume.part("best").items()}
            then = self._progress.steps
            self._progress.steps, self._progress.step = steps, self._progress.step * steps // then
        self._good = self._captured()
        over = self._progress.epoch > self._settings.epochs
        return self._progress.ended or ("epochs" if over else None)

    def run_epoch(self) -> bool | None:
        """Take the steps of this epoch; return whether it was told to stop, or None where a loss was not finite."""
        here, around, alone = self._progress, self._around, self._around.peers.count == 1
        self._model.train()
        pending: list[Tensor] = []
        for window in self._windows():
            self._set_rate()
            pending.append(self._step(window))
            here.step += 1
            stopped = alone and around.stop is not None and around.stop()
            due = self._due()
            if not (stopped or due or len(pending) == LOOK_STEPS or here.step == here.steps):
                continue
            said = self._look(pending, stopped)
            pending.clear()
            if said is None or ((said or due or here.step == here.steps) and not self._sound()):
                return None
            if due and here.step < here.steps:
                self._keep()
            if said:
                return True
        return False

    def conclude(self, stopped: bool) -> Ending | None:
        """Judge what the epoch has come to, keep it, tell of it, and ask whether another may begin."""
        here = self._progress
        number, loss = here.epoch, here.total / max(here.step, 1)
        self._model.eval()
        error = self._judged(number)
        here.done = number
        if here.step >= here.steps:
            here.epoch, here.step, here.total = number + 1, 0, 0.0
        patience = self._settings.patience
        if here.epoch > self._settings.epochs:
            here.ended = "epochs"
        elif patience is not None and number - here.best >= patience:
            here.ended = "patience"
        self._keep()
        told = Epoch(number, loss, error, here.best, self._speed(), self._left())
        self._report(told)
        lease = self._around.lease
        goes_on = lease is None or lease(told)
        return here.ended or ("stop" if stopped else None if goes_on else "lease")

    def go_back(self) -> Ending | None:
        """Take up the last good state at half the rate, or where that has been done before, end with it."""
        where, again = f"step {self._progress.step} of epoch {self._progress.epoch}", self._progress.scale < 1.0
        self._restore(self._good)
        back = f"the state after step {self._progress.step} of epoch {self._progress.epoch}"
        if again:
            self._sentence = (
                f"The loss or a parameter was not a finite number by {where}, even at half the learning rate: "
                f"training ends with {back}."
            )
            return "not finite"
        self._progress.scale = 0.5
        self._report(
            Note(
                f"The loss or a parameter was not a finite number by {where}: training goes on from {back} at half "
                "the learning rate."
            )
        )
        return None

    def end(self, ended: Ending) -> Outcome:
        """Let the model be the best there was, and say how it ended."""
        here = self._progress
        if self._best:
            load_model(self._model, {name.removeprefix("best/"): tensor for name, tensor in self._best.items()})
        elif self._average is not None:
            self._average.settle()
        self._model.eval()
        return Outcome(ended, here.done, here.best, here.error, self._sentence)

    def _windows(self) -> Iterator[tuple[Rows, ...]]:
        """Yield the batches of each step that this epoch has left."""
        here, size = self._progress, self._settings.accumulate
        rows = islice(self._batches.epoch(here.epoch, here.step * size), len(self._batches) - here.step * size)
        while window := tuple(islice(rows, size)):
            yield window
        if here.step < here.steps:
            raise DataError(
                f"The rows of epoch {here.epoch} ended after {here.step} of {here.steps} steps.",
                "Give every epoch as many batches as it is said to have.",
            )

    def _step(self, window: tuple[Rows, ...]) -> Tensor:
        pieces = self._stepper.pieces
        loss = self._stepper.step(window)
        if self._average is not None:
            self._average.update()
        if self._stepper.pieces != pieces:
            self._report(
                Note(
                    f"A batch of {len(window[0][1])} rows did not fit into memory: from now on it is gone through in "
                    f"{self._stepper.pieces} pieces."
                )
            )
        self._taken += 1
        for _, target, _ in window:
            self._rows += target.shape[0]
        return loss

    def _set_rate(self) -> None:
        here, settings = self._progress, self._settings
        done = ((here.epoch - 1) * here.steps + here.step) / (settings.epochs * here.steps)
        factor = rate_factor(settings, min(done, 1.0)) * here.scale
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def _due(self) -> bool:
        """Whether a checkpoint is due before the epoch ends."""
        every, here = self._settings.save_steps, self._progress
        return every is not None and ((here.epoch - 1) * here.steps + here.step) % every == 0

    def _look(self, pending: list[Tensor], stopped: bool) -> bool | None:
        """Tell of steps; return whether one of the workers was told to stop, or None where a loss is not finite."""
        around, here = self._around, self._progress
        values = torch.stack(pending).float()
        if around.peers.count > 1:
            mine = around.stop is not None and around.stop()
            said = around.peers.mean(torch.cat([values, values.new_tensor([float(mine)])]))
            values, stopped = said[:-1], bool(said[-1] > 0)
        losses = values.tolist()
        if not all(math.isfinite(loss) for loss in losses):
            return None
        for loss in losses:  # one by one, so that it does not matter where a run was broken off
            here.total += loss
        first = here.step - len(losses)
        self._report(Steps(here.epoch, first, tuple(losses), self._speed(), self._left()))
        return stopped

    @torch.no_grad()
    def _sound(self) -> bool:
        return bool(torch.stack([parameter.isfinite().all() for parameter in self._model.parameters()]).all())

    def _judged(self, number: int) -> float | None:
        """Ask the judge, and keep the model if it was never better; return how wrong it is."""
        here, around = self._progress, self._around
        if around.judge is None:
            here.best = number
            return None
        with self._as_judged(), torch.no_grad():
            error = float(around.peers.mean(torch.tensor([around.judge()], dtype=torch.float64))[0])
            if here.error is None or error < here.error or not math.isfinite(here.error):
                here.best, here.error = number, error
                self._best = copied(self._model.state_dict(), "best")
        return error

    @contextmanager
    def _as_judged(self) -> Iterator[None]:
        if self._average is None:
            yield
            return
        with self._average.in_place():
            yield

    def _keep(self) -> None:
        """Take this state as good, and hand it on."""
        self._good = self._captured()
        if self._around.save is not None:
            self._around.save(State({**self._good.tensors, **self._best}, self._good.facts))

    def _captured(self) -> State:
        tensors, optimizer = optimizer_parts(self._optimizer)
        tensors |= copied(self._model.state_dict(), "model")
        tensors |= random_parts(self._around.peers, self._around.device)
        facts: dict[str, Any] = asdict(self._progress) | {"optimizer": optimizer, "rates": self._rates}
        facts |= {"pieces": self._stepper.pieces, "scaler": self._stepper.scaler.state_dict()}
        if self._average is not None:
            tensors |= copied(self._average.tensors(), "average")
            facts["updates"] = self._average.updates
        return State(tensors, facts)

    def _restore(self, state: State) -> None:
        facts = state.facts
        load_model(self._model, state.part("model"))
        load_optimizer(self._optimizer, state)
        load_random(state, self._around.peers, self._around.device)
        self._progress = Progress(**{name: facts[name] for name in Progress.__dataclass_fields__})
        self._rates = list(facts["rates"])
        self._stepper.pieces = max(self._stepper.pieces, facts["pieces"])
        self._stepper.scaler.load_state_dict(facts["scaler"])
        if self._average is not None:
            self._average.load(state.part("average"), facts["updates"])

    def _speed(self) -> float:
        passed = self._around.clock() - self._began
        return self._rows * self._around.peers.count / passed if passed > 0 else 0.0

    def _left(self) -> float:
        here = self._progress
        left = (self._settings.epochs - here.epoch + 1) * here.steps - here.step
        passed = self._around.clock() - self._began
        return passed / self._taken * left if self._taken else math.inf
