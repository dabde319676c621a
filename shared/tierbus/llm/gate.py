"""How many calls a process has open per model, and how quickly it opens them: high priority first."""

import asyncio
import heapq
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import count

from tierbus.contracts import Priority
from tierbus.telemetry.names import Attr
from tierbus.tiers.catalog import Limits, ModelSpec

_RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
_MINUTE_S = 60.0
Reading = tuple[float, Mapping[Attr, str]]


class Gate:
    """Lets `limits.concurrency` callers in at a time, and no more requests or tokens a minute than the limits allow."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._open = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._order = count()
        self._recent: deque[tuple[float, int]] = deque()

    @asynccontextmanager
    async def enter(self, priority: Priority, tokens: int) -> AsyncIterator[None]:
        """Wait for a place, then for the minute's allowance; `tokens` is the request's estimated size."""
        await self._take(priority)
        try:
            await self._pace(tokens)
            yield
        finally:
            self._leave()

    @property
    def used(self) -> dict[str, float]:
        """What is in use of each limit that there is: calls open, requests and tokens of the last minute."""
        self._forget()
        used: dict[str, float] = {"concurrency": self._open}
        if self._limits.requests_per_min is not None:
            used["requests_per_min"] = len(self._recent)
        if self._limits.tokens_per_min is not None:
            used["tokens_per_min"] = sum(spent for _, spent in list(self._recent))
        return used

    @property
    def allowed(self) -> dict[str, float]:
        """The limits that there are."""
        limits = self._limits
        named = {
            "concurrency": limits.concurrency,
            "requests_per_min": limits.requests_per_min,
            "tokens_per_min": limits.tokens_per_min,
        }
        return {name: value for name, value in named.items() if value is not None}

    def _forget(self) -> None:
        now = self._clock()
        while self._recent and now - self._recent[0][0] >= _MINUTE_S:
            self._recent.popleft()

    async def _take(self, priority: Priority) -> None:
        if self._open < self._limits.concurrency:
            self._open += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (_RANK[priority], next(self._order), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return
        self._open -= 1

    async def _pace(self, tokens: int) -> None:
        if self._limits.requests_per_min is None and self._limits.tokens_per_min is None:
            return
        while (wait_s := self._wait_s(tokens)) > 0:  # noqa: ASYNC110 - it waits for the minute to pass, not for an event
            await asyncio.sleep(wait_s)
        self._recent.append((self._clock(), tokens))

    def _wait_s(self, tokens: int) -> float:
        now = self._clock()
        self._forget()
        requests, limit = self._limits.requests_per_min, self._limits.tokens_per_min
        too_many = requests is not None and len(self._recent) >= requests
        used = sum(spent for _, spent in self._recent)
        too_large = limit is not None and bool(self._recent) and used + tokens > limit
        return self._recent[0][0] + _MINUTE_S - now if too_many or too_large else 0.0


class Gates:
    """One gate per model."""

    def __init__(self) -> None:
        self._gates: dict[tuple[str, str], Gate] = {}

    def of(self, spec: ModelSpec) -> Gate:
        """The gate of this model."""
        return self._gates.setdefault((spec.provider, spec.id), Gate(spec.limits))

    def limits(self) -> list[Reading]:
        """Every limit of every model asked so far, for a gauge."""
        return self._read(lambda gate: gate.allowed)

    def used(self) -> list[Reading]:
        """What is used of it."""
        return self._read(lambda gate: gate.used)

    def _read(self, of: Callable[[Gate], dict[str, float]]) -> list[Reading]:
        return [
            (value, {Attr.MODEL: model, Attr.LIMIT: name})
            for (_, model), gate in list(self._gates.items())
            for name, value in of(gate).items()
        ]
