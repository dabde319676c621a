"""The same message delivered twice to every consumer changes nothing but a log line."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.parts import Parts
from tests.plans import NOW, RUN, new_run
from tierbus.contracts import (
    CancelRequested,
    Message,
    Outcome,
    PilotArm,
    PilotOutcome,
    PlanRequested,
    Priority,
    Result,
    ReviewLevel,
    Route,
    StepExecuted,
    StepReleased,
    Task,
    Tier,
    TimerDue,
    run_id,
)
from tierbus.executor.app import Executor
from tierbus.llm.model import Question
from tierbus.pilot.pilots import Pilots
from tierbus.pilot.progress import PilotState
from tierbus.pilot.rules import Mode, PilotRules, RampStep
from tierbus.planner.app import Planner
from tierbus.reviewer.app import Reviewer
from tierbus.reviewer.ladder import Ladder
from tierbus.router.app import Router
from tierbus.run import begin
from tierbus.service import Delivery, Service
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


def answers(_spec: ModelSpec, question: Question) -> str:
    """Whoever is asked answers in the form of its role."""
    if "You are the planner" in question.system:
        return json.dumps(PLAN)
    if "You are the reviewer" in question.system:
        return json.dumps({"verdict": "accept", "reason": "right", "critique": ""})
    if "You are the router" in question.system:
        scores = dict.fromkeys(("complexity", "domain", "context", "risk"), 0.2)
        return json.dumps({**scores, "needs_plan": False, "reason": "plain"})
    return "An answer that is long enough not to be compared word for word. " * 5


class Bench:
    """All four services over the same memory."""

    def __init__(self) -> None:
        self.parts = Parts(answers)
        self.told: list[Message] = []
        parts = self.parts
        self.router = Router(parts.runs, parts.texts, parts.desk, parts.catalog).service()
        self.planner = Planner(parts.runs, parts.texts, parts.desk, parts.catalog).service()
        self.executor = Executor(parts.runs, parts.texts, parts.desk, parts.catalog, self._tell).service()
        self.pilots = MemoryPilots()
        counting = Pilots(self.pilots)
        self.reviewer = Reviewer(parts.runs, Ladder(parts.texts, parts.desk, parts.catalog), counting).service()

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


async def _step(bench: Bench) -> tuple[Service, Message]:
    change = begin(new_run(), NOW)
    await bench.parts.store.write(change.run, 0)
    return bench.executor, released(change.messages)


async def _executed(bench: Bench) -> tuple[Service, Message]:
    executor, step = await _step(bench)
    [executed] = await bench.hear(executor, step)
    return bench.reviewer, executed


async def _due(bench: Bench) -> tuple[Service, Message]:
    await bench.parts.store.write(begin(new_run(deadline_at=NOW + 1), NOW).run, 0)
    return bench.reviewer, TimerDue(run=RUN)


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


SETTINGS: dict[str, Callable[[Bench], Awaitable[tuple[Service, Message]]]] = {
    "task": _task,
    "cancel-requested": _cancel,
    "cancel-requested before the task": _cancel_before_the_task,
    "plan-requested": _plan,
    "step-released": _step,
    "step-executed": _executed,
    "timer-due": _due,
    "pilot-outcome": _pilot,
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
