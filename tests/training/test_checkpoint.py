"""Checkpoints: what is read back, when one exists, which are kept, and runs that are killed and go on exactly."""

import json
import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from lepton_ray.errors import BundleError, EnvironmentFault  # noqa: E402
from lepton_ray.training.checkpoint import Checkpoints  # noqa: E402
from lepton_ray.training.state import State, load_model, load_optimizer, optimizer_parts  # noqa: E402
from tests.training import lessons  # noqa: E402


def state(step: int) -> State:
    return State({"model/w": torch.full((2, 3), float(step)), "random/0": torch.get_rng_state()}, facts(step))


def facts(step: int) -> dict[str, object]:
    return {"epoch": 1, "step": step, "loss": 0.1 + 0.2}


def test_a_state_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    kept = Checkpoints.at(f"file://{tmp_path}/deep/er")
    assert kept.latest() is None
    kept.save(state(3))
    kept.close()
    back = Checkpoints.at(str(tmp_path / "deep/er")).latest()
    assert back is not None and back.facts == facts(3)
    assert back.tensors.keys() == state(3).tensors.keys()
    assert torch.equal(back.tensors["model/w"], state(3).tensors["model/w"])


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints.at(str(tmp_path), keep=2)
    for step in (1, 2, 10, 11):
        kept.save(state(step))
    kept.close()
    assert kept.names() == ["000001-000000010", "000001-000000011"]
    assert sorted(os.listdir(tmp_path)) == kept.names()


def damage(name: str) -> Callable[[Path], None]:
    def tear(folder: Path) -> None:
        file = folder / name
        file.write_bytes(file.read_bytes()[:-1] + b"\xff")

    return tear


@pytest.mark.parametrize(
    "harm",
    [
        damage("state.safetensors"),
        damage("state.json"),
        lambda folder: (folder / "manifest.json").unlink(),
        lambda folder: (folder / "manifest.json").write_text('{"format": 1, "fil'),
        lambda folder: (folder / "manifest.json").write_text("[" * 5000),
        lambda folder: (folder / "state.json").unlink(),
    ],
)
def test_one_that_is_not_whole_is_passed_over(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    kept = Checkpoints.at(str(tmp_path))
    kept.save(state(1))
    kept.save(state(2))
    kept.close()
    harm(tmp_path / "000001-000000002")
    latest = kept.latest()
    assert latest is not None and latest.facts["step"] == 1
    with pytest.raises(BundleError, match="000001-000000002"):
        kept.load("000001-000000002")


def test_storage_that_goes_away_is_told_and_the_last_one_stays(tmp_path: Path) -> None:
    kept = Checkpoints.at(str(tmp_path / "there"))
    kept.save(state(1))
    kept.wait()
    shutil.move(tmp_path / "there", tmp_path / "away")
    (tmp_path / "there").write_text("a file is in the way")
    kept.save(state(2))
    with pytest.raises(EnvironmentFault, match="could not be"):
        kept.save(state(3))
    (tmp_path / "there").unlink()
    shutil.move(tmp_path / "away", tmp_path / "there")
    latest = kept.latest()
    assert latest is not None and latest.facts["step"] == 1


def test_another_architecture_is_told_by_name() -> None:
    held = torch.nn.Linear(3, 2)
    with pytest.raises(BundleError, match=r"weight of shape \(2, 3\), and the model of shape \(4, 3\)"):
        load_model(torch.nn.Linear(3, 4, bias=False), {"weight": held.weight})
    with pytest.raises(BundleError, match="bias of shape"):
        load_model(torch.nn.Linear(3, 2, bias=False), held.state_dict())


@pytest.mark.parametrize("kind", ["SGD", "AdamW", "Adagrad", "NAdam", "RMSprop"])
def test_an_optimizer_goes_on_as_if_it_had_not_been_written(kind: str, tmp_path: Path) -> None:
    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = torch.nn.Linear(3, 2)
        options = {"momentum": 0.9} if kind in ("SGD", "RMSprop") else {}
        return model, getattr(torch.optim, kind)(model.parameters(), lr=0.1, **options)

    def step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        optimizer.zero_grad()
        x = torch.tensor(np.random.default_rng(seed).normal(size=(8, 3)), dtype=torch.float32)
        model(x).square().mean().backward()
        optimizer.step()

    model, optimizer = made()
    step(model, optimizer, 1)
    tensors, options = optimizer_parts(optimizer)
    kept = State(tensors, json.loads(json.dumps({"optimizer": options})))
    other, fresh = made()
    load_model(other, model.state_dict())
    load_optimizer(fresh, kept)
    for pair in ((model, optimizer), (other, fresh)):
        step(*pair, 2)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def losses(folder: Path) -> dict[tuple[int, int], float]:
    """Return the losses by epoch and step; of a step that was taken again the later one."""
    lines = [line.split() for line in (folder / "losses").read_text().splitlines()]
    return {(int(epoch), int(step)): float.fromhex(loss) for epoch, step, loss in lines}


def killed(folder: Path, until: Callable[[], bool], **how: float) -> None:
    """Run until then in a process of its own, and kill it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.lessons"])
    child = context.Process(target=lessons.run, args=(folder,), kwargs=how, daemon=True)
    child.start()
    end = time.monotonic() + 60
    while not until() and child.is_alive() and time.monotonic() < end:
        time.sleep(0.002)
    assert until()
    os.kill(child.pid or 0, signal.SIGKILL)
    child.join()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    assert lessons.run(folder).ended == "epochs"
    assert len(losses(folder)) == lessons.EPOCHS * lessons.ROWS // 16
    return folder


def check(folder: Path, unbroken: Path) -> None:
    """What was broken off goes on to the same end by the same losses, to the last bit."""
    outcome = lessons.run(folder)
    assert outcome.ended == "epochs" and losses(folder) == losses(unbroken)
    assert (folder / "weights").read_text() == (unbroken / "weights").read_text()


def check_kill_at_step(folder: Path, unbroken: Path, step: int) -> None:
    killed(folder, lambda: (folder / "losses").exists() and len(losses(folder)) >= step, seconds=0.05)
    assert len(losses(folder)) < len(losses(unbroken)), "it was broken off"
    check(folder, unbroken)


def check_kill_in_save(folder: Path, unbroken: Path, file: int) -> None:
    killed(folder, (folder / "torn").exists, tear=file)
    check(folder, unbroken)


@pytest.mark.process
def test_a_run_killed_at_a_step_or_in_a_save_ends_as_if_it_had_not_been(tmp_path: Path, unbroken: Path) -> None:
    for number, step in enumerate(np.random.default_rng(time.time_ns()).choice(range(3, 20), 2, replace=False)):
        (folder := tmp_path / str(number)).mkdir()
        check_kill_at_step(folder, unbroken, int(step))
    check_kill_in_save(tmp_path, unbroken, 4)


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path, unbroken: Path) -> None:
    for number in range(10):
        for folder in (step := tmp_path / f"step{number}", save := tmp_path / f"save{number}"):
            folder.mkdir()
        check_kill_at_step(step, unbroken, 2 * number + 1)
        check_kill_in_save(save, unbroken, number + 1)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path, unbroken: Path) -> None:
    shutil.copytree(unbroken, tmp_path, dirs_exist_ok=True)
    check(tmp_path, unbroken)
    assert (tmp_path / "losses").read_text() == (unbroken / "losses").read_text()
