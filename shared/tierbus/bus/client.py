"""What a person or a program does with the bus: publish tasks, follow them, cancel, read the ledger and the dead letters."""

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import nats.errors
from nats.aio.client import Client as Connection
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.client import JetStreamContext
from nats.js.errors import APIError

from tierbus import limits
from tierbus.bus.connect import close, connect
from tierbus.bus.publish import ACK_TIMEOUT_S, MSG_ID, Publisher
from tierbus.bus.stores import JetLedger, JetRuns, JetTexts, replay_messages
from tierbus.bus.topology import DEAD, EVENTS, LEDGER, QUALITY
from tierbus.contracts import (
    CallRecorded,
    CancelRequested,
    Content,
    DeadLettered,
    FeedbackGiven,
    Message,
    QualityMeasured,
    Result,
    StepReviewed,
    StepStarted,
    TaskPlanned,
    TaskRejected,
    TaskRouted,
    decode,
    run_id,
)
from tierbus.errors import Rejected, Unavailable
from tierbus.run import Run
from tierbus.settings import Settings

_FULL = 10077
_EVENTS: Mapping[str, type[Message]] = {
    kind.kind: kind for kind in (TaskRouted, TaskPlanned, StepStarted, StepReviewed, Result, TaskRejected)
}


@dataclass(frozen=True)
class Published:
    """A task that the bus has acknowledged."""

    tenant: str
    task: str
    run: str
    sequence: int
    duplicate: bool

    @property
    def subjects(self) -> list[str]:
        """Where its events are told, a rejection included."""
        return [
            f"tierbus.event.{self.tenant}.{self.run}.>",
            f"tierbus.event.{self.tenant}.rejected-{self.sequence}.rejected",
        ]


class Client:
    """One connection for a command or a program."""

    def __init__(self, nc: Connection) -> None:
        self.nc = nc
        self.publisher = Publisher(nc)
        self.texts = JetTexts(nc)

    @property
    def _js(self) -> JetStreamContext:
        return self.nc.jetstream(timeout=ACK_TIMEOUT_S)

    async def publish(self, body: Mapping[str, Any], tenant: str, priority: str, task: str) -> Published:
        """Publish a task as it is, unchecked: the router says what is wrong with it. Large texts go to the object store.

        Raises:
            Rejected: the tenant's queue is full.
            Unavailable: the bus did not acknowledge it.
        """
        small = await self._slim(dict(body))
        ack = await self.publisher.request(
            f"tierbus.task.{priority}.{tenant}", json.dumps(small).encode(), {MSG_ID: f"{tenant}/{task}"}
        )
        if error := ack.get("error"):
            if error.get("err_code") == _FULL:
                raise Rejected(
                    f"tenant {tenant!r} has {limits.TENANT_DEPTH} tasks of priority {priority} waiting: try again later"
                )
            raise Unavailable(f"the task was not taken: {error.get('description')}")
        return Published(tenant, task, run_id(tenant, task), int(ack["seq"]), bool(ack.get("duplicate")))

    async def _slim(self, body: dict[str, Any]) -> dict[str, Any]:
        prompt = body.get("prompt")
        if isinstance(prompt, str) and len(prompt.encode()) > limits.MESSAGE_TEXT_BYTES:
            body["prompt"] = await self._by_reference(prompt)
        attachments = []
        for item in body.get("attachments", ()):
            text = item["content"].get("text", "")
            large = len(text.encode()) > limits.MESSAGE_TEXT_BYTES // 4
            attachments.append({**item, "content": await self._by_reference(text)} if large else item)
        return {**body, "attachments": attachments} if attachments else body

    async def _by_reference(self, text: str) -> dict[str, Any]:
        kept = await self.texts.put(text, Content.of(""))
        return kept.model_dump(exclude_none=True)

    async def follow(self, subjects: Sequence[str], timeout_s: float) -> AsyncIterator[Message]:
        """Events on these subjects from the oldest that is kept, then live; ends after `timeout_s` without an end.

        Raises:
            Unavailable: the bus went away.
        """
        until = time.monotonic() + timeout_s
        try:
            async with self._consumer(subjects, DeliverPolicy.ALL) as subscription:
                while (left := until - time.monotonic()) > 0:
                    try:
                        batch = await subscription.fetch(16, timeout=min(left, 1.0))
                    except TimeoutError:
                        continue
                    for msg in batch:
                        event = parse_event(msg.subject, msg.data)
                        if event is not None:
                            yield event
        except (APIError, nats.errors.ConnectionClosedError, nats.errors.NoRespondersError) as error:
            raise Unavailable(f"events cannot be read: {error}") from error

    @asynccontextmanager
    async def _consumer(
        self, subjects: Sequence[str], policy: DeliverPolicy
    ) -> AsyncIterator[JetStreamContext.PullSubscription]:
        config = ConsumerConfig(
            filter_subjects=list(subjects),
            deliver_policy=policy,
            ack_policy=AckPolicy.NONE,
            inactive_threshold=30.0,
            mem_storage=True,
        )
        info = await self._js.add_consumer(EVENTS, config=config)
        subscription = await self._js.pull_subscribe_bind(info.name, EVENTS)
        try:
            yield subscription
        finally:
            await subscription.unsubscribe()

    async def result(self, tenant: str, run: str) -> Result | None:
        """The result of a run, or None while there is none (or no longer one)."""
        last = None
        async for event in self.events(f"tierbus.event.{tenant}.{run}.result"):
            last = event
        return last if isinstance(last, Result) else None

    async def run(self, run: str) -> Run | None:
        """The state of a run, kept for a week after its end, or None."""
        found = await JetRuns(self.publisher, self.nc).read(run)
        return found[0] if found else None

    async def calls(self, run: str) -> list[CallRecorded]:
        """Every call of a run, in the order they were opened."""
        return await JetLedger(self.publisher, self.nc).of_run(run)

    async def events(self, subject: str) -> AsyncIterator[Message]:
        """Everything kept under an event subject, oldest first."""
        async for name, data, _headers in replay_messages(self.nc, EVENTS, subject):
            event = parse_event(name, data)
            if event is not None:
                yield event

    async def live(self, subject: str, timeout_s: float) -> AsyncIterator[Message]:
        """Events from now on."""
        until = time.monotonic() + timeout_s
        subscription = await self.nc.subscribe(subject)
        while (left := until - time.monotonic()) > 0:
            try:
                msg = await subscription.next_msg(timeout=left)
            except (TimeoutError, nats.errors.TimeoutError):
                return
            event = parse_event(msg.subject, msg.data)
            if event is not None:
                yield event

    async def cancel(self, tenant: str, run: str, reason: str) -> None:
        """Ask for a run to end early."""
        await self.publisher.say(CancelRequested(tenant=tenant, run=run, reason=reason))

    async def ledger(self, subject: str = "tierbus.ledger.>") -> AsyncIterator[CallRecorded]:
        """The last record of every call under a ledger subject."""
        async for _name, data, _headers in replay_messages(self.nc, LEDGER, subject, "last_per_subject"):
            yield CallRecorded.model_validate_json(data)

    async def measured(self, tenant: str = "*") -> AsyncIterator[QualityMeasured]:
        """What the quality watch knows of each task of a tenant, or of all."""
        subject = f"tierbus.quality.*.{tenant}.*"
        async for _name, data, _headers in replay_messages(self.nc, QUALITY, subject, "last_per_subject"):
            yield decode(QualityMeasured, data)

    async def feedback(self, tenant: str = "*") -> AsyncIterator[FeedbackGiven]:
        """The last feedback on each task of a tenant, or of all."""
        subject = f"tierbus.feedback.{tenant}.*"
        async for _name, data, _headers in replay_messages(self.nc, QUALITY, subject, "last_per_subject"):
            yield decode(FeedbackGiven, data)

    async def give(self, feedback: FeedbackGiven) -> None:
        """Say what somebody thinks of a result; an earlier word about the same task no longer counts.

        Raises:
            Unavailable: the bus did not acknowledge it.
        """
        await self.publisher.say(feedback)

    async def dead(self) -> AsyncIterator[DeadLettered]:
        """Every dead letter, oldest first."""
        async for _name, data, _headers in replay_messages(self.nc, DEAD, "tierbus.dead.>"):
            yield DeadLettered.model_validate_json(data)

    async def redrive(self, letter: DeadLettered, data: bytes) -> None:
        """Publish a dead letter's body again where it came from, as a new message.

        Raises:
            Unavailable: the bus did not acknowledge it.
        """
        headers = {name: value for name, value in letter.headers.items() if not name.startswith("Nats-")}
        headers[MSG_ID] = f"redrive.{letter.key}.{time.time_ns()}"
        await self.publisher.put(letter.origin, data, headers)


def parse_event(subject: str, data: bytes) -> Message | None:
    """The event on a subject, or None where this release does not know its kind."""
    kind = _EVENTS.get(subject.rsplit(".", 1)[-1])
    return decode(kind, data) if kind else None


@asynccontextmanager
async def client(settings: Settings, name: str = "cli") -> AsyncIterator[Client]:
    """A client for as long as the block lasts.

    Raises:
        Unavailable: there is no bus.
    """
    nc = await connect(settings, name)
    try:
        yield Client(nc)
    finally:
        await close(nc)
