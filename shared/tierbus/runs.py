"""Committing to a run: read, apply a pure change, write over what was read; on a conflict read and apply again.

What a service says after a commit is always the same list: the change's own messages, and everything the state has
released and not got back. So a worker that died between writing and saying is made good by the next one.
"""

import time
from collections.abc import Awaitable, Callable

import structlog

from tierbus.contracts import GIVEN_UP, CallRecorded, CallStatus, Message, TaskStatus
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


async def _nobody(_run: str) -> None:
    return None


class Runs:
    """The runs of one bus. `announce` tells whoever works on a run that it is ending."""

    def __init__(
        self,
        store: RunStore,
        ledger: Ledger,
        announce: Announce = _nobody,
        clock: Callable[[], float] = time.time,
        watch: Watch | None = None,
    ) -> None:
        self.store = store
        self._ledger = ledger
        self._announce = announce
        self._clock = clock
        self._watch = watch or Watch()

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
            return run, said(run)
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
                return said(run)
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
            return said(run)
        if run.closing is not None:
            await self._announce(run.id)
            return await self.try_finish(run.id)
        return []

    async def close(self, run_id: str, status: TaskStatus, reason: str) -> list[Message]:
        """End a run early: nothing more of it is started, and it ends as soon as its open calls are settled."""
        return await self.commit(run_id, lambda run, now: close(run, status, reason, now))

    async def try_finish(self, run_id: str) -> list[Message]:
        """End a closing run if the ledger has no open call of it, or if its grace is over."""
        run, _ = await self.read(run_id)
        if run.closing is None or run.status is not None:
            return said(run)
        await self.store.drop(run_id)
        calls = await self._ledger.of_run(run_id)
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
        return tuple([await self._settled(call) for call in await self._ledger.of_run(run_id)])


def said(run: Run) -> list[Message]:
    """What a run wants said now: its result and what that means for a pilot, or all that it waits for."""
    if run.status is None:
        return pending(run)
    result = result_of(run)
    return [result, *outcomes(result)]
