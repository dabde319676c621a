"""Work on a real server: slots, beats, mending, stopping, and what becomes of a message when its handler fails."""

import asyncio
import base64
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from faststream.nats import NatsBroker
from nats.aio.client import Client
from nats.aio.msg import Msg
from tests.shared.bus.waiting import until

from tierbus import limits
from tierbus.bus import acks, slots, topology, worker
from tierbus.bus.app import Bus, attach
from tierbus.bus.apply import request
from tierbus.bus.connect import options
from tierbus.bus.publish import MSG_ID, Publisher
from tierbus.bus.slots import SlotSubscriber
from tierbus.bus.stores import replay
from tierbus.bus.topology import NANOS, consumer_config
from tierbus.contracts import DeadLettered, Message, PlanJudged, PlanRequested, Priority, StepReleased, Tier, encode
from tierbus.errors import Cancelled, Conflict, Misconfigured, Rejected, Unavailable
from tierbus.service import Delivery, GiveUp, Refusal, Service
from tierbus.settings import Settings
from tierbus.telemetry.watch import Watch

LANE = next(one for one in topology.CONSUMERS if one.name == "planner-plan-normal")
FOR_EVER_S = 3600.0

Behaviour = Callable[[PlanRequested, Delivery], Awaitable[Sequence[Message]]]


async def well(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
    return []


@dataclass
class Recorder:
    """A handler that remembers what it was given, then behaves as it was told."""

    behaviour: Behaviour = well
    begun: list[tuple[str, Delivery]] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    busy: int = 0
    peak: int = 0

    async def __call__(self, wanted: PlanRequested, delivery: Delivery) -> Sequence[Message]:
        self.begun.append((wanted.run, delivery))
        self.busy += 1
        self.peak = max(self.peak, self.busy)
        try:
            said = await self.behaviour(wanted, delivery)
            self.ended.append(wanted.run)
            return said
        finally:
            self.busy -= 1

    @property
    def deliveries(self) -> list[int]:
        return [delivery.deliveries for _run, delivery in self.begun]


@dataclass
class Running:
    """A service at work."""

    broker: NatsBroker
    subscribers: list[SlotSubscriber]

    @property
    def lane(self) -> SlotSubscriber:
        return next(one for one in self.subscribers if one.consumer is LANE)

    async def stop(self) -> None:
        """What a service does when it is told to end."""
        await asyncio.gather(*(subscriber.stop() for subscriber in self.subscribers))


@asynccontextmanager
async def serving(
    nats_url: str,
    handler: Recorder,
    places: int = 4,
    drain_s: float = 20.0,
    give_up: GiveUp | None = None,
    refuse: Refusal | None = None,
) -> AsyncIterator[Running]:
    """A planner as `serve` wires one, without its web server."""
    settings = Settings(nats_url=nats_url, slots=places, drain_s=drain_s)
    broker = NatsBroker(
        settings.servers,
        apply_types=False,
        logger=None,
        graceful_timeout=settings.drain_s,
        **options(settings, "planner"),
    )
    await broker.connect()
    service = Service(
        "planner",
        {PlanRequested: handler, PlanJudged: Recorder()},
        give_up={PlanRequested: give_up} if give_up else {},
        refuse={PlanRequested: refuse} if refuse else {},
    )
    bus = Bus.over(broker.config.connection_state.connection)
    running = Running(broker, attach(broker, service, bus, settings, Watch()).subscribers)
    await broker.start()
    try:
        yield running
    finally:
        await running.stop()
        await broker.stop()


def plan(number: int) -> PlanRequested:
    return PlanRequested(run=f"{number:032x}", priority=Priority.NORMAL)


async def say(nc: Client, *messages: Message) -> None:
    await Publisher(nc).say(*messages)


async def info(nc: Client) -> dict[str, Any]:
    return await request(nc, f"CONSUMER.INFO.{LANE.stream}.{LANE.name}")


async def work_left(nc: Client) -> int:
    found: int = (await request(nc, "STREAM.INFO.WORK"))["state"]["messages"]
    return found


async def all_gone(nc: Client) -> None:
    async def gone() -> bool:
        return await work_left(nc) == 0

    await until(gone, "every message is acknowledged")


async def letters(nc: Client) -> list[DeadLettered]:
    return [DeadLettered.model_validate_json(data) async for data in replay(nc, "DEAD", "tierbus.dead.>")]


async def ack_wait(nc: Client, seconds: float) -> None:
    """How long the server waits for a sign of life; longer than a test means that only a nak brings a message back."""
    config = {**consumer_config(LANE), "ack_wait": int(seconds * NANOS)}
    body = {"stream_name": LANE.stream, "config": config, "action": "update"}
    answer = await request(nc, f"CONSUMER.CREATE.{LANE.stream}.{LANE.name}.{LANE.filter}", body)
    assert "error" not in answer, answer


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table's own delays, fifty times shorter."""
    monkeypatch.setattr(acks, "TABLE", tuple(rule._replace(delay_s=rule.delay_s / 50) for rule in acks.TABLE))


class TestSlots:
    async def test_the_server_hands_out_no_more_than_there_are_slots(self, nc: Client, nats_url: str) -> None:
        gate = asyncio.Event()

        async def wait(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await gate.wait()
            return []

        handler = Recorder(wait)
        async with serving(nats_url, handler, places=4) as running:
            await say(nc, *(plan(number) for number in range(20)))
            await until(lambda: handler.busy == 4, "every slot is taken")
            await asyncio.sleep(0.3)
            found = await info(nc)
            assert (found["num_ack_pending"], found["num_pending"]) == (4, 16), "nothing waits inside the process"
            assert running.lane.busy == 4
            gate.set()
            await all_gone(nc)
        assert handler.peak == 4
        assert sorted(run for run, _delivery in handler.begun) == [plan(number).run for number in range(20)]
        assert set(handler.deliveries) == {1}

    @pytest.mark.parametrize("places", [1, 2, 7])
    async def test_every_slot_is_used_and_used_again(self, nc: Client, nats_url: str, places: int) -> None:
        async def briefly(wanted: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await asyncio.sleep(0.01 * (int(wanted.run, 16) % 3))
            return []

        handler = Recorder(briefly)
        async with serving(nats_url, handler, places=places) as running:
            await say(nc, *(plan(number) for number in range(60)))
            await all_gone(nc)
            await until(lambda: running.lane.busy == 0, "every slot is free again")
            assert running.lane._free == places
        assert handler.peak == places
        assert len(handler.begun) == 60

    @pytest.mark.usefixtures("nc")
    async def test_a_low_lane_has_a_quarter_of_the_slots(self, nats_url: str) -> None:
        async with serving(nats_url, Recorder(), places=8) as running:
            assert {one.consumer.name: one.slots for one in running.subscribers} == {
                "planner-plan-high": 8,
                "planner-plan-normal": 8,
                "planner-plan-low": 2,
                "planner-judged": 2,
            }

    async def test_two_processes_share_the_work(self, nc: Client, nats_url: str) -> None:
        gate = asyncio.Event()

        async def wait(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await gate.wait()
            return []

        one, other = Recorder(wait), Recorder(wait)
        async with serving(nats_url, one, places=2), serving(nats_url, other, places=2):
            await say(nc, *(plan(number) for number in range(8)))
            await until(lambda: one.busy == other.busy == 2, "both are busy")
            gate.set()
            await all_gone(nc)
        assert len(one.begun) + len(other.begun) == 8
        assert one.begun
        assert other.begun

    async def test_a_user_header_called_status_is_no_status(self, nc: Client, nats_url: str) -> None:
        handler = Recorder()
        given = {"Status": "408", "Description": "Request Timeout", "Nats-Pending-Messages": "0", "mine": "x"}
        async with serving(nats_url, handler, places=2) as running:
            for number in range(6):
                await Publisher(nc).put(plan(number).subject, encode(plan(number)), given)
            await all_gone(nc)
            assert len(handler.begun) == 6
            assert given.items() <= handler.begun[0][1].headers.items()
            assert running.lane.healthy
            await until(lambda: running.lane._free == 2, "every slot is free again")
            assert running.lane._asked in {1, 2}

    async def test_a_handler_learns_how_its_message_came(self, nc: Client, nats_url: str) -> None:
        handler = Recorder()
        async with serving(nats_url, handler):
            await say(nc, plan(7))
            await all_gone(nc)
        (_run, delivery) = handler.begun[0]
        assert (delivery.subject, delivery.stream, delivery.deliveries) == (plan(7).subject, "WORK", 1)
        assert (delivery.sequence, delivery.again) == (1, False)
        assert delivery.headers[MSG_ID] == plan(7).key
        assert delivery.received_at >= delivery.published_at > 0

    async def test_what_a_handler_returns_is_said_before_its_message_is_gone(self, nc: Client, nats_url: str) -> None:
        released = StepReleased(run=plan(1).run, step="a", attempt=1, tier=Tier.MID, priority=Priority.NORMAL)

        async def release(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            return [released]

        async with serving(nats_url, Recorder(release)):
            await say(nc, plan(1))

            async def only_the_step() -> bool:
                return await subjects(nc) == {released.subject: 1}

            await until(only_the_step, "the step is queued and the request gone")


class TestBeats:
    @pytest.mark.parametrize(("beat_s", "again"), [(0.5, False), (FOR_EVER_S, True)])
    async def test_long_work_is_kept_by_its_beats_alone(
        self, nc: Client, nats_url: str, monkeypatch: pytest.MonkeyPatch, beat_s: float, again: bool
    ) -> None:
        """Without beats the same work is handed out again, so it is the beats that keep it."""
        monkeypatch.setattr(slots, "BEAT_S", beat_s)
        await ack_wait(nc, 3.0)
        gate = asyncio.Event()

        async def wait(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await gate.wait()
            return []

        handler = Recorder(wait)
        async with serving(nats_url, handler):
            await say(nc, plan(1))
            if again:
                await until(lambda: len(handler.begun) > 1, "it is handed out again")
            else:
                await until(lambda: handler.busy == 1)
                await asyncio.sleep(7.0)
                assert handler.deliveries == [1]
            gate.set()
            await all_gone(nc)

    async def test_it_beats_while_it_drains(self, nc: Client, nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(slots, "BEAT_S", 0.5)
        await ack_wait(nc, 3.0)
        gate = asyncio.Event()

        async def wait(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await gate.wait()
            return []

        first, second = Recorder(wait), Recorder()
        async with serving(nats_url, first) as leaving:
            await say(nc, plan(1))
            await until(lambda: first.busy == 1)
            stopping = asyncio.create_task(leaving.stop())
            async with serving(nats_url, second):
                await asyncio.sleep(7.0)
                assert second.begun == []
                gate.set()
                await stopping
                await all_gone(nc)
        assert first.ended == [plan(1).run]
        assert second.begun == []


class TestMending:
    async def test_a_deleted_consumer_is_made_again_and_work_goes_on(self, nc: Client, nats_url: str) -> None:
        handler = Recorder()
        async with serving(nats_url, handler) as running:
            await say(nc, plan(1))
            await all_gone(nc)
            await request(nc, f"CONSUMER.DELETE.{LANE.stream}.{LANE.name}")
            await until(lambda: not running.lane.healthy, "it notices")
            await say(nc, plan(2))
            await all_gone(nc)
            assert running.lane.healthy
        assert [run for run, _delivery in handler.begun] == [plan(1).run, plan(2).run]
        config = (await info(nc))["config"]
        assert consumer_config(LANE).items() <= config.items(), "it is as declared"

    async def test_a_consumer_deleted_with_every_slot_taken_is_made_again(self, nc: Client, nats_url: str) -> None:
        gate = asyncio.Event()

        async def wait(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await gate.wait()
            return []

        handler = Recorder(wait)
        async with serving(nats_url, handler, places=1) as running:
            await say(nc, plan(1), plan(2))
            await until(lambda: handler.busy == 1)
            await request(nc, f"CONSUMER.DELETE.{LANE.stream}.{LANE.name}")
            gate.set()
            await all_gone(nc)
            assert running.lane.healthy
        assert handler.peak == 1
        assert {run for run, _delivery in handler.begun} == {plan(1).run, plan(2).run}

    async def test_silence_is_noticed(self, nc: Client, nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody says that the consumer is gone: only the missing heartbeats tell."""

        async def deaf(subscriber: SlotSubscriber, msg: Msg) -> None:
            if (msg.headers or {}).get("Status") == "100":
                subscriber._heard = asyncio.get_running_loop().time()

        monkeypatch.setattr(SlotSubscriber, "_on_status", deaf)
        monkeypatch.setattr(slots, "IDLE_HEARTBEAT_S", 1)
        monkeypatch.setattr(slots, "SILENCE_S", 2.5)
        handler = Recorder()
        async with serving(nats_url, handler):
            await request(nc, f"CONSUMER.DELETE.{LANE.stream}.{LANE.name}")
            await say(nc, plan(1))
            await all_gone(nc)
        assert [run for run, _delivery in handler.begun] == [plan(1).run]

    async def test_an_idle_subscriber_is_left_alone(
        self, nc: Client, nats_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slots, "IDLE_HEARTBEAT_S", 1)
        monkeypatch.setattr(slots, "PULL_EXPIRES_S", 2)
        monkeypatch.setattr(slots, "SILENCE_S", 4.0)
        async with serving(nats_url, Recorder()) as running:
            inbox = running.lane._inbox
            await asyncio.sleep(5.0)
            assert running.lane._inbox is inbox, "heartbeats are heard"
            assert running.lane.healthy
            assert running.lane._asked == 4, "an expired request is asked again"
            assert (await info(nc))["num_waiting"] == 1


class TestStopping:
    async def test_work_that_has_begun_is_waited_for(self, nc: Client, nats_url: str) -> None:
        async def briefly(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await asyncio.sleep(0.5)
            return []

        handler = Recorder(briefly)
        async with serving(nats_url, handler, places=2) as running:
            await say(nc, *(plan(number) for number in range(2)))
            await until(lambda: handler.busy == 2)
            await running.stop()
            assert len(handler.ended) == 2
            assert running.lane.busy == 0
            await all_gone(nc)
            await say(nc, plan(9))
            await asyncio.sleep(0.3)
            assert len(handler.begun) == 2, "nothing new is begun"
            await running.stop()

    async def test_what_was_not_begun_is_handed_back(
        self, nc: Client, nats_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It arrives after the stop and before the inbox is closed: nobody works on it here, another does at once."""
        await ack_wait(nc, FOR_EVER_S)
        leaving, staying = Recorder(), Recorder()
        async with serving(nats_url, leaving, places=2) as running:
            inbox = running.lane._inbox
            assert inbox is not None
            drain: Callable[[], Awaitable[None]] = inbox.drain
            handed_out: list[int] = []

            async def late() -> None:
                await say(nc, plan(1))

                async def out() -> bool:
                    return bool((await info(nc))["delivered"]["consumer_seq"])

                await until(out, "the server hands it to who is stopping")
                handed_out.append(1)
                await drain()

            monkeypatch.setattr(inbox, "drain", late)
            await running.stop()
        assert handed_out
        assert leaving.begun == []
        async with serving(nats_url, staying):
            await all_gone(nc)
        assert [run for run, _delivery in staying.begun] == [plan(1).run]
        assert staying.begun[0][1].again

    async def test_cancelled_work_comes_back_at_once(self, nc: Client, nats_url: str) -> None:
        await ack_wait(nc, FOR_EVER_S)

        async def hang(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await asyncio.sleep(FOR_EVER_S)
            return []

        first, second = Recorder(hang), Recorder()
        async with serving(nats_url, first, drain_s=0.2) as running:
            await say(nc, *(plan(number) for number in range(3)))
            await until(lambda: first.busy == 3)
            await running.stop()
            assert first.busy == 0
        assert first.ended == []
        async with serving(nats_url, second):
            await all_gone(nc)
        assert sorted(second.ended) == [plan(number).run for number in range(3)]
        assert second.deliveries == [2, 2, 2]

    async def test_it_waits_no_longer_than_told(
        self, nc: Client, nats_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(slots, "BEAT_S", FOR_EVER_S)

        async def hang(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            await asyncio.sleep(FOR_EVER_S)
            return []

        handler = Recorder(hang)
        async with serving(nats_url, handler, drain_s=0.2) as running:
            await say(nc, plan(1))
            await until(lambda: handler.busy == 1)
            await asyncio.wait_for(running.stop(), timeout=20.0)
            assert handler.busy == 0


class TestSettling:
    async def test_rejected_is_a_dead_letter_with_everything(self, nc: Client, nats_url: str) -> None:
        async def reject(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            raise Rejected("step 3 needs itself", "step 4 is missing", reason_code="cycle")

        handler = Recorder(reject)
        async with serving(nats_url, handler):
            await Publisher(nc).put(plan(1).subject, encode(plan(1)), {MSG_ID: "m-1", "traceparent": "00-a-b-01"})
            await all_gone(nc)
        (letter,) = await letters(nc)
        assert letter.subject == "tierbus.dead.planner.cycle"
        assert letter.error == "Rejected: step 3 needs itself; step 4 is missing"
        assert letter.body == encode(plan(1)).decode()
        assert letter.body_b64 is None
        assert letter.headers == {MSG_ID: "m-1", "traceparent": "00-a-b-01"}
        assert (letter.origin, letter.stream, letter.sequence) == (plan(1).subject, "WORK", 1)
        assert handler.deliveries == [letter.deliveries] == [1]

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"\xff\xfe\x00\x80", "malformed"),
            (b"not JSON", "malformed"),
            (b"[]", "malformed"),
            (b'{"run": 7}', "malformed"),
            (b"", "malformed"),
            (b'{"schema_version": 99, "run": "r", "priority": "normal"}', "version"),
        ],
    )
    async def test_what_cannot_be_read_is_a_dead_letter(
        self, nc: Client, nats_url: str, data: bytes, reason: str
    ) -> None:
        handler = Recorder()
        async with serving(nats_url, handler):
            await Publisher(nc).put(plan(1).subject, data, {})
            await all_gone(nc)
        (letter,) = await letters(nc)
        assert (letter.reason, letter.deliveries) == (reason, 1)
        kept = base64.b64decode(letter.body_b64) if letter.body_b64 is not None else (letter.body or "").encode()
        assert kept == data
        assert handler.begun == []

    async def test_a_refusal_is_told_besides_the_dead_letter(self, nc: Client, nats_url: str) -> None:
        seen: list[tuple[bytes, str]] = []

        def refuse(delivery: Delivery, data: bytes, error: Exception) -> Sequence[Message]:
            seen.append((data, type(error).__name__))
            return [step_for(delivery.subject.rsplit(".", 1)[-1])]

        async with serving(nats_url, Recorder(), refuse=refuse):
            await Publisher(nc).put(plan(1).subject, b"no", {})
            await until(lambda: bool(seen))

            async def only_the_step() -> bool:
                return await subjects(nc) == {step_for(plan(1).run).subject: 1}

            await until(only_the_step, "the refusal is said and the message gone")
        assert seen == [(b"no", "Malformed")]
        assert len(await letters(nc)) == 1

    async def test_unavailable_comes_back_after_its_delay(self, nc: Client, nats_url: str) -> None:
        await ack_wait(nc, FOR_EVER_S)

        async def away(_request: PlanRequested, delivery: Delivery) -> Sequence[Message]:
            if delivery.deliveries < 3:
                raise Unavailable("the provider", delay_s=0.5)
            return []

        handler = Recorder(away)
        async with serving(nats_url, handler):
            await say(nc, plan(1))
            await all_gone(nc)
        assert handler.deliveries == [1, 2, 3]
        times = [delivery.received_at for _run, delivery in handler.begun]
        assert min(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.45
        assert await letters(nc) == []

    @pytest.mark.usefixtures("quick")
    async def test_the_slot_is_free_while_a_message_waits_for_its_delay(self, nc: Client, nats_url: str) -> None:
        async def away(wanted: PlanRequested, delivery: Delivery) -> Sequence[Message]:
            if wanted.run == plan(1).run and not delivery.again:
                raise Unavailable("the provider", delay_s=1.0)
            return []

        handler = Recorder(away)
        async with serving(nats_url, handler, places=1):
            await say(nc, plan(1))
            await until(lambda: len(handler.begun) == 1)
            await say(nc, plan(2))
            await all_gone(nc)
        assert handler.ended == [plan(2).run, plan(1).run]

    @pytest.mark.parametrize("error", [Conflict("c"), Misconfigured("m")])
    @pytest.mark.usefixtures("quick")
    async def test_a_passing_trouble_is_tried_again(self, nc: Client, nats_url: str, error: Exception) -> None:
        async def once(_request: PlanRequested, delivery: Delivery) -> Sequence[Message]:
            if not delivery.again:
                raise error
            return []

        handler = Recorder(once)
        async with serving(nats_url, handler):
            await say(nc, plan(1))
            await all_gone(nc)
        assert handler.deliveries == [1, 2]
        assert await letters(nc) == []

    async def test_cancelled_is_done(self, nc: Client, nats_url: str) -> None:
        async def cancelled(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            raise Cancelled("the run has ended")

        handler = Recorder(cancelled)
        async with serving(nats_url, handler):
            await say(nc, plan(1))
            await all_gone(nc)
        assert handler.deliveries == [1]
        assert await letters(nc) == []

    @pytest.mark.usefixtures("quick")
    async def test_the_unforeseen_is_given_up_with_last_words(self, nc: Client, nats_url: str) -> None:
        async def broken(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            raise KeyError("nobody thought of this")

        given_up: list[tuple[str, int, str]] = []

        async def give_up(wanted: PlanRequested, delivery: Delivery, error: Exception) -> Sequence[Message]:
            given_up.append((wanted.run, delivery.deliveries, type(error).__name__))
            return [step_for(wanted.run)]

        handler = Recorder(broken)
        async with serving(nats_url, handler, give_up=give_up):
            await say(nc, plan(1))

            async def only_the_step() -> bool:
                return await subjects(nc) == {step_for(plan(1).run).subject: 1}

            await until(only_the_step, "the last words are said and the message gone")
        assert handler.deliveries == list(range(1, acks.UNEXPECTED_DELIVERIES + 1))
        assert given_up == [(plan(1).run, acks.UNEXPECTED_DELIVERIES, "KeyError")]
        (letter,) = await letters(nc)
        assert (letter.reason, letter.deliveries) == ("error", acks.UNEXPECTED_DELIVERIES)
        assert "nobody thought of this" in letter.error

    @pytest.mark.usefixtures("quick")
    async def test_last_words_that_fail_are_tried_again(self, nc: Client, nats_url: str) -> None:
        async def reject(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            raise Rejected("no")

        tried: list[int] = []

        async def give_up(wanted: PlanRequested, delivery: Delivery, _error: Exception) -> Sequence[Message]:
            tried.append(delivery.deliveries)
            if len(tried) < 2:
                raise Unavailable("the store", delay_s=0.1)
            return []

        async with serving(nats_url, Recorder(reject), give_up=give_up):
            await say(nc, plan(1))
            await all_gone(nc)
        assert tried == [1, 2]
        assert len(await letters(nc)) == 1, "buried twice, told once"

    async def test_last_words_that_break_do_not_keep_a_message_for_ever(
        self, nc: Client, nats_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(limits, "MAX_DELIVER", 2)
        monkeypatch.setattr(worker, "BURY_AGAIN_S", 0.1)
        await ack_wait(nc, FOR_EVER_S)

        async def reject(_request: PlanRequested, _delivery: Delivery) -> Sequence[Message]:
            raise Rejected("no")

        tried: list[int] = []

        async def give_up(_wanted: PlanRequested, delivery: Delivery, _error: Exception) -> Sequence[Message]:
            tried.append(delivery.deliveries)
            raise KeyError("a bug in the last words")

        async with serving(nats_url, Recorder(reject), give_up=give_up):
            await say(nc, plan(1))
            await all_gone(nc)
        assert tried == [1, 2, 3]
        assert len(await letters(nc)) == 1

    @pytest.mark.parametrize("data", [b"\xff" * 900_000, b'"' * 600_000])
    async def test_a_body_too_large_for_a_dead_letter_is_cut_and_gone(
        self, nc: Client, nats_url: str, data: bytes
    ) -> None:
        """1 MiB is the most that the server takes; bytes that are no text, and quotes, need more in a dead letter."""
        async with serving(nats_url, Recorder()):
            await Publisher(nc).put(plan(1).subject, data, {})
            await all_gone(nc)
        (letter,) = await letters(nc)
        assert letter.reason == "malformed"
        assert f"{len(data)} bytes" in letter.error
        assert letter.body is None
        assert base64.b64decode(letter.body_b64 or "") == data[: worker.CUT_BYTES]

    async def test_a_message_that_killed_its_workers_is_exhausted(
        self, nc: Client, nats_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No handler ever failed: the workers were gone before they could say anything."""
        monkeypatch.setattr(limits, "MAX_DELIVER", 2)
        await say(nc, plan(1))
        subscription = await nc.jetstream().pull_subscribe_bind(LANE.name, LANE.stream)
        for _ in range(2):
            (msg,) = await subscription.fetch(1, timeout=10)
            await msg.nak()
        await subscription.unsubscribe()
        handler = Recorder()
        async with serving(nats_url, handler):
            await all_gone(nc)
        (letter,) = await letters(nc)
        assert (letter.reason, letter.deliveries) == ("exhausted", 3)
        assert handler.begun == []


def step_for(run: str) -> StepReleased:
    return StepReleased(run=run, step="answer", attempt=1, tier=Tier.SMALL, priority=Priority.NORMAL)


async def subjects(nc: Client) -> Mapping[str, int]:
    found: Mapping[str, int] = (await request(nc, "STREAM.INFO.WORK", {"subjects_filter": ">"}))["state"].get(
        "subjects", {}
    )
    return found
