"""The batch lane as the executor sees it: which steps wait in it, and collecting them into batches."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from tierbus.batch.lot import Entry, Item, lot_of, ripe
from tierbus.batch.rules import BatchRules, lane_of, leave_at, may_wait
from tierbus.classes import Classes
from tierbus.contracts import BatchDue, BatchTimerSet, CallStatus, Message, Priority, StepReleased
from tierbus.errors import Conflict
from tierbus.ledger.batch_desk import BatchDesk, Say
from tierbus.ledger.desk import size_of
from tierbus.llm.model import Question
from tierbus.run import Run
from tierbus.stores import Lots, Texts
from tierbus.tiers.catalog import Catalog, ModelSpec
from tierbus.work import max_output, question

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Waiting:
    """The batch lane's parts; `say` publishes at once.

    The first model of a tier is the one that a batch asks, as it would be asked first by itself.
    """

    lots: Lots
    texts: Texts
    desk: BatchDesk
    catalog: Catalog
    classes: Classes
    say: Say
    clock: Callable[[], float] = time.time

    async def waits(self, run: Run, step: StepReleased) -> list[Message] | None:
        """What to say if the step waits for a batch, now or already; None if it is to be done now."""
        if step.priority is not Priority.LOW:
            return None
        rules = self.classes.of(run.task_class).batch
        spec = self.catalog.tiers[step.tier][0]
        entry = self._entry(run, step, rules or BatchRules())
        opened = await self.desk.opened(run, entry, step.tier, spec)
        if opened is not None:
            if not opened.batch or opened.status is not CallStatus.STARTED:
                return None
            if self.clock() < entry.leave_at:
                return []
            await self.desk.leave(opened, run)
            log.info("executor.left_batch", call=opened.call)
            return None
        allowed = self.catalog.providers[spec.provider].batch and step.after_batch is None
        if rules is None or not allowed or not may_wait(rules, run.priority, run.deadline_at, self.clock()):
            return None
        return await self._queue(run, step, rules, spec)

    async def _queue(self, run: Run, step: StepReleased, rules: BatchRules, spec: ModelSpec) -> list[Message] | None:
        asked = await self.ask(run, self._entry(run, step, rules))
        tokens = size_of(asked)
        if tokens + asked.max_output // 4 > spec.context_window:
            return None
        now = self.clock()
        item = Item(
            lane=lane_of(rules, step.tier),
            run=run.id,
            step=step.step,
            attempt=step.attempt,
            tier=step.tier,
            queued_at=now,
            leave_at=leave_at(rules, run.deadline_at),
            tokens=tokens,
            max_wait_s=rules.max_wait_s,
            max_requests=rules.max_requests,
        )
        await self.lots.add(item)
        log.info("executor.waits_for_batch", lane=item.lane)
        said: list[Message] = [BatchTimerSet(place=item.lane, collect=True, due_at=now + rules.max_wait_s, first=True)]
        if await self.lots.count(item.lane) >= rules.max_requests:
            said.append(BatchDue(place=item.lane, collect=True))
        return said

    def _entry(self, run: Run, step: StepReleased, rules: BatchRules) -> Entry:
        return Entry(run=run.id, step=step.step, attempt=step.attempt, leave_at=leave_at(rules, run.deadline_at))

    async def ask(self, run: Run, entry: Entry) -> Question:
        """What a step asks in a batch: the same as by itself."""
        state = run.steps[entry.step]
        return await question(run, state, self.texts, max_output(self.catalog, state.tier))

    async def due(self, due: BatchDue) -> list[Message]:
        """Collect a lane, or look after a batch."""
        return await self._collect(due.place) if due.collect else await self.desk.tend(due.place)

    async def _collect(self, lane: str) -> list[Message]:
        """Write down what goes together and say so, then take it out of the lane.

        What a worker that died left in the lane is collected again: the ledger lets no step into two batches.
        """
        found = ripe(await self.lots.waiting(lane), self.clock())
        for group in found.groups:
            spec = self.catalog.tiers[group[0].tier][0]
            lot = lot_of(group, spec.provider, spec.id, self.clock())
            try:
                await self.lots.write(lot, 0)
            except Conflict:
                log.info("executor.batch_exists", batch=lot.name)
            await self.say([BatchDue(place=lot.name, collect=False)])
            for item in group:
                await self.lots.take(item)
        if found.next_at is None:
            return []
        return [BatchTimerSet(place=lane, collect=True, due_at=found.next_at)]
