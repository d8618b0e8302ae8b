"""The loop under Ray Train: what two workers learn, what they cost, and what happens when one comes to harm.

Ray is imported in functions: it reads its environment once, and the session writes that first.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra [torch]")

from lepton_ray.errors import EnvironmentFault, UsageError  # noqa: E402
from lepton_ray.money.dollars import Dollars  # noqa: E402
from lepton_ray.money.ledger import Ledger  # noqa: E402
from lepton_ray.money.prices import MachinePrice  # noqa: E402
from lepton_ray.money.usage import Usage  # noqa: E402
from lepton_ray.on_ray.session import Session, short_temp_dir  # noqa: E402
from lepton_ray.training.telling import Epoch  # noqa: E402
from tests.training.lessons import ROWS, SETTINGS, data  # noqa: E402

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[None]:
    session = Session(short_temp_dir(), cpus=2, object_store_bytes=0).start()
    session.wait(60)
    yield
    session.stop()


class Kept:
    """A training on two workers, and all that the driver heard of it."""

    def __init__(self, place: Path, build: Any, *, last: int = 99, **more: Any) -> None:
        from lepton_ray.on_ray.training import Books, Plan, train_on_ray

        self.epochs: list[Epoch] = []
        self.notes: list[str] = []
        self.usages: list[Usage] = []
        charge = more.pop("charge", self.usages.append)
        data, rows, settings = more.pop("data", None), more.pop("rows", None), more.pop("settings", SETTINGS)

        def lease(epoch: Epoch) -> bool:
            self.epochs.append(epoch)
            return epoch.number < last

        self.trained = train_on_ray(
            build,
            settings,
            Plan(**({"workers": 2, "checkpoints": str(place / "kept")} | more)),
            data=data,
            rows=rows,
            lease=lease,
            note=self.notes.append,
            books=Books(charge),
        )

    @property
    def losses(self) -> list[float]:
        return [epoch.loss for epoch in self.epochs]


def memory(*given: Any) -> Any:
    from tests.on_ray.networks import Memory

    return Memory(*given)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("whole"), memory())


def same_weights(one: Kept, other: Kept) -> bool:
    mine, theirs = one.trained.weights, other.trained.weights
    return mine.keys() == theirs.keys() and all(torch.allclose(mine[name], theirs[name]) for name in mine)


def test_two_workers_learn_and_each_epoch_has_its_price(whole: Kept) -> None:
    assert whole.trained.outcome.ended == "epochs" and whole.trained.groups == 1
    assert [epoch.number for epoch in whole.epochs] == [1, 2, 3, 4]
    assert whole.losses[-1] < whole.losses[0]
    assert [usage.outcome for usage in whole.usages] == ["start-up", *(f"epoch {n}" for n in range(1, 5)), "the end"]
    assert all(usage.cpus == 2.0 and usage.driver == "ray" for usage in whole.usages)
    assert all(one.ended == then.started for one, then in zip(whole.usages, whole.usages[1:], strict=False))


def test_a_killed_worker_begins_again_where_the_last_epoch_ended(tmp_path: Path, whole: Kept) -> None:
    broken = Kept(tmp_path, memory(tmp_path / "mark", 3, "killed"))
    assert broken.trained.groups == 2 and broken.trained.outcome == whole.trained.outcome
    assert broken.losses == pytest.approx(whole.losses, rel=1e-6)
    assert same_weights(broken, whole)
    lost = [usage for usage in broken.usages if usage.lost]
    assert [usage.outcome for usage in lost] == ["lost with a worker"] and lost[0].lost == lost[0].seconds


def test_the_lease_ends_all_workers_and_a_second_run_goes_on(tmp_path: Path, whole: Kept) -> None:
    machine = MachinePrice(Dollars.parse("3.6"), 2, "a test", "")
    ledger = Ledger.create(tmp_path / "ledger.jsonl", "r", machine, 0.0)
    first = Kept(tmp_path, memory(), last=2, charge=ledger.attribute)
    assert first.trained.outcome.ended == "lease" and len(first.epochs) == 2
    costs = [charge.dollars for charge in ledger.charges() if charge.book == "attributed"]
    assert len(costs) == 4 and Dollars(0) < sum(costs[1:], costs[0])
    second = Kept(tmp_path, memory())
    assert [epoch.number for epoch in second.epochs] == [3, 4]
    assert first.losses + second.losses == pytest.approx(whole.losses, rel=1e-6)
    assert same_weights(second, whole)


def test_what_a_worker_raises_ends_the_run_in_its_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not fit the target"):
        Kept(tmp_path, memory(tmp_path / "wrong", 1, "wrong"), failures=0)


@pytest.mark.slow
def test_workers_that_say_nothing_are_ended(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="No training worker has asked for 20 seconds"):
        Kept(tmp_path, memory(tmp_path / "hung", 1, "hangs"), failures=0, silent_seconds=20)


@pytest.mark.slow
def test_a_batch_that_does_not_fit_begins_again_in_pieces(tmp_path: Path) -> None:
    from tests.on_ray.networks import tight

    small = Kept(tmp_path, tight, settings=replace(SETTINGS, epochs=1))
    assert small.trained.groups == 2 and small.trained.outcome.ended == "epochs"
    assert len(small.notes) == 1 and "2 pieces" in small.notes[0]


def rows() -> Any:
    import ray.data

    x, y = data()
    items = [{"x": row, "y": int(code)} for row, code in zip(x.numpy(), y, strict=True)]
    return ray.data.from_items(items, override_num_blocks=4)


def test_ray_data_feeds_workers_and_keeps_a_cpu(tmp_path: Path) -> None:
    from tests.on_ray.networks import streamed

    fed = Kept(tmp_path, streamed, data={"train": rows()}, settings=replace(SETTINGS, epochs=2, patience=None))
    assert fed.trained.seats.cpus == 0.5
    assert [epoch.number for epoch in fed.epochs] == [1, 2] and ROWS // 2 // 8 == 6
    assert fed.losses[1] < fed.losses[0]


def test_a_training_that_cannot_be_is_refused_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="Ray Data one CPU"):
        Kept(tmp_path, memory(), data={"train": rows()}, cpus=1.0)
    assert not (tmp_path / "kept").exists()


def test_rows_that_do_not_come_end_the_run_in_a_sentence(tmp_path: Path) -> None:
    from tests.on_ray.networks import slowly, starved

    with pytest.raises(EnvironmentFault, match="No batch came for 0.5 seconds"):
        Kept(tmp_path, starved, data={"train": rows().map_batches(slowly)}, rows={"train": ROWS}, failures=0)


def test_batches_are_awaited_no_longer_than_told() -> None:
    import threading

    from lepton_ray.on_ray.shards import awaited

    stopped = threading.Event()

    def some() -> Iterator[int]:
        yield from range(3)
        stopped.wait(60)

    found = awaited(some, 0.2)
    assert list(islice(found, 3)) == [0, 1, 2]
    with pytest.raises(EnvironmentFault, match="No batch came for 0.2 seconds"):
        next(found)
    stopped.set()

    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("as it was raised")

    with pytest.raises(ValueError, match="as it was raised"):
        list(awaited(failing, 5.0))
    assert list(awaited(lambda: iter(range(50)), 5.0)) == list(range(50))
