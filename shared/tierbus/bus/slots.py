"""The work subscriber: FastStream's pull subscriber, fetching only for free slots.

It differs from its parent in five ways (faststream 0.7.8): it asks the server for no more messages than it has free
slots; it tells the server that it is alive from fetch to ack; it finds out when its consumer was deleted or the server
forgot its requests, and mends both; on stop it hands back what it has not begun; and it waits for what it has begun.
"""

import asyncio
import contextlib
import json
import time
from typing import Any

import structlog
from faststream._internal.broker.registrator import Registrator
from faststream._internal.endpoint.subscriber.call_item import CallsCollection
from faststream.middlewares import AckPolicy
from faststream.nats import JStream, NatsBroker, PullSub
from faststream.nats.subscriber.config import NatsSubscriberConfig, NatsSubscriberSpecificationConfig
from faststream.nats.subscriber.specification import NatsSubscriberSpecification
from faststream.nats.subscriber.usecases import PullStreamSubscriber
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import ConnectionClosedError
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig

from tierbus import limits
from tierbus.bus.apply import apply_consumer, request
from tierbus.bus.topology import NANOS, Consumer
from tierbus.errors import TierbusError

log = structlog.get_logger(__name__)

PULL_EXPIRES_S = 30
IDLE_HEARTBEAT_S = 5
SILENCE_S = 2.5 * IDLE_HEARTBEAT_S
BEAT_S = limits.ACK_WAIT_S / 3


class SlotSubscriber(PullStreamSubscriber):
    """A pull consumer with `slots` places for work. `drain_s` is how long stop waits for work that has begun."""

    def __init__(self, *args: Any, consumer: Consumer, slots: int, drain_s: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.consumer = consumer
        self.slots = slots
        self._drain_s = drain_s
        self._free = slots
        self._asked = 0
        self._working: dict[asyncio.Task[None], Msg] = {}
        self._inbox: Subscription | None = None
        self._heard = 0.0
        self._reconnects = 0
        self._healthy = False
        self._nudge = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """Whether the consumer was there and answering when last looked at."""
        return self._healthy

    @property
    def busy(self) -> int:
        """Messages being worked on."""
        return len(self._working)

    async def _create_subscription(self) -> None:
        self.running = True
        await self._listen()
        self.add_task(self._tend)

    async def _listen(self) -> None:
        """A new inbox: requests that the server still holds for the old one die with it."""
        if self._inbox is not None:
            with contextlib.suppress(NatsError):
                await self._inbox.unsubscribe()
        inbox = self.connection.new_inbox()
        self._inbox = await self.connection.subscribe(inbox, cb=self._receive)
        self._asked = 0
        self._heard = time.monotonic()
        self._healthy = True
        await self._ask()

    async def _ask(self) -> None:
        """Ask for as many messages as there are free slots, in batches of at least half of them."""
        wanted = self._free - self._asked
        if not self.running or wanted <= 0 or self._asked > self.slots // 2 or self._inbox is None:
            return
        self._asked += wanted
        if self._asked == wanted:
            self._heard = time.monotonic()
        body = {
            "batch": wanted,
            "expires": PULL_EXPIRES_S * NANOS,
            "idle_heartbeat": IDLE_HEARTBEAT_S * NANOS,
        }
        subject = f"$JS.API.CONSUMER.MSG.NEXT.{self.consumer.stream}.{self.consumer.name}"
        try:
            await self.connection.publish(subject, json.dumps(body).encode(), reply=self._inbox.subject)
        except ConnectionClosedError:
            self._asked -= wanted

    async def _receive(self, msg: Msg) -> None:
        self._heard = time.monotonic()
        if not msg.reply:
            await self._on_status(msg)
        elif not self.running:
            await msg.nak()
        else:
            self._asked -= 1
            self._free -= 1
            task = asyncio.create_task(self._work(msg))
            self._working[task] = msg
            task.add_done_callback(self._forget)
            await self._ask()

    async def _on_status(self, msg: Msg) -> None:
        headers = msg.headers or {}
        status = headers.get("Status", "")
        if status == "100":
            return
        if status in {"404", "408"} or "Nats-Pending-Messages" in headers:
            self._asked = max(0, self._asked - int(headers.get("Nats-Pending-Messages", self._asked)))
            await self._ask()
        else:
            log.warning("bus.pull_refused", consumer=self.consumer.name, status=status, why=headers.get("Description"))
            self._healthy = False
            self._nudge.set()

    async def _work(self, msg: Msg) -> None:
        try:
            await self.process_message(msg)
        except asyncio.CancelledError:
            with contextlib.suppress(NatsError):
                await msg.nak()
            raise

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._working.pop(task, None)
        self._free += 1
        if not task.cancelled() and (error := task.exception()):
            log.error("bus.handler_broke", consumer=self.consumer.name, error=repr(error))
        if self.running:
            again = asyncio.ensure_future(self._ask())
            again.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _tend(self) -> None:
        """Once a beat: keep what is worked on, and mend what is broken."""
        beat = time.monotonic()
        while self.running:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._nudge.wait(), timeout=1.0)
            if self._nudge.is_set():
                self._nudge.clear()
                await asyncio.sleep(0.5)
            if time.monotonic() - beat >= BEAT_S:
                beat = time.monotonic()
                await self._beat()
            await self._mend()

    async def _beat(self) -> None:
        for msg in list(self._working.values()):
            with contextlib.suppress(NatsError):
                await msg.in_progress()

    async def _mend(self) -> None:
        if not self.connection.is_connected:
            return
        reconnects = self.connection.stats["reconnects"]
        silent = self._asked > 0 and time.monotonic() - self._heard > SILENCE_S
        if self._healthy and not silent and reconnects == self._reconnects:
            return
        self._healthy = False
        try:
            found = await request(self.connection, f"CONSUMER.INFO.{self.consumer.stream}.{self.consumer.name}")
            if "error" in found:
                log.warning("bus.consumer_missing", consumer=self.consumer.name)
                await apply_consumer(self.connection, self.consumer)
            await self._listen()
        except (TierbusError, NatsError) as error:
            log.warning("bus.consumer_not_mended", consumer=self.consumer.name, error=str(error))
            self._heard = time.monotonic()
            return
        self._reconnects = reconnects

    async def stop(self) -> None:
        """Hand back what is not begun, wait for what is, then let go."""
        if not self.running:
            return
        self.running = False
        if self._inbox is not None:
            with contextlib.suppress(NatsError, asyncio.TimeoutError):
                await asyncio.wait_for(self._inbox.drain(), timeout=5.0)  # type: ignore[no-untyped-call] # nats-py leaves it bare
            self._inbox = None
        deadline = time.monotonic() + self._drain_s
        while self._working and time.monotonic() < deadline:
            await asyncio.wait(list(self._working), timeout=min(BEAT_S, deadline - time.monotonic()))
            await self._beat()
        left = list(self._working)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await super().stop()


def subscribe(broker: NatsBroker, consumer: Consumer, slots: int, drain_s: float, decoder: Any) -> SlotSubscriber:
    """Register a slot subscriber for a consumer of the topology with a FastStream broker."""
    config = NatsSubscriberConfig(
        subject=consumer.filter,
        sub_config=ConsumerConfig(durable_name=consumer.name, filter_subjects=[]),
        extra_options={},
        no_reply=True,
        _outer_config=broker.config,  # type: ignore[arg-type] # the broker's composed config, as its own factory passes it
        _ack_policy=AckPolicy.MANUAL,
    )
    calls: CallsCollection[Msg] = CallsCollection()
    specification = NatsSubscriberSpecification(
        _outer_config=broker.config,  # type: ignore[arg-type] # as above
        calls=calls,
        specification_config=NatsSubscriberSpecificationConfig(
            subject=consumer.filter,
            queue=None,
            filter_subjects=[],
            title_=None,
            description_=None,
            include_in_schema=True,
        ),
    )
    subscriber = SlotSubscriber(
        config,
        specification,
        calls,
        queue="",
        pull_sub=PullSub(),
        stream=JStream(consumer.stream, declare=False),
        consumer=consumer,
        slots=slots,
        drain_s=drain_s,
    )
    Registrator.subscriber(broker, subscriber)
    return subscriber.add_call(parser_=None, decoder_=decoder, dependencies_=())
