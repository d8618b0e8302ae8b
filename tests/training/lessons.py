"""A small network whose training has all that a resume must bring back; it is run in processes that are killed."""

import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from lepton_ray.training.around import Around
from lepton_ray.training.batches import InMemory
from lepton_ray.training.checkpoint import Checkpoints
from lepton_ray.training.loop import train
from lepton_ray.training.settings import Settings
from lepton_ray.training.telling import Outcome, Steps, Told

ROWS, EPOCHS = 96, 4
SETTINGS = Settings(
    epochs=EPOCHS, accumulate=2, clip=1.0, schedule="cosine", warm_up=0.1, average=0.9, seed=7, save_steps=2, patience=9
)


def network() -> torch.nn.Sequential:
    """Four numbers to three classes, with dropout and a norm that has buffers."""
    torch.manual_seed(3)
    return torch.nn.Sequential(
        torch.nn.Linear(4, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(16, 3)
    )


def data() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(ROWS, 4, generator=torch.Generator().manual_seed(5))
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()


def cross_entropy(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(scores, target, reduction="none")


class Noted:
    """Writes each loss as a line of epoch, step and its exact value."""

    def __init__(self, file: Path, seconds: float = 0.0) -> None:
        self._file, self._seconds = file, seconds

    def __call__(self, told: Told) -> None:
        if isinstance(told, Steps):
            with self._file.open("a") as file:
                for place, loss in enumerate(told.losses):
                    file.write(f"{told.epoch} {told.first + place} {loss.hex()}\n")
            time.sleep(self._seconds)  # so that whoever is to kill this can do it here


class Torn(Checkpoints):
    """Writes half of the file of that number, says so, and stands still."""

    def __init__(self, folder: Path, tear: int) -> None:
        super().__init__(Checkpoints.at(str(folder))._files, str(folder))
        self._left, self._mark = tear, folder.parent / "torn"

    def _put(self, name: str, file: str, content: bytes) -> None:
        self._left -= 1
        if self._left:
            super()._put(name, file, content)
            return
        super()._put(name, file, content[: len(content) // 2])
        self._mark.touch()
        time.sleep(600)


def run(folder: Path, *, seconds: float = 0.0, tear: int = 0) -> Outcome:
    """Train, from the latest checkpoint if there is one; the losses are in ``losses``."""
    torch.set_num_threads(1)
    model, (x, y) = network(), data()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02, fused=True)
    checkpoints = Torn(folder / "kept", tear) if tear else Checkpoints.at(str(folder / "kept"))

    def judge() -> float:
        return float(F.cross_entropy(model(x), y))

    around: dict[str, Any] = {"save": checkpoints.save, "resume": checkpoints.latest(), "judge": judge}
    outcome = train(
        model,
        InMemory((x,), y, size=8, seed=1),
        SETTINGS,
        Noted(folder / "losses", seconds),
        loss=cross_entropy,
        optimizer=optimizer,
        around=Around(**around),
    )
    checkpoints.close()
    (folder / "weights").write_text(str([t.double().sum().item().hex() for t in model.state_dict().values()]))
    return outcome
