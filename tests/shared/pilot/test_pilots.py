"""Pilots as services use them: what is promised holds in memory and in JetStream alike."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from nats.aio.client import Client
from tests.shared.pilot.parts import RAMP, STEPS, counted, outcome, pilot
from tests.shared.telemetry.test_counts import Tally

from tierbus.bus.pilots import JetPilots
from tierbus.bus.publish import Publisher
from tierbus.classes import Classes, ClassRules
from tierbus.contracts import Message, PilotArm, PilotChange, PilotChanged, PilotOutcome, encode
from tierbus.errors import Conflict
from tierbus.pilot.pilots import FRESH_S, Pilots
from tierbus.pilot.progress import pause
from tierbus.pilot.rules import PilotRules
from tierbus.pilot.store import PilotStore
from tierbus.telemetry import names
from tierbus.testing.pilots import MemoryPilots


@dataclass
class Kept:
    """A store, and how an outcome comes into it: returns its place."""

    store: PilotStore
    say: Callable[[PilotOutcome], Awaitable[int]]


@pytest.fixture(params=["memory", "jetstream"])
def kept(request: pytest.FixtureRequest) -> Kept:
    if request.param == "memory":
        memory = MemoryPilots()

        async def remember(said: PilotOutcome) -> int:
            return memory.say(said)

        return Kept(memory, remember)
    nc: Client = request.getfixturevalue("nc")
    publisher = Publisher(nc)

    async def publish(said: PilotOutcome) -> int:
        await publisher.say(said)
        info = await nc.jetstream().get_last_msg("PILOT", said.subject)
        assert info.seq is not None
        return info.seq

    return Kept(JetPilots(publisher, nc), publish)


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Process:
    """One replica."""

    store: PilotStore
    rules: PilotRules | None = RAMP
    tally: Tally = field(default_factory=Tally)
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        classes = Classes(classes={"sums": ClassRules(pilot=self.rules)})
        self.pilots = Pilots(self.store, classes, self.tally, self.clock)


def changes(messages: list[Message]) -> list[PilotChange]:
    return [message.change for message in messages if isinstance(message, PilotChanged)]


async def test_a_class_without_rules_has_no_pilot(kept: Kept) -> None:
    assert await Process(kept.store).pilots.of("translate") is None
    assert await Process(kept.store, None).pilots.of("sums") is None
    assert await Pilots().of("sums") is None


async def test_the_first_who_asks_begins_the_pilot_and_others_find_it(kept: Kept) -> None:
    one, other = Process(kept.store), Process(kept.store)
    begun = await one.pilots.of("sums")
    assert begun == await other.pilots.of("sums")
    assert begun is not None
    assert begun.percent == 10
    assert await kept.store.read("sums", RAMP.id) is not None


async def test_two_who_ask_at_once_begin_one(kept: Kept) -> None:
    replicas = [Process(kept.store) for _ in range(8)]
    found = await asyncio.gather(*(one.pilots.of("sums") for one in replicas))
    assert [state.generation for state in found if state] == [1] * 8


async def test_a_state_is_looked_at_again_when_it_is_not_fresh(kept: Kept) -> None:
    process = Process(kept.store)
    await process.pilots.of("sums")
    found = await kept.store.read("sums", RAMP.id)
    assert found is not None
    await kept.store.write(pause(found[0], 1.0), found[1])
    before = await process.pilots.of("sums")
    process.clock.now += FRESH_S
    after = await process.pilots.of("sums")
    assert before is not None
    assert after is not None
    assert (before.paused, after.paused) == (False, True)


async def test_a_share_that_was_changed_in_the_file_holds_for_the_pilot_that_is_under_way(kept: Kept) -> None:
    await Process(kept.store, PilotRules(percent=0)).pilots.of("sums")
    state = await Process(kept.store, PilotRules(percent=40)).pilots.of("sums")
    assert state is not None
    assert (state.percent, state.generation) == (40, 1)
    found = await kept.store.read("sums", state.rules.id)
    assert found is not None
    assert found[0].percent == 40


async def test_only_the_first_of_two_writers_wins(kept: Kept) -> None:
    revision = await kept.store.write(pilot(), 0)
    with pytest.raises(Conflict):
        await kept.store.write(pilot(), 0)
    await kept.store.write(pilot(generation=2), revision)
    with pytest.raises(Conflict):
        await kept.store.write(pilot(generation=3), revision)


async def test_classes_with_dots_are_apart(kept: Kept) -> None:
    await kept.store.write(pilot(task_class="a.b"), 0)
    assert await kept.store.read("a", RAMP.id) is None
    await kept.say(outcome(1, task_class="a.b"))
    await kept.say(outcome(2, task_class="a"))
    assert [held.outcome.task_class async for held in kept.store.after("a.b", RAMP.id, 0)] == ["a.b"]


async def test_outcomes_come_in_their_order_and_each_run_once(kept: Kept) -> None:
    places = [await kept.say(outcome(number, at=5.0)) for number in (1, 2, 1, 3)]
    assert places[0] == places[2]
    held = [held async for held in kept.store.after("sums", RAMP.id, 0)]
    assert [found.sequence for found in held] == sorted({*places})
    assert [found.sequence async for found in kept.store.after("sums", RAMP.id, places[0])] == sorted(
        {*places[1:]} - {places[0]}
    )


async def test_everything_that_is_held_is_counted_and_told_by_who_wrote_it(kept: Kept) -> None:
    process = Process(kept.store)
    await process.pilots.of("sums")
    for number in range(19):
        await kept.say(outcome(number))
    last = outcome(19, arm=PilotArm.CANARY)
    place = await kept.say(last)
    told = await process.pilots.counted(last, place)
    found = await kept.store.read("sums", RAMP.id)
    assert found is not None
    assert (found[0].tries, found[0].sequence, found[0].percent) == (20, place, 50)
    assert changes(told) == [PilotChange.WIDENED]
    assert process.tally.of(names.PILOT_TRIES, CLASS="sums", PILOT_PASSED="yes") == 20
    assert process.tally.of(names.PILOT_CHANGES, CLASS="sums", PILOT_CHANGE="widened") == 1


async def test_a_delivery_that_comes_again_counts_nothing_and_says_the_same(kept: Kept) -> None:
    one, other = Process(kept.store), Process(kept.store)
    await one.pilots.of("sums")
    for number in range(19):
        await kept.say(outcome(number))
    last = outcome(19)
    place = await kept.say(last)
    first = await one.pilots.counted(last, place)
    before = await kept.store.read("sums", RAMP.id)
    again = await other.pilots.counted(last, place)
    assert first == again
    assert before == await kept.store.read("sums", RAMP.id)
    assert other.tally.of(names.PILOT_TRIES) == 0


async def test_replicas_that_count_at_once_count_each_outcome_once(kept: Kept) -> None:
    replicas = [Process(kept.store) for _ in range(4)]
    await replicas[0].pilots.of("sums")
    said = [outcome(number, number % 10 != 0) for number in range(60)]
    places = [await kept.say(one) for one in said]
    await asyncio.gather(
        *(replicas[n % 4].pilots.counted(one, places[n]) for n, one in enumerate(said)),
        *(replicas[(n + 1) % 4].pilots.counted(one, places[n]) for n, one in enumerate(said)),
    )
    found = await kept.store.read("sums", RAMP.id)
    assert found is not None
    state = found[0]
    expected = counted(pilot(), [number % 10 != 0 for number in range(60)])
    assert (state.tries, state.passes, state.step) == (60, 54, expected.step)
    assert state.evidence == expected.evidence
    assert sum(one.tally.of(names.PILOT_TRIES) for one in replicas) == 60


async def test_an_outcome_of_a_pilot_that_is_not_there_is_dropped(kept: Kept) -> None:
    place = await kept.say(outcome(1))
    assert await Process(kept.store).pilots.counted(outcome(1), place) == []


async def test_a_rollback_is_told_as_a_metric_and_a_message(kept: Kept) -> None:
    process = Process(kept.store)
    await process.pilots.of("sums")
    said = [outcome(number, False, arm=PilotArm.SHADOW) for number in range(20)]
    places = [await kept.say(one) for one in said]
    told = await process.pilots.counted(said[0], places[0])
    assert changes(told) == [PilotChange.ROLLED_BACK]
    assert process.tally.of(names.PILOT_CHANGES, PILOT_CHANGE="rolled-back") == 1
    assert process.tally.of(names.PILOT_OVERHEAD, CLASS="sums") == pytest.approx(20 * 10 / 1e9)


async def test_an_outcome_that_cannot_be_read_keeps_no_other_from_being_counted(nc: Client) -> None:
    publisher = Publisher(nc)
    store = JetPilots(publisher, nc)
    await publisher.say(outcome(1))
    body = {**json.loads(outcome(2).model_dump_json()), "schema_version": 99}
    await publisher.put(outcome(2).subject, json.dumps(body).encode(), {})
    await publisher.say(outcome(3))
    held = [held.outcome.of_run async for held in store.after("sums", RAMP.id, 0)]
    assert held == [outcome(1).of_run, outcome(3).of_run]


async def test_the_first_outcome_of_a_run_stands_and_goes_after_a_month(nc: Client) -> None:
    """Whatever the stream's deduplication window: the first was said without an id for that."""
    publisher = Publisher(nc)
    first = outcome(1, True)
    await publisher.put(first.subject, encode(first), {})
    await publisher.say(outcome(1, False), outcome(2))
    held = [held.outcome async for held in JetPilots(publisher, nc).after("sums", RAMP.id, 0)]
    assert held == [first, outcome(2)]
    kept = await nc.jetstream().get_last_msg("PILOT", outcome(2).subject)
    assert (kept.headers or {})["Nats-TTL"] == f"{30 * 24 * 3600}s"


async def test_the_pilot_of_a_class_is_the_one_that_changed_last(nc: Client) -> None:
    store = JetPilots(Publisher(nc), nc)
    later = PilotRules(target=0.8)
    await store.write(pilot(later, updated_at=2.0), 0)
    await store.write(pilot(updated_at=1.0), 0)
    await store.write(pilot(task_class="a.b", updated_at=1.0), 0)
    assert [(state.task_class, state.rules.target) for state in await store.all()] == [("a.b", 0.9), ("sums", 0.8)]


def test_the_rules_of_these_tests_are_a_ramp() -> None:
    assert RAMP.ramp == STEPS
