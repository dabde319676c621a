"""What a learned policy counts in use, shared by every process and kept: a log of what was seen, and the sums so far.

A reviewer says what a task showed, once for each task and moment. Every process that uses the policy reads the log in its
order and adds up, so all of them decide from the same counts. Reviewers write the sums down with the place in the log that
they reach to, so a process that starts goes on from there. Nothing here holds up or fails a task: while the bus is away,
decisions go on with what is known.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import Literal, NamedTuple, Protocol

import structlog

from tierbus.contracts import NANO, PolicySaw, SeenCall
from tierbus.errors import Conflict, Misconfigured, Unavailable
from tierbus.loops import end
from tierbus.policy.learned import Learned
from tierbus.policy.moves import Case, Move, Seen
from tierbus.policy.tally import Counted, Moment
from tierbus.telemetry import names
from tierbus.telemetry.names import Attr
from tierbus.telemetry.sinks import Meters, Nowhere

log = structlog.get_logger(__name__)

KEEP_EVERY_S = 1.0
"""How often a reviewer writes the sums down, where there is something new."""
START_S = 5.0
"""How long a starting process waits for the counts before it decides without them."""
AGAIN_S = 1.0
"""How long after a failure the log is read or written again."""
WAITING = 10_000
"""Moments that wait to be said while the bus is away; the oldest are dropped beyond it."""
AT_ONCE = 64
"""Moments that are said side by side."""
Said = Literal["1", "2", "end"]
_MOMENTS: tuple[Said, ...] = ("1", "2")


class Change(StrEnum):
    """What becomes of a class in use."""

    GIVEN_UP = "given-up"
    TAKEN_AGAIN = "taken-again"
    DRIFTED = "drifted"
    AS_TRAINED = "as-trained"


class Held(NamedTuple):
    """What was seen, with its place in the log."""

    saw: PolicySaw
    sequence: int


@dataclass(frozen=True)
class Sums:
    """The counts of a policy by class, and the place that they reach to in which log (`Tallies.born`)."""

    log: str = ""
    sequence: int = 0
    classes: Mapping[str, Counted] = field(default_factory=dict)


class Tallies(Protocol):
    """The log of what policies saw, and their sums, each written only over the revision that was read."""

    async def say(self, saw: PolicySaw) -> None:
        """Put what was seen into the log; the first word about a task's moment stands.

        Raises:
            Unavailable: the bus did not confirm it.
        """
        ...

    async def read(self, policy: str) -> tuple[Sums, int] | None:
        """The sums of a policy and their revision, or None.

        Raises:
            Unavailable: the bus does not tell.
        """
        ...

    async def write(self, policy: str, sums: Sums, revision: int) -> int:
        """Write over `revision` (0: there must be none) and return the new one.

        Raises:
            Conflict: another process wrote first.
            Unavailable: the bus did not confirm it.
        """
        ...

    async def born(self) -> str:
        """Which log this is: another one, where it was lost and made anew.

        Raises:
            Unavailable: there is none.
        """
        ...

    def follow(self, policy: str, after: int) -> AsyncIterator[list[Held]]:
        """What is in the log after this place, in its order and as it comes; an empty list where all was read.

        Raises:
            Unavailable: the bus went away.
        """
        ...


class SharedPolicy:
    """A learned policy whose counts are everybody's.

    Args:
        policy: decides; what it counts is read from the log alone.
        digest: of the policy's file: another version begins with nothing counted.
        tallies: the log and the sums.
        keeps: whether this process writes the sums down, and tells what became of a class.
        meters: where changes of a class are counted.
    """

    def __init__(
        self,
        policy: Learned,
        digest: str,
        tallies: Tallies,
        *,
        keeps: bool,
        meters: Meters | None = None,
    ) -> None:
        self.policy = policy
        self._digest = digest
        self._tallies = tallies
        self._keeps = keeps
        self._meters: Meters = meters or Nowhere()
        self._waiting: deque[PolicySaw] = deque(maxlen=WAITING)
        self._news = asyncio.Event()
        self._all_read = asyncio.Event()
        self._sequence = 0
        self._born = ""
        self._kept = 0
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def models(self) -> tuple[str, ...]:
        """The ladder, cheapest first."""
        return self.policy.models

    @property
    def sequence(self) -> int:
        """The place in the log that is counted."""
        return self._sequence

    @property
    def read(self) -> bool:
        """Whether everything that was in the log has been counted."""
        return self._all_read.is_set()

    def covers(self, task_class: str) -> bool:
        """Whether it was made for tasks of this class."""
        return self.policy.covers(task_class)

    def next(self, case: Case, seen: tuple[Seen, ...]) -> Move:
        """The policy's move; what the answers show is said here, when they came: tasks that climb end later than others."""
        cheap = seen[:2] if all(one.place < len(self.models) - 1 for one in seen) else ()
        moment = self.policy.moment(case, cheap) if cheap else None
        if moment is not None:
            self._say(case, _MOMENTS[len(cheap) - 1], moment)
        return self.policy.next(case, seen)

    def learn(self, case: Case, seen: tuple[Seen, ...]) -> None:
        """Say what a task that is done has cost."""
        self._say(case, "end", self.policy.ended(case, seen))

    def _say(self, case: Case, moment: Said, shown: Moment) -> None:
        saw = PolicySaw(
            policy=self._digest,
            task_class=case.task_class,
            of_run=case.id,
            moment=moment,
            calls=tuple(SeenCall(place=place, cost_nano_usd=round(usd * NANO)) for place, usd in shown.calls),
            agreed=shown.agreed,
            sign=shown.sign,
            looks_nano_usd=round(shown.looks_usd * NANO),
            looks_saved_nano_usd=round(shown.looks_saved_usd * NANO),
        )
        self._waiting.append(saw)
        self._news.set()

    async def start(self) -> None:
        """Begin to read and write; returns when everything in the log was counted (`read`), or after `START_S`."""
        rounds: list[tuple[str, Callable[[], Awaitable[None]]]] = [("read", self._follow), ("said", self._say_news)]
        if self._keeps:
            rounds.append(("kept", self._keep_later))
        self._tasks = [asyncio.create_task(_for_ever(what, one)) for what, one in rounds]
        try:
            await asyncio.wait_for(self._all_read.wait(), START_S)
        except TimeoutError:
            log.warning("policy.counts_not_read", policy=self._digest, waited_s=START_S)

    async def stop(self) -> None:
        """Say what is still to be said, write the sums down, and end."""
        await end(*self._tasks)
        with contextlib.suppress(Unavailable, Misconfigured, TimeoutError):
            await asyncio.wait_for(self._say_all(), AGAIN_S)
            if self._keeps:
                await asyncio.wait_for(self._keep(), AGAIN_S)

    async def _follow(self) -> None:
        """Count what comes into the log, as long as it can be followed."""
        born = await self._tallies.born()
        if not self._born:
            await self._resume(born)
        elif born != self._born:
            log.warning("policy.log_was_lost", policy=self._digest, counted=self._sequence)
            self._sequence, self._kept = 0, -1
        self._born = born
        async for batch in self._tallies.follow(self._digest, self._sequence):
            for held in batch:
                self._count(held)
            if not batch:
                self._all_read.set()

    async def _resume(self, born: str) -> None:
        found = await self._tallies.read(self._digest)
        if found is None:
            return
        self.policy.resume(found[0].classes)
        if found[0].log == born:
            self._sequence = self._kept = found[0].sequence

    def _count(self, held: Held) -> None:
        if held.sequence <= self._sequence:
            return
        saw, self._sequence = held.saw, held.sequence
        if any(call.place >= len(self.models) for call in saw.calls):
            log.error("policy.unreadable_moment", subject=saw.subject, places=[call.place for call in saw.calls])
            return
        calls = tuple((call.place, call.cost_nano_usd / NANO) for call in saw.calls)
        looks_usd, saved_usd = saw.looks_nano_usd / NANO, saw.looks_saved_nano_usd / NANO
        self.policy.count(saw.task_class, Moment(calls, saw.agreed, saw.sign, looks_usd, saved_usd))

    async def _say_news(self) -> None:
        await self._news.wait()
        self._news.clear()
        try:
            await self._say_all()
        except (Unavailable, Misconfigured):
            self._news.set()  # what was not said is said again
            raise

    async def _say_all(self) -> None:
        while self._waiting:
            batch = list(islice(self._waiting, AT_ONCE))
            await asyncio.gather(*(self._tallies.say(saw) for saw in batch))
            for saw in batch:
                if self._waiting and self._waiting[0] is saw:  # else it was dropped meanwhile, for want of room
                    self._waiting.popleft()

    async def _keep_later(self) -> None:
        await asyncio.sleep(KEEP_EVERY_S)
        await self._keep()

    async def _keep(self) -> None:
        """Write the sums down unless another process has come further; who wrote them tells what became of a class."""
        if self._sequence == self._kept or not self._born:
            return
        before, revision = await self._tallies.read(self._digest) or (Sums(), 0)
        sums = Sums(self._born, self._sequence, dict(self.policy.used))
        if before.log == sums.log and before.sequence >= sums.sequence:
            self._kept = sums.sequence
            return
        try:
            await self._tallies.write(self._digest, sums, revision)
        except Conflict:
            return
        self._kept = sums.sequence
        for name, counted in sums.classes.items():
            self._tell(name, before.classes.get(name, Counted()), counted)

    def _tell(self, task_class: str, before: Counted, after: Counted) -> None:
        old, new = (self.policy.standing(task_class, counted) for counted in (before, after))
        if bool(old.given_up) != bool(new.given_up):
            change = Change.GIVEN_UP if new.given_up else Change.TAKEN_AGAIN
            self._changed(task_class, change, after, new.given_up or "it pays again")
        if old.away != new.away:
            why = "its tasks are no longer as in training" if new.away else "its tasks are as in training again"
            self._changed(task_class, Change.DRIFTED if new.away else Change.AS_TRAINED, after, why)

    def _changed(self, task_class: str, change: Change, counted: Counted, why: str) -> None:
        self._meters.add(names.POLICY_CHANGES, 1, {Attr.CLASS: task_class, Attr.POLICY_CHANGE: change.value})
        tally = counted.tally
        say = log.warning if change in (Change.GIVEN_UP, Change.DRIFTED) else log.info
        say(
            f"policy.class_{change.replace('-', '_')}",
            task_class=task_class,
            why=why,
            tasks=tally.ended,
            agreed=tally.agreed,
            asked=tally.asked,
            lost_strong_calls=round(tally.lost, 3),
        )


async def _for_ever(what: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do the work over and over; a failure is told once, until it works again."""
    told = False
    while True:
        try:
            await work()
            told = False
        except Exception as error:  # noqa: BLE001 - counting never fails a task, and must not end for what nobody foresaw
            known = isinstance(error, Unavailable | Misconfigured)
            if not told or not known:
                say = log.warning if known else log.error
                say(f"policy.counts_not_{what}", error=str(error), exc_info=None if known else error)
            told = True
            await asyncio.sleep(AGAIN_S)
