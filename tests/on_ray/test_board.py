"""The number of replicas: as the board says, and the last known while nobody can read it."""

import asyncio

import pytest

from lepton_ray.serving.standing import Scale

pytestmark = pytest.mark.ray


def test_it_is_read_again_and_outlives_its_head(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from lepton_ray.on_ray import board

    said: list[int | Exception] = [2, 0, RuntimeError("gone"), RuntimeError("gone"), 3]
    seen: list[int] = []

    async def main() -> None:
        here, done = board.Board("lepton"), asyncio.Event()
        seen.append(here.replicas(4))

        def read(application: str) -> Scale:
            answer = said.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return Scale(answer, answer)

        async def pause(seconds: float) -> None:
            assert seconds == board.PERIOD
            seen.append(here.replicas(4))
            if not said:
                done.set()
                await asyncio.Event().wait()

        monkeypatch.setattr(board, "read", read)
        monkeypatch.setattr(board.asyncio, "sleep", pause)
        here.watch()
        here.watch()  # once is enough
        await asyncio.wait_for(done.wait(), 20)

    asyncio.run(main())
    assert seen == [4, 2, 1, 1, 1, 3]
    assert caplog.text.count("not known") == 1
