"""What goes on for ever ends when it is told to."""

import asyncio
import contextlib

import pytest

from tierbus import loops


async def deaf(times: int) -> None:
    """A loop that loses so many cancellations."""
    for _ in range(times):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)
    await asyncio.sleep(3600)


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_a_loop_that_loses_a_cancellation_is_told_again(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    monkeypatch.setattr(loops, "AGAIN_S", 0.01)
    task = asyncio.create_task(deaf(times))
    await asyncio.sleep(0)

    async with asyncio.timeout(10):
        await loops.end(task)

    assert task.cancelled()


async def test_one_that_broke_or_has_ended_is_no_trouble() -> None:
    async def broken() -> None:
        raise KeyError("a bug")

    tasks = [asyncio.create_task(broken()), asyncio.create_task(asyncio.sleep(0))]
    await asyncio.wait(tasks)

    await loops.end(*tasks)
    await loops.end()
