"""Tasks that share an answer, as the router hears them: what is asked, what is said, what is kept."""

import time
from typing import Any

import pytest
from tests.parts import Parts

from tierbus.cache.rules import CacheRules
from tierbus.classes import Classes, ClassRules
from tierbus.contracts import Message, Result, StepReleased, Task, TaskRouted, TaskStatus, TimerDue, TimerSet, run_id
from tierbus.errors import Rejected
from tierbus.executor.app import Executor
from tierbus.reviewer.app import Reviewer
from tierbus.reviewer.ladder import Ladder
from tierbus.router.app import Router
from tierbus.run import Run
from tierbus.service import Delivery

ANSWER = ("An answer that is long enough not to be compared word for word. " * 5).strip()
CLASSES = Classes(classes={"shared": ClassRules(cache=CacheRules(ttl_s=3600.0))})


class Bench:
    """Router, executor and reviewer over the same memory."""

    def __init__(self) -> None:
        self.parts = parts = Parts(lambda _spec, _question: ANSWER)
        self.router = Router(
            parts.runs, parts.texts, parts.desk, parts.catalog, classes=CLASSES, reuse=parts.reuse
        ).service()
        self.executor = Executor(parts.runs, parts.texts, parts.desk, parts.catalog, self._tell).service()
        ladder = Ladder(parts.texts, parts.desk, parts.catalog)
        self.reviewer = Reviewer(parts.runs, ladder, parts.quality, parts.reuse).service()

    async def _tell(self, _message: Message) -> None:
        return None

    async def publish(self, name: str, tenant: str = "acme", **more: object) -> list[Message]:
        given = {"id": name, "task_class": "shared", "prompt": "Translate this.", "risk": "low", **more}
        delivery = Delivery(f"tierbus.task.normal.{tenant}", "TASKS", 7, 1, time.time())
        return list(await self.router.handlers[Task](Task.model_validate(given), delivery))

    async def work(self, said: list[Message]) -> list[Message]:
        """Do the step that was released, to the verdict."""
        [step] = [message for message in said if isinstance(message, StepReleased)]
        delivery = Delivery(step.subject, "WORK", 8, 1, time.time())
        [executed] = await self.executor.handlers[StepReleased](step, delivery)
        return list(await self.reviewer.handlers[type(executed)](executed, delivery))

    async def due(self, due: TimerDue) -> list[Message]:
        """What is said when a run's timer rings, or its leader ended."""
        return list(await self.reviewer.handlers[TimerDue](due, Delivery(due.subject, "WORK", 9, 1, time.time())))

    def run(self, name: str, tenant: str = "acme") -> Run:
        return self.parts.store.states[run_id(tenant, name)][0]


async def test_the_same_task_again_is_answered_by_the_router_without_a_call() -> None:
    bench = Bench()
    await bench.work(await bench.publish("t-1"))
    asked = len(bench.parts.models.asked)

    routed, result = await bench.publish("t-2", metadata={"team": "blue"})

    assert isinstance(routed, TaskRouted)
    assert isinstance(result, Result)
    assert asked == len(bench.parts.models.asked)
    assert (result.status, result.cost_nano_usd, result.metadata) == ("succeeded", 0, {"team": "blue"})
    assert (result.task, result.cached_from) == ("t-2", run_id("acme", "t-1"))
    assert result.answer is not None
    assert result.answer.text == ANSWER
    assert routed.decision.decided_by == "cache"
    assert "the answer of task 't-1' from" in routed.decision.cause
    assert result.baseline is not None
    assert (result.baseline.cost_nano_usd or 0) > 0
    assert (result.routed is not None, result.queue_s >= 0) == (True, True)


async def test_the_same_task_meanwhile_waits_and_asks_nothing() -> None:
    bench = Bench()
    first = await bench.publish("t-1")

    routed, timer = await bench.publish("t-2")

    assert isinstance(routed, TaskRouted)
    assert "waits for the answer of task 't-1'" in routed.decision.cause
    assert isinstance(timer, TimerSet)
    assert bench.run("t-2").following
    ended = await bench.work(first)
    assert [message.kind for message in ended] == ["reviewed", "result", "timer-due"]


@pytest.mark.parametrize(
    ("named", "more"),
    [
        ("another tenant", {"tenant": "other"}),
        ("another class", {"task_class": "general"}),
        ("another prompt", {"prompt": "Translate that."}),
        ("a wish for a new answer", {"hints": {"fresh": True}}),
    ],
)
async def test_a_task_that_must_not_share_is_done(named: str, more: dict[str, Any]) -> None:
    bench = Bench()
    await bench.work(await bench.publish("t-1"))
    said = await bench.publish("t-2", **more)

    assert [message.kind for message in said if isinstance(message, StepReleased)] == ["step-released"], named


async def test_a_class_without_rules_keeps_nothing() -> None:
    bench = Bench()
    await bench.work(await bench.publish("t-1", task_class="general"))

    assert bench.parts.answers.leads == {}
    assert bench.run("t-1").shared is None


async def test_a_refused_task_answers_for_nobody() -> None:
    bench = Bench()
    with pytest.raises(Rejected):
        await bench.publish("t-1", prompt=" ")

    assert bench.parts.answers.leads == {}


async def test_a_cancelled_leaders_followers_are_told() -> None:
    bench = Bench()
    await bench.publish("t-1")
    await bench.publish("t-2")

    said = await bench.parts.runs.close(run_id("acme", "t-1"), TaskStatus.CANCELLED, "because")

    assert [message.kind for message in said][-2:] == ["result", "timer-due"]


async def test_a_follower_that_is_woken_ends_with_the_answer() -> None:
    bench = Bench()
    first = await bench.publish("t-1")
    await bench.publish("t-2")
    [woken] = [message for message in await bench.work(first) if isinstance(message, TimerDue)]

    [result] = await bench.due(woken)

    assert isinstance(result, Result)
    assert (result.task, result.cached_from, result.cost_nano_usd) == ("t-2", run_id("acme", "t-1"), 0)


async def test_a_follower_that_is_woken_by_a_failed_leader_is_done_and_has_its_own_bill() -> None:
    bench = Bench()
    await bench.publish("t-1")
    await bench.publish("t-2")
    said = await bench.parts.runs.close(run_id("acme", "t-1"), TaskStatus.CANCELLED, "because")
    [woken] = [message for message in said if isinstance(message, TimerDue)]

    *_, result = await bench.work(await bench.due(woken))

    assert isinstance(result, Result)
    assert (result.task, result.cached_from, result.status) == ("t-2", None, "succeeded")
    assert result.cost_nano_usd > 0


async def test_a_follower_whose_timer_rings_while_the_leader_works_waits_on() -> None:
    bench = Bench()
    await bench.publish("t-1")
    await bench.publish("t-2")
    waits = bench.run("t-2")
    revision = await bench.parts.store.revision(waits.id)
    await bench.parts.store.write(waits.model_copy(update={"timer_at": time.time() - 1}), revision)

    [timer] = await bench.due(TimerDue(run=waits.id))

    assert isinstance(timer, TimerSet)
    assert timer.due_at == bench.run("t-2").timer_at > time.time()


async def test_a_follower_past_its_own_deadline_expires_though_its_leader_works() -> None:
    bench = Bench()
    await bench.publish("t-1")
    await bench.publish("t-2", deadline_at=time.time() + 3600)
    waits = bench.run("t-2")
    revision = await bench.parts.store.revision(waits.id)
    await bench.parts.store.write(waits.model_copy(update={"deadline_at": time.time() - 1}), revision)

    *_, result = await bench.due(TimerDue(run=waits.id))

    assert isinstance(result, Result)
    assert (result.status, bench.run("t-1").live) == ("expired", True)


async def test_an_answer_by_reference_is_handed_on_by_reference() -> None:
    bench = Bench()
    long = "word " * 20_000
    bench.parts.models.script = lambda _spec, _question: long
    await bench.work(await bench.publish("t-1"))

    _, result = await bench.publish("t-2")

    assert isinstance(result, Result)
    assert result.answer is not None
    assert result.answer.ref
    assert await bench.parts.texts.read(result.answer) == long.strip()
