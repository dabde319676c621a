"""Stopping work on a run that is ending, while its call is still in flight."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any, TypeVar

from tierbus.errors import Cancelled

T = TypeVar("T")


class Interrupts:
    """Runs work under its run's name; `stop` ends all work of a run."""

    def __init__(self) -> None:
        self._working: defaultdict[str, set[asyncio.Task[Any]]] = defaultdict(set)

    async def during(self, run: str, work: Coroutine[Any, Any, T]) -> T:
        """Do the work unless the run is stopped meanwhile.

        Raises:
            Cancelled: the run was stopped.
        """
        task = asyncio.ensure_future(work)
        self._working[run].add(task)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if task.cancelled():
                raise Cancelled(f"run {run} is ending") from None
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise
        finally:
            self._working[run].discard(task)
            if not self._working[run]:
                del self._working[run]

    def stop(self, run: str) -> None:
        """End all work on a run."""
        for task in self._working.get(run, ()):
            task.cancel()
