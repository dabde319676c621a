"""Tallies in memory, for tests without a bus; the suite that runs over JetStream runs over these too."""

import asyncio
from collections.abc import AsyncIterator

from tierbus.contracts import PolicySaw
from tierbus.errors import Conflict, Unavailable
from tierbus.tallies import Held, Sums


class MemoryTallies:
    """A log, and sums with revisions. While `away` nothing of it can be reached."""

    def __init__(self) -> None:
        self.held: list[Held] = []
        self.sums: dict[str, tuple[Sums, int]] = {}
        self.away = False
        self._log = 1
        self._last = 0
        self._news = asyncio.Condition()

    def lose(self) -> None:
        """Forget everything, as a stream does that is deleted and made anew."""
        self.held.clear()
        self.sums.clear()
        self._log, self._last = self._log + 1, 0

    def _reach(self) -> None:
        if self.away:
            raise Unavailable("the tallies are away")

    async def say(self, saw: PolicySaw) -> None:
        self._reach()
        if any(held.saw.subject == saw.subject for held in self.held):
            return
        self._last += 1
        self.held.append(Held(saw, self._last))
        async with self._news:
            self._news.notify_all()

    async def read(self, policy: str) -> tuple[Sums, int] | None:
        self._reach()
        return self.sums.get(policy)

    async def write(self, policy: str, sums: Sums, revision: int) -> int:
        self._reach()
        if (self.sums[policy][1] if policy in self.sums else 0) != revision:
            raise Conflict(f"the sums of {policy!r} are not at revision {revision}")
        self._last += 1
        self.sums[policy] = (sums, self._last)
        return self._last

    async def born(self) -> str:
        self._reach()
        return str(self._log)

    async def follow(self, policy: str, after: int) -> AsyncIterator[list[Held]]:
        born = self._log
        while True:
            self._reach()
            if self._log != born:
                raise Unavailable("the log is another one")
            batch = [held for held in self.held if held.sequence > after and held.saw.policy == policy]
            yield batch
            after = max([after, *(held.sequence for held in batch)])
            if not batch:
                async with self._news:
                    try:
                        await asyncio.wait_for(self._news.wait(), 0.02)
                    except TimeoutError:
                        continue
