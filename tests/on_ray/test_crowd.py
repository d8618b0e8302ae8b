"""The number of replicas: as the controller says, and the last known while it says nothing."""

import asyncio

import pytest

from lepton_ray.on_ray import crowd
from lepton_ray.on_ray.crowd import Crowd


def test_it_follows_the_controller_and_outlives_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[int | Exception] = [2, 0, RuntimeError("gone"), RuntimeError("gone"), 3]
    seen: list[int] = []

    async def main() -> None:
        here, done = Crowd(4), asyncio.Event()
        seen.append(here.now)

        def running() -> int:
            answer = said.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        async def pause(seconds: float) -> None:
            assert seconds == crowd.PERIOD
            seen.append(here.now)
            if not said:
                done.set()
                await asyncio.Event().wait()

        monkeypatch.setattr(crowd, "_running", running)
        monkeypatch.setattr(crowd.asyncio, "sleep", pause)
        here.watch()
        here.watch()  # once is enough
        await asyncio.wait_for(done.wait(), 20)

    asyncio.run(main())
    assert seen == [4, 2, 1, 1, 1, 3]
    assert caplog.text.count("not known") == 1
