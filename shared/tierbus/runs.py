"""Committing to a run: read, apply a pure change, write over what was read; on a conflict read and apply again.

What a service says after a commit is always the same list: the change's own messages, and everything the state has
released and not got back. So a worker that died between writing and saying is made good by the next one.
"""

import time
from collections.abc import Awaitable, Callable, Sequence

import structlog

from tierbus.contracts import (
    GIVEN_UP,
    CallRecorded,
    CallStatus,
    Message,
    PlanJudged,
    Priority,
    Role,
    StepReleased,
    TaskStatus,
    TimerDue,
)
from tierbus.errors import Conflict, Unavailable
from tierbus.ledger.book import orphaned
from tierbus.ledger.closing import close as close_call
from tierbus.pilot.outcome import outcomes
from tierbus.result import result_of
from tierbus.run import Change, Run, close, finish, pending
from tierbus.stores import Ledger, RunStore
from tierbus.telemetry.watch import Watch

log = structlog.get_logger(__name__)

TRIES = 32
Announce = Callable[[str], Awaitable[None]]
Followers = Callable[[str], Awaitable[Sequence[str]]]


async def _nobody(_run: str) -> None:
    return None


async def _no_followers(_run: str) -> Sequence[str]:
    return ()


class Runs:
    """The runs of one bus. `announce` tells whoever works on a run that it is ending, `followers` who waits for its answer."""

    def __init__(
        self,
        store: RunStore,
        ledger: Ledger,
        announce: Announce = _nobody,
        clock: Callable[[], float] = time.time,
        watch: Watch | None = None,
        followers: Followers = _no_followers,
    ) -> None:
        self.store = store
        self._ledger = ledger
        self._announce = announce
        self._clock = clock
        self._watch = watch or Watch()
        self._followers = followers

    async def read(self, run: str) -> tuple[Run, int]:
        """The state and its revision.

        Raises:
            Unavailable: there is none (yet).
        """
        found = await self.find(run)
        if found is None:
            raise Unavailable(f"run {run!r} has no state")
        return found

    async def find(self, run: str) -> tuple[Run, int] | None:
        """The state and its revision, or None where there is none."""
        found = await self.store.read(run)
        if found is not None:
            self.about(found[0])
        return found

    async def peek(self, run: str) -> Run | None:
        """The state of a run that the message in hand is not about, or None where there is none."""
        found = await self.store.read(run)
        return found[0] if found else None

    async def say(self, run: Run) -> list[Message]:
        """What a run wants said now, to those too who wait for its answer."""
        if run.status is None or run.shared is None or run.shared.follows is not None:
            return said(run)
        waiting = await self._followers(run.id)
        return [*said(run), *(TimerDue(run=follower, after=run.id) for follower in waiting)]

    async def awaits(self, run: Run, revision: int, step: str, attempt: int) -> bool:
        """Whether a run that waited for this attempt at `revision` still does; it is read again only if it was written since."""
        if await self.store.revision(run.id) == revision:
            return True
        current, _ = await self.read(run.id)
        return current.awaits(step, attempt)

    def about(self, run: Run) -> None:
        """The message in hand is about this run: its logs and spans say so from here on."""
        self._watch.about(run)

    async def open(self, change: Change, now: float) -> tuple[Run, list[Message]]:
        """Write a new run at `now`; where there is one already, say again what that one waits for."""
        try:
            await self.store.write(change.run, 0)
        except Conflict:
            run, _ = await self.read(change.run.id)
            return run, await self.say(run)
        self._watch.changed(None, change.run, now)
        return change.run, change.messages

    async def open_beside(self, change: Change) -> list[Message]:
        """Write a run that goes on beside the one in hand, whose logs and spans stay its own; returns what that run wants said."""
        try:
            await self.store.write(change.run, 0)
        except Conflict:
            found = await self.store.read(change.run.id)
            return said(found[0]) if found else []
        return change.messages

    async def commit(
        self, run_id: str, apply: Callable[[Run, float], Change], read: tuple[Run, int] | None = None
    ) -> list[Message]:
        """Apply a change to the current state, however often another worker writes in between; returns what to say.

        `read` is a state already at hand; it saves a look at the store when nobody wrote since.

        Raises:
            Unavailable: no state, or too many conflicts in a row.
        """
        for _ in range(TRIES):
            run, revision = read or await self.read(run_id)
            read = None
            now = self._clock()
            change = apply(run, now)
            if change.run is run:
                return await self.say(run)
            try:
                await self.store.write(change.run, revision)
            except Conflict:
                continue
            self._watch.changed(run, change.run, now)
            return [*change.messages, *await self._after(change.run)]
        raise Unavailable(f"run {run_id!r} changed {TRIES} times while it was being written", delay_s=0.5)

    async def _after(self, run: Run) -> list[Message]:
        if run.status is not None:
            await self.store.done(run.id)
            return await self.say(run)
        if run.closing is not None:
            await self._announce(run.id)
            return await self.try_finish(run.id)
        return []

    async def close(self, run_id: str, status: TaskStatus, reason: str) -> list[Message]:
        """End a run early: nothing more of it is started, and it ends as soon as its open calls are settled."""
        return await self.commit(run_id, lambda run, now: close(run, status, reason, now))

    async def in_batch(self, run: Run, message: Message) -> bool:
        """Whether a step that the bus does not hold waits for a batch: it is said again too, for its deadline may be near."""
        if not isinstance(message, StepReleased) or message.priority is not Priority.LOW:
            return False
        if await self.store.holds(f"tierbus.batch.item.*.{run.id}.{message.step}.{message.attempt}"):
            return True
        return any(
            call.batch
            and call.status is CallStatus.STARTED
            and (call.step, call.attempt) == (message.step, message.attempt)
            for call in await self._ledger.of_run(run.id)
        )

    async def try_finish(self, run_id: str) -> list[Message]:
        """End a closing run if the ledger has no open call of it, or if its grace is over."""
        run, _ = await self.read(run_id)
        if run.closing is None or run.status is not None:
            return await self.say(run)
        await self.store.drop(run_id)
        calls = await self._own_calls(run_id)
        still_open = [call for call in calls if call.status is CallStatus.STARTED]
        if still_open and self._clock() < run.closing.by:
            return pending(run)
        settled = [await self._settled(call) for call in calls]
        return await self.commit(run_id, lambda run, now: finish(run, settled, now))

    async def _settled(self, call: CallRecorded) -> CallRecorded:
        """The call as it stands once nobody waits for it any longer."""
        if call.status is not CallStatus.STARTED:
            return call
        return await close_call(self._ledger, self._watch, orphaned(call, "open when the run ended", GIVEN_UP))

    async def settle(self, run_id: str) -> tuple[CallRecorded, ...]:
        """Every call of a run that is over, open ones given up."""
        return tuple([await self._settled(call) for call in await self._own_calls(run_id)])

    async def _own_calls(self, run_id: str) -> list[CallRecorded]:
        """The calls that were made for the task; what the quality watch asks after its end is no part of its cost."""
        return [call for call in await self._ledger.of_run(run_id) if call.role is not Role.WATCH]


def said(run: Run) -> list[Message]:
    """What a run wants said now: its result, what that means for a pilot and for a plan that may be kept; or all that it waits for."""
    if run.status is None:
        return pending(run)
    result = result_of(run)
    judged = [PlanJudged(run=run.id)] if run.plan_shape is not None else []
    return [result, *outcomes(result), *judged]
