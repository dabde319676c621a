"""How long the queues are: asked of the bus now and then, read by the metrics."""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import structlog
from nats.aio.client import Client

from tierbus.bus.apply import request
from tierbus.bus.slots import SlotSubscriber
from tierbus.bus.topology import Consumer
from tierbus.loops import end
from tierbus.telemetry import names
from tierbus.telemetry.meters import OtelMeters, Reading
from tierbus.telemetry.names import Attr

log = structlog.get_logger(__name__)

EVERY_S = 15.0


class Depth(NamedTuple):
    """A consumer's queue: messages nobody has taken, messages being worked on, age of the oldest of both in seconds."""

    waiting: int
    in_flight: int
    age_s: float


class Gauges:
    """Looks at the consumers of one service."""

    def __init__(self, nc: Client, consumers: Sequence[Consumer]) -> None:
        self._nc = nc
        self._consumers = consumers
        self._task: asyncio.Task[None] | None = None
        self.depths: dict[str, Depth] = {}

    def register(self, meters: OtelMeters, subscribers: Sequence[SlotSubscriber]) -> None:
        """Let the metrics read what was seen last."""
        meters.watch(names.QUEUE_DEPTH, lambda: self._each(lambda depth: depth.waiting))
        meters.watch(names.QUEUE_IN_FLIGHT, lambda: self._each(lambda depth: depth.in_flight))
        meters.watch(names.QUEUE_AGE, lambda: self._each(lambda depth: depth.age_s))
        meters.watch(names.SLOTS, lambda: [(one.slots, {Attr.CONSUMER: one.consumer.name}) for one in subscribers])
        meters.watch(names.SLOTS_BUSY, lambda: [(one.busy, {Attr.CONSUMER: one.consumer.name}) for one in subscribers])

    def _each(self, value: Any) -> Iterable[Reading]:
        return [(value(depth), {Attr.CONSUMER: name}) for name, depth in list(self.depths.items())]

    async def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._look_on())

    async def stop(self) -> None:
        """End it."""
        if self._task is not None:
            await end(self._task)

    async def _look_on(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Ask the bus about every consumer once; what cannot be seen is not told."""
        for consumer in self._consumers:
            try:
                self.depths[consumer.name] = await self._depth(consumer)
            except Exception as error:  # noqa: BLE001 - a look that fails must not be the last one
                self.depths.pop(consumer.name, None)
                log.debug("bus.depth_unknown", consumer=consumer.name, error=repr(error))

    async def _depth(self, consumer: Consumer) -> Depth:
        info = await request(self._nc, f"CONSUMER.INFO.{consumer.stream}.{consumer.name}")
        waiting, in_flight = int(info["num_pending"]), int(info["num_ack_pending"])
        if not waiting and not in_flight:
            return Depth(0, 0, 0.0)
        floor = int(info["ack_floor"]["stream_seq"])
        body = {"seq": floor + 1, "next_by_subj": consumer.filter}
        found = await request(self._nc, f"STREAM.MSG.GET.{consumer.stream}", body)
        since = found.get("message", {}).get("time")
        return Depth(waiting, in_flight, max(0.0, time.time() - _unix(since)) if since else 0.0)


def _unix(rfc3339: str) -> float:
    """NATS writes nanoseconds, which `fromisoformat` does not read."""
    whole, _, fraction = rfc3339.rstrip("Z").partition(".")
    return datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")
