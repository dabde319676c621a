"""Stores in memory, for tests of services without a bus; the suite that runs over JetStream runs over these too."""

import hashlib

from tierbus import limits
from tierbus.batch.lot import Item, Lot
from tierbus.contracts import CallRecorded, CallStatus, Content
from tierbus.errors import Conflict, Unavailable
from tierbus.run import Run
from tierbus.stores import Output


class MemoryRuns:
    """Run states with revisions. `queued` are the subjects that the imagined bus holds."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[Run, int]] = {}
        self.queued: set[str] = set()
        self.dropped: list[str] = []
        self._revision = 0

    async def read(self, run: str) -> tuple[Run, int] | None:
        return self.states.get(run)

    async def revision(self, run: str) -> int:
        return self.states[run][1] if run in self.states else 0

    async def write(self, run: Run, revision: int) -> int:
        if await self.revision(run.id) != revision:
            raise Conflict(f"run {run.id!r} is not at revision {revision}")
        self._revision += 1
        self.states[run.id] = (run, self._revision)
        return self._revision

    async def holds(self, subject: str) -> bool:
        wanted = subject.split(".")
        return any(
            len(parts) == len(wanted) and all(mine in ("*", found) for mine, found in zip(wanted, parts, strict=True))
            for parts in (held.split(".") for held in self.queued)
        )

    async def drop(self, run: str) -> None:
        self.dropped.append(run)

    async def done(self, run: str) -> None:
        self.queued.discard(f"tierbus.timer.{run}")


class MemoryOutputs:
    """Answers by slot."""

    def __init__(self) -> None:
        self.kept: dict[str, Output] = {}

    async def put(self, slot: str, output: Output) -> None:
        self.kept[slot] = output

    async def get(self, slot: str) -> Output | None:
        return self.kept.get(slot)


class MemoryTexts:
    """Texts by content hash."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def read(self, content: Content) -> str:
        if content.text is not None:
            return content.text
        if content.ref is None:
            return ""
        if content.ref not in self.kept:
            raise Unavailable(f"text {content.ref} is not there")
        return self.kept[content.ref]

    async def keep(self, content: Content, most: int = limits.INLINE_BYTES) -> Content:
        if content.text is None or content.inline_bytes <= most:
            return content
        data = content.text.encode()
        name = hashlib.sha256(data).hexdigest()
        self.kept[name] = content.text
        return Content(media=content.media, ref=name, size=len(data))


class MemoryLedger:
    """Every record, and the last one of each call."""

    def __init__(self) -> None:
        self.records: list[CallRecorded] = []

    async def claim(self, started: CallRecorded) -> bool:
        if await self.last(started) is not None:
            return False
        self.records.append(started)
        return True

    async def close(self, record: CallRecorded) -> bool:
        before = await self.last(record)
        if before is not None and before.status is not CallStatus.STARTED:
            return before == record
        self.records.append(record)
        return True

    async def last(self, record: CallRecorded) -> CallRecorded | None:
        return next((found for found in reversed(self.records) if found.call == record.call), None)

    async def of_run(self, run: str) -> list[CallRecorded]:
        latest = {found.call: found for found in self.records if found.run == run}
        return sorted(latest.values(), key=lambda record: (record.started_at, record.call))


class MemoryLots:
    """Waiting steps by lane, and batches with revisions."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str, str, int], Item] = {}
        self.lots: dict[str, tuple[Lot, int]] = {}
        self._revision = 0

    async def add(self, item: Item) -> None:
        self.items.setdefault((item.lane, item.run, item.step, item.attempt), item)

    async def waiting(self, lane: str) -> list[Item]:
        return [item for item in self.items.values() if item.lane == lane]

    async def count(self, lane: str) -> int:
        return len(await self.waiting(lane))

    async def take(self, item: Item) -> None:
        self.items.pop((item.lane, item.run, item.step, item.attempt), None)

    async def read(self, name: str) -> tuple[Lot, int] | None:
        return self.lots.get(name)

    async def write(self, lot: Lot, revision: int) -> int:
        if (self.lots[lot.name][1] if lot.name in self.lots else 0) != revision:
            raise Conflict(f"batch {lot.name!r} is not at revision {revision}")
        self._revision += 1
        self.lots[lot.name] = (lot, self._revision)
        return self._revision
