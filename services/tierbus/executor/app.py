"""Wiring of the executor: what it does with each message."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from tierbus import prompts
from tierbus.contracts import (
    BatchDue,
    CallRecorded,
    Content,
    Message,
    Outcome,
    Role,
    StepExecuted,
    StepReleased,
    StepStarted,
)
from tierbus.errors import Cancelled
from tierbus.executor.interrupts import Interrupts
from tierbus.executor.outcome import Read, read
from tierbus.executor.waiting import Waiting
from tierbus.ledger.desk import Ask, Desk, Exhausted, Unaffordable
from tierbus.llm.model import Question, Turn
from tierbus.run import Run, StepState
from tierbus.runs import Runs
from tierbus.service import Delivery, Service
from tierbus.stores import Output, Texts
from tierbus.tiers.catalog import Catalog
from tierbus.work import attempt_slot, budget_left, max_output, question, slot_of

log = structlog.get_logger(__name__)

PACKAGE = "tierbus.executor"
Tell = Callable[[Message], Awaitable[None]]


@dataclass(frozen=True)
class _Done:
    """What an attempt brought."""

    outcome: Outcome
    content: Content | None = None
    detail: str = ""
    model: str = ""
    calls: tuple[CallRecorded, ...] = ()


@dataclass(frozen=True)
class Executor:
    """The executor's parts; `tell` publishes progress at once. Without `waiting` no step waits for a batch."""

    runs: Runs
    texts: Texts
    desk: Desk
    catalog: Catalog
    tell: Tell
    interrupts: Interrupts = field(default_factory=Interrupts)
    waiting: Waiting | None = None

    def service(self) -> Service:
        """The table of what the executor hears."""
        return Service(
            name="executor",
            handlers={StepReleased: self.on_step, BatchDue: self.on_batch},
            give_up={StepReleased: self.give_up, BatchDue: self.give_up_batch},
        )

    async def on_step(self, step: StepReleased, delivery: Delivery) -> list[Message]:
        """Make one attempt at a step; an attempt the run no longer waits for is dropped."""
        run, revision = await self.runs.read(step.run)
        if not run.awaits(step.step, step.attempt):
            log.info("executor.stale_step", status=run.status)
            if delivery.again:
                await self.desk.leftovers(attempt_slot(run, step, Role.EXECUTOR))
            return []
        waits = await self.waiting.waits(run, step) if self.waiting else None
        if waits is not None:
            return waits
        await self.tell(
            StepStarted(
                run=run.id,
                tenant=run.tenant,
                at=delivery.received_at,
                step=step.step,
                attempt=step.attempt,
                tier=step.tier,
            )
        )
        work = _Attempt(self, run, revision, run.steps[step.step], step, delivery)
        try:
            done = await self.interrupts.during(run.id, work.make())
        except Cancelled as error:
            done = _Done(Outcome.CANCELLED, detail=str(error))
        return [_executed(step, done, delivery)]

    async def on_batch(self, due: BatchDue, _delivery: Delivery) -> list[Message]:
        """Collect steps that wait into batches, have them made, look after them, and say the steps again at the end."""
        return await self.waiting.due(due) if self.waiting else []

    async def give_up_batch(self, due: BatchDue, delivery: Delivery, error: Exception) -> list[Message]:
        """A batch was looked after too often: its steps go the normal way. A lane is collected when the next step comes."""
        if self.waiting is None or due.collect:
            return []
        why = f"given up after {delivery.deliveries} deliveries: {error}"[:500]
        return await self.waiting.desk.give_up(due.place, why)

    async def give_up(self, step: StepReleased, delivery: Delivery, error: Exception) -> list[Message]:
        """The step was tried too often: the reviewer decides what becomes of it."""
        found = await self.runs.find(step.run)
        calls = await self.desk.leftovers(attempt_slot(found[0], step, Role.EXECUTOR)) if found else ()
        detail = f"given up after {delivery.deliveries} deliveries: {error}"[:500]
        done = _Done(Outcome.UNAVAILABLE, detail=detail, calls=calls)
        return [_executed(step, done, delivery)]


@dataclass(frozen=True)
class _Attempt:
    """One attempt at one step."""

    parts: Executor
    run: Run
    revision: int
    state: StepState
    step: StepReleased
    delivery: Delivery

    async def make(self) -> _Done:
        """Ask, read, and ask once more where JSON came out wrong."""
        size = max_output(self.parts.catalog, self.step.tier)
        asked = await question(self.run, self.state, self.parts.texts, size)
        try:
            first = await self._ask(asked, 0, ())
            found = read(first, asked.json_schema)
            if found.outcome is not Outcome.INVALID or asked.json_schema is None:
                return await self._done(found, first, first.calls)
            second = await self._ask(_repair(asked, first.text, found.errors), 1, first.calls)
        except Exhausted as error:
            return _Done(Outcome.UNAVAILABLE, detail=str(error), calls=error.calls)
        except Unaffordable as error:
            return _Done(Outcome.OVER_BUDGET, detail=str(error), calls=error.calls)
        return await self._done(read(second, asked.json_schema), second, (*first.calls, *second.calls))

    async def _ask(self, asked: Question, number: int, before: tuple[CallRecorded, ...]) -> Output:
        ask = Ask(
            slot=slot_of(self.run, self.state, Role.EXECUTOR, number),
            tier=self.step.tier,
            question=asked,
            priority=self.run.priority,
            first=_first(self.run, self.step, self.parts.catalog),
            budget_nano_usd=budget_left(self.run, before),
            wanted=partial(self.parts.runs.awaits, self.run, self.revision, self.step.step, self.step.attempt),
            again=self.delivery.again,
        )
        try:
            return await self.parts.desk.ask(ask)
        except (Exhausted, Unaffordable) as error:
            error.calls = (*before, *error.calls)
            raise

    async def _done(self, found: Read, output: Output, calls: tuple[CallRecorded, ...]) -> _Done:
        content = await self.parts.texts.keep(found.content) if found.content else None
        return _Done(found.outcome, content, "; ".join(found.errors), output.model, calls)


def _first(run: Run, step: StepReleased, catalog: Catalog) -> int:
    """The place in its tier of the model that the router chose for the first attempt; the tier's own first otherwise."""
    chosen = run.decision.model if run.decision is not None and step.attempt == 1 else None
    names = [spec.id for spec in catalog.tiers[step.tier]]
    return names.index(chosen) if chosen in names else 0


def _repair(asked: Question, answer: str, errors: tuple[str, ...]) -> Question:
    told = f"{prompts.load(PACKAGE, 'repair.md')}\n\n{prompts.fenced('errors', chr(10).join(errors))}"
    return replace(asked, turns=(*asked.turns, Turn("assistant", answer or "(empty)"), Turn("user", told)))


def _executed(step: StepReleased, done: _Done, delivery: Delivery) -> StepExecuted:
    return StepExecuted(
        run=step.run,
        step=step.step,
        attempt=step.attempt,
        tier=step.tier,
        priority=step.priority,
        outcome=done.outcome,
        detail=done.detail[:1000],
        output=done.content,
        model=done.model,
        calls=done.calls,
        queue_s=delivery.queue_s,
        leg=delivery.leg(time.time()),
    )
