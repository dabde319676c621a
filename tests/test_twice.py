"""The same message delivered twice to every consumer changes nothing but a log line."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.parts import Parts
from tests.plans import LEG, NOW, RUN, diamond, judged, new_run
from tierbus.cache.rules import CacheRules
from tierbus.classes import Classes, ClassRules
from tierbus.contracts import (
    GENERAL,
    BatchDue,
    CancelRequested,
    FeedbackGiven,
    Message,
    Outcome,
    PilotArm,
    PilotOutcome,
    PlanRequested,
    Priority,
    QualityDue,
    Result,
    ReviewLevel,
    Route,
    StepExecuted,
    StepReleased,
    Task,
    Tier,
    TimerDue,
    VerdictKind,
    run_id,
)
from tierbus.executor.app import Executor
from tierbus.llm.model import Question
from tierbus.pilot.pilots import Pilots
from tierbus.pilot.progress import PilotState
from tierbus.pilot.rules import Mode, PilotRules, RampStep
from tierbus.planner.app import Planner
from tierbus.planner.reuse import Reuse
from tierbus.plans.library import Library
from tierbus.plans.rules import PlanRules
from tierbus.reviewer.app import Reviewer
from tierbus.reviewer.ladder import Ladder
from tierbus.router.app import Router
from tierbus.run import Origin, adopt, advance, begin
from tierbus.runs import said
from tierbus.service import Delivery, Service
from tierbus.testing.memory import MemoryShelves
from tierbus.testing.pilots import MemoryPilots
from tierbus.tiers.catalog import ModelSpec

PLAN = {
    "steps": [
        {"id": "read", "instruction": "Read.", "needs": [], "inputs": {"prompt": True}},
        {"id": "write", "instruction": "Write.", "needs": ["read"], "inputs": {"outputs": ["read"]}},
    ]
}
FIRST = Delivery("tierbus.task.normal.acme", "TASKS", 7, 1, NOW)
AGAIN = Delivery("tierbus.task.normal.acme", "TASKS", 7, 2, NOW)


def answers(spec: ModelSpec, question: Question) -> str:
    """Whoever is asked answers in the form of its role."""
    if "You are the planner" in question.system:
        return json.dumps(PLAN)
    if "You are the reviewer" in question.system:
        return json.dumps({"verdict": "accept", "reason": "right", "critique": ""})
    if "You are the judge" in question.system:
        return json.dumps({"reason": "A is right", "verdict": "A"})
    if "You are the router" in question.system:
        scores = dict.fromkeys(("complexity", "domain", "context", "risk"), 0.2)
        return json.dumps({**scores, "needs_plan": False, "reason": "plain"})
    return f"{spec.id}: an answer that is long enough not to be compared word for word. " * 5


class Bench:
    """All four services over the same memory."""

    def __init__(self) -> None:
        watched = {"classes": {"*": {"watch": {"share": 1, "max_usd_per_day": 1}}}}
        self.parts = Parts(answers, classes=Classes.model_validate(watched))
        self.told: list[Message] = []
        parts = self.parts
        sharing = Classes(classes={"shared": ClassRules(cache=CacheRules(ttl_s=60.0))})
        self.router = Router(
            parts.runs, parts.texts, parts.desk, parts.catalog, classes=sharing, reuse=parts.reuse
        ).service()
        self.shelves = MemoryShelves()
        reuse = Reuse(Library(self.shelves), Classes(classes={GENERAL: ClassRules(plans=PlanRules(reuse=True))}))
        self.planner = Planner(parts.runs, parts.texts, parts.desk, parts.catalog, reuse).service()
        self.executor = Executor(parts.runs, parts.texts, parts.desk, parts.catalog, self._tell).service()
        ladder = Ladder(parts.texts, parts.desk, parts.catalog)
        self.pilots = MemoryPilots()
        counting = Pilots(self.pilots)
        self.reviewer = Reviewer(parts.runs, ladder, parts.quality, parts.reuse, counting).service()

    async def _tell(self, message: Message) -> None:
        self.told.append(message)

    async def hear(self, service: Service, message: Any, delivery: Delivery = FIRST) -> list[Message]:
        return list(await service.handlers[type(message)](message, delivery))

    def facts(self) -> tuple[Any, ...]:
        """Everything that a second delivery must not change."""
        states = {run: state for run, (state, _) in self.parts.store.states.items()}
        return (
            states,
            list(self.parts.ledger.records),
            dict(self.parts.outputs.kept),
            len(self.parts.models.asked),
            dict(self.parts.answers.leads),
            {leader: list(waiting) for leader, waiting in self.parts.answers.waiting.items()},
            dict(self.shelves.kept),
            {name: record for name, (record, _) in self.parts.measures.kept.items()},
            dict(self.pilots.states),
        )


def released(messages: list[Message]) -> StepReleased:
    return next(message for message in messages if isinstance(message, StepReleased))


async def _task(bench: Bench) -> tuple[Service, Message]:
    return bench.router, Task(id="t-1", prompt="What do you think of it?")


async def _cancel(bench: Bench) -> tuple[Service, Message]:
    await bench.parts.store.write(begin(new_run(), NOW).run, 0)
    return bench.router, CancelRequested(tenant="acme", run=RUN)


async def _cancel_before_the_task(bench: Bench) -> tuple[Service, Message]:
    return bench.router, CancelRequested(tenant="acme", run=RUN)


async def _plan(bench: Bench) -> tuple[Service, Message]:
    await bench.parts.store.write(begin(new_run(Route.PLAN), NOW).run, 0)
    return bench.planner, PlanRequested(run=RUN, priority=Priority.NORMAL)


async def _plan_judged(bench: Bench) -> tuple[Service, Message]:
    run = begin(new_run(Route.PLAN), NOW).run
    run = adopt(run, diamond(), (), LEG, origin=Origin(shape="f" * 32)).run
    for name in run.steps:
        run = advance(run, judged(name, 1, VerdictKind.ACCEPT), NOW).run
    await bench.parts.store.write(run, 0)
    [_, ended] = said(run)
    return bench.planner, ended


async def _step(bench: Bench) -> tuple[Service, Message]:
    change = begin(new_run(), NOW)
    await bench.parts.store.write(change.run, 0)
    return bench.executor, released(change.messages)


async def _executed(bench: Bench) -> tuple[Service, Message]:
    executor, step = await _step(bench)
    [executed] = await bench.hear(executor, step)
    return bench.reviewer, executed


async def _quality(bench: Bench) -> tuple[Service, Message]:
    reviewer, executed = await _executed(bench)
    said = await bench.hear(reviewer, executed)
    return reviewer, next(message for message in said if isinstance(message, QualityDue))


async def _due(bench: Bench) -> tuple[Service, Message]:
    await bench.parts.store.write(begin(new_run(deadline_at=NOW + 1), NOW).run, 0)
    return bench.reviewer, TimerDue(run=RUN)


SHARED = Task(id="t-1", task_class="shared", prompt="Translate this.")


async def _task_that_leads(bench: Bench) -> tuple[Service, Message]:
    return bench.router, SHARED


async def _task_that_waits(bench: Bench) -> tuple[Service, Message]:
    await bench.hear(bench.router, SHARED.model_copy(update={"id": "t-0"}))
    return bench.router, SHARED


async def _answer(bench: Bench, task: Task) -> list[Message]:
    """Do a task to its end; what is said then."""
    step = released(await bench.hear(bench.router, task))
    [executed] = await bench.hear(bench.executor, step)
    return await bench.hear(bench.reviewer, executed)


async def _task_that_is_answered(bench: Bench) -> tuple[Service, Message]:
    await _answer(bench, SHARED.model_copy(update={"id": "t-0"}))
    return bench.router, SHARED


async def _due_when_the_leader_ended(bench: Bench) -> tuple[Service, Message]:
    step = released(await bench.hear(bench.router, SHARED.model_copy(update={"id": "t-0"})))
    await bench.hear(bench.router, SHARED)
    [executed] = await bench.hear(bench.executor, step)
    [woken] = [message for message in await bench.hear(bench.reviewer, executed) if isinstance(message, TimerDue)]
    return bench.reviewer, woken


async def _due_when_the_leader_was_cancelled(bench: Bench) -> tuple[Service, Message]:
    await bench.hear(bench.router, SHARED.model_copy(update={"id": "t-0"}))
    await bench.hear(bench.router, SHARED)
    cancel = CancelRequested(tenant="acme", run=run_id("acme", "t-0"))
    [woken] = [message for message in await bench.hear(bench.router, cancel) if isinstance(message, TimerDue)]
    return bench.reviewer, woken


async def _batch_due(bench: Bench) -> tuple[Service, Message]:
    """What a batch does when it is due twice is told in `tests/shared/ledger/test_batch_desk.py`."""
    return bench.executor, BatchDue(place="small-600000-500", collect=True)


async def _pilot(bench: Bench) -> tuple[Service, Message]:
    rules = PilotRules(mode=Mode.RAMP, steps=(RampStep(percent=10, tries=1), RampStep(percent=100, tries=1)))
    await bench.pilots.write(PilotState(task_class="sums", rules=rules), 0)
    outcome = PilotOutcome(
        task_class="sums",
        rules=rules.id,
        generation=1,
        of_run=RUN,
        pair=RUN,
        arm=PilotArm.CANARY,
        counted=True,
        passed=True,
        at=NOW,
    )
    bench.pilots.say(outcome, FIRST.sequence)
    return bench.reviewer, outcome


async def _feedback(bench: Bench) -> tuple[Service, Message]:
    return bench.reviewer, FeedbackGiven(run=RUN, tenant="acme", task="t-1", score=1.0, at=NOW)


SETTINGS: dict[str, Callable[[Bench], Awaitable[tuple[Service, Message]]]] = {
    "task": _task,
    "task that leads": _task_that_leads,
    "task that waits": _task_that_waits,
    "task that is answered by another": _task_that_is_answered,
    "cancel-requested": _cancel,
    "cancel-requested before the task": _cancel_before_the_task,
    "plan-requested": _plan,
    "plan-judged": _plan_judged,
    "step-released": _step,
    "step-executed": _executed,
    "timer-due": _due,
    "timer-due when the leader ended": _due_when_the_leader_ended,
    "timer-due when the leader was cancelled": _due_when_the_leader_was_cancelled,
    "quality-due": _quality,
    "batch-due": _batch_due,
    "pilot-outcome": _pilot,
    "feedback-given": _feedback,
}


@pytest.mark.parametrize("name", SETTINGS)
async def test_a_second_delivery_changes_nothing(name: str) -> None:
    bench = Bench()
    service, message = await SETTINGS[name](bench)
    first = await bench.hear(service, message)
    before = bench.facts()

    again = await bench.hear(service, message, AGAIN)

    assert before == bench.facts()
    assert {said.key for said in again} <= {said.key for said in first}


def test_every_consumed_message_type_is_tried_twice() -> None:
    bench = Bench()
    services = (bench.router, bench.planner, bench.executor, bench.reviewer)
    consumed = {kind.kind for service in services for kind in service.handlers}

    assert consumed == {name.split(" ")[0] for name in SETTINGS}


async def test_a_task_after_its_cancel_only_hears_that_it_is_cancelled() -> None:
    bench = Bench()
    task = Task(id="t-1", prompt="Translate this.")
    cancel = CancelRequested(tenant="acme", run="")
    await bench.hear(bench.router, cancel.model_copy(update={"run": run_id("acme", "t-1")}))
    said = await bench.hear(bench.router, task)

    assert [message.status for message in said if isinstance(message, Result)] == ["cancelled"]


async def test_a_stale_attempt_is_not_executed_and_not_judged() -> None:
    bench = Bench()
    change = begin(new_run(), NOW)
    await bench.parts.store.write(change.run, 0)
    stale = released(change.messages).model_copy(update={"attempt": 2})

    assert await bench.hear(bench.executor, stale) == []
    judged = StepExecuted(
        run=RUN, step="answer", attempt=2, tier=Tier.MID, priority=Priority.NORMAL, outcome=Outcome.ANSWERED
    )
    await bench.hear(bench.reviewer, judged)
    assert bench.parts.models.asked == []


async def test_a_strict_review_always_asks_the_judge() -> None:
    bench = Bench()
    change = begin(new_run(), NOW)
    strict = change.run.decision
    assert strict is not None
    run = change.run.model_copy(update={"decision": strict.model_copy(update={"review": ReviewLevel.STRICT})})
    await bench.parts.store.write(run, 0)
    [executed] = await bench.hear(bench.executor, released(change.messages))

    said = await bench.hear(bench.reviewer, executed)

    [result] = [message for message in said if isinstance(message, Result)]
    assert result.steps[0].attempts[0].verdict.rung == "judge"
