"""Wiring of the reviewer: what it does with each message."""

import time
from dataclasses import dataclass, field
from functools import partial

import structlog

from tierbus.cache.reuse import Sharing
from tierbus.contracts import (
    FeedbackGiven,
    Message,
    PilotOutcome,
    QualityDue,
    StepExecuted,
    StepReleased,
    TaskStatus,
    TimerDue,
    TimerSet,
)
from tierbus.errors import Cancelled
from tierbus.pilot.pilots import Pilots
from tierbus.reviewer.ladder import Ladder, Review
from tierbus.reviewer.quality import QualityWatch
from tierbus.run import Judged, Run, advance, pending, rearm
from tierbus.runs import Runs
from tierbus.service import Delivery, Service

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Reviewer:
    """The reviewer's parts."""

    runs: Runs
    ladder: Ladder
    quality: QualityWatch
    reuse: Sharing | None = None
    pilots: Pilots = field(default_factory=Pilots)

    def service(self) -> Service:
        """The table of what the reviewer hears."""
        return Service(
            name="reviewer",
            handlers={
                StepExecuted: self.on_executed,
                TimerDue: self.on_due,
                QualityDue: self.quality.on_due,
                PilotOutcome: self.on_outcome,
                FeedbackGiven: self.quality.on_feedback,
            },
            give_up={StepExecuted: self.give_up, QualityDue: self.quality.give_up},
        )

    async def on_executed(self, executed: StepExecuted, delivery: Delivery) -> list[Message]:
        """Judge an attempt once, then apply the verdict; a task that ended with it may be drawn for the quality watch."""
        return self.quality.due(await self._reviewed(executed, delivery))

    async def _reviewed(self, executed: StepExecuted, delivery: Delivery) -> list[Message]:
        """The verdict is applied however often the run changes meanwhile."""
        run, revision = await self.runs.read(executed.run)
        if run.closing is not None and run.status is None:
            return await self.runs.try_finish(run.id)
        if not run.awaits(executed.step, executed.attempt):
            log.info("reviewer.stale_attempt", status=run.status)
            if delivery.again:
                await self.ladder.leftovers(run, executed)
            return await self.runs.say(run)
        try:
            wanted = partial(self.runs.awaits, run, revision, executed.step, executed.attempt)
            review = await self.ladder.review(run, executed, again=delivery.again, wanted=wanted)
        except Cancelled:
            return await self.runs.try_finish(run.id)
        judged = _judged(executed, review, executed.queue_s + delivery.queue_s)
        return await self.runs.commit(
            run.id,
            lambda run, now: advance(run, judged._replace(reviewed=delivery.leg(now)), now),
            read=(run, revision),
        )

    async def give_up(self, executed: StepExecuted, _delivery: Delivery, error: Exception) -> list[Message]:
        """The attempt could not be judged: the task ends, with the reason."""
        reason = f"step {executed.step!r} could not be reviewed: {type(error).__name__}: {error}"
        return await self.runs.close(executed.run, TaskStatus.FAILED, reason[:1000])

    async def on_due(self, due: TimerDue, _delivery: Delivery) -> list[Message]:
        """Look a run over: end what is past its time, say again what the bus lost, set the timer anew."""
        found = await self.runs.find(due.run)
        if found is None:
            return []
        run, _ = found
        now = time.time()
        if run.status is not None:
            return self.quality.due(await self.runs.say(run))
        if run.closing is not None:
            finished = await self.runs.try_finish(run.id)
            return [*finished, *await self._rearmed(run)]
        if now >= run.deadline_at:
            reason = f"the deadline passed {now - run.deadline_at:.1f} s ago"
            return await self.runs.close(run.id, TaskStatus.EXPIRED, reason)
        if run.following and self.reuse is not None:
            await self._rearmed(run)
            return await self.reuse.attend(run.id)
        lost = [message for message in pending(run) if await self._lost(message)]
        gone = [message for message in lost if not await self.runs.in_batch(run, message)]
        if gone:
            log.warning("reviewer.said_again", run=run.id, messages=[message.subject for message in gone])
        return [*lost, *await self._rearmed(run)]

    async def on_outcome(self, outcome: PilotOutcome, delivery: Delivery) -> list[Message]:
        """Count what became of a run of a pilot; what follows from it is said again where it came before."""
        return await self.pilots.counted(outcome, delivery.sequence)

    async def _lost(self, message: Message) -> bool:
        """Whether the bus holds neither this message nor the one that follows from it."""
        if isinstance(message, TimerSet):
            return False
        if await self.runs.store.holds(message.subject):
            return False
        if not isinstance(message, StepReleased):
            return True
        following = f"tierbus.review.{message.priority}.{message.run}.{message.step}.{message.attempt}"
        return not await self.runs.store.holds(following)

    async def _rearmed(self, run: Run) -> list[Message]:
        return await self.runs.commit(run.id, rearm)


def _judged(executed: StepExecuted, review: Review, queue_s: float) -> Judged:
    return Judged(
        step=executed.step,
        attempt=executed.attempt,
        tier=executed.tier,
        model=review.model or executed.model,
        outcome=executed.outcome,
        output=review.output or executed.output,
        verdict=review.verdict,
        calls=(*executed.calls, *review.calls),
        queue_s=queue_s,
        executed=executed.leg,
    )
