"""The quality watch of one task: ask the frontier the same, compare blindly, write down what it showed and what it cost."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import structlog

from tierbus.classes import Classes
from tierbus.contracts import (
    NANO,
    CallRecorded,
    CallStatus,
    Comparison,
    FeedbackGiven,
    Message,
    Priority,
    QualityDue,
    QualityMeasured,
    Result,
    Role,
    TaskStatus,
    Tier,
    WatchState,
    spent,
)
from tierbus.errors import TierbusError
from tierbus.ledger.desk import Ask, Desk, Exhausted, Unaffordable, refused, truncated
from tierbus.llm.model import Question
from tierbus.quality.blind import Choice, checked, combined, reading
from tierbus.quality.cap import left
from tierbus.quality.check import CheckBroken, good
from tierbus.quality.rules import CheckRules, WatchRules
from tierbus.quality.sample import day_of, drawn
from tierbus.result import result_of
from tierbus.reviewer import judge
from tierbus.reviewer.verdict import agree
from tierbus.run import Run, StepState, whole
from tierbus.runs import Runs
from tierbus.service import Delivery
from tierbus.stores import Ledger, Measures, Output, Texts
from tierbus.telemetry.watch import Watch
from tierbus.tiers.catalog import Catalog
from tierbus.work import max_output

log = structlog.get_logger(__name__)

TIMES_ESTIMATE = 3
"""One question may cost this many times its estimate, tries whose answer was lost included; then it is given up."""


class Unmeasurable(TierbusError):
    """This task cannot be compared; the text says why."""


class Found(NamedTuple):
    """What a comparison showed; `frontier_nano_usd` is what the frontier's answer cost, None where nobody knows."""

    comparison: Comparison
    decided_by: Literal["same", "agreement", "check", "judge"]
    frontier_nano_usd: int | None
    orders: tuple[Comparison, ...] = ()


@dataclass(frozen=True)
class QualityWatch:
    """Compares what was drawn. `clock` gives Unix seconds."""

    runs: Runs
    texts: Texts
    desk: Desk
    catalog: Catalog
    ledger: Ledger
    measures: Measures
    classes: Classes = field(default_factory=Classes)
    watch: Watch = field(default_factory=Watch)
    clock: Callable[[], float] = time.time

    def due(self, messages: Sequence[Message]) -> list[Message]:
        """The messages, and after each result that is drawn, that it is to be watched; the same however often it is said."""
        return [
            *messages,
            *(QualityDue(run=one.run) for one in messages if isinstance(one, Result) and self._drawn(one)),
        ]

    def _drawn(self, result: Result) -> bool:
        """An answer taken over from another task was drawn with that one, or not."""
        rules = self.classes.of(result.task_class).watch
        if result.cached_from is not None:
            return False
        return result.status is TaskStatus.SUCCEEDED and rules is not None and drawn(result.run, rules.share)

    async def on_due(self, due: QualityDue, delivery: Delivery) -> list[Message]:
        """Compare one task, once, however often it is delivered: what was answered before is found, not asked again."""
        found = await self.runs.find(due.run)
        if found is None or found[0].status is not TaskStatus.SUCCEEDED:
            log.info("quality.nothing_to_watch", run=due.run, known=found is not None)
            return []
        run = found[0]
        blank = self._blank(run)
        stored = await self.measures.read(blank)
        if stored is not None and stored[0].final:
            return []
        rules = self.classes.of(run.task_class).watch
        if rules is None:
            if stored is not None:
                await self.desk.leftovers(judge.slot(run))
                await self._failed(run, stored, "its class is no longer watched")
            return []
        await _Comparing(self, run, rules, blank, again=delivery.again).go_on(stored)
        return []

    async def on_feedback(self, given: FeedbackGiven, delivery: Delivery) -> list[Message]:
        """Count, when it first comes, what somebody thinks of a result; the bus keeps it for `tierbus quality` and the report."""
        if not delivery.again:
            self.watch.rated(given.score, self.classes.name_of(given.task_class))
        return []

    async def give_up(self, due: QualityDue, _delivery: Delivery, error: Exception) -> list[Message]:
        """The task could not be compared: what that has cost stays on record."""
        found = await self.runs.find(due.run)
        if found is None or found[0].status is not TaskStatus.SUCCEEDED:
            return []
        run = found[0]
        blank = self._blank(run)
        stored = await self.measures.read(blank) or (blank, 0)
        if not stored[0].final:
            await self.desk.leftovers(judge.slot(run))
            await self._failed(run, stored, f"given up: {type(error).__name__}")
        return []

    def _blank(self, run: Run) -> QualityMeasured:
        """What is known of a run before it is compared."""
        ended_at = run.finished_at or 0.0
        baseline = result_of(run).baseline
        return QualityMeasured(
            run=run.id,
            tenant=run.tenant,
            task=run.task,
            task_class=run.task_class,
            rules=self.classes.name_of(run.task_class),
            day=day_of(ended_at),
            state=WatchState.ASKING,
            task_nano_usd=run.cost_nano_usd if _priced(run.calls) else None,
            estimated_nano_usd=baseline.cost_nano_usd if baseline else None,
            tiers=tuple(sorted({state.tier for state in run.steps.values()}, key=list(Tier).index)),
            ended_at=ended_at,
            at=self.clock(),
        )

    async def _failed(self, run: Run, stored: tuple[QualityMeasured, int], reason: str) -> None:
        await self.end(run, stored, state=WatchState.FAILED, reason=reason[:500])

    async def own_calls(self, run: Run) -> list[CallRecorded]:
        """Every call that the watch has made about a run, whoever made it."""
        return [call for call in await self.ledger.of_run(run.id) if call.role is Role.WATCH]

    async def end(self, run: Run, stored: tuple[QualityMeasured, int], **said: Any) -> None:
        """Write the last record with `said`, and with what the ledger says the watch has spent; whoever writes it counts it.

        Raises:
            Conflict: another worker wrote meanwhile.
        """
        calls = await self.own_calls(run)
        own = {"own_nano_usd": spent(calls), "own_complete": _priced(calls), "at": self.clock()}
        record = stored[0].model_copy(update={**own, **said})
        await self.measures.write(record, stored[1])
        self.watch.measured(record)
        log.info("quality.measured", run=run.id, state=record.state, comparison=record.comparison)


@dataclass(frozen=True)
class _Comparing:
    """One task being compared."""

    parts: QualityWatch
    run: Run
    rules: WatchRules
    blank: QualityMeasured
    again: bool

    async def go_on(self, stored: tuple[QualityMeasured, int] | None) -> None:
        """From wherever a worker before us has come."""
        itself = frontiers_own(self.run)
        if itself is not None:
            await self._end(stored or (self.blank, 0), itself)
            return
        asked = await judge.whole_task(self.run, self.parts.texts, self.parts.catalog)
        own = await self._own_answer()
        stored = stored or await self._reserve(asked, own)
        if stored is None:
            return
        try:
            await self._admit(stored[0])
            found = await self._compare(asked, own)
        except _OverCap as error:
            await self.parts.end(self.run, stored, state=WatchState.OVER_CAP, reason=str(error))
        except (Exhausted, Unaffordable, CheckBroken, Unmeasurable) as error:
            await self.parts.end(self.run, stored, state=WatchState.FAILED, reason=str(error)[:500])
        else:
            await self._end(stored, found)

    async def _end(self, stored: tuple[QualityMeasured, int], found: Found) -> None:
        await self.parts.end(self.run, stored, state=WatchState.MEASURED, **found._asdict())

    async def _reserve(self, asked: Question, own: str) -> tuple[QualityMeasured, int] | None:
        """Set aside what the comparison is thought to cost; without a known price there is no cap to hold."""
        parts = self.parts
        tier = None if self.rules.check else self.rules.judge_tier
        needed = await judge.reservation(self.run, asked, own, parts.texts, parts.catalog, tier, parts.clock())
        if needed is None:
            reason = "a model that would be asked has no known price, so the cap could not be held"
            await parts.end(self.run, (self.blank, 0), state=WatchState.FAILED, reason=reason)
            return None
        record = self.blank.model_copy(update={"own_nano_usd": needed})
        return record, await parts.measures.write(record, 0)

    async def _admit(self, reserved: QualityMeasured) -> None:
        """Whether the day has room for it; asked only before anything was paid, so that nothing is paid in vain.

        Raises:
            _OverCap: it has none.
        """
        if await self.parts.own_calls(self.run):
            return
        room = left(reserved, await self.parts.measures.taken(reserved.day), self.rules.cap_nano_usd)
        if reserved.own_nano_usd > room:
            raise _OverCap(
                f"${room / NANO:.6f} of the ${self.rules.max_usd_per_day} for tasks that ended on {reserved.day} are left,"
                f" a comparison is thought to cost ${reserved.own_nano_usd / NANO:.6f}"
            )

    async def _own_answer(self) -> str:
        last = self.run.last_step
        return await self.parts.texts.read(last.output) if last and last.output else ""

    async def _compare(self, asked: Question, own: str) -> Found:
        output = await self._ask(asked, judge.FRONTIER, Tier.FRONTIER)
        if truncated(output) or refused(output):
            raise Unmeasurable(f"the frontier's answer is none: {output.model} stopped with {output.stop!r}")
        cost = output.calls[-1].cost_nano_usd
        if self.rules.check is not None:
            return Found(await self._check(self.rules.check, own, output.text), "check", cost)
        last = self.run.last_step
        if last and last.output and agree(own, output.text, last.output.media):
            return Found(Comparison.TIE, "agreement", cost)
        orders = tuple([await self._read(order, own, output.text) for order in judge.ORDERS])
        return Found(combined(*orders), "judge", cost, orders)

    async def _check(self, rules: CheckRules, own: str, frontier: str) -> Comparison:
        texts = self.parts.texts
        task = await texts.read(self.run.prompt) if self.run.prompt else ""
        material = {item.name: await texts.read(item.content) for item in self.run.attachments}
        return checked(own=await good(rules, task, material, own), frontier=await good(rules, task, material, frontier))

    async def _read(self, order: judge.Order, own: str, frontier: str) -> Comparison:
        """One reading by the judge, tried once more where it gives no verdict.

        Raises:
            Unmeasurable: it gave none twice.
        """
        first, second = (own, frontier) if order.own == "A" else (frontier, own)
        tier = self.rules.judge_tier
        tokens = max_output(self.parts.catalog, tier, judge.JUDGE_TOKENS)
        asked = await judge.which_is_better(self.run, first, second, self.parts.texts, tokens)
        for ask in order.asks:
            choice: Choice | None = judge.read((await self._ask(asked, ask, tier)).text)
            if choice is not None:
                return reading(choice, order.own)
        raise Unmeasurable("the judge gave no readable verdict")

    async def _ask(self, asked: Question, number: int, tier: Tier) -> Output:
        estimate = judge.estimated(asked, self.parts.catalog, tier, self.parts.clock())
        return await self.parts.desk.ask(
            Ask(
                slot=judge.slot(self.run, number),
                tier=tier,
                question=asked,
                priority=Priority.LOW,
                budget_nano_usd=None if estimate is None else TIMES_ESTIMATE * estimate,
                again=self.again,
            )
        )


class _OverCap(TierbusError):
    """The day's cap has no room for this comparison."""


def frontiers_own(run: Run) -> Found | None:
    """A task that the frontier did at once and whole is its own baseline: asking the same again would compare noise.

    Its cost is that of the answer alone; None where the task was done otherwise.
    """
    if len(run.steps) != 1:
        return None
    [state] = run.steps.values()
    at_once = len(state.attempts) == 1 and state.attempts[0].tier is Tier.FRONTIER
    if not at_once or not _is_whole(run, state):
        return None
    answers = [call for call in run.calls if call.role is Role.EXECUTOR and call.status is CallStatus.FINISHED]
    return Found(Comparison.TIE, "same", spent(answers) if answers and _priced(answers) else None)


def _is_whole(run: Run, state: StepState) -> bool:
    [step] = whole(run, state.spec.tier).steps
    return step == state.spec


def _priced(calls: Iterable[CallRecorded]) -> bool:
    return all(call.cost_nano_usd is not None for call in calls)
