"""Run states, outputs, texts, the ledger and measured quality in JetStream."""

import asyncio
import base64
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.errors import APIError, ObjectNotFoundError
from nats.js.object_store import ObjectStore

from tierbus import limits
from tierbus.batch.lot import Item, Lot
from tierbus.bus.publish import ACK_TIMEOUT_S, EXPECT_LAST, TTL, Publisher
from tierbus.bus.topology import (
    BLOBS,
    ITEM_SUBJECT,
    LEDGER,
    LOT_SUBJECT,
    OUTPUT_SUBJECT,
    OUTPUTS,
    QUALITY,
    RUN_SUBJECT,
    WORK,
)
from tierbus.contracts import CallRecorded, CallStatus, Content, QualityMeasured, decode, encode
from tierbus.errors import Conflict, Misconfigured, Rejected, Unavailable
from tierbus.quality.cap import Taken
from tierbus.run import Run
from tierbus.stores import Output

NO_MESSAGE = 10037
_READ_AT_ONCE = 100


async def last(publisher: Publisher, stream: str, subject: str) -> tuple[bytes, int] | None:
    """The last message of a subject from the stream's leader, with its sequence."""
    body = json.dumps({"last_by_subj": subject}).encode()
    answer = await publisher.request(f"$JS.API.STREAM.MSG.GET.{stream}", body)
    error = answer.get("error")
    if error is None:
        message = answer["message"]
        return base64.b64decode(message.get("data") or b""), int(message["seq"])
    if error.get("err_code") == NO_MESSAGE:
        return None
    raise Unavailable(f"{stream} did not give the last of {subject}: {error.get('description')}")


async def purge(publisher: Publisher, subject: str) -> None:
    """Take everything under a subject of WORK off the bus."""
    await publisher.request(f"$JS.API.STREAM.PURGE.{WORK}", json.dumps({"filter": subject}).encode())


class JetRuns:
    """Run states in WORK, compare-and-set by the sequence of the subject."""

    def __init__(self, publisher: Publisher, nc: Client) -> None:
        self._publisher = publisher
        self._nc = nc

    async def read(self, run: str) -> tuple[Run, int] | None:
        found = await last(self._publisher, WORK, RUN_SUBJECT.format(run=run))
        if found is None:
            return None
        return Run.model_validate_json(found[0]), found[1]

    async def revision(self, run: str) -> int:
        found = await last(self._publisher, WORK, RUN_SUBJECT.format(run=run))
        return found[1] if found else 0

    async def write(self, run: Run, revision: int) -> int:
        data = encode(run)
        if len(data) > limits.STATE_BYTES:
            raise Misconfigured(
                f"the state of run {run.id} would be {len(data)} bytes, the limit is {limits.STATE_BYTES}"
            )
        headers = {EXPECT_LAST: str(revision)}
        if run.status is not None:
            headers[TTL] = f"{int(limits.STATE_TTL_S)}s"
        return await self._publisher.put(RUN_SUBJECT.format(run=run.id), data, headers)

    async def holds(self, subject: str) -> bool:
        return await last(self._publisher, WORK, subject) is not None

    async def drop(self, run: str) -> None:
        for subject in (
            f"tierbus.plan.*.{run}",
            f"tierbus.step.*.*.{run}.*.*",
            ITEM_SUBJECT.format(lane="*", run=run, step="*", attempt="*"),
        ):
            await purge(self._publisher, subject)

    async def done(self, run: str) -> None:
        body = json.dumps({"filter": f"tierbus.timer.{run}"}).encode()
        await self._nc.publish(f"$JS.API.STREAM.PURGE.{WORK}", body)


class JetOutputs:
    """Model outputs by slot."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def put(self, slot: str, output: Output) -> None:
        await self._publisher.put(OUTPUT_SUBJECT.format(slot=slot), encode(output), {})

    async def get(self, slot: str) -> Output | None:
        found = await last(self._publisher, OUTPUTS, OUTPUT_SUBJECT.format(slot=slot))
        return Output.model_validate_json(found[0]) if found else None


class JetTexts:
    """Large texts in the object store, named by the SHA-256 of their bytes."""

    def __init__(self, nc: Client) -> None:
        self._nc = nc
        self._bucket: ObjectStore | None = None

    async def _store(self) -> ObjectStore:
        if self._bucket is None:
            self._bucket = await self._nc.jetstream(timeout=ACK_TIMEOUT_S).object_store(BLOBS)
        return self._bucket

    async def read(self, content: Content) -> str:
        if content.text is not None:
            return content.text
        if content.ref is None:
            return ""
        try:
            found = await (await self._store()).get(content.ref)
        except ObjectNotFoundError:
            raise Unavailable(f"text {content.ref} is not in the object store {BLOBS!r}") from None
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise Unavailable(f"the object store did not give {content.ref}: {type(error).__name__}") from error
        return _checked(content.ref, found.data or b"")

    async def keep(self, content: Content, most: int = limits.INLINE_BYTES) -> Content:
        if content.text is None or content.inline_bytes <= most:
            return content
        return await self.put(content.text, content)

    async def put(self, text: str, like: Content) -> Content:
        """Keep a text by reference whatever its size.

        Raises:
            Unavailable: the object store does not answer.
        """
        data = text.encode()
        name = hashlib.sha256(data).hexdigest()
        try:
            await (await self._store()).put(name, data)
        except (nats.errors.Error, APIError, TimeoutError) as error:
            raise Unavailable(f"the object store did not take {name}: {type(error).__name__}") from error
        return Content(media=like.media, ref=name, size=len(data))


def _checked(name: str, data: bytes) -> str:
    """The text of an object; what a task says about its size is not taken on trust.

    Raises:
        Rejected: it is larger than a task may carry, or no text.
    """
    if len(data) > limits.PROMPT_BYTES:
        raise Rejected(f"text {name} has {len(data)} bytes, the limit is {limits.PROMPT_BYTES}")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise Rejected(f"text {name} is not UTF-8") from None


class JetLedger:
    """Calls in LEDGER, each opened once and closed once: every write expects what was there before."""

    def __init__(self, publisher: Publisher, nc: Client) -> None:
        self._publisher = publisher
        self._nc = nc
        self._opened: dict[str, int] = {}

    async def claim(self, started: CallRecorded) -> bool:
        try:
            self._opened[started.call] = await self._publisher.put(started.subject, encode(started), {EXPECT_LAST: "0"})
        except Conflict:
            return False
        return True

    async def close(self, record: CallRecorded) -> bool:
        """Written over the claim alone. An answer of the bus that got lost is looked for before it is said again."""
        expected = self._opened.pop(record.call, None)
        for final in (False, False, True):
            if expected is None:
                found = await last(self._publisher, LEDGER, record.subject)
                known = CallRecorded.model_validate_json(found[0]) if found else None
                if known is not None and known.status is not CallStatus.STARTED:
                    return known == record
                expected = found[1] if found else 0
            try:
                await self._publisher.put(record.subject, encode(record), {EXPECT_LAST: str(expected)})
            except (Conflict, Unavailable):
                if final:
                    raise
                expected = None
            else:
                return True
        return False

    async def last(self, record: CallRecorded) -> CallRecorded | None:
        found = await last(self._publisher, LEDGER, record.subject)
        return CallRecorded.model_validate_json(found[0]) if found else None

    async def of_run(self, run: str) -> list[CallRecorded]:
        records = [
            CallRecorded.model_validate_json(data)
            async for data in replay(self._nc, LEDGER, f"tierbus.ledger.*.*.{run}.>", "last_per_subject")
        ]
        return sorted(records, key=lambda record: (record.started_at, record.call))


class JetMeasures:
    """What the quality watch knows, in QUALITY, compare-and-set by the sequence of the subject."""

    def __init__(self, publisher: Publisher, nc: Client) -> None:
        self._publisher = publisher
        self._nc = nc
        self._days: dict[str, _Day] = {}
        self._looking = asyncio.Lock()

    async def read(self, about: QualityMeasured) -> tuple[QualityMeasured, int] | None:
        found = await last(self._publisher, QUALITY, about.subject)
        return (decode(QualityMeasured, found[0]), found[1]) if found else None

    async def write(self, record: QualityMeasured, revision: int) -> int:
        return await self._publisher.put(record.subject, encode(record), {EXPECT_LAST: str(revision)})

    async def taken(self, day: str) -> dict[str, Taken]:
        """Each record is read once by a process: what was written since the last look is all that is asked for."""
        async with self._looking:
            seen = self._days.setdefault(day, _Day())
            async for message in _read(self._nc, QUALITY, f"tierbus.quality.{day}.*.*", _since(seen.sequence)):
                record = decode(QualityMeasured, message.data)
                seen.take(message.metadata.sequence.stream, record)
            while len(self._days) > _DAYS:
                del self._days[next(iter(self._days))]
            return dict(seen.taken)


_DAYS = 3
"""Days that a process remembers: tasks end today or, round midnight and where the watch is behind, on a day before."""


@dataclass
class _Day:
    """What a day's records say up to a sequence of the stream; a record that takes nothing takes no room here either."""

    sequence: int = 0
    taken: dict[str, Taken] = field(default_factory=dict)

    def take(self, sequence: int, record: QualityMeasured) -> None:
        self.sequence = max(self.sequence, sequence)
        if record.own_nano_usd:
            self.taken[record.subject] = Taken(record.rules, record.own_nano_usd)
        else:
            self.taken.pop(record.subject, None)


class JetLots:
    """Waiting steps and batches in WORK, one subject each: nobody consumes them, they are looked up by their subjects."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher

    async def add(self, item: Item) -> None:
        with contextlib.suppress(Conflict):
            await self._publisher.put(_item_subject(item), encode(item), {EXPECT_LAST: "0"})

    async def waiting(self, lane: str) -> list[Item]:
        found: list[Item] = []
        subjects = await self._subjects(lane)
        for start in range(0, len(subjects), _READ_AT_ONCE):
            some = [last(self._publisher, WORK, subject) for subject in subjects[start : start + _READ_AT_ONCE]]
            found += [Item.model_validate_json(item[0]) for item in await asyncio.gather(*some) if item is not None]
        return found

    async def count(self, lane: str) -> int:
        return len(await self._subjects(lane))

    async def _subjects(self, lane: str) -> list[str]:
        """The subjects of a lane; the server tells at most 100,000 at a time, which is more than waits in one."""
        wanted = ITEM_SUBJECT.format(lane=lane, run="*", step="*", attempt="*")
        body = json.dumps({"subjects_filter": wanted}).encode()
        answer = await self._publisher.request(f"$JS.API.STREAM.INFO.{WORK}", body)
        if error := answer.get("error"):
            raise Unavailable(f"{WORK} did not tell what waits in {lane}: {error.get('description')}")
        return list(answer["state"].get("subjects") or {})

    async def take(self, item: Item) -> None:
        await purge(self._publisher, _item_subject(item))

    async def read(self, name: str) -> tuple[Lot, int] | None:
        found = await last(self._publisher, WORK, LOT_SUBJECT.format(name=name))
        return (Lot.model_validate_json(found[0]), found[1]) if found else None

    async def write(self, lot: Lot, revision: int) -> int:
        headers = {EXPECT_LAST: str(revision)}
        if lot.ended_at is not None:
            headers[TTL] = f"{int(limits.STATE_TTL_S)}s"
        return await self._publisher.put(LOT_SUBJECT.format(name=lot.name), encode(lot), headers)


def _item_subject(item: Item) -> str:
    return ITEM_SUBJECT.format(lane=item.lane, run=item.run, step=item.step, attempt=item.attempt)


async def replay(nc: Client, stream: str, subject: str, policy: str = "all") -> Any:
    """Everything a stream holds under a subject now, oldest first; ends when all is read."""
    async for _subject, data, _headers in replay_messages(nc, stream, subject, policy):
        yield data


async def replay_messages(nc: Client, stream: str, subject: str, policy: str = "all") -> Any:
    """Like `replay`, with subject and headers.

    Raises:
        Unavailable: the stream does not answer.
    """
    async for message in _read(nc, stream, subject, {"deliver_policy": policy}):
        yield message.subject, message.data, message.headers or {}


def _since(sequence: int) -> dict[str, Any]:
    """From where to read what was written after this sequence."""
    if not sequence:
        return {"deliver_policy": "all"}
    return {"deliver_policy": "by_start_sequence", "opt_start_seq": sequence + 1}


async def _read(nc: Client, stream: str, subject: str, start: dict[str, Any]) -> AsyncIterator[Msg]:
    """The messages that a stream holds under a subject now, from `start` on."""
    js = nc.jetstream(timeout=ACK_TIMEOUT_S)
    from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

    config = ConsumerConfig(
        deliver_policy=DeliverPolicy(start["deliver_policy"]),
        opt_start_seq=start.get("opt_start_seq"),
        ack_policy=AckPolicy.NONE,
        filter_subject=subject,
        inactive_threshold=30.0,
        mem_storage=True,
    )
    try:
        subscription = await js.pull_subscribe(subject, stream=stream, config=config)
        try:
            left = (await subscription.consumer_info()).num_pending or 0
            while left > 0:
                batch = await subscription.fetch(min(left, 500), timeout=ACK_TIMEOUT_S)
                left -= len(batch)
                for message in batch:
                    yield message
        finally:
            await subscription.unsubscribe()
    except (nats.errors.Error, APIError, TimeoutError) as error:
        raise Unavailable(f"{stream} cannot be read: {type(error).__name__}") from error
