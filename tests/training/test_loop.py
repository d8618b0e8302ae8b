"""The torch loop, with a line to learn: what it tells, when it ends, and what the rate does."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from lepton_ray.training.loop import Rows, train, waves  # noqa: E402


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

    def epoch(self, number: int) -> Iterator[Rows]:
        self.epochs.append(number)
        for start in range(4):
            rows = slice(start, None, 4)
            yield (self.x[rows],), self.y[rows], self.weight[rows]


def fitted(
    report: Callable[[int], bool], *, epochs: int = 60, stop: Callable[[], bool] = lambda: False, **more: object
) -> tuple["torch.nn.Module", "torch.optim.Optimizer", Line]:
    torch.manual_seed(0)
    model, batches = torch.nn.Linear(1, 1), Line()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.3, weight_decay=0.0)
    train(
        model,
        batches,
        report,
        loss=lambda scores, target: (scores[:, 0] - target) ** 2,
        optimizer=optimizer,
        epochs=epochs,
        stop=stop,
        **({"schedule": waves} | more),
    )
    return model, optimizer, batches


@pytest.mark.exam
def test_the_line_is_learned_from_the_rows_that_weigh_something() -> None:
    model, _, batches = fitted(lambda number: True)
    assert model.weight.item() == pytest.approx(3.0, abs=1e-2)
    assert model.bias.item() == pytest.approx(-1.0, abs=1e-2)
    assert batches.epochs == list(range(1, 61))


def test_report_hears_every_epoch_and_may_end_the_fit() -> None:
    heard: list[int] = []

    def report(number: int) -> bool:
        heard.append(number)
        return number < 3

    fitted(report)
    assert heard == [1, 2, 3]


def test_stop_breaks_an_epoch_and_report_still_hears_of_it() -> None:
    heard: list[int] = []
    asked: list[int] = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) == 6

    fitted(lambda number: bool(heard.append(number)) or True, stop=stop)
    assert heard == [1, 2]
    assert len(asked) == 6


def test_report_finds_the_model_in_evaluation_mode() -> None:
    modes: list[bool] = []
    model = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)

    def report(number: int) -> bool:
        modes.append(model.training)
        return True

    how = {"loss": lambda scores, target: scores[:, 0], "schedule": waves, "epochs": 2, "stop": lambda: False}
    train(model, Line(), report, optimizer=optimizer, **how)
    assert modes == [False, False]


def test_the_schedule_is_asked_for_every_step() -> None:
    seen: list[float] = []

    def schedule(done: float) -> float:
        seen.append(done)
        return 1.0 - done

    _, optimizer, _ = fitted(lambda number: True, epochs=2, schedule=schedule)
    assert seen == pytest.approx([step / 8 for step in range(9)])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.0)


def test_each_wave_ends_at_rest() -> None:
    ends = [0.0, 1 / 15, 3 / 15, 7 / 15, 1.0]
    assert [waves(end) for end in ends] == pytest.approx([0.0] * 5, abs=1e-12)
    assert all(waves((2 ** (k + 0.5) - 1) / 15) == pytest.approx(1.0) for k in range(4))
