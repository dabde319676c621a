"""The desk for batches: the other place where money is spent, for half the price.

A batch's call is the first of its question (`<slot>.0`), the very one that the desk would make: whoever claims it in the
ledger makes it. When the batch is over, the answer lies where a worker that died would have left it, or the call stands
closed as failed; the step is said again and the desk finds the one or goes on after the other.

The provider's API takes no idempotency key. So a batch is written down before it is asked for, and whoever finds it so
without the provider's answer looks in the provider's list for one of that size and time, and knows it by its custom ids
once it has ended. What nobody can know is charged by estimate.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import structlog

from tierbus.batch.lot import SETTLE_S, SKEW_S, TRIES, Entry, Lot, next_look_at
from tierbus.contracts import (
    BatchTimerSet,
    CallRecorded,
    CallStatus,
    Message,
    StepReleased,
    Tier,
    Usage,
)
from tierbus.ledger.book import Book, failed, interrupted
from tierbus.ledger.desk import ESTIMATED_OUTPUT_TOKENS, size_of
from tierbus.llm.batches import Answer, Batches, Request
from tierbus.llm.model import ProviderBusy, ProviderError, ProviderRefused, Question
from tierbus.llm.registry import BatchModels
from tierbus.run import Run
from tierbus.stores import Ledger, Lots, Output, Outputs, RunStore
from tierbus.telemetry.watch import Watch
from tierbus.tiers.catalog import Catalog, ModelSpec
from tierbus.work import budget_left

log = structlog.get_logger(__name__)

AGAIN_S = 2.0
"""First wait before a provider that was busy is asked for a batch again."""
Ask = Callable[[Run, Entry], Awaitable[Question]]
Say = Callable[[Sequence[Message]], Awaitable[None]]


class _Foreign(Exception):
    """The batch that was looked at is another's."""


@dataclass(frozen=True)
class _Ready:
    """A step of a batch whose call is claimed."""

    entry: Entry
    question: Question
    started: CallRecorded


@dataclass(frozen=True)
class Stores:
    """Where the batch desk keeps and finds things."""

    runs: RunStore
    lots: Lots
    ledger: Ledger
    outputs: Outputs


class BatchDesk:
    """Has batches made, looks after them, and brings their answers to where the desk finds them.

    `ask` says what is asked for a step, `say` publishes at once.
    """

    def __init__(
        self,
        catalog: Catalog,
        models: BatchModels,
        stores: Stores,
        ask: Ask,
        say: Say,
        watch: Watch | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._models = models
        self._runs = stores.runs
        self._lots = stores.lots
        self._ledger = stores.ledger
        self._outputs = stores.outputs
        self._ask = ask
        self._say = say
        self._watch = watch or Watch()
        self._clock = clock
        self._book = Book(catalog)

    async def opened(self, run: Run, entry: Entry, tier: Tier, spec: ModelSpec) -> CallRecorded | None:
        """The first call of a step's question as the ledger has it, whoever made it."""
        return await self._ledger.last(self._blank(run, entry, tier, spec))

    async def leave(self, call: CallRecorded, run: Run) -> None:
        """A step waits no longer: its call may be carried out all the same, so it is charged by estimate."""
        why = "not waited for any longer: the deadline is near"
        await self._close(interrupted(call, why, max(0.0, self._clock() - call.started_at), "left-batch"), run)

    async def tend(self, name: str) -> list[Message]:
        """Bring a batch one step further; returns what is to be said.

        Raises:
            Conflict: another worker was quicker.
            Unavailable: the bus does not answer.
        """
        found = await self._lots.read(name)
        if found is None or found[0].ended_at is not None:
            return []
        lot, revision = found
        spec = self._spec(lot)
        if spec is None:
            why = f"model {lot.model!r} of {lot.provider} is no longer in the tier file"
            return await self._abandon(lot, revision, why, "no-model")
        batches = self._models.batches(spec)
        if lot.ids:
            return await self._look(lot, revision, batches, spec)
        return await self._send(lot, revision, batches, spec)

    async def give_up(self, name: str, why: str) -> list[Message]:
        """A batch was looked after too often without success: its steps go the normal way."""
        found = await self._lots.read(name)
        if found is None or found[0].ended_at is not None:
            return []
        return await self._abandon(*found, why, "given-up-batch")

    def _spec(self, lot: Lot) -> ModelSpec | None:
        every = [spec for specs in self._catalog.tiers.values() for spec in specs]
        return next((spec for spec in every if (spec.provider, spec.id) == (lot.provider, lot.model)), None)

    async def _send(self, lot: Lot, revision: int, batches: Batches, spec: ModelSpec) -> list[Message]:
        now = self._clock()
        if lot.tried_at is not None:
            waiting = await self._find(lot, revision, batches, lot.tried_at, now)
            if waiting is not None:
                return waiting
        ready = await self._ready(lot, spec)
        if not ready:
            await self._lots.write(lot.ended(now), revision)
            return []
        lot = lot.trying(len(ready), now)
        revision = await self._lots.write(lot, revision)
        try:
            made = await batches.create([Request(one.entry.custom_id, one.question) for one in ready])
        except ProviderRefused as error:
            log.warning("batch.refused", batch=lot.name, error=str(error))
            return await self._turned_away(lot, revision, str(error), error.kind)
        except ProviderError as error:
            log.warning("batch.not_made", batch=lot.name, tries=lot.tries, error=str(error))
            asked_s = error.retry_after_s if isinstance(error, ProviderBusy) else None
            return [_timer(lot, self._clock() + (asked_s or AGAIN_S * 2**lot.tries))]
        await self._lots.write(lot.sent(made, self._clock()), revision)
        log.info("batch.sent", batch=lot.name, provider_batch=made, requests=len(ready))
        return [_timer(lot, next_look_at(lot, self._clock()))]

    async def _find(
        self, lot: Lot, revision: int, batches: Batches, tried_at: float, now: float
    ) -> list[Message] | None:
        """What becomes of a batch that was asked for and not confirmed; None if it was not made and can be asked for again."""
        try:
            ids = await batches.made_since(tried_at - SKEW_S, lot.asked, lot.foreign)
        except ProviderRefused as error:
            why = f"nobody can know whether the batch was made: {error}"
            return await self._abandon(lot, revision, why, "unknown-batch")
        except ProviderError as error:
            log.warning("batch.not_looked_for", batch=lot.name, error=str(error))
            return [_timer(lot, now + SETTLE_S)]
        if ids:
            log.warning("batch.found", batch=lot.name, candidates=len(ids))
            lot = lot.found(ids)
            await self._lots.write(lot, revision)
            return [_timer(lot, next_look_at(lot, now))]
        if now < tried_at + SETTLE_S:
            return [_timer(lot, tried_at + SETTLE_S)]
        if lot.tries >= TRIES:
            return await self._turned_away(lot, revision, f"not made in {lot.tries} tries", "not-made")
        return None

    async def _ready(self, lot: Lot, spec: ModelSpec) -> list[_Ready]:
        """The steps that are still wanted, each with its claimed call; those that must not wait are said again."""
        ready: list[_Ready] = []
        left: list[Message] = []
        for entry in lot.entries:
            run = await self._wanting(entry)
            if run is None:
                continue
            one = await self._claimed(lot, run, entry, spec)
            if one is not None:
                ready.append(one)
            elif await self.opened(run, entry, lot.tier, spec) is None:
                left.append(_again(run, entry, lot))
        if left:
            await self._say(left)
        return ready

    async def _wanting(self, entry: Entry) -> Run | None:
        found = await self._runs.read(entry.run)
        return found[0] if found is not None and found[0].awaits(entry.step, entry.attempt) else None

    async def _claimed(self, lot: Lot, run: Run, entry: Entry, spec: ModelSpec) -> _Ready | None:
        """The step with its call, opened now or by a worker before us; None where it cannot go with this batch."""
        question = await self._ask(run, entry)
        output = min(question.max_output, spec.max_output, ESTIMATED_OUTPUT_TOKENS)
        guess = Usage(input=size_of(question), output=output)
        started = self._book.started(entry.slot(run.tenant), 0, lot.tier, spec, guess, self._clock(), batch=lot.name)
        known = await self._ledger.last(started)
        if known is None:
            left_nano_usd = budget_left(run)
            affordable = left_nano_usd is None or (started.cost_nano_usd or 0) <= left_nano_usd
            if self._clock() >= entry.leave_at or not affordable or not await self._ledger.claim(started):
                return None
            return _Ready(entry, question, started)
        mine = known.status is CallStatus.STARTED and known.batch_id == lot.name
        return _Ready(entry, question, known) if mine else None

    async def _look(self, lot: Lot, revision: int, batches: Batches, spec: ModelSpec) -> list[Message]:
        try:
            progress = await batches.progress(lot.ids[0])
            if progress.ended_at is None:
                return await self._while_waiting(lot, revision, batches, spec)
            await self._read(lot, batches, spec, progress.ended_at)
        except _Foreign:
            return await self._disown(lot, revision)
        except ProviderRefused as error:
            log.warning("batch.lost", batch=lot.name, provider_batch=lot.ids[0], error=str(error))
            if not lot.confirmed:
                return await self._disown(lot, revision)
            return await self._abandon(lot, revision, f"the batch cannot be read: {error}", error.kind)
        except ProviderError as error:
            log.warning("batch.not_read", batch=lot.name, error=str(error))
            return [_timer(lot, next_look_at(lot, self._clock()))]
        return await self._end(lot, revision, spec)

    async def _while_waiting(self, lot: Lot, revision: int, batches: Batches, spec: ModelSpec) -> list[Message]:
        """Say the steps again whose deadline is near; stop a batch that nobody waits for."""
        now = self._clock()
        leaving: list[Message] = []
        waiting = 0
        for entry in lot.entries:
            run = await self._wanting(entry)
            if run is None or not await self._is_open(lot, run, entry, spec):
                continue
            waiting += 1
            if now >= entry.leave_at:
                leaving.append(_again(run, entry, lot))
        if waiting == 0 and lot.confirmed:
            log.info("batch.cancelled", batch=lot.name, provider_batch=lot.ids[0])
            await batches.cancel(lot.ids[0])
            await self._lots.write(lot.ended(now), revision)
            return []
        return [_timer(lot, next_look_at(lot, now)), *leaving]

    async def _is_open(self, lot: Lot, run: Run, entry: Entry, spec: ModelSpec) -> bool:
        known = await self.opened(run, entry, lot.tier, spec)
        return known is not None and known.status is CallStatus.STARTED and known.batch_id == lot.name

    async def _disown(self, lot: Lot, revision: int) -> list[Message]:
        lot = lot.disowned()
        await self._lots.write(lot, revision)
        return [_timer(lot, self._clock())]

    async def _read(self, lot: Lot, batches: Batches, spec: ModelSpec, ended_at: float) -> None:
        """Close every call that the batch answers.

        Raises:
            _Foreign: an answer is not to one of ours.
        """
        ours = {entry.custom_id: entry for entry in lot.entries}
        async with aclosing(batches.answers(lot.ids[0])) as answers:
            async for answer in answers:
                entry = ours.get(answer.custom_id)
                if entry is None:
                    raise _Foreign
                await self._take(lot, entry, spec, answer, ended_at)

    async def _take(self, lot: Lot, entry: Entry, spec: ModelSpec, answer: Answer, ended_at: float) -> None:
        """Keep an answer and close its call, unless the call was closed before: then that stands."""
        found = await self._runs.read(entry.run)
        if found is None:
            return
        run = found[0]
        known = await self.opened(run, entry, lot.tier, spec)
        if known is None or known.batch_id not in (lot.name, lot.ids[0]):
            return
        if known.status is not CallStatus.STARTED:
            self._settled(known, run, lot)
            return
        sent_at = lot.sent_at or known.started_at
        started = known.model_copy(update={"started_at": sent_at, "batch_id": lot.ids[0]})
        duration_s = max(0.0, ended_at - sent_at)
        if answer.reply is None:
            close = interrupted if answer.lost else failed
            await self._close(close(started, answer.error, duration_s, error_type=answer.error_type), run)
            return
        reply = answer.reply
        finished = self._book.finished(
            started, spec, reply.usage, duration_s, request_id=reply.request_id, stop_reason=reply.stop
        )
        output = Output(text=reply.text, stop=reply.stop, model=spec.id, calls=(finished,))
        await self._outputs.put(entry.slot(run.tenant).id, output)
        await self._close(finished, run)

    def _settled(self, known: CallRecorded, run: Run, lot: Lot) -> None:
        """A call that was closed before: by a worker that died while it read this batch, or because nobody waits any longer."""
        if known.batch_id == lot.ids[0]:
            self._watch.collected(known, run, again=True)
        else:
            log.info("batch.answer_not_used", call=known.call, status=known.status)

    async def _close(self, record: CallRecorded, run: Run) -> None:
        if await self._ledger.close(record):
            self._watch.collected(record, run)

    async def _turned_away(self, lot: Lot, revision: int, why: str, error_type: str) -> list[Message]:
        """The provider did not make the batch: its calls cost nothing."""
        return await self._end(lot, revision, None, lambda call: failed(call, why, 0.0, error_type=error_type))

    async def _abandon(self, lot: Lot, revision: int, why: str, error_type: str) -> list[Message]:
        """Nobody can know what became of the batch: its calls are charged by estimate."""
        log.warning("batch.abandoned", batch=lot.name, why=why)
        return await self._end(
            lot,
            revision,
            None,
            lambda call: interrupted(call, why, max(0.0, self._clock() - call.started_at), error_type),
        )

    async def _end(
        self,
        lot: Lot,
        revision: int,
        spec: ModelSpec | None,
        closing: Callable[[CallRecorded], CallRecorded] | None = None,
    ) -> list[Message]:
        """Close what is still open, say the steps again that waited, and be done."""
        missing = closing or (lambda call: interrupted(call, "not among the batch's answers", error_type="unanswered"))
        spec = spec or self._spec(lot) or self._catalog.tiers[lot.tier][0]
        said: list[Message] = []
        for entry in lot.entries:
            run = await self._wanting(entry)
            known = await self.opened(run, entry, lot.tier, spec) if run is not None else None
            if run is None or (known is not None and known.error_type == "left-batch"):
                continue
            if known is not None and not known.batch:
                continue
            if known is not None and known.status is CallStatus.STARTED and known.batch_id == lot.name:
                await self._close(missing(known), run)
            if known is None or known.batch_id in (lot.name, *lot.ids):
                said.append(_again(run, entry, lot))
        await self._say(said)
        await self._lots.write(lot.ended(self._clock()), revision)
        log.info("batch.ended", batch=lot.name, steps=len(lot.entries), said_again=len(said))
        return []

    def _blank(self, run: Run, entry: Entry, tier: Tier, spec: ModelSpec) -> CallRecorded:
        return self._book.started(entry.slot(run.tenant), 0, tier, spec, Usage(), 0.0)


def _again(run: Run, entry: Entry, lot: Lot) -> StepReleased:
    state = run.steps[entry.step]
    return StepReleased(
        run=run.id,
        step=entry.step,
        attempt=entry.attempt,
        tier=state.tier,
        priority=run.priority,
        after_batch=lot.name,
    )


def _timer(lot: Lot, due_at: float) -> BatchTimerSet:
    return BatchTimerSet(place=lot.name, collect=False, due_at=due_at)
