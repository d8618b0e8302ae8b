"""How a network is trained, as one frozen value, and what becomes of the learning rate. Knows nothing about torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from lepton_ray.errors import UsageError

Precision = Literal["fp32", "bf16", "fp16"]
Schedule = Literal["constant", "cosine", "linear", "waves"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the loop is told; every value that cannot be is refused when it is made.

    Attributes:
        epochs: how often each row is seen.
        accumulate: batches whose gradients make one step.
        clip: the largest norm that the gradient of a step may have.
        precision: what products are computed in; parameters stay fp32. "fp16" needs a GPU.
        schedule: what becomes of the learning rate after ``warm_up``, see ``rate_factor``.
        warm_up: the share of all steps in which the rate rises from 0.
        average: the decay of an exponential moving average of the parameters, which is judged and returned then.
        patience: epochs without a better judgement after which training ends; needs a judge.
        class_weights: one for each class code; they multiply the weights of rows.
        seed: for what is drawn while training (dropout); None leaves torch's generator as the caller seeded it.
        compiled: whether the model goes through ``torch.compile``, which needs a C++ compiler and about a minute.
        save_steps: a checkpoint after so many steps, beside the one after each epoch.
    """

    epochs: int
    accumulate: int = 1
    clip: float | None = None
    precision: Precision = "fp32"
    schedule: Schedule = "constant"
    warm_up: float = 0.0
    average: float | None = None
    patience: int | None = None
    class_weights: tuple[float, ...] | None = None
    seed: int | None = None
    compiled: bool = False
    save_steps: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "accumulate", "patience", "save_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _wrong(name, value, "at least 1")
        if self.clip is not None and not self.clip > 0:
            raise _wrong("clip", self.clip, "above 0")
        if not 0 <= self.warm_up < 1:
            raise _wrong("warm_up", self.warm_up, "from 0 to below 1")
        if self.average is not None and not 0 < self.average < 1:
            raise _wrong("average", self.average, "between 0 and 1")
        for name, known in (("precision", get_args(Precision)), ("schedule", get_args(Schedule))):
            if getattr(self, name) not in known:
                raise _wrong(name, getattr(self, name), f"one of {', '.join(known)}")
        if self.class_weights is not None and not all(0 <= w < math.inf for w in self.class_weights):
            raise _wrong("class_weights", self.class_weights, "finite numbers of at least 0")


def _wrong(name: str, value: object, rule: str) -> UsageError:
    return UsageError(f"{name} of the training is {value!r}.", f"It must be {rule}.")


def rate_factor(settings: Settings, done: float) -> float:
    """Return what the learning rate is multiplied by when this share of all steps, 0 to 1, is done."""
    if done < settings.warm_up:
        return done / settings.warm_up
    return _SHAPES[settings.schedule]((done - settings.warm_up) / (1.0 - settings.warm_up))


def waves(done: float) -> float:
    """Four waves of the rate, each twice as long as the one before and ending at 0 (coslog4 of arXiv:2407.04491).

    A run that is cut short thus has a settled model from the end of its last wave, at 1/15, 1/5 or 7/15 of the whole.
    """
    return 0.5 * (1.0 - math.cos(2.0 * math.pi * math.log2(1.0 + 15.0 * done)))


_SHAPES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1.0 + math.cos(math.pi * done)),
    "linear": lambda done: 1.0 - done,
    "waves": waves,
}


def balanced(counts: Sequence[int]) -> tuple[float, ...]:
    """Return class weights by which every class that occurs weighs the same, and a row 1 on average."""
    there = sum(1 for count in counts if count)
    return tuple(sum(counts) / (there * count) if count else 0.0 for count in counts)
