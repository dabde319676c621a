"""Waiting for what happens on its own time."""

import asyncio
import time
from collections.abc import Awaitable, Callable

PATIENCE_S = 30.0


async def until(true: Callable[[], bool | Awaitable[bool]], what: str = "") -> None:
    """Return as soon as it is true; fail when it is not in time."""
    end = time.monotonic() + PATIENCE_S
    while True:
        found = true()
        if found if isinstance(found, bool) else await found:
            return
        assert time.monotonic() < end, f"it did not happen within {PATIENCE_S:.0f} s: {what}"
        await asyncio.sleep(0.02)
