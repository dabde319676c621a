"""How long the queues are, as the metrics say; and an end that is told before its message is gone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from prometheus_client.parser import text_string_to_metric_families
from tests.plans import NOW, judged, new_run
from tests.shared.bus.waiting import until

from tierbus.bus import gauges, topology
from tierbus.bus.app import Attached, Bus, attach
from tierbus.bus.apply import request
from tierbus.bus.connect import options
from tierbus.bus.gauges import Depth, Gauges
from tierbus.bus.middleware import watching
from tierbus.bus.publish import Publisher
from tierbus.contracts import Message, PlanJudged, PlanRequested, Priority, VerdictKind
from tierbus.errors import Unavailable
from tierbus.result import result_of
from tierbus.run import advance, begin
from tierbus.service import Delivery, Service
from tierbus.settings import Settings
from tierbus.telemetry.meters import OtelMeters
from tierbus.telemetry.sinks import Make
from tierbus.telemetry.spans import Span
from tierbus.telemetry.watch import Watch

LANE = next(one for one in topology.CONSUMERS if one.name == "planner-plan-normal")
LOW = next(one for one in topology.CONSUMERS if one.name == "planner-plan-low")
MISSING = replace(LANE, name="nobody")


def plan(number: int, priority: Priority = Priority.NORMAL) -> PlanRequested:
    return PlanRequested(run=f"{number + 1:032x}", priority=priority)


async def say(nc: Client, *messages: Message) -> None:
    for message in messages:
        await Publisher(nc).say(message)


async def take(nc: Client, count: int) -> list[Msg]:
    subscription = await nc.jetstream().pull_subscribe_bind(LANE.name, LANE.stream)
    taken: list[Msg] = []
    while len(taken) < count:
        taken += await subscription.fetch(count - len(taken), timeout=10)
    await subscription.unsubscribe()
    return taken


async def done(nc: Client, msg: Msg) -> None:
    await msg.ack_sync(timeout=10)
    await nc.flush()


async def seen(nc: Client) -> Depth:
    looking = Gauges(nc, [LANE])
    await looking.look()
    return looking.depths[LANE.name]


class TestDepth:
    async def test_an_empty_queue_is_told_as_empty(self, nc: Client) -> None:
        assert await seen(nc) == Depth(0, 0, 0.0)

    async def test_waiting_taken_and_done_messages_are_told_apart(self, nc: Client) -> None:
        await say(nc, *(plan(number) for number in range(5)))
        assert (await seen(nc))[:2] == (5, 0)
        taken = await take(nc, 3)
        assert (await seen(nc))[:2] == (2, 3)
        await done(nc, taken[0])
        assert (await seen(nc))[:2] == (2, 2)
        for msg in (*taken[1:], *await take(nc, 2)):
            await done(nc, msg)
        assert await seen(nc) == Depth(0, 0, 0.0)

    async def test_the_age_is_that_of_the_oldest_message_that_is_not_done(self, nc: Client) -> None:
        said: list[tuple[float, float]] = []
        for number in range(3):
            before = time.time()
            await say(nc, plan(number))
            said.append((before, time.time()))
            await asyncio.sleep(0.4)

        async def is_age_of(place: int) -> bool:
            before, after = said[place]
            began = time.time()
            age = (await seen(nc)).age_s
            return began - after <= age <= time.time() - before

        assert await is_age_of(0)
        first, second, third = await take(nc, 3)
        assert await is_age_of(0), "it does not matter who has it"
        await done(nc, third)
        assert await is_age_of(0)
        await done(nc, first)
        assert await is_age_of(1)
        await done(nc, second)

    async def test_messages_of_another_queue_are_not_counted(self, nc: Client) -> None:
        await say(nc, plan(1, Priority.LOW))
        await asyncio.sleep(0.5)
        await say(nc, plan(2))
        looking = Gauges(nc, [LANE, LOW])
        await looking.look()

        assert looking.depths[LANE.name][:2] == looking.depths[LOW.name][:2] == (1, 0)
        assert looking.depths[LANE.name].age_s < looking.depths[LOW.name].age_s - 0.3

    async def test_a_missing_consumer_is_not_told_and_hides_no_other(self, nc: Client) -> None:
        looking = Gauges(nc, [MISSING, LANE])
        await looking.look()

        assert set(looking.depths) == {LANE.name}

    async def test_a_consumer_that_is_gone_is_told_no_longer(self, nc: Client) -> None:
        looking = Gauges(nc, [LANE, LOW])
        await looking.look()
        assert set(looking.depths) == {LANE.name, LOW.name}
        await request(nc, f"CONSUMER.DELETE.{LANE.stream}.{LANE.name}")
        await looking.look()

        assert set(looking.depths) == {LOW.name}

    async def test_a_bus_that_does_not_answer_is_not_told_as_empty(
        self, nc: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looking = Gauges(nc, [LANE])
        await looking.look()

        async def silent(*_: object) -> dict[str, object]:
            raise Unavailable("no answer")

        monkeypatch.setattr(gauges, "request", silent)
        await looking.look()

        assert looking.depths == {}


class TestGauges:
    async def test_what_was_seen_last_is_scraped(self, nc: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gauges, "EVERY_S", 0.05)
        meters = OtelMeters("planner", "1", {})
        looking = Gauges(nc, [LANE, MISSING])
        looking.register(meters, [])
        assert depths(meters) == {}
        await looking.start()
        await until(lambda: depths(meters) == {LANE.name: 0}, "it looks at once")
        await say(nc, plan(1), plan(2))
        await until(lambda: depths(meters) == {LANE.name: 2}, "and again")
        await looking.stop()
        await say(nc, plan(3))
        await asyncio.sleep(0.3)
        assert depths(meters) == {LANE.name: 2}, "and no longer"
        meters.close()

    async def test_one_that_was_not_started_can_be_stopped(self, nc: Client) -> None:
        await Gauges(nc, [LANE]).stop()

    async def test_places_and_those_in_use_are_scraped(self, nc: Client, nats_url: str) -> None:
        gate = asyncio.Event()

        async def wait(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await gate.wait()
            return []

        meters = OtelMeters("planner", "1", {})
        async with serving(nats_url, Watch(), wait) as attached:
            Gauges(nc, [LANE]).register(meters, attached.subscribers)
            await say(nc, plan(1), plan(2))
            await until(lambda: scraped(meters, "tierbus_slots_busy")[LANE.name] == 2, "both are worked on")
            assert scraped(meters, "tierbus_slots") == {
                LANE.name: 4,
                LOW.name: 1,
                "planner-plan-high": 4,
                "planner-judged": 1,
            }
            assert scraped(meters, "tierbus_slots_busy") == {
                LANE.name: 2,
                LOW.name: 0,
                "planner-plan-high": 0,
                "planner-judged": 0,
            }
            gate.set()
        meters.close()


def scraped(meters: OtelMeters, name: str) -> dict[str, float]:
    families = text_string_to_metric_families(meters.scrape().decode())
    return {
        one.labels["tierbus_consumer"]: one.value for family in families for one in family.samples if one.name == name
    }


def depths(meters: OtelMeters) -> dict[str, float]:
    return scraped(meters, "tierbus_queue_depth")


@dataclass
class Slow:
    """A sink whose collector takes its time."""

    sent: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0
    told: list[Span] = field(default_factory=list)

    def wants(self, trace_id: str) -> bool:
        return bool(trace_id)

    def later(self, make: Make) -> None:
        self.told += make()

    async def exported(self) -> None:
        self.asked += 1
        await self.sent.wait()


Handles = Callable[[PlanRequested, Delivery], object]


@asynccontextmanager
async def serving(nats_url: str, watch: Watch, handler: Handles) -> AsyncIterator[Attached]:
    """A planner that is watched, as `serve` wires one."""
    settings = Settings(nats_url=nats_url, slots=4, drain_s=20.0)
    broker = NatsBroker(
        settings.servers,
        apply_types=False,
        logger=None,
        graceful_timeout=settings.drain_s,
        middlewares=[watching(watch)],
        **options(settings, "planner"),
    )
    await broker.connect()
    bus = Bus.over(broker.config.connection_state.connection)
    service = Service("planner", {PlanRequested: handler, PlanJudged: handler})  # type: ignore[dict-item] # handlers of this file
    attached = attach(broker, service, bus, settings, watch)
    await broker.start()
    try:
        yield attached
    finally:
        await attached.stop()
        await attached.settle()
        await broker.stop()


class TestEnds:
    async def test_the_message_that_ended_a_task_is_done_only_when_its_end_has_been_sent(
        self, nc: Client, nats_url: str
    ) -> None:
        sink = Slow()
        watch = Watch(sink)

        async def handle(wanted: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            before = begin(new_run(id=wanted.run), NOW).run
            watch.about(before)
            if wanted.run != plan(1).run:
                return []
            after = advance(before, judged("answer", 1, VerdictKind.ACCEPT), NOW + 1).run
            watch.changed(before, after, NOW + 1)
            return [result_of(after)]

        async with serving(nats_url, watch, handle) as attached:
            await say(nc, plan(1), *(plan(number) for number in range(2, 8)))
            await until(lambda: sink.asked == 1, "the end is on its way")

            async def only_the_end() -> bool:
                return (await seen(nc))[:2] == (0, 1)

            await until(only_the_end, "all others are done")
            await until(lambda: sum(one.busy for one in attached.subscribers) == 0, "no place is kept for it")
            assert [span.name for span in sink.told if span.name.startswith("task")] == ["task direct"]
            settling = asyncio.ensure_future(attached.settle())
            await asyncio.sleep(0.2)
            assert not settling.done()
            assert (await seen(nc))[:2] == (0, 1), "not before it was sent"
            sink.sent.set()
            await settling

            async def gone() -> bool:
                return (await seen(nc))[:2] == (0, 0)

            await until(gone, "then it is done")
        assert sink.asked == 1

    async def test_a_message_that_ended_nothing_waits_for_nobody(self, nc: Client, nats_url: str) -> None:
        sink = Slow()

        async def handle(wanted: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            watch.about(begin(new_run(id=wanted.run), NOW).run)
            return []

        watch = Watch(sink)
        async with serving(nats_url, watch, handle):
            await say(nc, plan(1))

            async def gone() -> bool:
                return bool(sink.told) and (await seen(nc))[:2] == (0, 0)

            await until(gone)
        assert sink.asked == 0
        assert [span.name for span in sink.told] == ["wait tierbus.plan", "process tierbus.plan"]
