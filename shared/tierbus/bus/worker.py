"""Between a delivered message and a handler: decode, handle, publish what came back, then settle the message."""

import asyncio
import base64
import time
from typing import NamedTuple

import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from tierbus import limits
from tierbus.bus.acks import Fate, Settlement, settle
from tierbus.bus.publish import Publisher
from tierbus.bus.topology import Consumer
from tierbus.contracts import DeadLettered, Message, decode, encode
from tierbus.errors import Rejected, TierbusError, Unavailable
from tierbus.service import Delivery, Service
from tierbus.telemetry.content import bare, cut
from tierbus.telemetry.handling import current
from tierbus.telemetry.watch import Watch

log = structlog.get_logger(__name__)

BURY_AGAIN_S = 5.0
CUT_BYTES = 256 * limits.KIB
"""How much of a body a dead letter keeps when the whole is more than the server takes."""


class Received(NamedTuple):
    """A message as it came."""

    msg: Msg
    delivery: Delivery


def received(msg: Msg) -> Received:
    """Read how a message came from its acknowledgement subject."""
    meta = msg.metadata
    return Received(
        msg,
        Delivery(
            subject=msg.subject,
            stream=meta.stream,
            sequence=meta.sequence.stream,
            deliveries=meta.num_delivered or 1,
            published_at=meta.timestamp.timestamp(),
            received_at=time.time(),
            headers=msg.headers or {},
        ),
    )


class Worker:
    """Handles the messages of one consumer for one service."""

    def __init__(self, service: Service, consumer: Consumer, publisher: Publisher, watch: Watch | None = None) -> None:
        self._service = service
        self._consumer = consumer
        self._publisher = publisher
        self._watch = watch or Watch()
        self._handle = service.handlers[consumer.message]
        self._owed: list[Msg] = []
        self._acking: asyncio.Task[None] | None = None

    async def __call__(self, arrived: Received) -> None:
        """Handle one message to its end; only a stop of the process leaves it unsettled."""
        msg, delivery = arrived
        try:
            if delivery.deliveries > limits.MAX_DELIVER:
                raise Rejected(f"delivered {delivery.deliveries} times without an end", reason_code="exhausted")
            message = decode(self._consumer.message, msg.data)
            await self._work(message, delivery)
        except Exception as error:  # noqa: BLE001 - the table in `acks` decides by type
            await self._settle(msg, delivery, error)
        else:
            self._watch.settled(Fate.ACK)
            await self._done(msg)

    async def _work(self, message: Message, delivery: Delivery) -> None:
        handling = current()
        if handling is None:
            await self._publisher.say(*await self._handle(message, delivery))
            return
        handling.read(message)
        said = await self._handle(message, delivery)
        handling.end(said)
        await self._publisher.say(*said)

    async def _done(self, msg: Msg) -> None:
        """Acknowledge. Where something was told that nobody else would tell, only once that has left: else the next worker does."""
        handling = current()
        if handling is None or not handling.owes:
            await msg.ack()
            return
        self._owed.append(msg)
        if self._acking is None or self._acking.done():
            self._acking = asyncio.create_task(self._ack_owed())

    async def _ack_owed(self) -> None:
        """One wait for all that are owed now, then one for those that came meanwhile."""
        while self._owed:
            owed, self._owed = self._owed, []
            await self._watch.sink.exported()
            for msg in owed:
                try:
                    await msg.ack()
                except NatsError as error:
                    log.warning("bus.not_acknowledged", subject=msg.subject, error=repr(error))

    async def settle_all(self) -> None:
        """Wait for the acknowledgements that are still to come."""
        if self._acking is not None:
            await self._acking

    async def _settle(self, msg: Msg, delivery: Delivery, error: Exception) -> None:
        fate = settle(error, delivery.deliveries)
        self._tell(fate, delivery, error)
        self._watch.failed(fate.fate, error, foreseen=isinstance(error, TierbusError))
        self._watch.settled(fate.fate)
        if fate.fate is Fate.ACK:
            await msg.ack()
        elif fate.fate is Fate.NAK:
            await msg.nak(delay=fate.delay_s)
        else:
            await self._bury(msg, delivery, error, fate.reason)

    async def _bury(self, msg: Msg, delivery: Delivery, error: Exception, reason: str) -> None:
        """Out of the queue: the dead letter first, then what the service says about it, then the acknowledgement.

        Last words that break are tried as often as a message is delivered; then the dead letter must do.
        """
        buried = False
        try:
            await self._publisher.say(self._dead_letter(msg, delivery, error, reason))
            buried = True
            words = await self._last_words(msg, delivery, error)
            await self._publisher.say(*words)
            self._watch.dead(reason, words)
        except Exception as second:  # noqa: BLE001 - a message that is never settled would come back for ever
            known = isinstance(second, TierbusError)
            last = buried and not known and delivery.deliveries > limits.MAX_DELIVER
            say = log.warning if known else log.error
            say("bus.not_buried", subject=delivery.subject, error=repr(second), exc_info=None if known else second)
            if last:
                await msg.ack()
            else:
                await msg.nak(delay=second.delay_s if isinstance(second, Unavailable) else BURY_AGAIN_S)
        else:
            await self._done(msg)

    async def _last_words(self, msg: Msg, delivery: Delivery, error: Exception) -> list[Message]:
        kind = self._consumer.message
        if kind in self._service.refuse:
            return list(self._service.refuse[kind](delivery, msg.data, error))
        if kind not in self._service.give_up:
            return []
        try:
            message = decode(kind, msg.data)
        except Rejected:
            return []
        return list(await self._service.give_up[kind](message, delivery, error))

    def _dead_letter(self, msg: Msg, delivery: Delivery, error: Exception, reason: str) -> DeadLettered:
        body, body_b64 = _text(msg.data)
        letter = DeadLettered(
            service=self._service.name,
            reason=reason,
            error=f"{type(error).__name__}: {error}"[:2000],
            origin=delivery.subject,
            stream=delivery.stream,
            sequence=delivery.sequence,
            deliveries=delivery.deliveries,
            headers=dict(delivery.headers),
            body=body,
            body_b64=body_b64,
            at=time.time(),
            trace_id=handling.trace_id if (handling := current()) else None,
        )
        if len(encode(letter)) <= self._publisher.room:
            return letter
        return letter.model_copy(
            update={
                "error": f"{letter.error} (cut: the body has {len(msg.data)} bytes, too many for a dead letter)",
                "headers": {},
                "body": None,
                "body_b64": base64.b64encode(msg.data[:CUT_BYTES]).decode(),
            }
        )

    def _tell(self, fate: Settlement, delivery: Delivery, error: Exception) -> None:
        known = isinstance(error, TierbusError)
        say = log.warning if known else log.error
        say(
            f"bus.{fate.fate}",
            consumer=self._consumer.name,
            subject=delivery.subject,
            deliveries=delivery.deliveries,
            delay_s=fate.delay_s,
            reason=fate.reason,
            error=cut(f"{type(error).__name__}: {bare(error)}", 500),
            exc_info=None if known else error,
        )


def _text(data: bytes) -> tuple[str | None, str | None]:
    try:
        return data.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(data).decode()
