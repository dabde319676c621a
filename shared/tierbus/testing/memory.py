"""Stores in memory, for tests of services without a bus; the suite that runs over JetStream runs over these too."""

import hashlib

from tierbus import limits
from tierbus.batch.lot import Item, Lot
from tierbus.contracts import CallRecorded, CallStatus, Content, QualityMeasured
from tierbus.errors import Conflict, Unavailable
from tierbus.plans.shelf import Shelf
from tierbus.quality.cap import Taken
from tierbus.run import Run
from tierbus.stores import Lead, Output


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


class MemoryShelves:
    """Shelves of plans with revisions."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], tuple[Shelf, int]] = {}

    async def read(self, tenant: str, shape: str) -> tuple[Shelf, int] | None:
        return self.kept.get((tenant, shape))

    async def write(self, shelf: Shelf, revision: int, ttl_s: float) -> int:  # noqa: ARG002 - the protocol's shape
        _, standing = self.kept.get((shelf.tenant, shelf.shape), (None, 0))
        if standing != revision:
            raise Conflict(f"shelf {shelf.shape!r} is not at revision {revision}")
        self.kept[shelf.tenant, shelf.shape] = (shelf, standing + 1)
        return standing + 1


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


class MemoryAnswers:
    """Who answers for what, and who waits for whom; nothing is forgotten."""

    def __init__(self) -> None:
        self.leads: dict[tuple[str, str], tuple[Lead, int]] = {}
        self.waiting: dict[str, list[str]] = {}

    async def lead(self, tenant: str, key: str) -> tuple[Lead, int] | None:
        return self.leads.get((tenant, key))

    async def claim(self, tenant: str, key: str, lead: Lead, revision: int, ttl_s: float) -> None:  # noqa: ARG002 - the protocol's shape
        _, standing = self.leads.get((tenant, key), (None, 0))
        if standing != revision:
            raise Conflict(f"key {key!r} is not at revision {revision}")
        self.leads[tenant, key] = (lead, standing + 1)

    async def follow(self, leader: str, follower: str) -> None:
        if follower not in self.waiting.setdefault(leader, []):
            self.waiting[leader].append(follower)

    async def followers(self, leader: str) -> list[str]:
        return list(self.waiting.get(leader, ()))


class MemoryMeasures:
    """What the quality watch knows, with revisions."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[QualityMeasured, int]] = {}
        self._revision = 0

    async def read(self, about: QualityMeasured) -> tuple[QualityMeasured, int] | None:
        return self.kept.get(about.subject)

    async def write(self, record: QualityMeasured, revision: int) -> int:
        before = self.kept.get(record.subject)
        if (before[1] if before else 0) != revision:
            raise Conflict(f"{record.subject} is not at revision {revision}")
        self._revision += 1
        self.kept[record.subject] = (record, self._revision)
        return self._revision

    async def taken(self, day: str) -> dict[str, Taken]:
        return {
            subject: Taken(record.rules, record.own_nano_usd)
            for subject, (record, _) in self.kept.items()
            if record.day == day and record.own_nano_usd
        }


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
