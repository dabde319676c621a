"""The one place where money is spent: a question is answered once, and every call it takes is in the ledger.

A call is claimed in the ledger before it is made. Whoever gets the same question later, after a crash, finds the claim:
if the answer was stored, it is used; if not, the open call is settled as interrupted and the question asked anew.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass, field

import structlog

from tierbus import limits
from tierbus.contracts import CallRecorded, CallStatus, Priority, Slot, Tier, Usage, spent
from tierbus.errors import Cancelled, OverBudget, TierbusError, Unavailable
from tierbus.ledger.book import Book, failed, interrupted, orphaned, tokens_of
from tierbus.ledger.closing import close
from tierbus.llm.gate import Gates
from tierbus.llm.model import Model, ProviderBusy, ProviderLost, ProviderRefused, Question, Reply, StopReason
from tierbus.llm.registry import Models
from tierbus.stores import Ledger, Output, Outputs
from tierbus.telemetry.watch import Watch
from tierbus.tiers.catalog import Catalog, ModelSpec

log = structlog.get_logger(__name__)

BACKOFF_S = 0.5
ESTIMATED_OUTPUT_TOKENS = 1000
"""Answer size assumed before a call, for the budget and for calls whose answer nobody got."""
TAKE_OVER_WAIT_S = limits.ACK_WAIT_S
LOST = "the worker that made this call ended before it was answered"


async def always() -> bool:
    """Nobody stops wanting the answer."""
    return True


@dataclass(frozen=True)
class Ask:
    """A question for a tier.

    `first` is the place in the tier's list of the model asked first, `budget_nano_usd` what may still be spent,
    `wanted` says whether the run still wants the answer, `again` whether a worker before us had this message.
    """

    slot: Slot
    tier: Tier
    question: Question
    priority: Priority = Priority.NORMAL
    first: int = 0
    budget_nano_usd: int | None = None
    wanted: Callable[[], Awaitable[bool]] = always
    again: bool = False


class Exhausted(TierbusError):
    """No model of the tier answered; `calls` are the tries."""

    def __init__(self, what: str, calls: tuple[CallRecorded, ...]) -> None:
        super().__init__(what)
        self.calls = calls


class Unaffordable(OverBudget):
    """The budget does not reach for the next call; `calls` were made before."""

    def __init__(self, what: str, calls: tuple[CallRecorded, ...]) -> None:
        super().__init__(what)
        self.calls = calls


@dataclass
class _Tries:
    """What is known while one question is being asked, in the span `asked_in`."""

    asked_in: str | None = None
    calls: list[CallRecorded] = field(default_factory=list)
    last_error: str = "no call was made"
    busy_s: list[float] = field(default_factory=list)
    refused_by: set[str] = field(default_factory=set)


class Desk:
    """Asks the models of a catalog, with fallback inside the tier, and keeps the ledger."""

    def __init__(
        self,
        catalog: Catalog,
        models: Models,
        ledger: Ledger,
        outputs: Outputs,
        timeout_s: float = 240.0,
        watch: Watch | None = None,
    ) -> None:
        self._catalog = catalog
        self._models = models
        self._ledger = ledger
        self._outputs = outputs
        self._timeout_s = timeout_s
        self._book = Book(catalog)
        self._watch = watch or Watch()
        self._settling: set[asyncio.Task[CallRecorded]] = set()
        self.gates = Gates()

    async def ask(self, ask: Ask) -> Output:
        """The answer to a question, asked or found.

        Raises:
            Exhausted: no model of the tier answered.
            Unaffordable: the next call would break the budget.
            Unavailable: every model asks to wait longer than is waited for in place, or another worker is at it.
            Cancelled: the run no longer wants the answer.
        """
        with self._watch.question(ask.slot, ask.tier) as asked_in:
            return await self._answer(ask, _Tries(asked_in))

    async def stored(self, slot: Slot) -> Output | None:
        """The answer that a question got earlier, without asking."""
        return await self._outputs.get(slot.id)

    async def _answer(self, ask: Ask, tries: _Tries) -> Output:
        specs = self._order(ask)
        place = rounds = 0
        for n in range(limits.CALLS_PER_SLOT):
            output = await self._try(ask, n, specs[place], tries)
            if output is not None:
                return output
            if tries.calls[-1:] and tries.calls[-1].batch:
                continue  # that was the batch's try: this tier's own begin with the same model
            if specs[place].id in tries.refused_by:
                specs.pop(place)
            else:
                place += 1
            if not specs:
                break
            if place == len(specs):
                await self._wait(tries, rounds)
                place, rounds = 0, rounds + 1
        raise Exhausted(f"no model of tier {ask.tier} answered: {tries.last_error}", tuple(tries.calls))

    def _order(self, ask: Ask) -> list[ModelSpec]:
        """The tier's models from `first` on that can hold the question; all of them if none can."""
        models = self._catalog.tiers[ask.tier]
        start = ask.first % len(models)
        turned = [*models[start:], *models[:start]]
        size = size_of(ask.question)
        return [spec for spec in turned if size + ask.question.max_output // 4 <= spec.context_window] or turned

    async def _try(self, ask: Ask, n: int, spec: ModelSpec, tries: _Tries) -> Output | None:
        guess = Usage(
            input=size_of(ask.question),
            output=min(ask.question.max_output, spec.max_output, ESTIMATED_OUTPUT_TOKENS),
        )
        model = self._models.of(spec)
        await model.ready()
        async with self.gates.of(spec).enter(ask.priority, guess.input):
            started = self._book.started(ask.slot, n, ask.tier, spec, guess, time.time(), tries.asked_in)
            await self._afford(ask, started, tries)
            if not await self._ledger.claim(started):
                return await self._taken(ask, started, tries)
            return await self._call(ask, model, started, tries)

    async def _afford(self, ask: Ask, started: CallRecorded, tries: _Tries) -> None:
        """A call that was opened before, perhaps in a batch at half the price, is paid for already."""
        if ask.budget_nano_usd is None:
            return
        so_far = spent(tries.calls)
        needed = started.cost_nano_usd or 0
        if so_far + needed > ask.budget_nano_usd and await self._ledger.last(started) is None:
            left = (ask.budget_nano_usd - so_far) / 1e9
            raise Unaffordable(
                f"a call to {started.model} is estimated at ${needed / 1e9:.6f}, ${left:.6f} of the budget is left",
                tuple(tries.calls),
            )

    async def _taken(self, ask: Ask, started: CallRecorded, tries: _Tries) -> Output | None:
        """This call was opened before us: use its answer, or settle it."""
        stored = await self._outputs.get(ask.slot.id)
        if stored is not None:
            log.info("desk.answer_found", slot=ask.slot.id)
            return await self._found(ask, stored)
        before = await self._ledger.last(started) or started
        if before.status is not CallStatus.STARTED:
            self._tell_found(ask, before)
        elif not ask.again:
            raise Unavailable(f"another worker is at {before.call}", delay_s=TAKE_OVER_WAIT_S)
        else:
            before = await self._close(orphaned(before, LOST))
            log.warning("desk.call_interrupted", call=before.call)
        tries.calls.append(before)
        tries.last_error = before.error or tries.last_error
        return None

    async def _found(self, ask: Ask, stored: Output) -> Output:
        """An answer that a worker before us stored: its last call may still be open in the ledger."""
        *earlier, answered = stored.calls
        standing = await self._ledger.last(answered)
        if standing is None or standing.status is CallStatus.STARTED:
            standing = await self._close(answered.model_copy(update={"asked_in": None}))
        else:
            self._tell_found(ask, standing)
        for call in earlier:
            self._tell_found(ask, call)
        return stored if standing == answered else stored.model_copy(update={"calls": (*earlier, standing)})

    def _tell_found(self, ask: Ask, call: CallRecorded) -> None:
        if ask.again:
            self._watch.found(call)

    async def leftovers(self, about: Slot, known: Container[str] = ()) -> tuple[CallRecorded, ...]:
        """Every call but the `known` that was made for a step's attempt by a role, whatever became of its asker; open ones are settled."""
        mine = [
            call
            for call in await self._ledger.of_run(about.run)
            if (call.step, call.attempt, call.role) == (about.step, about.attempt, about.role)
            and call.call not in known
        ]
        return tuple([await self._settled(call) for call in mine])

    async def _settled(self, call: CallRecorded) -> CallRecorded:
        if call.status is CallStatus.STARTED:
            return await self._close(orphaned(call, LOST))
        self._watch.found(call)
        return call

    async def settle_all(self) -> None:
        """Wait for calls that are still being closed."""
        await asyncio.gather(*self._settling, return_exceptions=True)

    async def _call(self, ask: Ask, model: Model, started: CallRecorded, tries: _Tries) -> Output | None:
        if not await ask.wanted():
            await self._close(failed(started, "not sent: the run has ended", 0.0))
            raise Cancelled(f"run {ask.slot.run} no longer wants {ask.slot.id}")
        started = started.model_copy(update={"started_at": time.time()})
        begun = time.monotonic()
        try:
            reply = await model.ask(ask.question, min(self._timeout_s, model.spec.timeout_s))
        except ProviderBusy as error:
            tries.busy_s.append(error.retry_after_s or 0.0)
            closed = failed(started, str(error), time.monotonic() - begun, error.request_id, error.kind)
        except ProviderRefused as error:
            tries.refused_by.add(model.spec.id)
            closed = failed(started, str(error), time.monotonic() - begun, error.request_id, error.kind)
        except ProviderLost as error:
            closed = interrupted(started, str(error), time.monotonic() - begun, error.kind)
        except asyncio.CancelledError:
            await self._close(interrupted(started, "stopped while in flight", time.monotonic() - begun))
            raise
        except Exception as error:
            broke = f"the adapter broke: {type(error).__name__}"
            await self._close(interrupted(started, broke, time.monotonic() - begun, type(error).__name__))
            raise
        else:
            return await self._store(ask, model.spec, started, reply, time.monotonic() - begun, tries)
        closed = await self._close(closed, ask.question)
        tries.calls.append(closed)
        tries.last_error = closed.error or closed.status
        log.warning(
            "desk.call_failed",
            call=closed.call,
            model=model.spec.id,
            status=closed.status,
            error=closed.error,
        )
        return None

    async def _store(
        self, ask: Ask, spec: ModelSpec, started: CallRecorded, reply: Reply, duration_s: float, tries: _Tries
    ) -> Output:
        finished = self._book.finished(
            started, spec, reply.usage, duration_s, request_id=reply.request_id, stop_reason=reply.stop
        )
        output = Output(text=reply.text, stop=reply.stop, model=spec.id, calls=(*tries.calls, finished))
        _, standing = await asyncio.gather(
            self._outputs.put(ask.slot.id, output), self._close(finished, ask.question, reply)
        )
        if standing == finished:
            return output
        settled = output.model_copy(update={"calls": (*tries.calls, standing)})
        await self._outputs.put(ask.slot.id, settled)
        return settled

    async def _close(
        self, record: CallRecorded, question: Question | None = None, reply: Reply | None = None
    ) -> CallRecorded:
        """Close a call and tell of it, even if the work around it is stopped meanwhile; returns the record that stands."""
        task = asyncio.ensure_future(close(self._ledger, self._watch, record, question, reply))
        self._settling.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: "asyncio.Task[CallRecorded]") -> None:
        self._settling.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("desk.not_closed", error=repr(error))

    async def _wait(self, tries: _Tries, round_: int) -> None:
        """Between two rounds through the tier's models: as long as the provider asks, or an exponential back-off."""
        asked = min(tries.busy_s, default=0.0)
        tries.busy_s.clear()
        wait_s = max(asked, BACKOFF_S * 2**round_ * random.uniform(0.8, 1.2))  # noqa: S311 - jitter
        if wait_s > limits.WAIT_INLINE_S:
            raise Unavailable(f"every model asks to wait: {tries.last_error}", delay_s=wait_s)
        await asyncio.sleep(wait_s)


def size_of(question: Question) -> int:
    """Estimated input tokens of a question."""
    chars = len(question.system) + len(question.shared) + sum(len(turn.text) for turn in question.turns)
    return tokens_of(chars)


def truncated(output: Output) -> bool:
    """Whether the model ran out of room: never an answer."""
    return output.stop == StopReason.TRUNCATED


def refused(output: Output) -> bool:
    """Whether the model declined."""
    return output.stop == StopReason.REFUSED
