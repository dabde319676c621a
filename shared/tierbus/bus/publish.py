"""Saying things on the bus: each message once per key, however often it is said."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime
from typing import Any

import nats.errors
from nats.aio.client import Client
from nats.js.errors import APIError

from tierbus import limits
from tierbus.bus.topology import CLOSING_SUBJECT
from tierbus.contracts import (
    BatchDue,
    BatchTimerSet,
    CallRecorded,
    DeadLettered,
    Message,
    PilotChanged,
    PilotOutcome,
    PolicySaw,
    Result,
    StepReviewed,
    StepStarted,
    TaskPlanned,
    TaskRouted,
    TimerDue,
    TimerSet,
    encode,
)
from tierbus.errors import Conflict, Misconfigured, Unavailable
from tierbus.telemetry.handling import headers

ACK_TIMEOUT_S = 5.0
MSG_ID = "Nats-Msg-Id"
EXPECT_LAST = "Nats-Expected-Last-Subject-Sequence"
TTL = "Nats-TTL"
_SCHEDULE = "Nats-Schedule"
_SCHEDULE_TARGET = "Nats-Schedule-Target"
_CONFLICTS = {10071, 10164}
_PROGRESS = (TaskRouted, TaskPlanned, StepStarted, StepReviewed)


class Publisher:
    """Publishes messages over one connection.

    Progress events are sent without waiting for the stream to confirm them; everything else is confirmed.
    """

    def __init__(self, nc: Client) -> None:
        self._nc = nc

    @property
    def room(self) -> int:
        """Bytes that a message may have: what the server takes, less our own headers."""
        return self._nc.max_payload - 1024

    async def say(self, *messages: Message) -> None:
        """Publish all of them, side by side; returns when the streams hold them.

        Raises:
            Unavailable: the bus did not confirm in time. Saying it again is safe.
        """
        if len(messages) == 1:
            await self._say(messages[0])
        elif messages:
            await asyncio.gather(*(self._say(message) for message in messages))

    async def _say(self, message: Message) -> None:
        if isinstance(message, _PROGRESS):
            await self._nc.publish(message.subject, encode(message), headers={MSG_ID: message.key})
        elif isinstance(message, Result):
            await self._say_once(message, headers(message))
        elif isinstance(message, PilotOutcome | PilotChanged):
            await self._say_once(message, {TTL: f"{int(limits.PILOT_AGE_S)}s"})
        elif isinstance(message, PolicySaw):
            await self._say_once(message, {TTL: f"{int(limits.TALLY_AGE_S)}s"})
        elif isinstance(message, TimerSet):
            due = TimerDue(run=message.run)
            await self.put(message.subject, encode(due), _schedule(message.key, message.due_at, due.subject))
        elif isinstance(message, BatchTimerSet):
            await self._set_batch_timer(message)
        elif isinstance(message, BatchDue):
            await self.put(message.subject, encode(message), {})  # it is due again and again, and belongs to no run
        elif isinstance(
            message, CallRecorded | DeadLettered | TimerDue
        ):  # a timer is about another run than the one in hand
            await self.put(message.subject, encode(message), {MSG_ID: message.key})
        else:
            await self.put(message.subject, encode(message), {MSG_ID: message.key, **headers(message)})

    async def _set_batch_timer(self, timer: BatchTimerSet) -> None:
        """The `first` one stands until it rings: whoever comes later does not put it off."""
        due = BatchDue(place=timer.place, collect=timer.collect)
        headers = _schedule(timer.key, timer.due_at, due.subject)
        if not timer.first:
            await self.put(timer.subject, encode(due), headers)
            return
        with contextlib.suppress(Conflict):
            await self.put(timer.subject, encode(due), {**headers, EXPECT_LAST: "0"})

    async def _say_once(self, message: Message, more: dict[str, str]) -> None:
        """The first one stands as long as it is kept; a later one is dropped by the server."""
        try:
            await self.put(message.subject, encode(message), {EXPECT_LAST: "0", **more})
        except Conflict:
            return

    async def put(self, subject: str, data: bytes, headers: dict[str, str]) -> int:
        """Publish and wait for the stream's confirmation; returns the sequence.

        Raises:
            Conflict: the expected sequence is not the last one.
            Unavailable: no confirmation, or no stream for now.
            Misconfigured: the stream refuses the message.
        """
        ack = await self.request(subject, data, headers)
        error = ack.get("error")
        if error is None:
            return int(ack["seq"])
        code = error.get("err_code")
        if code in _CONFLICTS:
            raise Conflict(f"{subject}: {error.get('description')}")
        raise Misconfigured(f"{subject} was refused by its stream: {error.get('description')} (code {code})")

    async def request(self, subject: str, data: bytes, headers: dict[str, str] | None = None) -> dict[str, Any]:
        """One request with a JSON answer.

        Raises:
            Unavailable: no answer in time, or nobody there.
        """
        try:
            reply = await self._nc.request(subject, data, timeout=ACK_TIMEOUT_S, headers=headers)
        except (
            TimeoutError,
            nats.errors.TimeoutError,
            nats.errors.NoRespondersError,
            nats.errors.ConnectionClosedError,
            nats.errors.OutboundBufferLimitError,
            APIError,
        ) as error:
            raise Unavailable(f"the bus did not answer on {subject}: {type(error).__name__}") from error
        answer: dict[str, Any] = json.loads(reply.data)
        return answer

    async def announce_closing(self, run: str) -> None:
        """Tell executors that a run is ending, so that they stop calls in flight; lossy, the ledger settles the rest."""
        await self._nc.publish(CLOSING_SUBJECT.format(run=run), b"")


def _schedule(key: str, due_at: float, target: str) -> dict[str, str]:
    at = datetime.fromtimestamp(due_at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        MSG_ID: key,
        _SCHEDULE: f"@at {at}",
        _SCHEDULE_TARGET: target,
    }
