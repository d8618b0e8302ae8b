"""The torch loop, with a line to learn: what it tells, when it ends, what it refuses, and what it mends."""

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from lepton_ray.errors import BundleError, DataError, UsageError  # noqa: E402
from lepton_ray.training.around import Around  # noqa: E402
from lepton_ray.training.averaging import Average  # noqa: E402
from lepton_ray.training.batches import InMemory, Rows  # noqa: E402
from lepton_ray.training.loop import train  # noqa: E402
from lepton_ray.training.settings import Settings  # noqa: E402
from lepton_ray.training.state import State  # noqa: E402
from lepton_ray.training.stepping import DoesNotFit  # noqa: E402
from lepton_ray.training.telling import Epoch, Note, Outcome, Steps, Told  # noqa: E402


class Line:
    """Sixty-four points of y = 3 x - 1 in four batches; those of weight 0 lie elsewhere."""

    def __init__(self, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.x = torch.tensor(rng.normal(size=(64, 1)), dtype=torch.float32)
        self.weight = torch.tensor(np.repeat([1.0, 0.0], 32), dtype=torch.float32)
        self.y = torch.where(self.weight > 0, 3.0 * self.x[:, 0] - 1.0, torch.tensor(100.0))
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return 4

    def epoch(self, number: int, first: int = 0) -> Iterator[Rows]:
        self.epochs.append(number)
        for start in range(first, 4):
            rows = slice(start, None, 4)
            yield (self.x[rows],), self.y[rows], self.weight[rows]


class Fitted:
    """A fit of the line, and all that it told."""

    def __init__(
        self, settings: Settings | None = None, *, model: Any = None, batches: Any = None, **more: Any
    ) -> None:
        torch.manual_seed(0)
        self.model = torch.nn.Linear(1, 1) if model is None else model
        self.batches = Line() if batches is None else batches
        self.told: list[Told] = []
        loss = more.pop("loss", lambda scores, target: (scores[:, 0] - target) ** 2)
        rate = more.pop("rate", 0.3)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, weight_decay=0.0)
        self.outcome: Outcome = train(
            self.model,
            self.batches,
            settings or Settings(epochs=60, schedule="waves"),
            self.told.append,
            loss=loss,
            optimizer=self.optimizer,
            around=Around(**more),
        )

    @property
    def epochs(self) -> list[Epoch]:
        return [told for told in self.told if isinstance(told, Epoch)]

    @property
    def notes(self) -> list[str]:
        return [told.sentence for told in self.told if isinstance(told, Note)]

    @property
    def losses(self) -> list[float]:
        return [loss for told in self.told if isinstance(told, Steps) for loss in told.losses]


@pytest.mark.exam
def test_the_line_is_learned_from_the_rows_that_weigh_something() -> None:
    fit = Fitted()
    assert fit.model.weight.item() == pytest.approx(3.0, abs=1e-2)
    assert fit.model.bias.item() == pytest.approx(-1.0, abs=1e-2)
    assert fit.batches.epochs == list(range(1, 61))
    assert fit.outcome == Outcome("epochs", 60, 60)


def test_speed_and_what_is_left_come_from_the_clock() -> None:
    ticks = itertools.count()
    fit = Fitted(Settings(epochs=3), clock=lambda: float(next(ticks)))
    assert [told.number for told in fit.epochs] == [1, 2, 3]
    assert [told.best for told in fit.epochs] == [1, 2, 3]
    assert all(told.rows_per_second > 0 for told in fit.epochs)
    assert fit.epochs[-1].seconds_left == 0 < fit.epochs[0].seconds_left
    assert fit.epochs[0].loss == pytest.approx(np.mean(fit.losses[:4]))


def test_the_lease_ends_the_fit_between_epochs() -> None:
    fit = Fitted(lease=lambda told: told.number < 3)
    assert [told.number for told in fit.epochs] == [1, 2, 3]
    assert fit.outcome == Outcome("lease", 3, 3)


def test_stop_breaks_an_epoch_and_report_still_hears_of_it() -> None:
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 6

    fit = Fitted(stop=stop)
    assert [told.number for told in fit.epochs] == [1, 2]
    assert len(asked) == 6 == len(fit.losses)
    assert fit.outcome.ended == "stop"


def test_the_judged_best_is_kept_and_patience_ends_the_fit() -> None:
    model, said, modes = torch.nn.Linear(1, 1), [3.0, 1.0, 2.0, 2.0, 0.0], []
    weights: list[float] = []

    def judge() -> float:
        modes.append((model.training, torch.is_grad_enabled()))
        weights.append(model.weight.item())
        return said[len(weights) - 1]

    fit = Fitted(Settings(epochs=9, patience=2), model=model, judge=judge)
    assert fit.outcome == Outcome("patience", 4, 2, 1.0)
    assert set(modes) == {(False, False)}
    assert model.weight.item() == weights[1]


def test_the_rate_follows_the_schedule() -> None:
    rates: list[float] = []
    fit: list[Any] = []

    def stop() -> bool:
        return bool(rates.append(fit[0].param_groups[0]["lr"]))

    class Optimizer(torch.optim.SGD):
        def __init__(self, *given: Any, **more: Any) -> None:
            super().__init__(*given, **more)
            fit.append(self)

    model = torch.nn.Linear(1, 1)
    train(
        model,
        Line(),
        Settings(epochs=2, schedule="linear", warm_up=0.25),
        lambda told: None,
        loss=lambda scores, target: scores[:, 0],
        optimizer=Optimizer(model.parameters(), lr=0.6),
        around=Around(stop=stop),
    )
    assert rates == pytest.approx([0.0, 0.3, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def test_accumulated_batches_are_one_step() -> None:
    whole = Fitted(Settings(epochs=2, clip=0.5), batches=InMemory((Line().x,), Line().y, size=32, seed=0))
    parts = Fitted(Settings(epochs=2, clip=0.5, accumulate=4), batches=InMemory((Line().x,), Line().y, size=8, seed=0))
    assert len(whole.losses) == len(parts.losses) == 4
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)
    assert parts.model.weight.item() == pytest.approx(whole.model.weight.item(), rel=1e-5)


def test_the_average_is_what_is_judged_and_returned() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(1, 1)
    judged: list[float] = []
    fit = Fitted(
        Settings(epochs=3, average=0.9),
        model=model,
        judge=lambda: judged.append(model.weight.item()) or 1.0 / len(judged),
    )
    assert fit.model.weight.item() == judged[-1]
    plain = Fitted(Settings(epochs=3))
    assert plain.losses == fit.losses, "what is trained is not what is judged"
    assert plain.model.weight.item() != fit.model.weight.item()


def test_an_average_follows_and_steps_aside() -> None:
    model = torch.nn.Linear(1, 1, bias=False)
    average = Average(model, 0.9)
    before = model.weight.item()
    with torch.no_grad():
        after = model.weight.add_(11.0).item()
    average.update()
    with average.in_place():
        assert model.weight.item() == pytest.approx(before + 11.0 * (1 - 2 / 11))
    assert model.weight.item() == after


class Poisoned(Line):
    """Yields a value that is no number in the second batch of the third epoch, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def epoch(self, number: int, first: int = 0) -> Iterator[Rows]:
        for place, (inputs, target, weight) in enumerate(super().epoch(number, first)):
            if number == 3 and place == 1 and self.left:
                self.left -= 1
                target = target * math.nan
            yield inputs, target, weight


def test_a_loss_that_is_no_number_takes_half_the_rate_once() -> None:
    kept: list[State] = []
    fit = Fitted(Settings(epochs=5), batches=Poisoned(1), save=kept.append)
    assert fit.outcome.ended == "epochs" and fit.batches.epochs == [1, 2, 3, 3, 4, 5]
    assert len(fit.notes) == 1 and "step 4 of epoch 3" in fit.notes[0] and "step 0 of epoch 3" in fit.notes[0]
    assert fit.optimizer.param_groups[0]["lr"] == 0.15
    assert [state.facts["scale"] for state in kept] == [1.0, 1.0, 0.5, 0.5, 0.5]
    assert all(math.isfinite(loss) for loss in fit.losses)


def test_the_second_time_it_ends_with_the_last_good_model() -> None:
    kept: list[State] = []
    fit = Fitted(Settings(epochs=5), batches=Poisoned(2), save=kept.append)
    assert fit.outcome.ended == "not finite" and fit.outcome.epochs == 2
    assert "not a finite number" in fit.outcome.sentence and "step 0 of epoch 3" in fit.outcome.sentence
    assert len(kept) == 2 and torch.equal(fit.model.weight, kept[-1].weights()["weight"])


def test_a_step_into_nowhere_is_never_kept() -> None:
    kept: list[State] = []

    def steep(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return torch.sqrt(0.0 * (scores[:, 0] - target) ** 2)  # nothing, and its slope is no number

    fit = Fitted(Settings(epochs=4, save_steps=1), loss=steep, save=kept.append)
    assert fit.outcome.ended == "not finite" and fit.outcome.epochs == 0
    assert not kept and fit.losses == [0.0, 0.0], "once at either rate"
    assert bool(fit.model.weight.isfinite())


def short_of_memory(rows: int, message: str = "DefaultCPUAllocator: can't allocate memory") -> Any:
    """A model that fits no more than so many rows."""

    class Small(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if len(x) > rows and self.training:
                raise RuntimeError(message)
            return super().forward(x)

    torch.manual_seed(0)
    return Small(1, 1)


def test_a_batch_that_does_not_fit_is_halved() -> None:
    roomy, tight = Fitted(Settings(epochs=2)), Fitted(Settings(epochs=2), model=short_of_memory(5))
    assert tight.losses == pytest.approx(roomy.losses, rel=1e-5)
    assert len(tight.notes) == 1 and "16 rows" in tight.notes[0] and "4 pieces" in tight.notes[0]
    with pytest.raises(DoesNotFit, match="Not even one row"):
        Fitted(model=short_of_memory(0))
    with pytest.raises(RuntimeError, match="something else"):
        Fitted(model=short_of_memory(0, "something else"))


def mismatched(outputs: int, target: torch.Tensor, loss: Callable[..., Any], match: str) -> None:
    with pytest.raises(UsageError, match=match):
        Fitted(model=torch.nn.Linear(1, outputs), batches=InMemory((Line().x,), target, size=8, seed=0), loss=loss)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_an_output_that_does_not_fit_the_target_is_told() -> None:
    entropy = torch.nn.CrossEntropyLoss(reduction="none")
    mismatched(2, torch.full((64,), 2), entropy, r"shape \(8, 2\) does not fit .* from 2 to 2")
    mismatched(1, torch.zeros(64), torch.nn.MSELoss(reduction="none"), r"losses of shape \(8, 8\)")
    mismatched(1, torch.zeros(64), torch.nn.MSELoss(), r"losses of shape \(\)")
    mismatched(3, torch.zeros(64), entropy, "type float32")


def test_class_weights_multiply_the_weights_of_rows() -> None:
    x, y = Line().x, (Line().x[:, 0] > 0).long()
    entropy = torch.nn.CrossEntropyLoss(reduction="none")

    def fit(weight: torch.Tensor | None, **more: Any) -> list[float]:
        batches = InMemory((x,), y, weight, size=16, seed=0)
        return Fitted(Settings(epochs=2, **more), model=seeded(), batches=batches, loss=entropy).losses

    def seeded() -> torch.nn.Linear:
        torch.manual_seed(1)
        return torch.nn.Linear(1, 2)

    assert fit(None, class_weights=(0.5, 3.0)) == pytest.approx(fit(torch.tensor([0.5, 3.0])[y]))


def test_half_precision_is_near_and_needs_the_right_device() -> None:
    full, half = Fitted(Settings(epochs=3)), Fitted(Settings(epochs=3, precision="bf16"))
    assert half.losses != full.losses
    assert half.losses == pytest.approx(full.losses, rel=0.05)
    with pytest.raises(UsageError, match="fp16 needs a GPU"):
        Fitted(Settings(epochs=1, precision="fp16"))


@pytest.mark.slow
def test_a_compiled_model_learns_the_same() -> None:
    assert Fitted(Settings(epochs=2, compiled=True)).losses == pytest.approx(Fitted(Settings(epochs=2)).losses)


def test_a_state_of_another_architecture_is_refused() -> None:
    kept: list[State] = []
    Fitted(Settings(epochs=1), save=kept.append)
    with pytest.raises(BundleError, match="another architecture"):
        Fitted(Settings(epochs=2), model=torch.nn.Linear(1, 2), resume=kept[-1])


def test_other_batches_go_on_at_the_same_share_of_the_epoch() -> None:
    kept: list[State] = []
    Fitted(Settings(epochs=2, save_steps=2), save=kept.append)
    assert [(state.facts["epoch"], state.facts["step"]) for state in kept] == [(1, 2), (2, 0), (2, 2), (3, 0)]
    finer = Fitted(Settings(epochs=2), batches=InMemory((Line().x,), Line().y, size=8, seed=0), resume=kept[0])
    assert [(t.epoch, t.first, len(t.losses)) for t in finer.told if isinstance(t, Steps)] == [(1, 4, 4), (2, 0, 8)]


def test_rows_that_end_early_are_told() -> None:
    class Short(Line):
        def __len__(self) -> int:
            return 6

    with pytest.raises(DataError, match="ended after 4 of 6 steps"):
        Fitted(batches=Short())


def test_workers_share_the_rows_of_a_step() -> None:
    rows = torch.arange(50)
    alone = list(InMemory((rows,), rows, size=8, seed=4).epoch(2))
    each = [list(InMemory((rows,), rows, size=4, seed=4, rank=rank, count=2).epoch(2)) for rank in range(2)]
    assert [len(batches) for batches in (alone, *each)] == [6, 6, 6]
    for whole, *parts in zip(alone, *each, strict=True):
        assert torch.equal(whole[1], torch.cat([target for _, target, _ in parts]))
    assert [t.tolist() for _, t, _ in InMemory((rows,), rows, size=8, seed=4).epoch(2, 4)] == [
        t.tolist() for _, t, _ in alone[4:]
    ]
