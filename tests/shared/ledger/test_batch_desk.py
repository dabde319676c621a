"""Batches: paid once, whatever dies in between, and the ledger knows every call."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.parts import Parts
from tests.plans import NOW, new_run

from tierbus.batch.lot import SETTLE_S, Entry, Lot
from tierbus.batch.rules import BatchRules, lane_of
from tierbus.classes import Classes, ClassRules
from tierbus.contracts import (
    BatchDue,
    BatchTimerSet,
    CallRecorded,
    CallStatus,
    Message,
    Outcome,
    Priority,
    StepExecuted,
    StepReleased,
    TaskStatus,
    Tier,
)
from tierbus.errors import Conflict, Unavailable
from tierbus.executor.app import Executor
from tierbus.executor.waiting import Waiting
from tierbus.ledger import desk as desk_module
from tierbus.ledger.batch_desk import BatchDesk, Stores
from tierbus.llm.model import ProviderBusy, ProviderError, ProviderLost, ProviderRefused, Question
from tierbus.run import Run, begin, close
from tierbus.service import Delivery
from tierbus.testing.memory import MemoryLots
from tierbus.testing.scripted import ScriptedBatches, reply
from tierbus.tiers.catalog import ModelSpec

RULES = BatchRules(max_wait_s=600, max_requests=100)
LANE = lane_of(RULES, Tier.SMALL)
HALF, WHOLE = 10_000, 20_000
"""Nano-dollars of 100 input and 20 output tokens on claude-haiku-5-5, in a batch and by themselves."""


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk_module, "BACKOFF_S", 0.0)


class Killed(BaseException):
    """The process ends here."""


@dataclass
class Fuse:
    """Kills the process before or after its so many-th effect on the world outside."""

    at: int | None = None
    after: bool = False
    seen: int = 0
    where: str = ""

    def around(self, name: str, work: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def guarded(*args: Any, **more: Any) -> Any:
            self.seen += 1
            strikes = self.seen == self.at
            if strikes:
                self.where = name
            if strikes and not self.after:
                raise Killed(name)
            result = await work(*args, **more)
            if strikes:
                raise Killed(name)
            return result

        return guarded


@dataclass
class Night:
    """An executor with a batch lane over memory, a bus that delivers what is said, and a clock that a test turns."""

    says: Callable[[Question], Any] = lambda _question: "Guten Tag."
    budget_nano_usd: int | None = None
    now: float = NOW
    fuse: Fuse = field(default_factory=Fuse)
    queue: dict[str, Message] = field(default_factory=dict)
    timers: dict[str, BatchTimerSet] = field(default_factory=dict)
    executed: dict[str, StepExecuted] = field(default_factory=dict)
    deliveries: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.parts = Parts(self._direct)
        self.lots = MemoryLots()
        self.provider = ScriptedBatches(self.says, lambda: self.now)
        self.runs: list[Run] = []
        self._fused()
        stores = Stores(self.parts.store, self.lots, self.parts.ledger, self.parts.outputs)
        desk = BatchDesk(self.parts.catalog, self.provider, stores, self._ask, self._say, clock=lambda: self.now)
        classes = Classes(classes={"*": ClassRules(batch=RULES)})
        self.waiting = Waiting(
            self.lots, self.parts.texts, desk, self.parts.catalog, classes, self._say, lambda: self.now
        )
        parts = self.parts
        self.executor = Executor(parts.runs, parts.texts, parts.desk, parts.catalog, self._tell, waiting=self.waiting)

    def _fused(self) -> None:
        for thing, names in (
            (self.lots, ("add", "take", "write")),
            (self.parts.ledger, ("claim", "close")),
            (self.parts.outputs, ("put",)),
            (self.provider, ("create",)),
        ):
            for name in names:
                setattr(thing, name, self.fuse.around(f"{type(thing).__name__}.{name}", getattr(thing, name)))

    def _direct(self, _spec: ModelSpec, _question: Question) -> Any:
        return reply("Direct.", "claude-haiku-5-5")

    async def _ask(self, run: Run, entry: Entry) -> Question:
        return await self.waiting.ask(run, entry)

    async def _tell(self, message: Message) -> None:
        pass

    async def _say(self, messages: Any) -> None:
        for message in messages:
            self.say(message)

    def say(self, message: Message) -> None:
        """What the bus does with a message: one per subject, a first timer is not replaced."""
        if isinstance(message, BatchTimerSet):
            if not (message.first and message.place in self.timers):
                self.timers[message.place] = message
        elif isinstance(message, StepExecuted):
            self.executed[message.run] = message
        else:
            self.queue[message.subject] = message

    async def add(self, number: int, **more: object) -> Run:
        """A run whose only step is released."""
        given: dict[str, object] = {
            "id": f"{number:032x}",
            "priority": Priority.LOW,
            "deadline_at": NOW + 86400,
            "budget_nano_usd": self.budget_nano_usd,
            **more,
        }
        run = begin(new_run(**given), self.now).run  # type: ignore[arg-type] # the run's fields by name
        await self.parts.store.write(run, await self.parts.store.revision(run.id))
        self.runs.append(run)
        self.say(StepReleased(run=run.id, step="answer", attempt=1, tier=Tier.SMALL, priority=Priority.LOW))
        return run

    async def deliver(self) -> None:
        """Deliver everything that is queued, again and again until a handler ends or says it must wait."""
        while self.queue:
            subject, message = next(iter(self.queue.items()))
            del self.queue[subject]
            self.deliveries[subject] += 1
            delivery = Delivery(subject, "WORK", 7, self.deliveries[subject], NOW, received_at=self.now)
            handler = self.executor.on_batch if isinstance(message, BatchDue) else self.executor.on_step
            try:
                said = await handler(message, delivery)  # type: ignore[arg-type] # each gets its own kind
            except Killed:
                self.queue.setdefault(subject, message)
                self.now += 15.0
                raise
            except (Conflict, Unavailable):
                self.queue.setdefault(subject, message)
                self.now += 15.0
                continue
            self.deliveries[subject] = 0
            for one in said:
                self.say(one)

    async def ring(self) -> None:
        """Let the next timer ring."""
        timer = min(self.timers.values(), key=lambda one: one.due_at)
        del self.timers[timer.place]
        self.now = max(self.now, timer.due_at)
        self.say(BatchDue(place=timer.place, collect=timer.collect))

    async def run_out(self, most: int = 400) -> None:
        """Deliver and ring until nothing is left; a kill is survived."""
        for _ in range(most):
            try:
                await self.deliver()
            except Killed:
                continue
            if not self.timers:
                return
            await self.ring()
        raise AssertionError(f"it never ends: {self.timers}, {self.queue}")

    def calls(self) -> list[CallRecorded]:
        """The last record of every call."""
        return list({record.call: record for record in self.parts.ledger.records}.values())

    def told(self) -> list[tuple[bool, CallStatus, int | None]]:
        return [(call.batch, call.status, call.cost_nano_usd) for call in self.calls()]

    def check(self) -> None:
        """Every task has an answer, nothing is open, and what the answers cost is what the ledger says."""
        assert {run.id for run in self.runs} == set(self.executed)
        assert [call for call in self.calls() if call.status is CallStatus.STARTED] == []
        spent = {
            run.id: sum(call.cost_nano_usd or 0 for call in self.calls() if call.run == run.id) for run in self.runs
        }
        assert spent == {
            name: sum(call.cost_nano_usd or 0 for call in one.calls) for name, one in self.executed.items()
        }


async def test_steps_that_wait_are_answered_at_half_the_price() -> None:
    night = Night()
    for number in range(3):
        await night.add(number)

    await night.run_out()

    night.check()
    assert night.told() == [(True, CallStatus.FINISHED, HALF)] * 3
    assert (night.provider.counts["create"], night.parts.models.asked) == (1, [])
    assert {executed.outcome for executed in night.executed.values()} == {Outcome.ANSWERED}
    call = night.calls()[0]
    assert (call.baseline_nano_usd, call.batch_id, call.duration_s) == (800_000, "msgbatch_0", 3600.0)
    assert call.price_source.endswith(" x0.5 batch")


KILLS = [(at, after) for at in range(1, 31) for after in (False, True)]
"""Before and after each effect that three tasks have on their way through one batch."""


@pytest.mark.parametrize(("at", "after"), KILLS)
async def test_a_kill_before_or_after_any_effect_pays_once(at: int, after: bool) -> None:
    night = Night(fuse=Fuse(at, after))
    for number in range(3):
        await night.add(number)

    await night.run_out()

    night.check()
    assert night.told() == [(True, CallStatus.FINISHED, HALF)] * 3, night.fuse.where
    assert sum(len(made.requests) for made in night.provider.made.values()) == 3, night.fuse.where
    assert night.parts.models.asked == []


async def test_every_effect_is_tried_by_the_kills() -> None:
    night = Night()
    for number in range(3):
        await night.add(number)
    await night.run_out()

    assert night.fuse.seen <= len(KILLS) / 2


@pytest.mark.parametrize("kind", ["errored", "expired", "canceled"])
async def test_a_request_that_the_batch_did_not_answer_is_asked_the_normal_way_of_the_same_model(kind: str) -> None:
    night = Night(says=lambda _question: ProviderError("no answer", kind=kind))
    await night.add(1)

    await night.run_out()

    night.check()
    assert night.told() == [(True, CallStatus.FAILED, 0), (False, CallStatus.FINISHED, WHOLE)]
    assert [spec.id for spec, _ in night.parts.models.asked] == ["claude-haiku-5-5"]
    assert night.calls()[0].error_type == kind


async def test_a_step_leaves_the_batch_when_its_deadline_is_near_and_the_late_answer_changes_nothing() -> None:
    night = Night()
    await night.add(1, deadline_at=NOW + RULES.min_slack_s)
    night.provider.takes_s = 20_000

    await night.run_out()

    night.check()
    batched, direct = night.calls()
    assert (batched.status, batched.estimated, batched.error_type) == (CallStatus.INTERRUPTED, True, "left-batch")
    assert (direct.status, direct.cost_nano_usd) == (CallStatus.FINISHED, WHOLE)
    assert night.provider.counts["cancel"] == 1
    left_at = NOW + RULES.min_slack_s - RULES.leave_slack_s
    assert direct.started_at > 0
    assert abs(batched.started_at + batched.duration_s - left_at) < RULES.max_wait_s


async def test_a_step_whose_deadline_came_near_before_its_batch_was_sent_is_done_the_normal_way() -> None:
    """Nobody collected the lane for hours."""
    night = Night()
    await night.add(1, deadline_at=NOW + RULES.min_slack_s)
    await night.deliver()
    night.now = NOW + RULES.min_slack_s - RULES.leave_slack_s

    await night.run_out()

    night.check()
    assert night.told() == [(False, CallStatus.FINISHED, WHOLE)]
    assert night.provider.made == {}


async def test_a_step_that_is_said_again_when_its_deadline_is_near_leaves_though_no_timer_of_the_batch_rang() -> None:
    night = Night()
    run = await night.add(1, deadline_at=NOW + RULES.min_slack_s)
    night.provider.takes_s = 20_000
    await night.deliver()
    await night.ring()
    await night.deliver()
    night.timers.clear()
    night.now = NOW + RULES.min_slack_s - RULES.leave_slack_s
    night.say(StepReleased(run=run.id, step="answer", attempt=1, tier=Tier.SMALL, priority=Priority.LOW))

    await night.run_out()

    night.check()
    assert [(call.status, call.error_type) for call in night.calls()] == [
        (CallStatus.INTERRUPTED, "left-batch"),
        (CallStatus.FINISHED, None),
    ]


async def test_the_answer_of_a_batch_in_which_one_step_left_is_used_for_the_others() -> None:
    night = Night()
    early = await night.add(1, deadline_at=NOW + RULES.min_slack_s)
    late = await night.add(2)
    night.provider.takes_s = 20_000

    await night.run_out()

    night.check()
    by_run = {run.id: [call.status for call in night.calls() if call.run == run.id] for run in (early, late)}
    assert by_run[early.id] == [CallStatus.INTERRUPTED, CallStatus.FINISHED]
    assert by_run[late.id] == [CallStatus.FINISHED]
    assert night.provider.counts["cancel"] == 0


async def test_a_run_that_has_ended_is_left_out_of_a_batch_that_is_not_sent() -> None:
    night = Night()
    gone, stays = await night.add(1), await night.add(2)
    await night.deliver()
    ended = close(gone, TaskStatus.CANCELLED, "not wanted", NOW).run
    await night.parts.store.write(ended, await night.parts.store.revision(gone.id))

    await night.run_out()

    assert [call.run for call in night.calls()] == [stays.id]
    [made] = night.provider.made.values()
    assert len(made.requests) == 1


async def test_a_batch_that_only_ended_runs_would_be_in_is_not_made() -> None:
    night = Night()
    gone = await night.add(1)
    await night.deliver()
    ended = close(gone, TaskStatus.CANCELLED, "not wanted", NOW).run
    await night.parts.store.write(ended, await night.parts.store.revision(gone.id))

    await night.run_out()

    assert (night.provider.made, night.calls()) == ({}, [])


async def test_an_answer_to_a_run_that_gave_its_call_up_is_not_used() -> None:
    night = Night()
    gone = await night.add(1)
    stays = await night.add(2)
    await night.deliver()
    await night.ring()
    await night.deliver()
    ended = close(gone, TaskStatus.CANCELLED, "not wanted", NOW).run
    await night.parts.store.write(ended, await night.parts.store.revision(gone.id))
    for call in await night.parts.ledger.of_run(gone.id):
        await night.parts.ledger.close(call.model_copy(update={"status": CallStatus.INTERRUPTED}))

    await night.run_out()

    assert {call.run: call.status for call in night.calls()} == {
        gone.id: CallStatus.INTERRUPTED,
        stays.id: CallStatus.FINISHED,
    }
    assert [name.split(".")[0] for name in night.parts.outputs.kept] == [stays.id]


class Failing:
    """A method that fails with these errors first."""

    def __init__(self, work: Callable[..., Awaitable[Any]], *errors: BaseException, works_first: bool = False) -> None:
        self.work = work
        self.errors = list(errors)
        self.works_first = works_first

    async def __call__(self, *args: Any, **more: Any) -> Any:
        if not self.errors:
            return await self.work(*args, **more)
        if self.works_first:
            await self.work(*args, **more)
        raise self.errors.pop(0)


def fail(night: Night, method: str, *errors: BaseException, works_first: bool = False) -> None:
    setattr(night.provider, method, Failing(getattr(night.provider, method), *errors, works_first=works_first))


async def test_a_batch_that_the_provider_refuses_costs_nothing_and_its_steps_go_the_normal_way() -> None:
    night = Night()
    fail(night, "create", ProviderRefused("HTTP 404: no such endpoint", kind="404"))
    await night.add(1)

    await night.run_out()

    night.check()
    assert night.told() == [(True, CallStatus.FAILED, 0), (False, CallStatus.FINISHED, WHOLE)]


async def test_a_busy_provider_is_asked_for_the_same_batch_again() -> None:
    night = Night()
    fail(night, "create", ProviderBusy("HTTP 529: overloaded", kind="529"), ProviderBusy("HTTP 529", kind="529"))
    await night.add(1)

    await night.run_out()

    night.check()
    assert night.told() == [(True, CallStatus.FINISHED, HALF)]


async def test_a_provider_that_is_always_busy_is_given_up_and_the_steps_go_the_normal_way() -> None:
    night = Night()
    fail(night, "create", *[ProviderBusy("HTTP 529: overloaded", kind="529") for _ in range(20)])
    await night.add(1)

    await night.run_out()

    night.check()
    assert night.told() == [(True, CallStatus.FAILED, 0), (False, CallStatus.FINISHED, WHOLE)]
    assert night.calls()[0].error_type == "not-made"


async def test_a_batch_whose_making_we_did_not_hear_of_is_found_in_the_list_and_paid_once() -> None:
    night = Night()
    fail(night, "create", ProviderLost("no answer within 300 s", kind="timeout"), works_first=True)
    await night.add(1)

    await night.run_out()

    night.check()
    assert night.told() == [(True, CallStatus.FINISHED, HALF)]
    assert len(night.provider.made) == 1


async def test_a_batch_that_is_not_in_the_list_is_asked_for_again_only_after_a_while() -> None:
    night = Night()
    fail(night, "create", ProviderLost("no answer within 300 s", kind="timeout"))
    await night.add(1)
    await night.deliver()
    await night.ring()
    await night.deliver()
    tried_at = night.now

    await night.run_out()

    night.check()
    [made] = night.provider.made.values()
    assert made.at >= tried_at + SETTLE_S
    assert night.told() == [(True, CallStatus.FINISHED, HALF)]


async def test_where_nobody_can_know_whether_a_batch_was_made_its_calls_are_charged_by_estimate() -> None:
    night = Night()
    fail(night, "create", ProviderLost("no answer within 300 s", kind="timeout"), works_first=True)
    fail(night, "made_since", ProviderRefused("HTTP 403: not permitted", kind="403"))
    await night.add(1)

    await night.run_out()

    night.check()
    batched, direct = night.calls()
    assert (batched.status, batched.estimated, batched.error_type) == (CallStatus.INTERRUPTED, True, "unknown-batch")
    assert (batched.cost_nano_usd or 0) > 0
    assert direct.status is CallStatus.FINISHED


async def test_another_batch_of_the_same_size_is_known_by_its_custom_ids_and_not_taken_for_ours() -> None:
    night = Night()
    fail(night, "create", ProviderLost("no answer within 300 s", kind="timeout"))
    await night.add(1)
    await night.deliver()
    await night.ring()
    await night.deliver()
    [lot] = [lot for lot, _ in night.lots.lots.values()]
    await night.provider.create([_other()])

    await night.run_out()

    night.check()
    assert night.told() == [(True, CallStatus.FINISHED, HALF)]
    assert len(night.provider.made) == 2
    assert night.lots.lots[lot.name][0].foreign == ("msgbatch_0",)


def _other() -> Any:
    from tierbus.llm.batches import Request
    from tierbus.llm.model import Turn

    return Request("somebody-elses", Question(system="", turns=(Turn("user", "x"),)))


async def test_a_sent_batch_that_the_provider_no_longer_knows_is_charged_by_estimate() -> None:
    night = Night()
    await night.add(1)
    await night.deliver()
    await night.ring()
    await night.deliver()
    night.provider.made.clear()

    await night.run_out()

    night.check()
    assert [status for _, status, _ in night.told()] == [CallStatus.INTERRUPTED, CallStatus.FINISHED]


async def test_results_that_break_off_are_read_again_and_paid_once() -> None:
    said = iter(["Guten Tag.", ProviderLost("the results broke off", kind="connection-lost")])

    def says(_question: Question) -> Any:
        found = next(said, "Guten Abend.")
        if isinstance(found, ProviderLost):
            raise found
        return found

    night = Night(says=says)
    for number in range(3):
        await night.add(number)

    await night.run_out()

    night.check()
    assert night.told() == [(True, CallStatus.FINISHED, HALF)] * 3
    assert {executed.outcome for executed in night.executed.values()} == {Outcome.ANSWERED}


async def test_an_answer_of_which_nothing_can_be_read_is_charged_by_estimate() -> None:
    night = Night()
    await night.add(1)

    async def unreadable(_batch: str) -> Any:
        from tierbus.llm.batches import Answer

        [entry] = next(iter(night.lots.lots.values()))[0].entries
        yield Answer(entry.custom_id, error="the answer cannot be read", error_type="unreadable", lost=True)

    night.provider.answers = unreadable  # type: ignore[method-assign,assignment] # one answer that is none

    await night.run_out()

    night.check()
    assert night.calls()[0].error_type == "unreadable"
    assert [status for _, status, _ in night.told()] == [CallStatus.INTERRUPTED, CallStatus.FINISHED]


async def test_a_budget_that_reaches_for_a_batch_only_is_enough_for_it() -> None:
    """By itself the call is estimated at more than this; its batch's answer is paid for already."""
    night = Night()
    await night.add(1)
    await night.deliver()
    whole = await _estimate(night)
    poor = Night(budget_nano_usd=whole * 3 // 4)
    await poor.add(1)

    await poor.run_out()

    poor.check()
    assert poor.told() == [(True, CallStatus.FINISHED, HALF)]
    assert [executed.outcome for executed in poor.executed.values()] == [Outcome.ANSWERED]


async def _estimate(night: Night) -> int:
    """What the step's call by itself is estimated at: twice what the batch's call was opened with."""
    await night.run_out()
    return 2 * (night.parts.ledger.records[0].cost_nano_usd or 0)


async def test_a_budget_that_does_not_reach_for_a_batch_ends_the_step_as_it_does_by_itself() -> None:
    night = Night(budget_nano_usd=1)
    await night.add(1)

    await night.run_out()

    assert night.calls() == []
    assert [executed.outcome for executed in night.executed.values()] == [Outcome.OVER_BUDGET]


async def test_a_step_that_the_normal_way_was_quicker_with_is_left_out() -> None:
    """Two workers had the step: one put it aside, the other had rules that did not let it wait."""
    night = Night()
    run = await night.add(1)
    await night.deliver()
    impatient = Executor(night.parts.runs, night.parts.texts, night.parts.desk, night.parts.catalog, night._tell)
    released = StepReleased(run=run.id, step="answer", attempt=1, tier=Tier.SMALL, priority=Priority.LOW)
    [executed] = await impatient.on_step(released, Delivery(released.subject))
    night.say(executed)

    await night.run_out()

    assert night.told() == [(False, CallStatus.FINISHED, WHOLE)]
    assert night.provider.made == {}


async def test_a_model_that_left_the_tier_file_is_charged_by_estimate_and_not_asked() -> None:
    night = Night()
    await night.add(1)
    await night.deliver()
    await night.ring()
    await night.deliver()
    lot, revision = next(iter(night.lots.lots.values()))
    await night.lots.write(lot.model_copy(update={"model": "claude-gone"}), revision)

    await night.run_out()

    night.check()
    assert night.calls()[0].error_type == "no-model"


async def test_a_batch_that_is_over_is_not_looked_at_again() -> None:
    night = Night()
    await night.add(1)
    await night.run_out()
    before = dict(night.provider.counts)
    [lot] = [lot for lot, _ in night.lots.lots.values()]

    said = await night.waiting.due(BatchDue(place=lot.name, collect=False))

    assert (said, dict(night.provider.counts)) == ([], before)
    assert await night.waiting.due(BatchDue(place="b-unknown", collect=False)) == []


async def test_a_batch_given_up_by_the_bus_lets_its_steps_go() -> None:
    night = Night()
    await night.add(1)
    await night.deliver()
    await night.ring()
    await night.deliver()
    [lot] = [lot for lot, _ in night.lots.lots.values()]
    night.timers.clear()
    due = BatchDue(place=lot.name, collect=False)

    said = await night.executor.give_up_batch(due, Delivery(due.subject, deliveries=26), Unavailable("bus"))
    for message in said:
        night.say(message)
    await night.run_out()

    night.check()
    assert night.calls()[0].error_type == "given-up-batch"


async def test_two_workers_at_one_batch_have_it_made_once() -> None:
    night = Night()
    await night.add(1)
    await night.deliver()
    await night.ring()
    lots: list[Lot] = []
    due = night.queue.pop(f"tierbus.batch.due.{LANE}")
    assert isinstance(due, BatchDue)
    assert await night.waiting.due(due) == []
    for message in list(night.queue.values()):
        assert isinstance(message, BatchDue)
        both = await asyncio.gather(night.waiting.due(message), night.waiting.due(message), return_exceptions=True)
        lots += [lot for lot, _ in night.lots.lots.values()]
        assert sum(isinstance(one, Conflict) for one in both) <= 1

    assert len(night.provider.made) == 1
