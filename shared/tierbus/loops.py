"""Ending what goes on for ever."""

import asyncio
from typing import Any

AGAIN_S = 1.0


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended.

    It is said again to those that go on: before Python 3.12, `asyncio.wait_for` loses a cancellation that meets its answer.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    await asyncio.gather(*tasks, return_exceptions=True)
