"""Each fact once, however often it is said."""

import base64
import json
import time
from typing import Any

import pytest
from nats.aio.client import Client
from tests.plans import NOW, RUN, decision, new_run
from tests.shared.bus.waiting import until
from tests.shared.telemetry.test_watch import Bench

from tierbus.bus.apply import request
from tierbus.bus.publish import EXPECT_LAST, MSG_ID, Publisher
from tierbus.bus.stores import last, replay
from tierbus.contracts import (
    BatchDue,
    BatchTimerSet,
    Content,
    Message,
    PlanRequested,
    Priority,
    Result,
    StepReleased,
    Task,
    TaskRouted,
    TaskStatus,
    Tier,
    TimerDue,
    TimerSet,
    decode,
    encode,
)
from tierbus.errors import Conflict, Misconfigured, Unavailable
from tierbus.service import Delivery

FAR = 4_000_000_000.0


@pytest.fixture
def publisher(nc: Client) -> Publisher:
    return Publisher(nc)


async def held(nc: Client, stream: str, subject: str) -> list[bytes]:
    return [data async for data in replay(nc, stream, subject)]


async def counted(nc: Client, stream: str) -> dict[str, int]:
    """How many messages each subject of a stream holds."""
    info = await request(nc, f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
    found: dict[str, int] = info["state"].get("subjects") or {}
    return found


async def settled(nc: Client, publisher: Publisher, stream: str) -> None:
    """Return when the stream has dealt with everything said so far, unconfirmed events included: it takes turns."""
    config = (await request(nc, f"STREAM.INFO.{stream}"))["config"]
    subject = config["subjects"][0].replace("*", "turn").replace(">", "turn")
    with pytest.raises(Conflict):
        await publisher.put(subject, b"", {EXPECT_LAST: "99"})


def result(answer: str) -> Result:
    return Result(run=RUN, tenant="acme", at=NOW, task="t-1", status=TaskStatus.SUCCEEDED, answer=Content.of(answer))


def routed() -> TaskRouted:
    return TaskRouted(run=RUN, tenant="acme", at=NOW, task="t-1", decision=decision(), queue_s=0.0)


@pytest.mark.parametrize(
    ("message", "stream"),
    [
        (Task(id="t-1", tenant="acme", prompt="Translate."), "TASKS"),
        (PlanRequested(run=RUN, priority=Priority.NORMAL), "WORK"),
        (StepReleased(run=RUN, step="answer", attempt=1, tier=Tier.SMALL, priority=Priority.LOW), "WORK"),
        (routed(), "EVENTS"),
        (result("Hallo"), "EVENTS"),
        (TimerSet(run=RUN, due_at=FAR), "WORK"),
    ],
)
async def test_the_same_fact_is_held_once(nc: Client, publisher: Publisher, message: Message, stream: str) -> None:
    for _ in range(3):
        await publisher.say(message)
    await settled(nc, publisher, stream)
    assert await counted(nc, stream) == {message.subject: 1}
    assert (await request(nc, f"STREAM.INFO.{stream}"))["state"]["last_seq"] == 1, "the server stored it once"


async def test_what_is_said_is_what_is_held(nc: Client, publisher: Publisher) -> None:
    await publisher.say(routed(), result("Hallo"))
    await settled(nc, publisher, "EVENTS")
    found = await held(nc, "EVENTS", routed().subject)
    assert [decode(TaskRouted, data) for data in found] == [routed()]
    assert decode(Result, (await held(nc, "EVENTS", result("").subject))[0]) == result("Hallo")


async def test_many_at_once(nc: Client, publisher: Publisher) -> None:
    messages = [PlanRequested(run=f"{place:032x}", priority=Priority.HIGH) for place in range(100)]
    await publisher.say(*messages, *messages)
    assert await counted(nc, "WORK") == dict.fromkeys((message.subject for message in messages), 1)


async def test_nothing_to_say(publisher: Publisher) -> None:
    await publisher.say()


async def test_tasks_of_two_tenants_with_one_id_are_two(nc: Client, publisher: Publisher) -> None:
    for tenant in ("acme", "bolt"):
        await publisher.say(Task(id="t-1", tenant=tenant, prompt="Translate."))
    assert await counted(nc, "TASKS") == {"tierbus.task.normal.acme": 1, "tierbus.task.normal.bolt": 1}


async def test_the_first_result_stands(nc: Client, publisher: Publisher) -> None:
    await publisher.say(result("first"))
    await publisher.say(result("second"))
    found = [decode(Result, data) for data in await held(nc, "EVENTS", result("").subject)]
    assert found == [result("first")]


async def test_a_timer_fires_as_due(nc: Client, publisher: Publisher) -> None:
    due = f"tierbus.due.{RUN}"
    await publisher.say(TimerSet(run=RUN, due_at=time.time() + 0.5))
    assert await last(publisher, "WORK", due) is None

    async def fired() -> bool:
        return await last(publisher, "WORK", due) is not None

    await until(fired, "the timer rings")
    found = await last(publisher, "WORK", due)
    assert found is not None
    assert decode(TimerDue, found[0]) == TimerDue(run=RUN)

    async def spent() -> bool:
        return await counted(nc, "WORK") == {due: 1}

    await until(spent, "a timer that rang is gone")


async def test_a_wake_up_carries_nothing_of_the_run_that_is_in_hand(nc: Client, publisher: Publisher) -> None:
    with Bench().handling(Delivery("tierbus.cancel.acme.x", "WORK", 7), "g") as handling:
        handling.about(new_run())
        await publisher.say(PlanRequested(run=RUN, priority=Priority.NORMAL), TimerDue(run="f" * 32, after=RUN))

    async def carried(subject: str) -> bytes:
        found = await request(nc, "STREAM.MSG.GET.WORK", {"last_by_subj": subject})
        return base64.b64decode(found["message"]["hdrs"])

    assert b"traceparent" in await carried(f"tierbus.plan.normal.{RUN}")
    woken = await carried(f"tierbus.due.{'f' * 32}")
    assert b"traceparent" not in woken
    assert f"{MSG_ID}: tierbus.due.{'f' * 32}.{RUN}".encode() in woken


async def test_a_timer_of_the_past_fires_at_once(publisher: Publisher) -> None:
    await publisher.say(TimerSet(run=RUN, due_at=NOW - 1_000_000_000))

    async def fired() -> bool:
        return await last(publisher, "WORK", f"tierbus.due.{RUN}") is not None

    await until(fired, "the timer rings")


async def test_a_later_timer_replaces_an_earlier_one(nc: Client, publisher: Publisher) -> None:
    soon, probe = time.time() + 1.0, "f" * 32
    await publisher.say(TimerSet(run=RUN, due_at=soon))
    await publisher.say(TimerSet(run=RUN, due_at=FAR))
    await publisher.say(TimerSet(run=probe, due_at=soon + 0.5))

    async def probed() -> bool:
        return await last(publisher, "WORK", f"tierbus.due.{probe}") is not None

    await until(probed, "a timer set for later than the replaced one rings")
    assert await counted(nc, "WORK") == {f"tierbus.timer.{RUN}": 1, f"tierbus.due.{probe}": 1}


async def test_a_timer_brought_forward_fires(publisher: Publisher) -> None:
    await publisher.say(TimerSet(run=RUN, due_at=FAR))
    await publisher.say(TimerSet(run=RUN, due_at=time.time() + 0.2))

    async def fired() -> bool:
        return await last(publisher, "WORK", f"tierbus.due.{RUN}") is not None

    await until(fired, "the timer rings")


@pytest.mark.parametrize("expected", ["0", "99"])
async def test_another_sequence_than_expected_is_a_conflict(publisher: Publisher, expected: str) -> None:
    subject = f"tierbus.run.{RUN}"
    sequence = await publisher.put(subject, b"{}", {EXPECT_LAST: "0"})
    with pytest.raises(Conflict, match=subject):
        await publisher.put(subject, b'{"n": 2}', {EXPECT_LAST: expected})
    assert await last(publisher, "WORK", subject) == (b"{}", sequence)
    assert await publisher.put(subject, b'{"n": 2}', {EXPECT_LAST: str(sequence)}) > sequence


async def test_a_subject_that_no_stream_takes_is_unavailable(publisher: Publisher) -> None:
    with pytest.raises(Unavailable, match=r"tierbus\.nowhere"):
        await publisher.put("tierbus.nowhere", b"{}", {})


async def test_a_refusal_of_the_stream_is_misconfigured_with_its_reason(nc: Client, publisher: Publisher) -> None:
    config: dict[str, Any] = (await request(nc, "STREAM.INFO.OUTPUTS"))["config"]
    await request(nc, "STREAM.UPDATE.OUTPUTS", {**config, "max_msg_size": 10})
    with pytest.raises(Misconfigured, match=r"message size exceeds maximum.*code 10054"):
        await publisher.put("tierbus.output.a", b"x" * 11, {})


async def test_closing_is_told_to_who_listens(nc: Client, publisher: Publisher) -> None:
    listener = await nc.subscribe("tierbus.ctl.closing.*")
    await publisher.announce_closing(RUN)
    assert (await listener.next_msg(timeout=10)).subject == f"tierbus.ctl.closing.{RUN}"


def test_a_message_is_plain_json() -> None:
    assert json.loads(encode(TimerDue(run=RUN))) == {"schema_version": 2, "run": RUN}


LANE = "small-600000-500"


async def next_due(nc: Client, timeout_s: float = 5.0) -> BatchDue:
    subscription = await nc.jetstream().pull_subscribe("tierbus.batch.due.*", durable="executor-batch", stream="WORK")
    [message] = await subscription.fetch(1, timeout=timeout_s)
    await message.ack()
    return decode(BatchDue, message.data)


async def test_a_first_timer_is_not_put_off_by_whoever_comes_later(nc: Client, publisher: Publisher) -> None:
    now = time.time()
    await publisher.say(BatchTimerSet(place=LANE, collect=True, due_at=now + 0.5, first=True))
    await publisher.say(BatchTimerSet(place=LANE, collect=True, due_at=now + 3600, first=True))

    assert await next_due(nc) == BatchDue(place=LANE, collect=True)


async def test_a_first_timer_can_be_set_again_when_it_has_rung(nc: Client, publisher: Publisher) -> None:
    for _ in range(2):
        await publisher.say(BatchTimerSet(place=LANE, collect=True, due_at=time.time() + 0.3, first=True))
        assert (await next_due(nc)).place == LANE


async def test_a_later_timer_that_is_not_the_first_replaces_the_one_before(nc: Client, publisher: Publisher) -> None:
    await publisher.say(BatchTimerSet(place="b1", collect=False, due_at=time.time() + 3600))
    await publisher.say(BatchTimerSet(place="b1", collect=False, due_at=time.time() + 0.3))

    assert await next_due(nc) == BatchDue(place="b1", collect=False)


async def test_a_place_is_due_as_often_as_it_is_said(nc: Client, publisher: Publisher) -> None:
    for _ in range(2):
        await publisher.say(BatchDue(place="b1", collect=False))
        assert (await next_due(nc)).place == "b1"


async def test_a_step_is_heard_again_after_its_batch(nc: Client, publisher: Publisher) -> None:
    """Within the time in which the bus takes the same key for the same fact."""
    step = StepReleased(run=RUN, step="answer", attempt=1, tier=Tier.SMALL, priority=Priority.LOW)
    await publisher.say(step)
    subscription = await nc.jetstream().pull_subscribe(
        "tierbus.step.small.low.*.*.*", durable="executor-step-small-low", stream="WORK"
    )
    [first] = await subscription.fetch(1, timeout=5)
    await first.ack_sync()
    again = step.model_copy(update={"after_batch": "b1"})
    await publisher.say(again)
    [second] = await subscription.fetch(1, timeout=5)

    assert decode(StepReleased, second.data) == again
