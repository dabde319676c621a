"""Running a service: FastStream's application around a NATS broker, with its health endpoints."""

import asyncio
import contextlib
import json
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import structlog
import uvicorn
from faststream.asgi import AsgiFastStream, AsgiResponse, get
from faststream.nats import NatsBroker, NatsMessage
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client import CONTENT_TYPE_LATEST

from tierbus.bus import topology
from tierbus.bus.answers import JetAnswers
from tierbus.bus.connect import options
from tierbus.bus.gauges import Gauges
from tierbus.bus.middleware import watching
from tierbus.bus.publish import Publisher
from tierbus.bus.shelves import JetShelves
from tierbus.bus.slots import SlotSubscriber, subscribe
from tierbus.bus.stores import JetLedger, JetLots, JetMeasures, JetOutputs, JetRuns, JetTexts
from tierbus.bus.worker import Received, Worker, received
from tierbus.service import Service
from tierbus.settings import Settings
from tierbus.telemetry.process import Telemetry
from tierbus.telemetry.watch import Watch

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Bus:
    """What a service is built on: where its things are kept, and how things are said."""

    publisher: Publisher
    runs: JetRuns
    outputs: JetOutputs
    texts: JetTexts
    ledger: JetLedger
    answers: JetAnswers
    shelves: JetShelves
    measures: JetMeasures
    lots: JetLots
    nc: Client

    @classmethod
    def over(cls, nc: Client) -> "Bus":
        """All stores over one connection."""
        publisher = Publisher(nc)
        return cls(
            publisher,
            JetRuns(publisher, nc),
            JetOutputs(publisher),
            JetTexts(nc),
            JetLedger(publisher, nc),
            JetAnswers(publisher),
            JetShelves(publisher),
            JetMeasures(publisher, nc),
            JetLots(publisher),
            nc,
        )

    async def on_closing(self, stop: Callable[[str], None]) -> None:
        """Call `stop` with the run whenever a run is ending."""

        async def heard(msg: Msg) -> None:
            stop(msg.subject.rsplit(".", 1)[-1])

        await self.nc.subscribe(topology.CLOSING_SUBJECT.format(run="*"), cb=heard)


async def _decode(message: NatsMessage) -> Received:
    return received(message.raw_message)


class Attached(NamedTuple):
    """What works on the service's consumers."""

    subscribers: list[SlotSubscriber]
    workers: list[Worker]

    async def stop(self) -> None:
        """Stop fetching, and finish what is begun."""
        await asyncio.gather(*(subscriber.stop() for subscriber in self.subscribers))

    async def settle(self) -> None:
        """Acknowledge what waits for its spans to leave."""
        await asyncio.gather(*(worker.settle_all() for worker in self.workers))


def attach(broker: NatsBroker, service: Service, bus: Bus, settings: Settings, watch: Watch) -> Attached:
    """Bind every consumer of the service to its handler."""
    subscribers, workers = [], []
    for consumer in topology.of_service(service.name):
        slots = max(1, round(settings.slots * consumer.share))
        subscriber = subscribe(broker, consumer, slots, settings.drain_s, _decode)
        worker = Worker(service, consumer, bus.publisher, watch)
        subscriber(worker.__call__)
        subscribers.append(subscriber)
        workers.append(worker)
    return Attached(subscribers, workers)


async def serve(name: str, build: Callable[[Bus], Service], settings: Settings, telemetry: Telemetry) -> None:
    """Run a service until SIGTERM or SIGINT, then drain it."""
    broker = NatsBroker(
        settings.servers,
        apply_types=False,
        logger=None,
        graceful_timeout=settings.drain_s,
        middlewares=[watching(telemetry.watch)],
        **options(settings, name),
    )
    await broker.connect()
    bus = Bus.over(broker.config.connection_state.connection)
    service = build(bus)
    attached = attach(broker, service, bus, settings, telemetry.watch)
    gauges = Gauges(bus.nc, topology.of_service(name))
    gauges.register(telemetry.meters, attached.subscribers)
    service = replace(service, on_start=(*service.on_start, gauges.start), on_stop=(gauges.stop, *service.on_stop))
    app = _application(broker, service, attached, telemetry)
    for ended in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ended, lambda *_: None)
    config = uvicorn.Config(
        app,
        host=settings.health_host,
        port=settings.health_port,
        access_log=False,
        log_config=None,
        lifespan="on",
        timeout_graceful_shutdown=2,
    )
    await uvicorn.Server(config).serve()


def _application(broker: NatsBroker, service: Service, attached: Attached, telemetry: Telemetry) -> AsgiFastStream:
    subscribers = attached.subscribers

    @contextlib.asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        for start in service.on_start:
            await start()
        yield

    async def drain() -> None:
        log.info("service.draining", busy=sum(subscriber.busy for subscriber in subscribers))
        try:
            await attached.stop()
            for stop in service.on_stop:
                await stop()
        finally:
            await telemetry.flush()
            await attached.settle()
        log.info("service.stopped")

    async def started() -> None:
        log.info("service.started", consumers=len(subscribers))

    @get
    async def livez(_scope: Any) -> AsgiResponse:
        return AsgiResponse(b'{"alive": true}', 200, {"content-type": "application/json"})

    @get
    async def readyz(_scope: Any) -> AsgiResponse:
        missing = [subscriber.consumer.name for subscriber in subscribers if not subscriber.healthy]
        connected = broker.config.connection_state.connection.is_connected
        ready = connected and not missing and all(subscriber.running for subscriber in subscribers)
        body = {"ready": ready, "connected": connected, "missing": missing}
        return AsgiResponse(json.dumps(body).encode(), 200 if ready else 503, {"content-type": "application/json"})

    @get
    async def metrics(_scope: Any) -> AsgiResponse:
        return AsgiResponse(
            await asyncio.to_thread(telemetry.meters.scrape), 200, {"content-type": CONTENT_TYPE_LATEST}
        )

    return AsgiFastStream(
        broker,
        logger=None,
        lifespan=lifespan,
        after_startup=[started],
        on_shutdown=[drain],
        asgi_routes=[("/livez", livez), ("/readyz", readyz), ("/metrics", metrics)],
    )
