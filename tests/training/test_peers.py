"""Two workers without Ray: they learn what one does from batches of twice the size, and end together."""

import multiprocessing
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the extra [torch]")

from tests.training import pair  # noqa: E402


def together(folder: Path, *, accumulate: int = 1, stop_at: int = 0) -> list[float]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.training.lessons"])
    both = [
        context.Process(target=pair.one_of_two, args=(rank, folder, accumulate, stop_at), daemon=True)
        for rank in range(2)
    ]
    for one in both:
        one.start()
    for one in both:
        one.join(60)
    first, second = ([float.fromhex(value) for value in (folder / str(n)).read_text().split()] for n in range(2))
    assert first == second, "to the last bit"
    return first


@pytest.mark.process
def test_two_workers_learn_what_one_does(tmp_path: Path) -> None:
    for accumulate in (1, 2):
        (folder := tmp_path / str(accumulate)).mkdir()
        assert together(folder, accumulate=accumulate) == pytest.approx(pair.alone(8 * accumulate), rel=1e-4, abs=1e-6)


@pytest.mark.process
def test_one_worker_that_is_told_to_stop_stops_both(tmp_path: Path) -> None:
    *found, ended = together(tmp_path, stop_at=1)[:-12]
    assert ended == 1.0 and len(found) == 12 < 24, "at the first look, where the first of two epochs ends"
